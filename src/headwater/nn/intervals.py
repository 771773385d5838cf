"""Attention that sees how much time lies between two events: a learned bias for each interval and head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from headwater.nn.inputs import GAP_LEVELS, gap_levels
from headwater.nn.sequences import Windows

PAIRS_AT_ONCE = 1 << 22
"""Pairs of events whose levels are spread out at a time, in the gradient."""


class IntervalBias(nn.Module):
    """What is added to the attention logit of two events for the time between them.

    One bias for each doubling of the interval and each head, the same in all layers; it begins at zero. The
    relative time of TiSASRec (Li et al., WSDM 2020) and the temporal bias of HSTU (Zhai et al., ICML 2024) are of
    this kind. Here it counts from the event that asks, or from the event after it (the request, for the last one)
    where `at_request` says that its time is known: then the bias is HSTU's.

    Parameters
    ----------
    heads : int
    at_request : bool
        Whether an interval ends at the time of the next event instead of the asking event's own.
    """

    def __init__(self, heads: int, *, at_request: bool) -> None:
        super().__init__()
        self.at_request = at_request
        self.levels = nn.Parameter(torch.zeros(GAP_LEVELS, heads))

    def forward(self, windows: Windows, is_hidden: Tensor | None = None) -> Tensor:
        """(b, heads, w, w) biases of each event (third axis) towards each (fourth).

        Where events are hidden (Cloze), theirs is the level of no time, unless `at_request`: then it is known.
        """
        if windows.times is None:
            raise ValueError("windows carry no times; cut them with times=True")
        asking = windows.times
        if self.at_request and is_hidden is None and windows.request_gaps is not None:
            asking = asking + windows.request_gaps
        levels = gap_levels((asking[:, :, None] - windows.times[:, None, :]).abs())
        if is_hidden is not None and not self.at_request:
            levels = torch.where(is_hidden[:, :, None] | is_hidden[:, None, :], 0, levels)
        bias: Tensor = _Spread.apply(self.levels, levels.to(torch.uint8))  # type: ignore[assignment]
        return bias


class _Spread(torch.autograd.Function):
    """table[levels], with a gradient that is a matrix product: a scatter would collide in a few dozen places."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, levels: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(levels)
        ctx.table_type = table.dtype
        kind = levels.device.type
        if torch.is_autocast_enabled(kind):
            table = table.to(torch.get_autocast_dtype(kind))
        # Head by head, so that the last axis, which attention reads along, lies together.
        flat = levels.reshape(-1).int()
        spread = torch.stack([column[flat] for column in table.unbind(1)])
        return spread.view(table.shape[1], *levels.shape).transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (levels,) = ctx.saved_tensors
        known = torch.arange(GAP_LEVELS, device=levels.device, dtype=levels.dtype)
        heads = gradient.shape[1]
        total = torch.zeros(GAP_LEVELS, heads, dtype=torch.float32, device=levels.device)
        rows = max(1, PAIRS_AT_ONCE // max(levels[0].numel(), 1))
        for start in range(0, len(levels), rows):
            part = gradient[start : start + rows].transpose(0, 1).reshape(heads, -1)
            is_level = known[:, None] == levels[start : start + rows].reshape(1, -1)
            total += (is_level.to(part.dtype) @ part.T).float()
        return total.to(ctx.table_type), None
