"""Sources of candidates behind one seam, the merge of several, and their evaluation."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from headwater.errors import ConfigError
from headwater.retrieval.base import Candidates, Channel, Mask, Reason, Reasons, Trainable
from headwater.retrieval.evaluation import Evaluation, Latency, evaluate, latency
from headwater.retrieval.merge import RoundRobin, WeightedQuotas, merge

if TYPE_CHECKING:
    from typing import Any

CHANNELS = {
    "bert4rec": "headwater.retrieval.sequence.bert4rec:BERT4Rec",
    "bst": "headwater.retrieval.towers.bst:BST",
    "comirec": "headwater.retrieval.towers.comirec:ComiRec",
    "divide": "headwater.retrieval.divide.channel:Divide",
    "dssm": "headwater.retrieval.towers.dssm:DSSM",
    "ease": "headwater.retrieval.classic.ease:EASE",
    "exhaustive_din": "headwater.ranking.exhaustive:ExhaustiveDIN",  # of the room above: a reference
    "itemcf": "headwater.retrieval.classic.itemcf:ItemCF",
    "mf": "headwater.retrieval.classic.mf:MF",
    "mind": "headwater.retrieval.towers.mind:MIND",
    "paths": "headwater.retrieval.paths.channel:Paths",
    "pearson": "headwater.retrieval.classic.pearson:Pearson",
    "popular": "headwater.retrieval.classic.popular:Popular",
    "sasrec": "headwater.retrieval.sequence.sasrec:SASRec",
    "sasrec_plus": "headwater.retrieval.divide.mixed:SASRecPlus",
    "simnet": "headwater.retrieval.paths.simnet:SimNet",
    "slim": "headwater.retrieval.classic.slim:SLIM",
    "swing": "headwater.retrieval.classic.swing:SWING",
    "youtube_dnn": "headwater.retrieval.towers.youtube_dnn:YoutubeDNN",
}
"""Kind of a trained channel -> where its class stands; imported when it is asked for."""


def channel_class(kind: str) -> type[Any]:
    """The class of a trained channel, which is both a `Channel` and `Trainable`.

    Raises `ConfigError`, which names the nearest kind, where there is none.
    """
    if kind not in CHANNELS:
        nearest = get_close_matches(kind, CHANNELS, 1, 0.0)[0]
        raise ConfigError(f"unknown channel {kind!r}; did you mean {nearest!r}? (known: {', '.join(CHANNELS)})")
    module, _, name = CHANNELS[kind].partition(":")
    return getattr(import_module(module), name)


__all__ = [
    "CHANNELS",
    "Candidates",
    "Channel",
    "Evaluation",
    "Latency",
    "Mask",
    "Reason",
    "Reasons",
    "RoundRobin",
    "Trainable",
    "WeightedQuotas",
    "channel_class",
    "evaluate",
    "latency",
    "merge",
]
