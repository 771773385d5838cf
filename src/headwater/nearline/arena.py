"""Many users' states in one stretch of memory, as bytes that compiled code reads: see `places`."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from headwater.nearline import places
from headwater.nearline.state import UserState, decode, encode
from headwater.nearline.stored import visit_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST_BYTES = 64 << 20
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # what is shared cannot grow
_ROW_BYTES = 256
"""About what a user takes beside the arena."""


class Arena:
    """Users' states, each with the contents of its visits.

    Attributes
    ----------
    raw : uint8
        The memory that places are in. It may move when `reserve` is called.
    free, used : int64
        See `places.allocate`.
    blocks : int64
        Where each row's block is.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _FIRST_BYTES, flags=_PRIVATE)
        self.raw: NDArray[np.uint8] = self._viewed()
        self.free = np.zeros(places.CLASSES, np.int64)
        self.used = np.array([places.FIRST_PLACE, 0], np.int64)
        self.blocks = np.zeros(1_024, np.int64)
        self._seen = np.zeros(1_024, np.int64)
        self._now = 0
        self._rows: dict[int, int] = {}
        self._users: list[int | None] = []
        self._spare: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size(self) -> int:
        """About how many bytes the states take."""
        return int(self.used[1]) + _ROW_BYTES * len(self._rows)

    def __contains__(self, user: int) -> bool:
        return user in self._rows

    def rows(self, users: Sequence[int]) -> NDArray[np.int64]:
        """(n,) rows of users who are here; they count as seen now."""
        rows = np.fromiter(map(self._rows.__getitem__, users), np.int64, len(users))
        self._now += 1
        self._seen[rows] = self._now
        return rows

    def reserve(self, n_bytes: int) -> None:
        """Make room for places of `n_bytes` in all; what was taken of `raw` before may lie elsewhere then."""
        wanted = int(self.used[0]) + n_bytes
        if wanted > len(self._memory):
            pages = -(-max(wanted, len(self._memory) * 3 // 2) // mmap.PAGESIZE)
            del self.raw
            try:
                self._memory.resize(pages * mmap.PAGESIZE)
            except BufferError:  # somebody looks at it, a traceback for one
                larger = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=_PRIVATE)
                larger[: len(self._memory)] = self._memory[:]
                self._memory = larger
            self.raw = self._viewed()

    def state(self, user: int) -> UserState:
        """A user's state."""
        block = int(self.blocks[self._rows[user]]) >> 3
        words = self.raw.view(np.int64)
        visits, state_bytes = int(words[block]), int(words[block + 1])
        head = block + places.BLOCK_WORDS
        slots: list[list[int]] = (
            words[head : head + places.VISIT_WORDS * visits].reshape(-1, places.VISIT_WORDS).tolist()
        )
        start = 8 * (head + places.VISIT_WORDS * visits)
        state = decode(self._memory[start : start + state_bytes])
        n = 0
        for scenario in sorted(state.queues):
            queue = state.queues[scenario]
            for place, visit in enumerate(queue):
                at, length, _ = slots[n]
                queue[place] = msgspec.structs.replace(visit, content=self._memory[at : at + length])
                n += 1
        return state

    def put(self, user: int, state: UserState) -> None:
        """Replace a user's state, or take the user up."""
        raw = encode(state, with_contents=False)
        visits = list(state.visits())
        size = 8 * (places.BLOCK_WORDS + places.VISIT_WORDS * len(visits)) + len(raw)
        self.reserve(places.size_of_place(size) + sum(places.size_of_place(len(v.content)) for _, v in visits))
        row = self._row(user)
        if self.blocks[row]:
            places.release_user(self.raw, self.free, self.used, self.blocks[row])
        words = self.raw.view(np.int64)
        block = self.blocks[row] = places.allocate(words, self.free, self.used, size)
        numbers = [len(visits), len(raw), size]
        for scenario, visit in visits:
            place = places.allocate(words, self.free, self.used, len(visit.content))
            self._memory[place : place + len(visit.content)] = visit.content
            digest = int.from_bytes(visit_digest(scenario, visit.request_id), "little", signed=True)
            numbers += (place, len(visit.content), digest)
        words[block >> 3 : (block >> 3) + len(numbers)] = numbers
        self._memory[block + 8 * len(numbers) : block + size] = raw

    def trim(self, n_bytes: int) -> None:
        """Let go of the users who were seen longest ago, until the others take at most `n_bytes`."""
        if self.size <= n_bytes:
            return
        rows = np.fromiter(self._rows.values(), np.int64, len(self._rows))
        oldest: list[int] = rows[np.argsort(self._seen[rows], kind="stable")].tolist()
        for row in oldest:
            if self.size <= n_bytes:
                break
            user = self._users[row]
            assert user is not None
            self._leave(user)
        if self.used[0] > 2 * n_bytes + _FIRST_BYTES:  # places of other sizes than are needed now
            self.clear()

    def leave(self, users: Iterable[int]) -> None:
        """Let go of users, those of them who are here."""
        for user in users:
            if user in self._rows:
                self._leave(user)

    def clear(self) -> None:
        """Let go of all."""
        self.free[:] = 0
        self.used[:] = places.FIRST_PLACE, 0
        self._rows.clear()
        self._users.clear()
        self._spare.clear()
        self.blocks[:] = 0

    def _viewed(self) -> NDArray[np.uint8]:
        if hasattr(mmap, "MADV_HUGEPAGE"):  # a visit touches ten lists anywhere in gigabytes
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(self._memory, np.uint8)

    def _row(self, user: int) -> int:
        row = self._rows.get(user)
        if row is not None:
            return row
        if self._spare:
            row = self._spare.pop()
            self._users[row] = user
        else:
            row = len(self._users)
            self._users.append(user)
            if row == len(self.blocks):
                self.blocks = np.concatenate([self.blocks, np.zeros_like(self.blocks)])
                self._seen = np.concatenate([self._seen, np.zeros_like(self._seen)])
        self._rows[user] = row
        self._seen[row] = self._now
        return row

    def _leave(self, user: int) -> None:
        row = self._rows.pop(user)
        places.release_user(self.raw, self.free, self.used, self.blocks[row])
        self.blocks[row] = 0
        self._users[row] = None
        self._spare.append(row)
