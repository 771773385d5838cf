"""Why an item is a candidate: the paths that its score is the sum of."""

from __future__ import annotations

from collections.abc import Iterable

from headwater.retrieval.base import Reason


def path_reasons(channel: str, triggers: Iterable[int], paths: Iterable[float], direct: float) -> tuple[Reason, ...]:
    """The paths of one item by their share of its score, strongest first; share times score is a path's weight.

    A trigger that stands in the history several times has the sum of its paths. A path without weight is left out.

    Parameters
    ----------
    triggers, paths : (m,)
        softplus(t + s) of the path through each trigger.
    direct : float
        softplus(p · q); 0 without a Direct Net.
    """
    of: dict[int | None, float] = {None: direct}
    for trigger, weight in zip(triggers, paths, strict=True):
        of[trigger] = of.get(trigger, 0.0) + weight
    total = sum(of.values())
    found = [
        Reason(channel, weight / total, trigger, is_direct=trigger is None)
        for trigger, weight in of.items()
        if weight > 0
    ]
    # A score that rounds to 0 has no shares: nothing can be said but who found the item.
    return tuple(sorted(found, key=lambda reason: -reason.share)) or (Reason(channel),)
