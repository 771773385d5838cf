"""Settings of the methods that KEEP is compared with, read without torch."""

from __future__ import annotations

from pydantic import Field

from headwater.config import Settings


class CoNetConfig(Settings):
    """Settings of `CoNet`."""

    cross_std: float = Field(default=0.01, gt=0)
    """Of the cross weights at the start: two networks begin nearly apart."""


class DARecConfig(Settings):
    """Settings of `DARec`."""

    reversal: float = Field(default=0.1, ge=0)
    """λ: how strongly what both domains share is kept from telling which domain an impression is of (0.01..1)."""

    hidden: int = Field(default=64, ge=1)
    """Width of the discriminator's hidden layer."""
