"""The common case of the operator, compiled: visits come that are newer than all that is queued.

Users' states lie in one array of bytes, the arena, as they are stored (`state`, version 2, without contents), with the
contents beside them. A visit that is the newest of its queue goes to its front and pushes the oldest out; nothing else
changes, which is done here on the bytes, for thousands of users in one call. `admit` says whose records are of that
kind; whatever else may happen to a state is for `operator.take_in` to decide. Tests hold both to the same bytes.

A place in the arena is allocated by size class, of which eight double the size. A user's block is, as int64: the number
of visits, the bytes of the state, the bytes of the block; for each visit in the order of the state: where its content
is, how long it is, the digest of its key in the store; then the state.
"""

# pyright: basic
from __future__ import annotations

import numpy as np

from headwater.nearline.kernels import compiled

FIRST_PLACE = 64
"""Where the arena begins to be used; 0 stands for nowhere."""

CLASSES = 256

BLOCK_WORDS, VISIT_WORDS = 3, 3
"""int64 numbers at the beginning of a block, and for each visit."""

VISIT_HEAD = 18
"""Bytes of a visit in a state beside its request id: time, content hash, length of the id."""

MOST_AT_ONCE = 64
"""Records of one user; more are not of the common case."""

_HEAD = 23
_MOST_QUEUES = 320


@compiled("i8(u1[::1], i8)")
def _short(raw, at):
    return np.int64(raw[at]) | np.int64(raw[at + 1]) << 8


@compiled("i8(u1[::1], i8)")
def _long(raw, at):
    value = np.uint64(0)
    for n in range(8):
        value |= np.uint64(raw[at + n]) << np.uint64(8 * n)
    return np.int64(value)


@compiled("void(u1[::1], i8, i8)")
def _put_short(raw, at, value):
    raw[at], raw[at + 1] = value & 0xFF, value >> 8 & 0xFF


@compiled("void(u1[::1], i8, i8)")
def _put_long(raw, at, value):
    for n in range(8):
        raw[at + n] = value >> 8 * n & 0xFF


@compiled("void(u1[::1], i8, u1[::1], i8, i8)")
def _copy(to, at, of, start, n):
    to[at : at + n] = of[start : start + n]


@compiled("i8(u1[::1], i8, i8, u1[::1], i8, i8)")
def _compare(a, a_at, a_n, b, b_at, b_n):
    """Below, at or above 0 where a is before, is, or is after b: of UTF-8 that is the order of the texts."""
    for n in range(min(a_n, b_n)):
        if a[a_at + n] != b[b_at + n]:
            return np.int64(a[a_at + n]) - np.int64(b[b_at + n])
    return a_n - b_n


# -- the arena


@compiled("i8(i8)")
def _class_of(size):
    units = size + 63 >> 6
    shift = 0
    while units + (1 << shift) - 1 >> shift > 16:
        shift += 1
    return 8 * shift + (units + (1 << shift) - 1 >> shift)


@compiled("i8(i8)")
def size_of_place(size):
    """How many bytes of the arena are taken for `size` bytes."""
    kind = _class_of(size)
    shift = 0 if kind <= 16 else (kind - 9) // 8
    return (kind - 8 * shift << shift) * 64


@compiled("i8(i8[::1], i8[::1], i8[::1], i8)")
def allocate(words, free, used, size):
    """A place of `size` bytes: `used` is where the arena is untouched from on, and how much of it is taken."""
    kind, whole = _class_of(size), size_of_place(size)
    used[1] += whole
    place = free[kind]
    if place:
        free[kind] = words[place >> 3]
        return place
    place = used[0]
    used[0] += whole
    return place


@compiled("void(i8[::1], i8[::1], i8[::1], i8, i8)")
def release(words, free, used, place, size):
    """Give a place of `size` bytes back."""
    kind = _class_of(size)
    used[1] -= size_of_place(size)
    words[place >> 3] = free[kind]
    free[kind] = place


@compiled("void(u1[::1], i8[::1], i8[::1], i8)")
def release_user(arena, free, used, block):
    """Give a user's block and contents back."""
    words = arena.view(np.int64)
    at = block >> 3
    for n in range(words[at]):
        visit = at + BLOCK_WORDS + VISIT_WORDS * n
        release(words, free, used, words[visit], words[visit + 1])
    release(words, free, used, block, words[at + 2])


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
        newest, forgotten = max(_long(arena, state + 3), times[last - 1]), _long(arena, state + 11)
        acts = _short(arena, state + 19) | _short(arena, state + 21) << 16
        oldest = newest - max_age
        fits = times[first] > forgotten and times[first] >= oldest and acts <= most_acts
        for act in range(acts):
            fits = fits and _long(arena, state + _HEAD + 8 * (acts + act)) >= oldest
        at = state + _HEAD + 16 * acts
        queues = _short(arena, at)
        fits = fits and queues + last - first <= _MOST_QUEUES
        if not fits:
            continue
        at += 2
        for record in range(first, last):
            queue_of[record - first] = -1
        for queue in range(queues):
            name_at, name_n = at + 2, _short(arena, at)
            at = name_at + name_n
            count = _short(arena, at)
            at += 2
            counts[queue], pushed[queue] = count, 0
            fits = fits and count <= most
            for record in range(first, last):
                code = names[record]
                start = name_ends[code - 1] if code > 0 else 0
                if sizes[record] and _compare(name_bytes, start, name_ends[code] - start, arena, name_at, name_n) == 0:
                    queue_of[record - first] = queue
            time = newest
            for visit in range(count):
                time = _long(arena, at)
                id_n = _short(arena, at + 16)
                for record in range(first, last):
                    if queue_of[record - first] == queue:
                        start = id_starts[record]
                        order = _compare(ids, start, id_ends[record] - start, arena, at + VISIT_HEAD, id_n)
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
                    if times[other] == times[record] or _compare(ids, start, n_id, ids, other_start, n_other) == 0:
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
        newest = max(_long(arena, state + 3), times[last - 1])
        is_changed[n] = newest != _long(arena, state + 3)
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
                    if _compare(name_bytes, other_start, n_other, name_bytes, start, stop - start) <= 0:
                        break
                    order[place] = order[place - 1]
                    place -= 1
                order[place] = record
                size += 1
                room += VISIT_HEAD + id_ends[record] - id_starts[record] + 8 + stop - start
        if not size:
            _put_long(arena, state + 3, newest)
            continue
        is_changed[n] = True
        if room > len(built):
            built = np.empty(2 * room, np.uint8)
        acts = _short(arena, state + 19) | _short(arena, state + 21) << 16
        at = _HEAD + 16 * acts
        _copy(built, 0, arena, state, at + 2)
        _put_long(built, 3, newest)
        queues_at, n_own_queues = at, 0
        old, old_queues = state + at + 2, _short(arena, state + at)
        at += 2
        slots = np.empty((visits + size, VISIT_WORDS), np.int64)
        n_slots, old_slot, next_record, first_queue = 0, (block >> 3) + BLOCK_WORDS, 0, n_queues
        while next_record < size or old_queues:
            is_old, is_pushed = old_queues > 0, next_record < size
            if is_old and is_pushed:
                code = names[order[next_record]]
                start = name_ends[code - 1] if code > 0 else 0
                found = _compare(name_bytes, start, name_ends[code] - start, arena, old + 2, _short(arena, old))
                is_old, is_pushed = found >= 0, found <= 0
            count = 0
            if is_old:
                name_n = _short(arena, old)
                _copy(built, at, arena, old, 2 + name_n)
                at += 2 + name_n
                old += 2 + name_n
                count = _short(arena, old)
                old += 2
                old_queues -= 1
            else:
                code = names[order[next_record]]
                start = name_ends[code - 1] if code > 0 else 0
                _put_short(built, at, name_ends[code] - start)
                _copy(built, at + 2, name_bytes, start, name_ends[code] - start)
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
                    _copy(arena, place, contents, content_starts[record], sizes[record])
                    slots[n_slots, 0], slots[n_slots, 1], slots[n_slots, 2] = place, sizes[record], digests[record]
                    n_slots += 1
                    id_n = id_ends[record] - id_starts[record]
                    _put_long(built, at, times[record])
                    _put_short(built, at + 16, id_n)
                    _copy(built, at + VISIT_HEAD, ids, id_starts[record], id_n)
                    _put_long(built, at + 8, hashes[record])
                    at += VISIT_HEAD + id_n
                    pushed += 1
                    next_record += 1
            kept = min(count, most - pushed)
            for visit in range(count):
                visit_n = VISIT_HEAD + _short(arena, old + 16)
                if visit < kept:
                    _copy(built, at, arena, old, visit_n)
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
            _put_short(built, count_at, pushed + kept)
            n_own_queues += 1
            if is_pushed:
                queues_out[n_queues, 0], queues_out[n_queues, 1] = n, code
                queues_out[n_queues, 2], queues_out[n_queues, 3] = visits_at, at
                queues_out[n_queues, 4], queues_out[n_queues, 6] = pushed + kept, acts
                n_queues += 1
                one = visits_at
                for visit in range(pushed + kept):
                    visit_places[n_visits] = slots[n_slots - pushed - kept + visit, 0]
                    visit_hashes[n_visits] = np.uint64(_long(built, one + 8))
                    one += VISIT_HEAD + _short(built, one + 16)
                    n_visits += 1
        _put_short(built, queues_at, n_own_queues)
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
        _copy(arena, block + head, built, 0, at)
        blocks[n] = block
        for queue in range(first_queue, n_queues):
            queues_out[queue, 2] += block + head
            queues_out[queue, 3] += block + head
            queues_out[queue, 5] = block + head + _HEAD
    counts_out[0], counts_out[1] = n_gone, n_visits
    return n_queues


# -- their candidates


@compiled("void(u1[::1], i8[:,::1], i8[::1])")
def gather_acts(arena, queues, out):
    """Fill `out` with the acted items of each changed queue's user, see `advance`, one after another."""
    at = 0
    for n in range(len(queues)):
        for act in range(queues[n, 6]):
            out[at] = _long(arena, queues[n, 5] + 8 * act)
            at += 1


@compiled(
    "void(u1[::1], i8[:,::1], u1[::1], i8[::1], i8[:,::1], i8[:,::1], i8[:,::1], i8[::1], u1[::1], i8, i8[::1], "
    "u1[::1])"
)
def encode_candidates(arena, queues, name_bytes, name_ends, items, times, ranks, sizes, head, start, ends, out):
    """Write the candidates of each of q changed queues to `out` as `candidates.encode` does.

    Parameters
    ----------
    arena, queues, name_bytes, name_ends
        As of `advance`.
    items, times, ranks, sizes
        As of `kernels.best`.
    head : (12,) uint8
        What the bytes of all of them begin with.
    start : int64
        Where in `out` to begin.
    ends : (q,) int64
        Filled: up to where each one's bytes go.
    out : uint8
    """
    at = start
    for n in range(len(queues)):
        size = sizes[n]
        is_wide = False
        for m in range(size):
            is_wide = is_wide or items[n, m] < 0 or items[n, m] >= 1 << 32
        width = 8 if is_wide else 4
        code = queues[n, 1]
        name_at = name_ends[code - 1] if code > 0 else 0
        name_n = name_ends[code] - name_at
        _copy(out, at, head, 0, len(head))
        at += len(head)
        _put_short(out, at, size)
        _put_short(out, at + 2, queues[n, 4])
        out[at + 4] = width
        _put_short(out, at + 5, name_n)
        _copy(out, at + 7, name_bytes, name_at, name_n)
        at += 7 + name_n
        n_visits = queues[n, 3] - queues[n, 2]
        _copy(out, at, arena, queues[n, 2], n_visits)
        at += n_visits
        for m in range(size):
            for byte in range(width):
                out[at + byte] = items[n, m] >> 8 * byte & 0xFF
            at += width
        for m in range(size):
            out[at] = times[n, m]
            at += 1
        for m in range(size):
            _put_short(out, at, ranks[n, m])
            at += 2
        ends[n] = at
