"""The common case of the operator, compiled: visits come that are newer than all that is queued.

Users' states lie in one array of bytes, the arena, as they are stored (`state`, version 2, without contents), with the
contents beside them. A visit that is the newest of its queue goes to its front and pushes the oldest out; nothing else
changes, which is done here on the bytes, for thousands of users in one call. `admit` says whose records are of that
kind; whatever else may happen to a state is for `operator.take_in` to decide. Tests hold both to the same bytes.
"""

# pyright: basic
from __future__ import annotations

import numpy as np

from headwater.nearline.kernels import compiled
from headwater.nearline.places import (
    BLOCK_WORDS,
    VISIT_WORDS,
    allocate,
    compare,
    copy,
    long_at,
    put_long,
    put_short,
    release,
    short_at,
    size_of_place,
)

VISIT_HEAD = 18
"""Bytes of a visit in a state beside its request id: time, content hash, length of the id."""

MOST_AT_ONCE = 64
"""Records of one user; more are not of the common case."""

_HEAD = 23
_MOST_QUEUES = 320


# -- which records are of the common case


@compiled(
    "i8(u1[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], u1[::1], u1[::1], i8[::1], i8, i8, i8, "
    "i8, b1[::1])"
)
def admit(
    arena,
    blocks,
    groups,
    times,
    names,
    id_starts,
    id_ends,
    sizes,
    ids,
    name_bytes,
    name_ends,
    most,
    most_in_all,
    max_age,
    most_acts,
    is_common,
):
    """Fill `is_common` for each of g users; returns how many bytes of the arena `advance` may need for those.

    Parameters
    ----------
    arena : uint8
    blocks : (g,) int64
        Where each user's block is.
    groups : (g + 1,) int64
        Records ``groups[n]:groups[n + 1]`` are user n's, in the order of their times.
    times, names, id_starts, id_ends, sizes : (r,) int64
        Of each record: its time, scenario (row of `name_ends`), request id (``ids[start:end]``), and the bytes of its
        content: 0 where nothing is queued, and it only tells the time.
    ids, name_bytes, name_ends : uint8, uint8, int64
    most, most_in_all, max_age, most_acts : int64
        Of the policy.
    """
    needed = 0
    counts, pushed = np.empty(_MOST_QUEUES, np.int64), np.empty(_MOST_QUEUES, np.int64)
    queue_of = np.empty(MOST_AT_ONCE, np.int64)
    words = arena.view(np.int64)
    for n in range(len(groups) - 1):
        first, last = groups[n], groups[n + 1]
        is_common[n] = False
        if last - first > MOST_AT_ONCE:
            continue
        block = blocks[n]
        visits = words[block >> 3]
        state = block + 8 * (BLOCK_WORDS + VISIT_WORDS * visits)
        newest, forgotten = max(long_at(arena, state + 3), times[last - 1]), long_at(arena, state + 11)
        acts = short_at(arena, state + 19) | short_at(arena, state + 21) << 16
        oldest = newest - max_age
        fits = times[first] > forgotten and times[first] >= oldest and acts <= most_acts
        for act in range(acts):
            fits = fits and long_at(arena, state + _HEAD + 8 * (acts + act)) >= oldest
        at = state + _HEAD + 16 * acts
        queues = short_at(arena, at)
        fits = fits and queues + last - first <= _MOST_QUEUES
        if not fits:
            continue
        at += 2
        for record in range(first, last):
            queue_of[record - first] = -1
        for queue in range(queues):
            name_at, name_n = at + 2, short_at(arena, at)
            at = name_at + name_n
            count = short_at(arena, at)
            at += 2
            counts[queue], pushed[queue] = count, 0
            fits = fits and count <= most
            for record in range(first, last):
                code = names[record]
                start = name_ends[code - 1] if code > 0 else 0
                if sizes[record] and compare(name_bytes, start, name_ends[code] - start, arena, name_at, name_n) == 0:
                    queue_of[record - first] = queue
            time = newest
            for visit in range(count):
                time = long_at(arena, at)
                id_n = short_at(arena, at + 16)
                for record in range(first, last):
                    if queue_of[record - first] == queue:
                        start = id_starts[record]
                        order = compare(ids, start, id_ends[record] - start, arena, at + VISIT_HEAD, id_n)
                        # Of one id only one visit stays, and one that is not the newest has a place to be found.
                        if order == 0 or (
                            visit == 0 and (times[record] < time or (times[record] == time and order < 0))
                        ):
                            fits = False
                at += VISIT_HEAD + id_n
            fits = fits and time >= oldest
        room = 8 * (BLOCK_WORDS + VISIT_WORDS * visits) + at - state
        for record in range(first, last):
            if not sizes[record]:
                continue
            if queue_of[record - first] < 0:  # a queue of its own, or of an earlier record
                for other in range(first, record):
                    if sizes[other] and names[other] == names[record]:
                        queue_of[record - first] = queue_of[other - first]
                if queue_of[record - first] < 0:
                    counts[queues], pushed[queues] = 0, 0
                    queue_of[record - first] = queues
                    queues += 1
            queue = queue_of[record - first]
            for other in range(first, record):
                if queue_of[other - first] == queue and sizes[other]:
                    start, other_start = id_starts[record], id_starts[other]
                    n_id, n_other = id_ends[record] - start, id_ends[other] - other_start
                    if times[other] == times[record] or compare(ids, start, n_id, ids, other_start, n_other) == 0:
                        fits = False
            pushed[queue] += 1
            code = names[record]
            name_n = name_ends[code] - (name_ends[code - 1] if code > 0 else 0)
            room += 8 * VISIT_WORDS + VISIT_HEAD + id_ends[record] - id_starts[record] + 4 + 4 + name_n
            needed += size_of_place(sizes[record])
        total = visits
        for queue in range(queues):
            fits = fits and pushed[queue] <= most  # what is pushed out is none of these records
            total += min(counts[queue] + pushed[queue], most) - counts[queue]
        is_common[n] = fits and total <= most_in_all
        needed += size_of_place(room + 4 * total + 64)
    return needed


# -- taking them in


@compiled(
    f"i8(u1[::1], {'i8[::1], ' * 12} u1[::1], u1[::1], u1[::1], i8[::1], i8, b1[::1], i8[:,::1], i8[:,::1], i8[::1], "
    "u8[::1], i8[::1])"
)
def advance(
    arena,
    free,
    used,
    blocks,
    groups,
    times,
    names,
    id_starts,
    id_ends,
    content_starts,
    sizes,
    hashes,
    digests,
    contents,
    ids,
    name_bytes,
    name_ends,
    most,
    is_changed,
    queues_out,
    gone_out,
    visit_places,
    visit_hashes,
    counts_out,
):
    """Take in the records of g users that `admit` let through; returns how many queues were changed.

    Parameters
    ----------
    arena, free, used : uint8, (CLASSES,) int64, (2,) int64
        See `allocate`.
    blocks : (g,) int64
        Changed to where the users' blocks are now.
    groups, times, names, id_starts, id_ends, sizes, ids, name_bytes, name_ends, most
        As of `admit`.
    content_starts, contents : (r,) int64, uint8
        Where the content of each record is.
    hashes, digests : (r,) int64
        Of each record's content, and of the key under which the store has it.
    is_changed : (g,) bool
        Filled: whether the state is another one than before.
    queues_out : (r, 7) int64
        Filled for each changed queue: user, scenario, where its visits are in the arena as the state says them, and up
        to where, how many there are, where the user's acted items are, and how many.
    gone_out : (r, 2) int64
        Filled for each visit that was pushed out: user, digest.
    visit_places, visit_hashes : (r · most,) int64, uint64
        Filled for each visit of the changed queues: where its content is, and its hash.
    counts_out : (2,) int64
        Filled: rows of `gone_out`, rows of `visit_places`.
    """
    words = arena.view(np.int64)
    n_queues = n_gone = n_visits = 0
    order = np.empty(MOST_AT_ONCE, np.int64)
    built = np.empty(1 << 16, np.uint8)
    for n in range(len(groups) - 1):
        first, last = groups[n], groups[n + 1]
        block = blocks[n]
        visits, state_n = words[block >> 3], words[(block >> 3) + 1]
        state = block + 8 * (BLOCK_WORDS + VISIT_WORDS * visits)
        newest = max(long_at(arena, state + 3), times[last - 1])
        is_changed[n] = newest != long_at(arena, state + 3)
        # The records that are queued, by scenario, newest first.
        size = 0
        room = state_n
        for record in range(last - 1, first - 1, -1):
            if sizes[record]:
                code = names[record]
                start, stop = name_ends[code - 1] if code > 0 else 0, name_ends[code]
                place = size
                while place > 0:
                    other = names[order[place - 1]]
                    other_start = name_ends[other - 1] if other > 0 else 0
                    n_other = name_ends[other] - other_start
                    if compare(name_bytes, other_start, n_other, name_bytes, start, stop - start) <= 0:
                        break
                    order[place] = order[place - 1]
                    place -= 1
                order[place] = record
                size += 1
                room += VISIT_HEAD + id_ends[record] - id_starts[record] + 8 + stop - start
        if not size:
            put_long(arena, state + 3, newest)
            continue
        is_changed[n] = True
        if room > len(built):
            built = np.empty(2 * room, np.uint8)
        acts = short_at(arena, state + 19) | short_at(arena, state + 21) << 16
        at = _HEAD + 16 * acts
        copy(built, 0, arena, state, at + 2)
        put_long(built, 3, newest)
        queues_at, n_own_queues = at, 0
        old, old_queues = state + at + 2, short_at(arena, state + at)
        at += 2
        slots = np.empty((visits + size, VISIT_WORDS), np.int64)
        n_slots, old_slot, next_record, first_queue = 0, (block >> 3) + BLOCK_WORDS, 0, n_queues
        while next_record < size or old_queues:
            is_old, is_pushed = old_queues > 0, next_record < size
            if is_old and is_pushed:
                code = names[order[next_record]]
                start = name_ends[code - 1] if code > 0 else 0
                found = compare(name_bytes, start, name_ends[code] - start, arena, old + 2, short_at(arena, old))
                is_old, is_pushed = found >= 0, found <= 0
            count = 0
            if is_old:
                name_n = short_at(arena, old)
                copy(built, at, arena, old, 2 + name_n)
                at += 2 + name_n
                old += 2 + name_n
                count = short_at(arena, old)
                old += 2
                old_queues -= 1
            else:
                code = names[order[next_record]]
                start = name_ends[code - 1] if code > 0 else 0
                put_short(built, at, name_ends[code] - start)
                copy(built, at + 2, name_bytes, start, name_ends[code] - start)
                at += 2 + name_ends[code] - start
            pushed = 0
            count_at = at
            at += 2
            visits_at = at
            if is_pushed:
                code = names[order[next_record]]
                while next_record < size and names[order[next_record]] == code:
                    record = order[next_record]
                    place = allocate(words, free, used, sizes[record])
                    copy(arena, place, contents, content_starts[record], sizes[record])
                    slots[n_slots, 0], slots[n_slots, 1], slots[n_slots, 2] = place, sizes[record], digests[record]
                    n_slots += 1
                    id_n = id_ends[record] - id_starts[record]
                    put_long(built, at, times[record])
                    put_short(built, at + 16, id_n)
                    copy(built, at + VISIT_HEAD, ids, id_starts[record], id_n)
                    put_long(built, at + 8, hashes[record])
                    at += VISIT_HEAD + id_n
                    pushed += 1
                    next_record += 1
            kept = min(count, most - pushed)
            for visit in range(count):
                visit_n = VISIT_HEAD + short_at(arena, old + 16)
                if visit < kept:
                    copy(built, at, arena, old, visit_n)
                    at += visit_n
                    for word in range(VISIT_WORDS):
                        slots[n_slots, word] = words[old_slot + word]
                    n_slots += 1
                else:
                    release(words, free, used, words[old_slot], words[old_slot + 1])
                    gone_out[n_gone, 0], gone_out[n_gone, 1] = n, words[old_slot + 2]
                    n_gone += 1
                old += visit_n
                old_slot += VISIT_WORDS
            put_short(built, count_at, pushed + kept)
            n_own_queues += 1
            if is_pushed:
                queues_out[n_queues, 0], queues_out[n_queues, 1] = n, code
                queues_out[n_queues, 2], queues_out[n_queues, 3] = visits_at, at
                queues_out[n_queues, 4], queues_out[n_queues, 6] = pushed + kept, acts
                n_queues += 1
                one = visits_at
                for visit in range(pushed + kept):
                    visit_places[n_visits] = slots[n_slots - pushed - kept + visit, 0]
                    visit_hashes[n_visits] = np.uint64(long_at(built, one + 8))
                    one += VISIT_HEAD + short_at(built, one + 16)
                    n_visits += 1
        put_short(built, queues_at, n_own_queues)
        for _ in range(4 * n_slots):
            built[at] = 0
            at += 1
        # The block, in a place that fits it.
        release(words, free, used, block, words[(block >> 3) + 2])
        head = 8 * (BLOCK_WORDS + VISIT_WORDS * n_slots)
        block = allocate(words, free, used, head + at)
        words[block >> 3], words[(block >> 3) + 1], words[(block >> 3) + 2] = n_slots, at, head + at
        for slot in range(n_slots):
            for word in range(VISIT_WORDS):
                words[(block >> 3) + BLOCK_WORDS + VISIT_WORDS * slot + word] = slots[slot, word]
        copy(arena, block + head, built, 0, at)
        blocks[n] = block
        for queue in range(first_queue, n_queues):
            queues_out[queue, 2] += block + head
            queues_out[queue, 3] += block + head
            queues_out[queue, 5] = block + head + _HEAD
    counts_out[0], counts_out[1] = n_gone, n_visits
    return n_queues
