"""The job without Flink: its two functions, a dictionary for Flink's state, and a checkpoint to crash back to."""

import copy
import random
from pathlib import Path

from headwater.nearline import DirectorySource, Policy
from headwater.nearline.flink.reading import Reading
from headwater.nearline.flink.updates import Updates
from headwater.nearline.flink.wire import unpack
from headwater.store import Store


class SimulatedJob:
    """Steps of the job in any order that Flink may choose: per user in order, across users as `random` says."""

    def __init__(self, log: Path, store: Store, policy: Policy, seed: int, *, readers: int = 1) -> None:
        self.log, self.store, self.policy, self.readers = log, store, policy, readers
        self.random = random.Random(seed)
        self.clock = 0
        self.values: dict[int, bytes] = {}
        self.positions: dict[int, bytes] = {}
        self.timers: set[tuple[int, int]] = set()
        self.checkpoint()
        self.start()

    def start(self) -> None:
        """New function objects, as after a recovery or a rescaling: what they had in memory is gone."""
        shares = [(index, self.readers) for index in range(self.readers)]
        self.readings = [
            Reading(DirectorySource(self.log, share=share), self.store, self.policy, name="job", share=share, batch=7)
            for share in shares
        ]
        self.updates = Updates(self.store, self.policy, pause=lambda _: None)

    def checkpoint(self) -> None:
        self.kept = copy.deepcopy((self.values, self.positions, self.timers))

    def crash(self) -> None:
        """Back to the checkpoint; what was written to the store stays written."""
        self.values, self.positions, self.timers = copy.deepcopy(self.kept)
        self.start()

    def step(self) -> bool:
        """One reader polls, its records are taken in, and some timers fire; whether there was anything to do."""
        index = self.random.randrange(self.readers)
        found, position = self.readings[index].poll(self.positions.get(index))
        self.random.shuffle(found)
        for user, raw in found:
            due = self.clock + self.random.randrange(1, 3)
            self.values[user] = self.updates.take_in(user, self.values.get(user), unpack(raw, user), due)
            self.timers.add((user, due))
        if position is not None:
            self.positions[index] = position
        self.clock += 1
        self.fire(self.clock)
        return position is not None

    def fire(self, until: int) -> None:
        for user, due in sorted(self.timers, key=lambda timer: (timer[1], timer[0])):
            if due <= until:
                self.timers.discard((user, due))
                changed = self.updates.settle(user, self.values.get(user), due)
                if changed is not None:
                    self.values[user] = changed

    def drain(self) -> None:
        """Until nothing is left to do."""
        idle = 0
        while idle < 10 * self.readers:
            idle = 0 if self.step() else idle + 1
        self.fire(self.clock + 10)
