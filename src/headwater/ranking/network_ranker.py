"""What every ranker over a network does around it: learn day by day, predict, score candidates, save, load."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar

from headwater.data.dataset import Dataset
from headwater.data.impressions import Impressions
from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ConfigError, LineageError
from headwater.ranking.config import NetworkConfig
from headwater.ranking.features import RankingFeatures
from headwater.ranking.scoring import SERVED, Scorer
from headwater.retrieval.artefact import below, open_artefact, read_tensors, save_artefact
from headwater.retrieval.base import Candidates

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from headwater.nn.training import TrainingReport
    from headwater.ranking.networks.din import DINNetwork
    from headwater.ranking.training import Learning

# Torch is imported where it is used: a service scores from arrays, and never loads it.

TENSORS = "tensors.safetensors"

C = TypeVar("C", bound=NetworkConfig)


class NetworkRanker(ABC, Generic[C]):
    """A ranker over a network. Candidates are scored by the logit of the task `config.serves`.

    Parameters
    ----------
    config : NetworkConfig
    """

    kind: ClassVar[str]
    config_class: ClassVar[type[NetworkConfig]]
    is_incremental: ClassVar[bool] = True
    """`fit` goes on from what an earlier `fit` of the same ranker learned."""

    def __init__(self, config: C | None = None) -> None:
        self.config: C = config or self.config_class()  # type: ignore[assignment,call-arg]
        self.report: TrainingReport | None = None
        self._features: RankingFeatures | None = None
        self._network: DINNetwork | None = None
        self._scorer: Scorer | None = None
        self._folder: Path | None = None
        self._learned: dict[str, Tensor] | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def features(self) -> RankingFeatures:
        """What it knows of items, users and requests; raises `ConfigError` before `fit` or `load`."""
        if self._features is None:
            raise ConfigError(f"{self.name} is not trained yet; call fit, or load an artefact")
        return self._features

    @property
    def network(self) -> DINNetwork:
        """The trained network, on the processor after `load`; raises `ConfigError` before `fit` or `load`."""
        if self._network is None:
            import torch

            features = self.features
            assert self._folder is not None
            network = self.new_network(features)
            weights = below(read_tensors(self._folder / TENSORS), "network.")
            network.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
            self._network = network.eval()
        return self._network

    @abstractmethod
    def new_network(self, features: RankingFeatures) -> DINNetwork:
        """An untrained network."""

    def fit(
        self,
        data: Impressions | Dataset,
        *,
        validate: Callable[[Self], float] | None = None,
        each_day: Callable[[Self, int], None] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
        inherit: Path | None = None,
    ) -> Self:
        """Learn from each day once, in time order; the last day's weights stay. `report` then says how it went.

        Called again, it goes on with weights and moments, so that days may come one by one: the result is that of one
        call with all of them. A ranker that was loaded has no moments and begins anew.

        Parameters
        ----------
        data : Impressions, or Dataset
            Of a data set, examples are made by the rule `config.examples`.
        validate : callable, optional
            Its figure after the last day stands in the report; it chooses nothing.
        each_day : callable, optional
            Is given the ranker and the number of each day *before* that day is learned from, so that predictions of
            the day are by a model of the days before it. A run that is resumed in the middle of a day was told it.
        checkpoint : Path, optional
            Folder for checkpoints.
        resume : bool
            Go on from the checkpoint there, to the same bits; begin anew where there is none. Days may have been
            added to the log since: then only these are left to learn.
        inherit : Path, optional
            Folder of a checkpoint of a smaller model that training begins from: weights and moments of all that has
            the same name; see `headwater.nn.inheritance.inherit`. `report.new_parameters` names the rest.

        Raises
        ------
        ConfigError
            There is no impression, an input or task that is not in the data, a checkpoint of other settings or data.
        LineageError
            A checkpoint, or what was learned before, belongs to another vocabulary.
        """
        from headwater.ranking.training import train_days

        if isinstance(data, Dataset):
            from headwater.ranking.examples import examples_of

            data = examples_of(data, self.config)
        if not len(data):
            raise ConfigError(f"{data.name} has no impression, so there is nothing to learn from")
        if self._learned is None or inherit is not None:
            self._features, self._learned = RankingFeatures.of(data, self.config), None
        else:
            self._require_same(data)
        self._folder = self._scorer = None
        report = train_days(
            self.new_network,
            self.features,
            self.config,
            data,
            adopt=self._adopt,
            each_day=None if each_day is None else lambda day: self._told(each_day, day),
            checkpoint=checkpoint,
            resume=resume,
            inherited=inherit or self._learned,
            keep=self._keep,
            learning=self.learning(data),
        )
        self._scorer = None  # of weights that have moved since
        if validate is not None:
            report = replace(report, best_epoch=report.epochs - 1, best_value=float(validate(self)))
        self.report = report
        return self

    def learning(self, impressions: Impressions) -> Learning:
        """What it learns by from `impressions`, and reads of them, that others do not."""
        from headwater.ranking.training import Learning

        return Learning()

    def _require_same(self, data: Impressions) -> None:
        """Raise where what was learned before does not fit `data`."""
        features = self.features
        for known, vocabulary, what in ((features.items, data.items, "items"), (features.users, data.users, "users")):
            if known and vocabulary.fingerprint() != known:
                raise LineageError(
                    f"{self.name} has learned from other {what} ({known}) than those of {data.name} "
                    f"({vocabulary.fingerprint()}); make a new one"
                )
        if data.tasks != features.tasks:
            raise ConfigError(
                f"{self.name} has learned {', '.join(features.tasks)}, and {data.name} is labelled by "
                f"{', '.join(data.tasks)}; make a new one"
            )

    def _keep(self, tensors: dict[str, Tensor]) -> None:
        self._learned = tensors

    def _adopt(self, network: DINNetwork) -> None:
        self._network = network

    def _told(self, each_day: Callable[[Self, int], None], day: int) -> None:
        self._scorer = None
        each_day(self, day)

    def predict(self, impressions: Impressions) -> dict[str, NDArray[np.float32]]:
        """(n,) probability of each task for every impression, in its order.

        Items, users and levels that training did not see count as unknown. Raises `LineageError` where the
        impressions' codes are of another vocabulary, and `ConfigError` where a feature is missing.
        """
        from headwater.ranking.training import predict

        self.features.require_lineage(impressions, self.name)
        return predict(self.network, self.features, self.config, impressions, self.learning(impressions).knowledge)

    def score(self, queries: Queries, candidates: Candidates) -> NDArray[np.float32]:
        """(len(candidates),) logits, higher is better; of arrays alone, in one thread."""
        return self.scorer.score(queries, candidates)

    @property
    def scorer(self) -> Scorer:
        """The network's weights in the form that serves."""
        if self._scorer is None:
            from headwater.ranking.export import exported

            self._scorer = Scorer(self.config, self.features, exported(self.network, self.features, self.config))
        return self._scorer

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        features = self.features
        weights = self.network.state_dict()
        tensors = {f"network.{name}": weight.detach().cpu().numpy() for name, weight in weights.items()}
        save_artefact(
            path,
            kind=self.kind,
            config=self.config,
            vocabulary=features.items,
            tensors=tensors,
            files={SERVED: self.scorer.write},
        )

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; what serves is mapped, and the network is read when it is asked for.

        Raises as `load_artefact` does.
        """
        artefact = open_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        ranker = cls(artefact.config)  # type: ignore[arg-type]
        items = vocabulary.fingerprint(artefact.n_items)
        ranker._scorer = Scorer.load(path / SERVED, artefact.files[SERVED], ranker.config, items, artefact.n_items)
        ranker._features, ranker._folder = ranker._scorer.features, path
        return ranker
