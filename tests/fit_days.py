"""A program that the tests of incremental training start as processes of their own: learn made-up days, save."""

import sys
import time
from pathlib import Path

import torch

from headwater.ranking.can import CAN, CANConfig
from made_up import SMALL, TRAINING, impressions


def main(folder: Path, days: int, pause: float) -> None:
    torch.set_num_threads(1)
    training = TRAINING.model_copy(update={"checkpoint_seconds": 0.0})
    ranker = CAN(CANConfig(**{**SMALL, "training": training, "user_dimension": 4, "activation": "dice"}))

    def each_day(_: CAN, day: int) -> None:
        with (folder / "told").open("a") as handle:
            handle.write(f"{day}\n")
        time.sleep(pause)

    ranker.fit(impressions(days), each_day=each_day, checkpoint=folder / "checkpoint", resume=True)
    ranker.save(folder / "ranker")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
