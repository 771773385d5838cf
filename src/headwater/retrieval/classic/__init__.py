"""Channels that count and compare, or solve linear systems: no gradient, fitted in seconds, hard to beat when tuned."""

from headwater.retrieval.classic.ease import EASE, EASEConfig
from headwater.retrieval.classic.itemcf import ItemCF, ItemCFConfig
from headwater.retrieval.classic.mf import MF, MFConfig
from headwater.retrieval.classic.pearson import Pearson, PearsonConfig
from headwater.retrieval.classic.popular import Popular, PopularConfig
from headwater.retrieval.classic.slim import SLIM, SLIMConfig
from headwater.retrieval.classic.swing import SWING, SWINGConfig

__all__ = [
    "EASE",
    "MF",
    "SLIM",
    "SWING",
    "EASEConfig",
    "ItemCF",
    "ItemCFConfig",
    "MFConfig",
    "Pearson",
    "PearsonConfig",
    "Popular",
    "PopularConfig",
    "SLIMConfig",
    "SWINGConfig",
]
