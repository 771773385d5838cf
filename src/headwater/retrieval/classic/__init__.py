"""Channels that count and compare: no gradient, fitted in seconds, and hard to beat when tuned."""

from headwater.retrieval.classic.itemcf import ItemCF, ItemCFConfig
from headwater.retrieval.classic.popular import Popular, PopularConfig

__all__ = ["ItemCF", "ItemCFConfig", "Popular", "PopularConfig"]
