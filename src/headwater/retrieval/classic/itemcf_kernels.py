"""The inner loop of ItemCF's fit, compiled: co-occurrence of one target with everything, and the best of it."""

from __future__ import annotations

import numpy as np

from headwater.retrieval.classic.neighbourhood_kernels import compiled, offer


@compiled(
    "i8(i8, i8, i8[::1], i4[::1], i8[::1], i4[::1], f8[::1], f8[::1], f8[::1], f8, f8, i4[:,::1], f4[:,::1], i8[::1])"
)
def nearest_triggers(
    start,
    stop,
    item_offsets,
    item_users,
    user_offsets,
    user_items,
    user_weights,
    trigger_norms,
    target_norms,
    shrinkage,
    power,
    out_triggers,
    out_similarities,
    out_sizes,
):
    """Fill rows 0..stop - start with the most similar triggers of the targets start..stop."""
    n_items = len(item_offsets) - 1
    room = out_triggers.shape[1]
    weight = np.zeros(n_items, np.float64)
    touched = np.empty(n_items, np.int32)
    for target in range(start, stop):
        n_touched = 0
        for at in range(item_offsets[target], item_offsets[target + 1]):
            user = item_users[at]
            user_weight = user_weights[user]
            for other in range(user_offsets[user], user_offsets[user + 1]):
                trigger = user_items[other]
                if weight[trigger] == 0.0:
                    touched[n_touched] = trigger
                    n_touched += 1
                weight[trigger] += user_weight
        triggers, similarities = out_triggers[target - start], out_similarities[target - start]
        size = 0
        for index in range(n_touched):
            trigger = touched[index]
            if trigger != target:
                cosine = weight[trigger] / (trigger_norms[trigger] * target_norms[target] + shrinkage)
                similarity = np.float32(cosine**power)
                if similarity > 0.0:
                    size = offer(similarities, triggers, size, room, similarity, trigger)
            weight[trigger] = 0.0
        out_sizes[target - start] = size
    return stop - start
