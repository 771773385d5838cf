"""The methods that are compared: each gives probabilities, by task, for the test part of every sub-domain.

All learn the same part of a sub-domain, in time order, under settings that were chosen for each with as many trials.
What differs is what else they know: the super-domain's part before it (`merging`, `fine-tune`, `keep` and its
variants), nothing (`base`), or the same days of all items (`keep-c`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from headwater.data.impressions import Impressions
from headwater.errors import ConfigError
from headwater.experiment.measure import Say
from headwater.experiment.provenance import with_seed
from headwater.knowledge.decompose import Decomposition
from headwater.knowledge.extract import Degeneration, Extraction
from headwater.knowledge.plugged import KnowledgeSource, Plugged
from headwater.nn.settings import TrainingConfig
from headwater.ranking.model import model_class
from headwater.reproduce.knowledge.config import KnowledgeRecipe
from headwater.reproduce.knowledge.curves import Watch
from headwater.reproduce.knowledge.cut import Cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.ranking.network_ranker import NetworkRanker

Predictions = Iterator[tuple[str, "dict[str, NDArray[np.float32]]"]]
"""Of each sub-domain the probabilities of its test part, by task."""

Model = TypeVar("Model", bound="NetworkRanker[Any]")
L = TypeVar("L")

REMEMBERED = 6
"""Models of the super-domain that are held at a time, a few megabytes each."""


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
    memory : dict
        What was learned from the super-domain, by all that decides it: trials that are given the same dict share it.
    watch : Watch, optional
        Measures models while they learn.
    """

    cut: Cut
    recipe: KnowledgeRecipe
    seed: int
    domains: list[str]
    say: Say
    memory: dict[str, Any] = field(default_factory=dict)
    watch: Watch | None = None

    def new_base(self, training: TrainingConfig | None = None) -> NetworkRanker[Any]:
        """An untrained base model under the seed; it may learn otherwise than the recipe says."""
        base = self.recipe.base
        config = with_seed(base if training is None else base.model_copy(update={"training": training}), self.seed)
        return model_class(config.kind)(config)

    def fitted(self, model: Model, domain: str, part: Impressions, *, inherit: Path | None = None) -> Model:
        """The model once it has learned from a part for a sub-domain as often as the recipe says."""
        passes = self.recipe.passes
        watch = self.watch if self.watch is not None and domain in self.watch.domains else None
        for at in range(passes):
            each_day = None if watch is None else watch.during(domain, part, at, passes)
            model.fit(part, inherit=inherit if at == 0 else None, each_day=each_day)
        if watch is not None:
            watch.look(domain, model, passes * len(part))
        return model

    @cached_property
    def extraction(self) -> Extraction:
        """Trained on the super-domain."""
        return self.learned(Extraction, self.recipe.extraction, self.cut.part(0))

    def learned(self, kind: type[Extraction], config: Any, impressions: Impressions) -> Extraction:
        """Trained on a part of the super-domain, as often as the recipe says."""
        config = with_seed(config, self.seed)

        def learn() -> Extraction:
            self.say(f"learning {config.name} from {len(impressions):,} impressions")
            model = kind(config)
            for _ in range(self.recipe.super_passes):
                model.fit(impressions)
            return model

        return self.remembered(config, impressions, learn)

    def remembered(self, config: Any, impressions: Impressions, learn: Callable[[], L]) -> L:
        """What `learn` gives, which is asked once for the same settings and impressions."""
        plain = [config.model_dump(mode="json"), impressions.checksum(), self.recipe.super_passes]
        key = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
        if key not in self.memory:
            while len(self.memory) >= REMEMBERED:
                del self.memory[next(iter(self.memory))]
            self.memory[key] = learn()
        return self.memory[key]

    def predictions(self, model: Any, domain: str) -> tuple[str, dict[str, NDArray[np.float32]]]:
        """What a trained model says of the test part."""
        return domain, model.predict(self.cut.part(2, domain=domain))


class Folder:
    """A folder that goes with whoever holds this."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp())
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def base(trial: Trial, *known: int) -> Predictions:
    """The base model, trained on the sub-domain's own impressions of the parts `known`."""
    for domain in trial.domains:
        trial.say(f"{domain}: base")
        yield trial.predictions(trial.fitted(trial.new_base(), domain, trial.cut.part(*known, domain=domain)), domain)


def merging(trial: Trial) -> Predictions:
    """Sample Merging: one model, trained on the super-domain and the sub-domain together in time order."""
    for domain in trial.domains:
        trial.say(f"{domain}: merging")
        both = trial.cut.read_by(domain, trial.cut.select(trial.cut.rows(0) | trial.cut.rows(1, domain=domain)))
        yield trial.predictions(trial.fitted(trial.new_base(), domain, both), domain)


def fine_tune(trial: Trial) -> Predictions:
    """The base model is trained on the super-domain first, and goes on with the sub-domain, moments included."""
    for domain in trial.domains:
        grounded = _grounded(trial, trial.cut.read_by(domain, trial.cut.part(0)))
        trial.say(f"{domain}: fine-tune")
        model = trial.fitted(trial.new_base(), domain, trial.cut.part(1, domain=domain), inherit=grounded.path)
        yield trial.predictions(model, domain)


def _grounded(trial: Trial, part: Impressions) -> Folder:
    """The checkpoint of a base model that has learned from the super-domain."""
    first = trial.new_base(trial.recipe.super_training)

    def learn() -> Folder:
        trial.say("learning the base model from the super-domain")
        folder = Folder()
        for _ in range(trial.recipe.super_passes):
            first.fit(part, checkpoint=folder.path)
        return folder

    return trial.remembered(first.config, part, learn)


def keep(trial: Trial, source: Callable[[Trial], KnowledgeSource], **changes: Any) -> Predictions:
    """The base model with what `source` knows plugged in, as the recipe's plug says but for some `changes`."""
    known, plug = ReadsAll(source(trial), trial.cut), trial.recipe.plug.model_copy(update=changes)
    for domain in trial.domains:
        trial.say(f"{domain}: plugged")
        part = trial.cut.part(1, domain=domain)
        yield trial.predictions(trial.fitted(Plugged(trial.new_base(), known, plug), domain, part), domain)


def inherited(trial: Trial, source: Callable[[Trial], KnowledgeSource] | None = None, **changes: Any) -> Predictions:
    """The base model has learned the sub-domain's days before; from then on it goes on, knowing more or (without
    `source`) as it was."""
    known = None if source is None else ReadsAll(source(trial), trial.cut)
    plug = trial.recipe.plug.model_copy(update=changes)
    for domain in trial.domains:
        trial.say(f"{domain}: inherited")
        with TemporaryDirectory() as folder:
            trial.new_base().fit(trial.cut.part(0, domain=domain), checkpoint=Path(folder))
            model = trial.new_base() if known is None else Plugged(trial.new_base(), known, plug)
            trial.fitted(model, domain, trial.cut.part(1, domain=domain), inherit=Path(folder))
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
    part = trial.cut.select(trial.cut.rows(0) & (days >= before))
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


class ReadsAll:
    """A source that reads all histories, whatever the model that it is plugged into reads.

    Parameters
    ----------
    source : KnowledgeSource
    cut : Cut
    """

    def __init__(self, source: KnowledgeSource, cut: Cut) -> None:
        self._source, self._cut = source, cut
        self.identity, self.parts = source.identity, source.parts

    def knowledge(self, impressions: Impressions) -> NDArray[np.float32]:
        """See `KnowledgeSource`."""
        return self._source.knowledge(self._cut.read_by_all(impressions))


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
