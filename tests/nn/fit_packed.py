"""A program that the training tests start as processes of their own: fit SASRec on a packed set, write the result."""

import json
import os
import sys
from pathlib import Path

import torch

from headwater.config import parse
from headwater.data import leave_one_out
from headwater.data.packed import unpack
from headwater.metrics import FullRanking
from headwater.retrieval import evaluate
from headwater.retrieval.sequence.sasrec import SASRec, SASRecConfig


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    job = json.loads((folder / "job.json").read_text())
    split = leave_one_out(unpack(folder / "set.npz"))

    def validate(channel: SASRec) -> float:
        return evaluate(channel, split.validation, FullRanking(), train=split.train, ks=(10,)).metrics["ndcg@10"]

    checkpoint = folder / "checkpoint" if job["checkpoint"] else None
    channel = SASRec(parse(SASRecConfig, job["config"], "job"))
    channel.fit(split.train, validate=validate, checkpoint=checkpoint, resume=True)
    if os.environ.get("RANK", "0") == "0":
        channel.save(folder / "channel")
        assert channel.report is not None
        (folder / "curve.json").write_text(json.dumps(channel.report.curve))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
