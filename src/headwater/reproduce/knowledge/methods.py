"""The methods that are compared: each gives probabilities, by task, for the test part of every sub-domain.

All learn the same part of a sub-domain, once, in time order, under the same settings. What differs is what else they
know: the super-domain's part before it (`merging`, `fine-tune`, `keep` and its variants), nothing (`base`), or the same
days of all items (`keep-c`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.data.impressions import Impressions
from headwater.errors import ConfigError
from headwater.experiment.measure import Say
from headwater.experiment.provenance import with_seed
from headwater.knowledge.decompose import Decomposition
from headwater.knowledge.extract import Degeneration, Extraction
from headwater.knowledge.plugged import KnowledgeSource, Plugged
from headwater.ranking.model import model_class
from headwater.reproduce.knowledge.config import KnowledgeRecipe
from headwater.reproduce.knowledge.cut import Cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.ranking.network_ranker import NetworkRanker

Predictions = Iterator[tuple[str, "dict[str, NDArray[np.float32]]"]]
"""Of each sub-domain the probabilities of its test part, by task."""


@dataclass
class Trial:
    """One method under one seed.

    Attributes
    ----------
    cut : Cut
    recipe : KnowledgeRecipe
    seed : int
    domains : list of str
    say : callable
    """

    cut: Cut
    recipe: KnowledgeRecipe
    seed: int
    domains: list[str]
    say: Say

    def new_base(self) -> NetworkRanker[Any]:
        """An untrained base model under the seed."""
        config = with_seed(self.recipe.base, self.seed)
        return model_class(config.kind)(config)

    @cached_property
    def extraction(self) -> Extraction:
        """Trained on the super-domain."""
        return self.learned(Extraction, self.recipe.extraction, self.cut.part(0))

    def learned(self, kind: type[Extraction], config: Any, impressions: Impressions) -> Extraction:
        self.say(f"learning {config.name} from {len(impressions):,} impressions")
        return kind(with_seed(config, self.seed)).fit(impressions)

    def predictions(self, model: Any, domain: str) -> tuple[str, dict[str, NDArray[np.float32]]]:
        """What a trained model says of the test part."""
        return domain, model.predict(self.cut.part(2, domain=domain))


def base(trial: Trial, *known: int) -> Predictions:
    """The base model, trained on the sub-domain's own impressions of the parts `known`."""
    for domain in trial.domains:
        trial.say(f"{domain}: base")
        yield trial.predictions(trial.new_base().fit(trial.cut.part(*known, domain=domain)), domain)


def merging(trial: Trial) -> Predictions:
    """Sample Merging: one model, trained on the super-domain and the sub-domain together in time order."""
    for domain in trial.domains:
        trial.say(f"{domain}: merging")
        both = trial.cut.whole.select(trial.cut.rows(0) | trial.cut.rows(1, domain=domain))
        yield trial.predictions(trial.new_base().fit(both), domain)


def fine_tune(trial: Trial) -> Predictions:
    """The base model is trained on the super-domain first, and goes on with the sub-domain, moments included."""
    with TemporaryDirectory() as folder:
        trial.say("learning the base model from the super-domain")
        trial.new_base().fit(trial.cut.part(0), checkpoint=Path(folder))
        for domain in trial.domains:
            trial.say(f"{domain}: fine-tune")
            model = trial.new_base().fit(trial.cut.part(1, domain=domain), inherit=Path(folder))
            yield trial.predictions(model, domain)


def keep(trial: Trial, source: Callable[[Trial], KnowledgeSource], parts: tuple[str, ...] | None = None) -> Predictions:
    """The base model with what `source` knows plugged in; `parts` of it, or all."""
    known, plug = source(trial), trial.recipe.plug.model_copy(update={"parts": parts})
    for domain in trial.domains:
        trial.say(f"{domain}: plugged")
        model = Plugged(trial.new_base(), known, plug).fit(trial.cut.part(1, domain=domain))
        yield trial.predictions(model, domain)


def of_extraction(trial: Trial) -> KnowledgeSource:
    """K(u, i) of eq. 4."""
    return trial.extraction


def shuffled(trial: Trial) -> KnowledgeSource:
    """The same rows of knowledge in the places of others: a plug of as many parameters, told nothing."""
    return Shuffled(trial.extraction, trial.seed)


def of_latest(trial: Trial, share: float) -> KnowledgeSource:
    """Learned from the latest `share` of the super-domain's days alone."""
    days = trial.cut.whole.days
    before = np.quantile(days[trial.cut.rows(0)], 1 - share, method="lower")
    part = trial.cut.whole.select(trial.cut.rows(0) & (days >= before))
    return trial.learned(Extraction, trial.recipe.extraction, part)


def decomposed(trial: Trial) -> KnowledgeSource:
    """[K̂_u, K̂_i, K̂_u ∘ K̂_i]."""
    return trial.learned(Decomposition, trial.recipe.decomposition, trial.cut.part(0))


def degenerated(trial: Trial) -> KnowledgeSource:
    """K̂_uc."""
    return trial.learned(Degeneration, trial.recipe.degeneration, trial.cut.part(0))


def served(trial: Trial) -> KnowledgeSource:
    """Both, as a center serves them (eq. 6), each history being the one before its impression."""
    return Beside(decomposed(trial), degenerated(trial))


def keep_c(trial: Trial) -> KnowledgeSource:
    """What is learned from the sub-domains' own days of all items, while the plug learns from them too.

    What an impression is told is what was known before its day: knowledge that has seen the label tells it.
    """
    part = trial.cut.part(1)
    recorded = Recorded()

    def each_day(model: Extraction, day: int) -> None:
        recorded.add(part.select(part.days == day), model)

    trial.say("learning extraction and plug from the same days")
    config = with_seed(trial.recipe.extraction, trial.seed)
    recorded.later = Extraction(config).fit(part, each_day=each_day)
    return recorded


class Shuffled:
    """A source whose rows are exchanged among the impressions that it is asked of together.

    Parameters
    ----------
    source : KnowledgeSource
    seed : int
    """

    def __init__(self, source: KnowledgeSource, seed: int) -> None:
        self._source, self._seed = source, seed
        self.identity, self.parts = f"shuffled:{seed}:{source.identity}", source.parts

    def knowledge(self, impressions: Impressions) -> NDArray[np.float32]:
        """See `KnowledgeSource`."""
        order = np.random.default_rng(self._seed).permutation(len(impressions))
        return self._source.knowledge(impressions)[order]


class Beside:
    """Two sources side by side, whose parts have names of their own.

    Parameters
    ----------
    first, second : KnowledgeSource
    """

    def __init__(self, first: KnowledgeSource, second: KnowledgeSource) -> None:
        self._sources = first, second
        self.identity, self.parts = f"{first.identity}+{second.identity}", {**first.parts, **second.parts}

    def knowledge(self, impressions: Impressions) -> NDArray[np.float32]:
        """See `KnowledgeSource`."""
        return np.concatenate([source.knowledge(impressions) for source in self._sources], 1)


class Recorded:
    """What was known of impressions before their day, and of any others in the end."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int, int], NDArray[np.float32]] = {}
        self._days: set[int] = set()
        self.later: Extraction | None = None

    @property
    def identity(self) -> str:
        """Of what is known in the end."""
        assert self.later is not None
        return f"recorded:{self.later.identity}"

    @property
    def parts(self) -> dict[str, int]:
        """See `KnowledgeSource`."""
        assert self.later is not None
        return self.later.parts

    def add(self, impressions: Impressions, model: Extraction) -> None:
        """Keep what a model knows now."""
        self._rows.update(zip(_names(impressions), model.knowledge(impressions), strict=True))

    def knowledge(self, impressions: Impressions) -> NDArray[np.float32]:
        """See `KnowledgeSource`: recorded of all these impressions, or of none."""
        assert self.later is not None
        found = [self._rows.get(name) for name in _names(impressions)]
        if all(row is None for row in found):
            return self.later.knowledge(impressions)
        if any(row is None for row in found):
            raise ConfigError("some of these impressions were learned from, and some were not: ask of them apart")
        return np.array(found, np.float32)


def _names(impressions: Impressions) -> list[tuple[int, int, int]]:
    columns = (impressions.user_codes, impressions.item_codes, impressions.times)
    return list(zip(*(column.tolist() for column in columns), strict=True))
