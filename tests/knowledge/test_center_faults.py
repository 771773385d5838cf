"""A reader hammers while versions are published and publishers are killed: it never sees half a version, or two."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import publish_again

from headwater.knowledge.center import Center
from headwater.knowledge.versions import MOST, read_versions
from knowledge_built import WIDTH, made_up_built

PUBLISHES = int(os.environ.get("HEADWATER_PUBLISHES", "5"))
KILLS = int(os.environ.get("HEADWATER_KILLS", "2"))
USERS = 3_000
PROGRAM = Path(publish_again.__file__)


class Reader(threading.Thread):
    """Asks for many pairs again and again; keeps what was wrong."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.center, self.stopped = Center(root), threading.Event()
        self.wrong: list[str] = []
        self.batches, self.seen = 0, dict[int, float]()

    def run(self) -> None:
        draw = np.random.default_rng(0)
        while not self.stopped.is_set() and not self.wrong:
            try:
                answer = self.center.get(draw.integers(1, USERS + 1, 200), draw.integers(1, 41, 200))
            except BaseException as error:
                self.wrong.append(repr(error))
                return
            mark = float(answer.values[0, 0])
            parts = np.abs(answer.values[:, : 2 * WIDTH]), np.abs(answer.values[:, 3 * WIDTH :])
            if not all((part == mark).all() for part in parts):
                self.wrong.append(f"version {answer.version} is mixed of {np.unique(answer.values)}")
            if self.seen and answer.version < max(self.seen):
                self.wrong.append(f"version {answer.version} after {max(self.seen)}")
            if self.seen.setdefault(answer.version, mark) != mark:
                self.wrong.append(f"version {answer.version} was {self.seen[answer.version]}, and is {mark}")
            self.batches += 1


def test_a_hammering_reader_sees_whole_versions_while_publishers_are_killed(tmp_path: Path) -> None:
    root = tmp_path / "center"
    built = [made_up_built(tmp_path / f"built-{at}", float(at + 1), n_users=USERS).folder for at in range(3)]
    Center(root).publish(built[0])
    readers = [Reader(root) for _ in range(2)]
    for reader in readers:
        reader.start()
    words = [sys.executable, str(PROGRAM), str(root), "1000000", *map(str, built)]
    draw, killed = random.Random(3), 0
    try:
        while killed < KILLS or read_versions(root).last < PUBLISHES + KILLS:
            publisher = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            assert publisher.stdout
            publisher.stdout.readline()  # one whole version, then somewhere within the next ones
            if killed >= KILLS:
                while read_versions(root).last < PUBLISHES + KILLS:
                    publisher.stdout.readline()
            time.sleep(draw.random() * 0.3)
            os.kill(publisher.pid, signal.SIGKILL)
            publisher.wait()
            publisher.stdout.close()
            killed += 1
            if any(reader.wrong for reader in readers):
                break
    finally:
        for reader in readers:
            reader.stopped.set()
        for reader in readers:
            reader.join()
    assert [reader.wrong for reader in readers] == [[], []]
    assert min(reader.batches for reader in readers) > 50
    assert len(readers[0].seen) > 3

    last = Center(root).publish(built[1])
    state = read_versions(root)
    assert state.current == last
    assert state.leftovers == ()
    assert len(state.about) == MOST
    assert {int(path.name) for path in (root / "versions").iterdir()} == set(state.about), "nothing is left behind"
