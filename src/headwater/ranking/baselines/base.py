"""What the baselines have in common: one model a task, each over inputs that are counted from that task's samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np

from headwater.data.folder import file_checksum
from headwater.data.impressions import Impressions
from headwater.data.vocabulary import Vocabulary
from headwater.errors import ArtefactError, SchemaError
from headwater.ranking.baselines.config import BaselineConfig
from headwater.ranking.baselines.inputs import Inputs, InputTables
from headwater.retrieval.artefact import TENSORS, below, open_artefact, read_tensors, save_artefact

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TaskModel(Protocol):
    """A trained model of one task."""

    def predict(self, inputs: Inputs) -> NDArray[np.floating]: ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays that it consists of."""
        ...

    def files(self) -> dict[str, str]:
        """Texts that it consists of, by file name."""
        ...


C = TypeVar("C", bound=BaselineConfig)
M = TypeVar("M", bound=TaskModel)


class Baseline(ABC, Generic[C, M]):
    """Fits one `TaskModel` for each label of the impressions; see `ImpressionModel`.

    Parameters
    ----------
    config : BaselineConfig, optional
        Of the class's own kind; its defaults without.
    """

    kind: ClassVar[str]
    config_class: ClassVar[type[Any]]
    is_incremental: ClassVar[bool] = False

    def __init__(self, config: C | None = None) -> None:
        self.config: C = self.config_class() if config is None else config
        self._items = self._users = ""
        self._tables: dict[str, InputTables] = {}
        self._models: dict[str, M] = {}

    @property
    def name(self) -> str:
        return self.config.name

    def fit(self, impressions: Impressions, *, validate: Callable[[Self], float] | None = None) -> Self:
        """Learn every task anew. `validate` is not needed: how long to train is a setting.

        Raises
        ------
        SchemaError
            A task has samples of one label only.
        ConfigError
            The impressions lack an attribute or a context that the settings name.
        """
        tables: dict[str, InputTables] = {}
        models: dict[str, M] = {}
        for task in impressions.tasks:
            samples = impressions.select(impressions.samples(task))
            labels = samples.labels[task]
            if not 0 < labels.sum() < len(labels):
                raise SchemaError(
                    f"{impressions.name}: {self.name} cannot learn {task!r}: of {len(labels):,} samples "
                    f"{int(labels.sum()):,} are positive. Train on more days, or leave the label out."
                )
            tables[task], inputs = InputTables.learn(samples, task, self.config)
            models[task] = self._learn(inputs, labels)
        self._tables, self._models = tables, models
        self._items, self._users = impressions.items.fingerprint(), impressions.users.fingerprint()
        return self

    def predict(self, impressions: Impressions) -> dict[str, NDArray[np.float32]]:
        """Task -> (n,) probability, of every impression; of cart and conversion, given a click.

        Raises
        ------
        LineageError
            Codes of `impressions` mean other users or items than in training.
        ConfigError
            They lack a context that the model reads.
        """
        impressions.items.require_lineage(self._items, f"{self.kind} {self.name!r} (items)")
        impressions.users.require_lineage(self._users, f"{self.kind} {self.name!r} (users)")
        return {
            task: np.asarray(model.predict(self._tables[task].read(impressions)), np.float32)
            for task, model in self._models.items()
        }

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        tensors: dict[str, NDArray[Any]] = {"users": np.frombuffer(self._users.encode(), np.uint8)}
        files: dict[str, Callable[[Path], str]] = {}
        for task, model in self._models.items():
            parts = self._tables[task].tensors() | {f"model.{name}": part for name, part in model.tensors().items()}
            tensors |= {f"{task}/{name}": part for name, part in parts.items()}
            files |= {f"{task}-{name}": _writer(text) for name, text in model.files().items()}
        save_artefact(path, kind=self.kind, config=self.config, vocabulary=self._items, tensors=tensors, files=files)

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; see `load_artefact` for what is refused. Users are compared by `predict`."""
        artefact = open_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        tensors = read_tensors(path / TENSORS)
        model = cls(artefact.config)
        model._items = vocabulary.fingerprint(artefact.n_items)
        model._users = tensors["users"].tobytes().decode()
        texts = {name: _read(path / name, checksum) for name, checksum in artefact.files.items()}
        for task in {name.partition("/")[0] for name in tensors if "/" in name}:
            own = below(tensors, f"{task}/")
            model._tables[task] = InputTables.restore(artefact.config, own)
            own_texts = {
                name.removeprefix(f"{task}-"): text for name, text in texts.items() if name.startswith(f"{task}-")
            }
            model._models[task] = model._restore(below(own, "model."), own_texts)
        return model

    @abstractmethod
    def _learn(self, inputs: Inputs, labels: NDArray[np.int8]) -> M:
        """Train one task's model on its samples; labels are (n,) of 0 and 1, both there."""

    @abstractmethod
    def _restore(self, tensors: Mapping[str, NDArray[Any]], files: Mapping[str, str]) -> M:
        """The model whose `tensors` and `files` these are."""


def _writer(text: str) -> Callable[[Path], str]:
    def write(path: Path) -> str:
        path.write_text(text, encoding="utf-8")
        return file_checksum(path)

    return write


def _read(path: Path, checksum: str) -> str:
    if not path.exists() or file_checksum(path) != checksum:
        raise ArtefactError(f"{path} {'was altered' if path.exists() else 'is missing'}; train it again")
    return path.read_text(encoding="utf-8")
