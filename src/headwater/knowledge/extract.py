"""Knowledge extraction: a shared-bottom DIN that learns three tasks on the super-domain (section 4.2 of KEEP)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
import xxhash
from torch import Tensor
from torch.nn import functional

from headwater.data.impressions import Impressions
from headwater.data.vocabulary import Vocabulary
from headwater.knowledge.config import DegenerationConfig, ExtractionConfig
from headwater.knowledge.pairs import PairedBatch, PairedBatches
from headwater.ranking.batches import InputColumns
from headwater.ranking.features import RankingFeatures
from headwater.ranking.network_ranker import NetworkRanker
from headwater.ranking.networks.din import DINNetwork, RankingInputs
from headwater.ranking.training import ROWS_AT_ONCE, Learning, Pointwise
from headwater.retrieval.artefact import below, load_artefact, save_artefact

if TYPE_CHECKING:
    from numpy.typing import NDArray

FUNNEL = ("click", "conversion", "cart")
"""Tasks in the order in which eq. 4 names what is known of a pair."""


class Hybrid(Pointwise):
    """L = L_point + α L_pair, summed over tasks (eqs. 1-3), both as means."""

    config: ExtractionConfig

    def forward(self, batch: PairedBatch) -> Tensor:  # type: ignore[override]
        """The loss of a batch; a task without a pair in it has the pointwise part alone."""
        logits = self.network(batch.whole.inputs)
        loss = self.of_logits(logits, batch.whole)
        for task, logit in logits.items():
            better, worse, n_pairs = batch.pairs[task]
            # log(1 + exp(-(s_ui - s_uj))): eq. 2.
            of_pairs = functional.softplus(logit[worse] - logit[better]).sum()
            loss = loss + self.config.alpha * of_pairs * (batch.whole.n_processes / max(n_pairs, 1))
        return loss


class Extraction(NetworkRanker[ExtractionConfig]):
    """K(u, i) = [K_u, K_i, K_ui^click, K_ui^conversion, K_ui^cart] (eq. 4), learned day by day like a ranker.

    K_u is the embedding of the user's id, K_i those of item, shop and category, and K_ui of a task the output of its
    last hidden layer. Tasks without a label in the log are left out.

    Parameters
    ----------
    config : ExtractionConfig
    """

    kind: ClassVar[str] = "extraction"
    config_class: ClassVar[type[ExtractionConfig]] = ExtractionConfig

    def new_network(self, features: RankingFeatures) -> DINNetwork:
        """See `NetworkRanker`."""
        return DINNetwork(self.config, features)

    def learning(self, impressions: Impressions) -> Learning:
        """See `NetworkRanker`."""
        batches = partial(PairedBatches, together=self.config.together, forgotten=self.config.forgotten)
        return Learning(loss=Hybrid, batches=batches)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those that it has learned, as eq. 4 orders them."""
        return tuple(task for task in FUNNEL if task in self.features.tasks)

    @property
    def parts(self) -> dict[str, int]:
        """Name and width of each part of K, in order."""
        network = self.network
        of_pairs = {task: self.config.hidden[-1] for task in self.tasks}
        return {"user": self.config.user_dimension, "item": network.items.width, **of_pairs}

    @property
    def width(self) -> int:
        """Of K."""
        return sum(self.parts.values())

    @property
    def identity(self) -> str:
        """Kind and checksum of its weights: another one says other things of the same pair."""
        digest = xxhash.xxh3_64(self.features.vocabulary.encode())
        for name, weight in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.cpu().contiguous().numpy().tobytes())
        return f"{self.kind}:{digest.hexdigest()}"

    def knowledge(self, impressions: Impressions) -> NDArray[np.float32]:
        """(n, width) K of each impression's user and item, its history being the events strictly before it.

        Labels are not read. Users and items that it did not learn from get what it has learned to say of unknown ones.
        Raises as `predict` does.
        """
        return np.concatenate([np.zeros((0, self.width), np.float32), *self.knowledge_by_parts(impressions)])

    @torch.inference_mode()
    def knowledge_by_parts(self, impressions: Impressions) -> list[NDArray[np.float32]]:
        """The same, in consecutive parts of at most `ROWS_AT_ONCE` rows."""
        self.features.require_lineage(impressions, self.name)
        network = self.network.eval()
        columns = InputColumns(impressions, self.features, self.config, next(network.parameters()).device)
        found = []
        for start in range(0, len(impressions), ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, len(impressions)))
            found.append(self._of_inputs(network, columns.inputs(rows)).float().cpu().numpy())
        return found

    def _of_inputs(self, network: Any, inputs: RankingInputs) -> Tensor:
        assert network.users is not None
        of_user = network.users(inputs.users)[:, : self.config.user_dimension]
        of_pair = network.last_hidden(inputs)
        return torch.cat([of_user, network.items(inputs.items), *(of_pair[task] for task in self.tasks)], 1)

    def save(self, path: Path) -> None:
        """Write the artefact folder `path`; see `save_artefact`."""
        features = self.features
        tensors = {f"network.{name}": value.cpu().numpy() for name, value in self.network.state_dict().items()}
        tensors |= {f"features.{name}": values for name, values in features.tensors().items()}
        save_artefact(path, kind=self.kind, config=self.config, vocabulary=features.items, tensors=tensors)

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Self:
        """Read what `save` wrote; raises as `load_artefact` does."""
        config, tensors, n_items = load_artefact(path, vocabulary, kind=cls.kind, config=cls.config_class)
        found = cls(config)
        items = vocabulary.fingerprint(n_items)
        found._features = RankingFeatures.restore(config, items, n_items, below(tensors, "features."))
        network = found.new_network(found._features)
        network.load_state_dict(_tensors(below(tensors, "network.")))
        found._network = network.eval()
        return found


class Degeneration(Extraction):
    """K̂_uc: the interaction of a user with a *category*, which stands for each of its items (section 5.2.2).

    The target and the events of the history are read by their category alone; what is known of a pair is the output of
    each task's last hidden layer, as in `Extraction`.
    """

    kind: ClassVar[str] = "degeneration"
    config_class: ClassVar[type[ExtractionConfig]] = DegenerationConfig

    @property
    def parts(self) -> dict[str, int]:
        """See `Extraction`: the tasks alone."""
        return {task: self.config.hidden[-1] for task in self.tasks}

    def _of_inputs(self, network: Any, inputs: RankingInputs) -> Tensor:
        of_pair = network.last_hidden(inputs)
        return torch.cat([of_pair[task] for task in self.tasks], 1)


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values.copy()) for name, values in arrays.items()}
