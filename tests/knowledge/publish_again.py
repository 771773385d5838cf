"""A program that a test starts and kills: publishes built folders into a center, in turn, until stopped."""

import sys
from pathlib import Path

from headwater.knowledge.center import Center


def main(root: Path, times: int, built: list[Path]) -> None:
    center = Center(root)
    for at in range(times):
        print(center.publish(built[at % len(built)]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [Path(path) for path in sys.argv[3:]])
