"""The inner loop of Pearson's fit, compiled: correlation of one target with everything, and the best of it."""

from __future__ import annotations

import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled, offer


@compiled("void(i8, i8, i8[::1], i4[::1], i8[::1], i8[::1], i4[::1], f8[::1], b1, f8, i4[:,::1], f4[:,::1], i8[::1])")
def most_correlated(
    start,
    stop,
    item_offsets,
    item_users,
    item_places,
    user_offsets,
    user_items,
    deviations,
    has_ratings,
    shrinkage,
    out_triggers,
    out_similarities,
    out_sizes,
):
    """Fill rows 0..stop - start with the best positively correlated triggers of the targets start..stop.

    `deviations` lie beside `user_items`; `item_places` says where each entry of `item_users` has its own.
    """
    n_users, n_items = len(user_offsets) - 1, len(item_offsets) - 1
    room = out_triggers.shape[1]
    together = np.zeros(n_items, np.int64)
    product = np.zeros(n_items, np.float64)
    target_square = np.zeros(n_items, np.float64)
    trigger_square = np.zeros(n_items, np.float64)
    touched = np.empty(n_items, np.int32)
    for target in range(start, stop):
        n_touched = 0
        for at in range(item_offsets[target], item_offsets[target + 1]):
            user, mine = item_users[at], deviations[item_places[at]]
            for other in range(user_offsets[user], user_offsets[user + 1]):
                trigger = user_items[other]
                if together[trigger] == 0:
                    touched[n_touched] = trigger
                    n_touched += 1
                together[trigger] += 1
                if has_ratings:
                    product[trigger] += mine * deviations[other]
                    target_square[trigger] += mine * mine
                    trigger_square[trigger] += deviations[other] * deviations[other]
        triggers, similarities = out_triggers[target - start], out_similarities[target - start]
        n_target = item_offsets[target + 1] - item_offsets[target]
        size = 0
        for index in range(n_touched):
            trigger = touched[index]
            count = together[trigger]
            if has_ratings:
                covariance = product[trigger]
                spread = np.sqrt(target_square[trigger] * trigger_square[trigger])
            else:
                n_trigger = item_offsets[trigger + 1] - item_offsets[trigger]
                covariance = count - n_target * n_trigger / n_users
                spread = np.sqrt(
                    (n_target - n_target * n_target / n_users) * (n_trigger - n_trigger * n_trigger / n_users)
                )
            if trigger != target and covariance > 0.0 and spread > 0.0:
                similarity = np.float32(covariance / spread * (count / (count + shrinkage)))
                if similarity > 0.0:
                    size = offer(similarities, triggers, size, room, similarity, trigger)
            together[trigger] = 0
            product[trigger] = 0.0
            target_square[trigger] = 0.0
            trigger_square[trigger] = 0.0
        out_sizes[target - start] = size
