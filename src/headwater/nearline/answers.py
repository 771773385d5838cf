"""The candidates of queues that `advance` changed, as the store has them; compiled."""

# pyright: basic
from __future__ import annotations

import numpy as np

from headwater.nearline.kernels import best, compiled
from headwater.nearline.places import copy, long_at, put_short

ENTRY_BYTES = 11
"""What a candidate takes at most; its queue's visits and scenario, and `SPARE_BYTES`, come on top."""

SPARE_BYTES = 64

_AT_ONCE = 64
"""Queues that are ranked together: what comes of them stays in a core's cache."""


@compiled("void(u1[::1], i8[:,::1], i8[::1])")
def gather_acts(arena, queues, out):
    """Fill `out` with the acted items of each changed queue's user, see `advance`, one after another."""
    at = 0
    for n in range(len(queues)):
        for act in range(queues[n, 6]):
            out[at] = long_at(arena, queues[n, 5] + 8 * act)
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
        copy(out, at, head, 0, len(head))
        at += len(head)
        put_short(out, at, size)
        put_short(out, at + 2, queues[n, 4])
        out[at + 4] = width
        put_short(out, at + 5, name_n)
        copy(out, at + 7, name_bytes, name_at, name_n)
        at += 7 + name_n
        n_visits = queues[n, 3] - queues[n, 2]
        copy(out, at, arena, queues[n, 2], n_visits)
        at += n_visits
        for m in range(size):
            for byte in range(width):
                out[at + byte] = items[n, m] >> 8 * byte & 0xFF
            at += width
        for m in range(size):
            out[at] = times[n, m]
            at += 1
        for m in range(size):
            put_short(out, at, ranks[n, m])
            at += 2
        ends[n] = at


@compiled(
    "void(u1[::1], i8[:,::1], i8[::1], i8[::1], u8[::1], u1[::1], i8[::1], i8, i8, i8, i8, i8, i8, u1[::1], i8[::1], "
    "u1[::1])"
)
def rank_and_encode(
    arena,
    queues,
    firsts,
    visit_places,
    visit_hashes,
    name_bytes,
    name_ends,
    strategy,
    alpha,
    beta,
    cap,
    no_category,
    k,
    head,
    ends,
    out,
):
    """The candidates of q changed queues, in one call, for as long as which others may run Python.

    Parameters
    ----------
    arena, queues, visit_places, visit_hashes, name_bytes, name_ends
        As of `advance`.
    firsts : (q + 1,) int64
        Rows ``firsts[n]:firsts[n + 1]`` of `visit_places` are queue n's.
    strategy, alpha, beta, cap, no_category, k
        As of `kernels.best`.
    head, ends, out
        As of `encode_candidates`.
    """
    for at in range(0, len(queues), _AT_ONCE):
        stop = min(at + _AT_ONCE, len(queues))
        chunk = queues[at:stop]
        acted_offsets = np.zeros(stop - at + 1, np.int64)
        for n in range(stop - at):
            acted_offsets[n + 1] = acted_offsets[n] + chunk[n, 6]
        acted = np.empty(acted_offsets[-1], np.int64)
        gather_acts(arena, chunk, acted)
        items = np.empty((stop - at, k), np.int64)
        times, ranks, sizes = np.empty_like(items), np.empty_like(items), np.zeros(stop - at, np.int64)
        best(
            arena,
            visit_places[firsts[at] : firsts[stop]],
            visit_hashes[firsts[at] : firsts[stop]],
            firsts[at : stop + 1] - firsts[at],
            acted,
            acted_offsets,
            strategy,
            alpha,
            beta,
            cap,
            no_category,
            items,
            times,
            ranks,
            sizes,
        )
        start = ends[at - 1] if at else 0
        encode_candidates(
            arena, chunk, name_bytes, name_ends, items, times, ranks, sizes, head, start, ends[at:stop], out
        )
