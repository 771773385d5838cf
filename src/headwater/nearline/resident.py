"""What the stream holds in memory of its users, and how it takes a batch of records in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xxhash

from headwater.data.schema import Behaviour
from headwater.nearline import advance, answers, kernels, operator, places
from headwater.nearline.arena import Arena
from headwater.nearline.candidates import head_of
from headwater.nearline.columns import VISIT, RecordColumns
from headwater.nearline.policy import Policy
from headwater.nearline.state import NO_CATEGORY, UserState
from headwater.nearline.stored import CANDIDATES, CONTENT, STATES, VISITS, Reader, visit_digest, writes
from headwater.store.base import Put, Store, key_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Records(NamedTuple):
    """A batch, ordered by user and time; each array has an entry for each record.

    Attributes
    ----------
    users, times, names : int64
        User keys, Unix seconds, rows of `scenarios`.
    origins : (r, 2) int64
        Part and row there.
    id_starts, id_ends : int64
        Where each request id is in `ids`.
    starts, sizes : int64
        Where each content is in `contents`, and how long it is; 0 where nothing is queued.
    is_act : bool
    request_ids : list of str
    scenarios : list of str
    """

    users: NDArray[np.int64]
    times: NDArray[np.int64]
    names: NDArray[np.int64]
    origins: NDArray[np.int64]
    id_starts: NDArray[np.int64]
    id_ends: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    is_act: NDArray[np.bool_]
    ids: NDArray[np.uint8]
    contents: NDArray[np.uint8]
    request_ids: list[str]
    scenarios: list[str]


class Residents:
    """Users' states, in memory as far as they fit, and read from the store where they do not.

    Parameters
    ----------
    store : Store
    memory_bytes : int
        About how much may be held; the users who were seen longest ago are let go first.
    """

    def __init__(self, store: Store, memory_bytes: int) -> None:
        self._reader = Reader(store)
        self._memory_bytes = memory_bytes
        self._arena = Arena()
        self._packed = np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self._arena)

    @property
    def size(self) -> int:
        """About how many bytes are held."""
        return self._arena.size

    @property
    def torn(self) -> int:
        """Stored values that failed their checksum, or did not fit their state, and were left out."""
        return self._reader.torn

    def take_in(self, parts: Sequence[RecordColumns], policy: Policy) -> list[Put]:
        """Take records into their users' states; returns what makes the store say the same.

        What is held is ahead of the store then: where the writes are not made, call `drop`.
        """
        records = self._packed_records(parts, policy)
        if not len(records.users):
            return []
        firsts = np.flatnonzero(np.diff(records.users, prepend=records.users[0] - 1))
        users: list[int] = records.users[firsts].tolist()
        groups = np.append(firsts, len(records.users))
        # What had to be read and is not as `writes` left it: the state, and what the store has of it.
        odd = self._fetch([user for user in users if user not in self._arena])
        rows = self._arena.rows(users)
        blocks = self._arena.blocks[rows]
        names = [name.encode() for name in records.scenarios]
        name_bytes = np.frombuffer(bytearray().join(names) or bytearray(1), np.uint8)
        name_ends = np.cumsum([len(name) for name in names] or [0]).astype(np.int64)
        is_common = np.zeros(len(users), np.bool_)
        needed = advance.admit(
            self._arena.raw, blocks, groups, records.times, records.names, records.id_starts, records.id_ends,
            records.sizes, records.ids, name_bytes, name_ends, policy.visits, policy.visits_in_all,
            policy.max_age_seconds, policy.acted_items, is_common,
        )  # fmt: skip
        has_act = np.logical_or.reduceat(records.is_act, firsts)
        is_common &= ~has_act
        if odd:
            is_common &= np.fromiter((user not in odd for user in users), np.bool_, len(users))
        puts: list[Put] = []
        if not is_common.all():
            puts = self._uncommon(parts, records, groups, [*map(int, np.flatnonzero(~is_common))], odd, policy)
        if is_common.any():
            self._arena.reserve(needed)
            puts += self._common(records, rows, groups, is_common, name_bytes, name_ends, policy)
        return puts

    @property
    def is_full(self) -> bool:
        """Whether more is held than may be."""
        return self._arena.size > self._memory_bytes

    def trim(self) -> None:
        """Let go of what is too much."""
        self._arena.trim(self._memory_bytes)

    def drop(self) -> None:
        """Let go of all: the next records read the store."""
        self._arena.clear()

    # -- the records

    def _packed_records(self, parts: Sequence[RecordColumns], policy: Policy) -> _Records:
        scenarios: dict[str, int] = {}
        room = sum(kernels.SPARE_BYTES * len(part) + kernels.BYTES_PER_ITEM * len(part.items) for part in parts)
        if len(self._packed) < room:  # kept, for new memory costs more than what is written to it
            self._packed = np.zeros(room + -room % 8, np.uint8)
        columns: list[list[NDArray[np.int64]]] = []
        request_ids: list[str] = []
        at = 0
        for number, part in enumerate(parts):
            codes = [scenarios.setdefault(name, len(scenarios)) for name in part.scenario_names]
            truncations = [policy.truncation(name) if policy.is_source(name) else 0 for name in part.scenario_names]
            cuts = np.array([*truncations, 0], np.int64)[part.scenarios]
            queued = np.flatnonzero((part.behaviours == VISIT) & (cuts > 0))
            starts, sizes = np.zeros((2, len(part)), np.int64)
            ends = np.empty(len(queued), np.int64)
            kernels.pack(
                part.items, part.categories, part.offsets[:-1][queued], part.offsets[1:][queued], cuts[queued],
                self._packed[at:], ends,
            )  # fmt: skip
            starts[queued] = at + np.concatenate([[0], ends])[:-1]
            sizes[queued] = at + ends - starts[queued]
            at += int(ends[-1]) if len(ends) else 0
            is_act = (part.behaviours > Behaviour.IMPRESSION).astype(np.int64)
            origins = [np.full(len(part), number), np.arange(len(part))]
            names = np.array([*codes, 0], np.int64)[part.scenarios]
            columns.append([part.users, part.timestamps, names, starts, sizes, is_act, *origins])
            request_ids += part.request_ids
        stacked = [np.concatenate(column) for column in zip(*columns, strict=True)] or [np.zeros(0, np.int64)] * 8
        encoded = list(map(str.encode, request_ids))
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        order = np.lexsort((stacked[1], stacked[0]))
        users, times, names, starts, sizes, is_act, part_of, row_of = (column[order] for column in stacked)
        return _Records(
            users=users,
            times=times,
            names=names,
            origins=np.stack([part_of, row_of], axis=1),
            id_starts=np.concatenate([[0], ends])[:-1][order],
            id_ends=ends[order],
            starts=starts,
            sizes=sizes,
            is_act=is_act.astype(np.bool_),
            ids=np.frombuffer(bytearray().join(encoded) or bytearray(1), np.uint8),
            contents=self._packed,
            request_ids=[request_ids[row] for row in order.tolist()],
            scenarios=list(scenarios) or [""],
        )

    def _fetch(self, users: Sequence[int]) -> dict[int, tuple[UserState, UserState]]:
        states, stored = self._reader.read(users)
        odd: dict[int, tuple[UserState, UserState]] = {}
        for user in users:
            new, old = states[user], stored[user]
            if old.newest != new.newest or old.forgotten_at != new.forgotten_at or old.queues != new.queues:
                odd[user] = new, old
            self._arena.put(user, states[user])
        return odd

    # -- anything may happen to a state

    def _uncommon(
        self,
        parts: Sequence[RecordColumns],
        records: _Records,
        groups: NDArray[np.int64],
        chosen: Sequence[int],
        odd: dict[int, tuple[UserState, UserState]],
        policy: Policy,
    ) -> list[Put]:
        states: dict[int, UserState] = {}
        stored: dict[int, UserState] = {}
        for group in chosen:
            user = int(records.users[groups[group]])
            if user in odd:
                states[user], stored[user] = odd[user]
            else:
                states[user] = self._arena.state(user)
                stored[user] = states[user].copy()
        origins = np.concatenate([records.origins[groups[group] : groups[group + 1]] for group in chosen])
        for number, part in enumerate(parts):
            rows = np.sort(origins[origins[:, 0] == number, 1])
            if len(rows):
                operator.take_in(states, part.take(rows), policy)
        puts = writes(stored, states, policy)
        for user, state in states.items():
            self._arena.put(user, state)
        return puts

    # -- visits that are the newest of their queues

    def _common(
        self,
        records: _Records,
        all_rows: NDArray[np.int64],
        all_groups: NDArray[np.int64],
        is_common: NDArray[np.bool_],
        name_bytes: NDArray[np.uint8],
        name_ends: NDArray[np.int64],
        policy: Policy,
    ) -> list[Put]:
        lengths = np.diff(all_groups)
        kept = np.flatnonzero(np.repeat(is_common, lengths))
        groups = np.concatenate([[0], np.cumsum(lengths[is_common])])
        rows = all_rows[is_common]
        blocks = self._arena.blocks[rows]
        names, sizes = records.names[kept], records.sizes[kept]
        starts = records.starts[kept]
        raw = records.contents.data
        hashes = np.zeros(len(kept), np.uint64)
        digests: list[bytes] = [b""] * len(kept)
        contents: list[bytes] = [b""] * len(kept)
        scenarios: list[str] = records.scenarios
        scenario_of: list[int] = names.tolist()
        for at, (of, start, size, name) in enumerate(
            zip(kept.tolist(), starts.tolist(), sizes.tolist(), scenario_of, strict=True)
        ):
            if size:
                content = contents[at] = bytes(raw[start : start + size])
                hashes[at] = xxhash.xxh3_64_intdigest(content)
                digests[at] = visit_digest(scenarios[name], records.request_ids[of])
        n, r = len(rows), len(kept)
        is_changed = np.zeros(n, np.bool_)
        queues, gone = np.zeros((r, 7), np.int64), np.zeros((r, 2), np.int64)
        visit_places, visit_hashes = np.empty(r * policy.visits, np.int64), np.empty(r * policy.visits, np.uint64)
        counts = np.zeros(2, np.int64)
        n_queues = advance.advance(
            self._arena.raw, self._arena.free, self._arena.used, blocks, groups, records.times[kept], names,
            records.id_starts[kept], records.id_ends[kept], starts, sizes, hashes.view(np.int64),
            np.frombuffer(bytearray().join(digest or bytes(8) for digest in digests), np.int64), records.contents,
            records.ids, name_bytes, name_ends, policy.visits, is_changed, queues, gone, visit_places, visit_hashes,
            counts,
        )  # fmt: skip
        self._arena.blocks[rows] = blocks
        keys = [key_bytes(user) for user in records.users[all_groups[:-1][is_common]].tolist()]
        user_of: list[int] = np.repeat(np.arange(n), np.diff(groups)).tolist()
        queues, gone = queues[:n_queues], gone[: int(counts[0])]
        changed_users: list[int] = queues[:, 0].tolist()
        changed_names: list[int] = queues[:, 1].tolist()
        ttl = policy.max_age_seconds
        values = self._candidates(queues, visit_places, visit_hashes, name_bytes, name_ends, policy)
        puts = [
            Put(CANDIDATES, keys[user] + scenarios[name].encode(), value, ttl)
            for user, name, value in zip(changed_users, changed_names, values, strict=True)
        ]
        for at, (content, digest) in enumerate(zip(contents, digests, strict=True)):
            if content:
                puts.append(Put(VISITS, keys[user_of[at]] + CONTENT + digest, content))
        gone_users: list[int] = gone[:, 0].tolist()
        gone_digests = gone[:, 1].astype("<i8").tobytes()
        puts += [
            Put(VISITS, keys[user] + CONTENT + gone_digests[8 * at : 8 * at + 8], None)
            for at, user in enumerate(gone_users)
        ]
        words = self._arena.raw.view(np.int64)
        heads = words[(blocks >> 3)[:, None] + np.arange(2)]
        state_starts = blocks + 8 * (places.BLOCK_WORDS + places.VISIT_WORDS * heads[:, 0])
        arena = self._arena.raw.data
        for is_new, key, start, length in zip(
            is_changed.tolist(), keys, state_starts.tolist(), heads[:, 1].tolist(), strict=True
        ):
            if is_new:
                puts.append(Put(STATES, key, bytes(arena[start : start + length])))
        return puts

    def _candidates(
        self,
        queues: NDArray[np.int64],
        visit_places: NDArray[np.int64],
        visit_hashes: NDArray[np.uint64],
        name_bytes: NDArray[np.uint8],
        name_ends: NDArray[np.int64],
        policy: Policy,
    ) -> list[bytes]:
        strategy = operator.STRATEGIES[policy.strategy]
        head = np.frombuffer(bytearray(head_of(strategy, policy.alpha, policy.beta)), np.uint8)
        firsts = np.concatenate([[0], np.cumsum(queues[:, 4])])
        room = len(queues) * (answers.SPARE_BYTES + answers.ENTRY_BYTES * policy.k)
        room += int((queues[:, 3] - queues[:, 2]).sum() + np.diff(name_ends, prepend=0)[queues[:, 1]].sum())
        out, ends = np.empty(room, np.uint8), np.zeros(len(queues), np.int64)
        answers.rank_and_encode(
            self._arena.raw, queues, firsts, visit_places, visit_hashes, name_bytes, name_ends, strategy, policy.alpha,
            policy.beta, policy.category_cap, NO_CATEGORY, policy.k, head, ends, out,
        )  # fmt: skip
        raw = out.data
        bounds = [0, *ends.tolist()]
        return [bytes(raw[start:end]) for start, end in pairwise(bounds)]
