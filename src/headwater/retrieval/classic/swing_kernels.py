"""The inner loop of SWING's fit, compiled: what pairs of users who agree on two items say of the two."""

from __future__ import annotations

import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled, offer

LANES = 32
"""Rows of partial sums are padded to it, so that their loops are all vector instructions and no remainder."""


@compiled()
def _later_users(user, user_offsets, user_items, item_offsets, item_users, ends, common):
    """List what `user` has in common with every later user, as places in the own history; returns the list.

    User v's places stand in common[ends[v - 1]:ends[v]], ascending; the first ones at 0.
    """
    n_users = len(user_offsets) - 1
    first = user_offsets[user]
    ends[user : n_users + 1] = 0
    for place in range(user_offsets[user + 1] - first):
        item = user_items[first + place]
        at = item_offsets[item + 1] - 1
        while at >= item_offsets[item] and item_users[at] > user:
            ends[item_users[at] + 1] += 1
            at -= 1
    for other in range(user + 1, n_users):
        ends[other + 1] += ends[other]
    if ends[n_users] > len(common):
        common = np.empty(2 * ends[n_users], np.int32)
    for place in range(user_offsets[user + 1] - first):
        item = user_items[first + place]
        at = item_offsets[item + 1] - 1
        while at >= item_offsets[item] and item_users[at] > user:
            other = item_users[at]
            common[ends[other]] = place
            ends[other] += 1
            at -= 1
    return common


@compiled("void(i8, i8, i8[::1], i4[::1], i8[::1], i4[::1], f8[::1], f8, f8[:,::1])")
def pair_weights(part, parts, user_offsets, user_items, item_offsets, item_users, user_weights, smoothing, out_weights):
    """Add up the weight of every pair of users into row i // parts of the items i = part, part + parts, ….

    Users stand in ascending length of history, so each pair is met at the shorter one, u. Sums over u's partners
    are kept in a small dense matrix (u's items of this part) × (u's items) that stays in the cache, in float32;
    a partner adds one row, 0 where he has no such item, to the row of each item that both have. That is a few
    vector instructions, where single additions at the common items would cost one each.
    """
    n_users = len(user_offsets) - 1
    longest = 0
    for user in range(n_users):
        longest = max(longest, user_offsets[user + 1] - user_offsets[user])
    widest = (longest + LANES - 1) // LANES * LANES
    row_of = np.empty(longest, np.int64)
    sums = np.empty(longest * widest, np.float32)
    addend = np.zeros(widest, np.float32)
    ends = np.zeros(n_users + 1, np.int64)
    common = np.empty(1 << 16, np.int32)
    for user in range(n_users):
        first, length = user_offsets[user], user_offsets[user + 1] - user_offsets[user]
        stride = (length + LANES - 1) // LANES * LANES
        n_rows = 0
        for place in range(length):
            row_of[place] = -1
            if user_items[first + place] % parts == part:
                row_of[place] = n_rows * stride
                n_rows += 1
        if n_rows == 0 or length < 2:
            continue
        common = _later_users(user, user_offsets, user_items, item_offsets, item_users, ends, common)
        sums[: n_rows * stride] = 0.0
        begin = 0
        for other in range(user + 1, n_users):
            end = ends[other]
            if end - begin > 1:
                weight = np.float32(user_weights[user] * user_weights[other] / (smoothing + (end - begin)))
                for at in range(begin, end):
                    addend[common[at]] = weight
                for at in range(begin, end):
                    place = row_of[common[at]]
                    if place >= 0:
                        row = sums[place : place + stride]
                        for lane in range(stride):
                            row[lane] += addend[lane]
                for at in range(begin, end):
                    addend[common[at]] = 0.0
            begin = end
        for place in range(length):
            if row_of[place] >= 0:
                target = user_items[first + place] // parts
                for other_place in range(length):
                    item = user_items[first + other_place]
                    out_weights[target, item] += sums[row_of[place] + other_place]


@compiled("void(i8, i8, i8, i8, f8[:,::1], f8[::1], i4[:,::1], f4[:,::1], i8[::1])")
def best_triggers(part, parts, start, stop, weights, target_norms, out_triggers, out_similarities, out_sizes):
    """Keep the most similar triggers of the rows start..stop of one part."""
    room = out_triggers.shape[1]
    for row in range(start, stop):
        target = row * parts + part
        size = 0
        for trigger in range(weights.shape[1]):
            similarity = np.float32(weights[row, trigger] / target_norms[target])
            if trigger != target and similarity > 0.0:
                size = offer(
                    out_similarities[row - start],
                    out_triggers[row - start],
                    size,
                    room,
                    similarity,
                    np.int32(trigger),
                )
        out_sizes[row - start] = size
