"""The index that greedy retrieval follows: SimNet's neighbours among pairs that occur together or are alike."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from headwater.data.dataset import Dataset
from headwater.errors import ConfigError
from headwater.index.generation import Shard, generate, neighbours_after, neighbours_of, run_of
from headwater.index.neighbours import NeighbourTable, PairScorer, merge_shards
from headwater.index.pairs import CandidatePairs
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.cooccurrence import count_sets
from headwater.retrieval.paths.features import POPULARITY, PathFeatures
from headwater.retrieval.paths.nets import LevelsOfPairs, SimilarityScorer

if TYPE_CHECKING:
    from rich.console import Console

    from headwater.retrieval.paths.model import PathModel


def candidate_pairs(data: Dataset, features: PathFeatures, config: PathsConfig) -> CandidatePairs:
    """The pairs that SimNet scores for the index (section 5.2): k̂ for each item, about ten times as many as are kept.

    Those of one history, or session, the strongest by cosine first; then the most popular items that share one of
    the attributes that the model reads.
    """
    n_items = features.catalogue.n_items
    if len(data.items) != n_items:
        raise ConfigError(f"{data.name} has {len(data.items):,} items, and the model knows {n_items:,}: train it again")
    together = count_sets(data, np.zeros(len(data.users), np.int64), session_gap=config.session_gap)
    codes = features.catalogue.attributes
    attributes = [codes[name].astype(np.int64) - 1 for name in codes if name != POPULARITY]  # 0 is none
    return CandidatePairs(
        together.matrix(together.cosine()),
        attributes,
        data.item_counts,
        per_item=config.candidates_per_item,
        of_counts=False,  # SimNet reads the levels of its training
    )


def pair_scorer(model: PathModel) -> PairScorer:
    """What scores pairs fastest where the model is: the network on a GPU, compiled loops on a processor."""
    if model.device.type != "cpu":
        return model.score_pairs
    levels = [pairs.tensors() for pairs in model.pairs]
    return SimilarityScorer(
        model.export(), [LevelsOfPairs(own["offsets"], own["targets"], own["levels"]) for own in levels]
    )


def index_of(model: PathModel, data: Dataset, *, console: Console | None = None) -> NeighbourTable:
    """The neighbours of every item, in memory.

    Parameters
    ----------
    data : Dataset
        Where candidate pairs come from: what the model was trained on, or has come since.
    console : Console, optional
        Where it is a terminal, it shows a bar.

    Raises
    ------
    ConfigError
        `data` has other items than the model.
    """
    return neighbours_of(
        candidate_pairs(data, model.features, model.config),
        pair_scorer(model),
        model.config.neighbours,
        vocabulary=data.items,
        model=fingerprint(model),
        console=console,
    )


def index_after(
    model: PathModel, old: NeighbourTable, data: Dataset, *, console: Console | None = None
) -> tuple[NeighbourTable, int]:
    """What `index_of` gives, and how many rows were scored: those whose candidates differ from the old index's.

    Parameters
    ----------
    old : NeighbourTable
        Of this very model, with as many neighbours.
    """
    return neighbours_after(
        old,
        candidate_pairs(data, model.features, model.config),
        pair_scorer(model),
        changed=np.zeros(0, np.int64),
        vocabulary=data.items,
        model=fingerprint(model),
        console=console,
    )


def write_shard(model: PathModel, data: Dataset, path: Path, shard: Shard, *, console: Console | None = None) -> bool:
    """Write a part of `index_of`'s table, which `merge_shards` joins; False where it is there already."""
    return generate(
        path,
        candidate_pairs(data, model.features, model.config),
        pair_scorer(model),
        model.config.neighbours,
        vocabulary=data.items,
        model=fingerprint(model),
        shard=shard,
        console=console,
    )


def merged_index(model: PathModel, data: Dataset, shards: Iterable[Path], whole: Path) -> NeighbourTable:
    """Join shards of `write_shard` into the file `whole`, and map it.

    Raises `ConfigError` where they were made of other weights, settings or data, and as `merge_shards` does.
    """
    merge_shards(shards, whole, data.items)
    table = NeighbourTable.open(whole, data.items)
    expected = run_of(candidate_pairs(data, model.features, model.config), fingerprint(model))
    if (table.header.run, table.k) != (expected, model.config.neighbours):
        raise ConfigError(f"the shards beside {whole} are of another training, other settings or other data")
    return table


def fingerprint(model: PathModel) -> str:
    """Of all that similarities follow from: weights, attributes, co-occurrence."""
    digest = xxhash.xxh3_128()
    for name, values in sorted(model.tensors().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
