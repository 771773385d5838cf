"""Ordering candidates: one score for all of them, whichever channel they came from."""

from headwater.ranking.base import Ranker

__all__ = ["Ranker"]
