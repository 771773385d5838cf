"""Places in the arena, the memory that users' states are in, and the numbers in their bytes; compiled.

A place is allocated by size class, of which eight double the size. A user's block is, as int64: the number of visits,
the bytes of the state, the bytes of the block; for each visit in the order of the state: where its content is, how long
it is, the digest of its key in the store; then the state.
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


@compiled("i8(u1[::1], i8)")
def short_at(raw, at):
    """The uint16 at a byte."""
    return np.int64(raw[at]) | np.int64(raw[at + 1]) << 8


@compiled("i8(u1[::1], i8)")
def long_at(raw, at):
    """The int64 at a byte."""
    value = np.uint64(0)
    for n in range(8):
        value |= np.uint64(raw[at + n]) << np.uint64(8 * n)
    return np.int64(value)


@compiled("void(u1[::1], i8, i8)")
def put_short(raw, at, value):
    """Write a uint16."""
    raw[at], raw[at + 1] = value & 0xFF, value >> 8 & 0xFF


@compiled("void(u1[::1], i8, i8)")
def put_long(raw, at, value):
    """Write an int64."""
    for n in range(8):
        raw[at + n] = value >> 8 * n & 0xFF


@compiled("void(u1[::1], i8, u1[::1], i8, i8)")
def copy(to, at, of, start, n):
    """Write n bytes of another array."""
    to[at : at + n] = of[start : start + n]


@compiled("i8(u1[::1], i8, i8, u1[::1], i8, i8)")
def compare(a, a_at, a_n, b, b_at, b_n):
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
