"""Compiled: candidates from shelves, what is known of each, and their order."""

# pyright: basic
from __future__ import annotations

import math

import numpy as np

from headwater.nearline.kernels import compiled, mix
from headwater.simulation.draws import EXPLORE, OFFSET, fraction, named, uniform

FEATURES = (
    "popularity",
    "rating",
    "click rate",
    "category",
    "look",
    "shop",
    "brand",
    "session category",
    "session look",
    "price",
    "context category",
    "context look",
)
"""What a ranker knows of a candidate. Category to brand: the share of the user's last clicks, newer ones weighing more;
session: the same of the last half hour; price: how far the logarithm lies from the mean of those clicks' (0 without);
context: whether category or look are those of the item on view or of the query."""

HALF_HOUR = 1_800
DECAY = 0.85
"""Weight of a click beside that of the next newer one."""

CLICKS = 15
"""Clicks that count; an older one would weigh less than a tenth."""


@compiled()
def gather(
    seed, offsets, shelf_items, shelves, quotas, users, moments, times, limits, context, arrives, retires, marks,
    out, ends,
):  # fmt: skip
    """Fill `out` with the candidates of each visit, each once and on sale, without the item on view.

    Of a shelf's quota one half is what sells best, the other what follows an offset that the visit draws, so that a
    long shelf is not always seen from its top. What a shelf lacks goes to the next. ends[r] is where row r stops.
    """
    at = 0
    for row in range(len(users)):
        begin = at
        stamp = row + 1
        limit = limits[row]
        carried = 0
        if context[row] >= 0:
            marks[context[row]] = stamp
        for n in range(shelves.shape[1]):
            shelf = shelves[row, n]
            if shelf < 0:
                continue
            first, size = offsets[shelf], offsets[shelf + 1] - offsets[shelf]
            quota = min(quotas[row, n] + carried, limit - (at - begin))
            taken = 0
            top = size if size <= quota else quota // 2
            for place in range(top):
                item = shelf_items[first + place]
                if marks[item] != stamp and arrives[item] <= times[row] < retires[item]:
                    marks[item] = stamp
                    out[at] = item
                    at += 1
                    taken += 1
                    if taken >= quota:
                        break
            rest = size - top
            if taken < quota and rest > 0:
                offset = np.int64(uniform(seed, OFFSET, users[row], moments[row], n) * rest)
                for step in range(rest):
                    item = shelf_items[first + top + (offset + step) % rest]
                    if marks[item] != stamp and arrives[item] <= times[row] < retires[item]:
                        marks[item] = stamp
                        out[at] = item
                        at += 1
                        taken += 1
                        if taken >= quota:
                            break
            carried = quota - taken
        ends[row] = at
    marks[:] = 0
    return at


@compiled()
def describe(
    offsets, candidates, history_offsets, history_items, history_times, times, context_category, context_look,
    codes, n_codes, numbers, rates, features,
):  # fmt: skip
    """Fill `features`, (candidates, 12), see `FEATURES`, from the last `CLICKS` events of each row's history.

    `codes`, (items, 4), are category, look, shop and brand, of which there are `n_codes`, (4,); `numbers`, (items, 3),
    are the logarithm of the price, popularity and rating.
    """
    # Weights of a row's clicks by code; only the places of its own clicks are ever filled, and cleared again.
    shares = np.zeros((4, n_codes.max()), np.float32)
    sessions = np.zeros((2, n_codes.max()), np.float32)
    for row in range(len(offsets) - 1):
        newest = history_offsets[row + 1]
        known = min(newest - history_offsets[row], CLICKS)
        mean_price, total, recent_total, weight = 0.0, 0.0, 0.0, 1.0
        for back in range(known):
            place = newest - 1 - back
            if times[row] - history_times[place] <= HALF_HOUR:
                recent_total += weight
            mean_price += weight * numbers[history_items[place], 0]
            total += weight
            weight *= DECAY
        weight = 1.0
        for back in range(known):
            place = newest - 1 - back
            other = history_items[place]
            for kind in range(4):
                shares[kind, codes[other, kind]] += weight / total
            if times[row] - history_times[place] <= HALF_HOUR:
                for kind in range(2):
                    sessions[kind, codes[other, kind]] += weight / recent_total
            weight *= DECAY
        for at in range(offsets[row], offsets[row + 1]):
            item = candidates[at]
            category, look = codes[item, 0], codes[item, 1]
            features[at, 0] = numbers[item, 1]
            features[at, 1] = numbers[item, 2]
            features[at, 2] = rates[item]
            features[at, 3] = shares[0, category]
            features[at, 4] = shares[1, look]
            features[at, 5] = shares[2, codes[item, 2]]
            features[at, 6] = shares[3, codes[item, 3]]
            features[at, 7] = sessions[0, category]
            features[at, 8] = sessions[1, look]
            features[at, 9] = abs(numbers[item, 0] - mean_price / total) if known else 0.0
            features[at, 10] = 1.0 if context_category[row] == category else 0.0
            features[at, 11] = 1.0 if context_look[row] == look else 0.0
        for back in range(known):
            other = history_items[newest - 1 - back]
            for kind in range(4):
                shares[kind, codes[other, kind]] = 0.0
            for kind in range(2):
                sessions[kind, codes[other, kind]] = 0.0


@compiled()
def explore(seed, spread, users, moments, offsets, candidates, scores):
    """Add noise of standard deviation `spread` that belongs to user, visit and item: uniform, for that is cheap."""
    scale = spread * math.sqrt(12.0)
    for row in range(len(offsets) - 1):
        key = named(seed, EXPLORE, users[row], moments[row])
        for at in range(offsets[row], offsets[row + 1]):
            scores[at] += scale * (fraction(mix(key ^ np.uint64(candidates[at]))) - 0.5)


@compiled()
def order(offsets, candidates, scores, depth, places):
    """Fill `places` with each row's candidates, the best `depth` in descending order of score, equal ones by code.

    What comes behind the best is in no order: who shows a page and keeps no rank log need not sort hundreds.
    """
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        size = end - begin
        head = min(size, depth)
        if head == 0:
            continue
        values = -scores[begin:end]
        first, behind = begin, begin + head
        if head < size:
            threshold = np.partition(values, head - 1)[head - 1]
            # Of the entries at the threshold those of the lowest codes belong to the head.
            room = head
            for at in range(size):
                if values[at] < threshold:
                    room -= 1
            for at in range(size):
                is_in = values[at] < threshold
                if values[at] == threshold:
                    lower = 0
                    for other in range(size):
                        if values[other] == threshold and candidates[begin + other] < candidates[begin + at]:
                            lower += 1
                    is_in = lower < room
                if is_in:
                    places[first] = begin + at
                    first += 1
                else:
                    places[behind] = begin + at
                    behind += 1
        else:
            for at in range(size):
                places[begin + at] = begin + at
        best = places[begin : begin + head].copy()
        by_score = np.argsort(-scores[best])
        for at in range(head):
            places[begin + at] = best[by_score[at]]
        # Equal scores are rare, and stand side by side now.
        for at in range(begin + 1, begin + head):
            back = at
            while (
                back > begin
                and scores[places[back]] == scores[places[back - 1]]
                and candidates[places[back]] < candidates[places[back - 1]]
            ):
                places[back], places[back - 1] = places[back - 1], places[back]
                back -= 1
