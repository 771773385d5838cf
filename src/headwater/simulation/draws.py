"""Random numbers by name instead of by turn: a draw is a hash of the seed and of what it is for.

So two arms of an experiment draw the same number for the same user, session, step and item (common random numbers),
whatever else happens in either, and a batch draws what its parts would.
"""

# pyright: basic
from __future__ import annotations

import math

import numpy as np

from headwater.nearline.kernels import compiled, mix

FIRST, CATEGORY, STYLE, PRICE, LIFE, NEXT, GAP, CLICK, EXAMINE, CART, BUY, DWELL, EXPLORE, OFFSET, BEGIN = range(15)
REACH, BLOCK = 15, 16
"""What a draw is for."""


@compiled("u8(i8, i8, i8, i8)")
def named(seed, purpose, user, moment):
    """64 bits that belong to these four integers."""
    key = mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15))
    key = mix(key ^ np.uint64(purpose))
    key = mix(key ^ np.uint64(user))
    return mix(key ^ np.uint64(moment))


@compiled("f8(u8)")
def fraction(key):
    """The upper bits of a key as a number in (0, 1)."""
    return (np.float64(key >> np.uint64(11)) + 0.5) / 9007199254740992.0


@compiled("f8(i8, i8, i8, i8, i8)")
def uniform(seed, purpose, user, moment, which):
    """A number in (0, 1) that belongs to these five integers."""
    return fraction(mix(named(seed, purpose, user, moment) ^ np.uint64(which)))


@compiled("f8(i8, i8, i8, i8, i8)")
def normal(seed, purpose, user, moment, which):
    """A standard normal number that belongs to these five integers (Box and Muller, of two uniform ones)."""
    first = uniform(seed, purpose, user, moment, which)
    second = uniform(seed, purpose + 64, user, moment, which)
    return math.sqrt(-2.0 * math.log(first)) * math.cos(2.0 * math.pi * second)


@compiled()
def uniforms(seed, purpose, users, moments, which):
    """(n,) one `uniform` for each user and moment."""
    found = np.empty(len(users))
    for row in range(len(users)):
        found[row] = uniform(seed, purpose, users[row], moments[row], which)
    return found
