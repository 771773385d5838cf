"""Pre-training and fine-tuning: a ranker that also reads the history through an encoder that was trained before."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import xxhash
from torch import Tensor, nn
from torch.nn import functional

from headwater.data.dataset import Dataset
from headwater.data.impressions import Impressions
from headwater.errors import ConfigError
from headwater.nn.sequences import Windows
from headwater.ranking.features import NOBODY, RankingFeatures
from headwater.ranking.network_ranker import NetworkRanker
from headwater.ranking.networks.can import CANNetwork
from headwater.ranking.networks.din import DINNetwork, RankingInputs
from headwater.ranking.training import Learning
from headwater.retrieval.sequence.bert4rec import BERT4Rec, BERT4RecNetwork

if TYPE_CHECKING:
    from headwater.ranking.can import CANConfig
    from headwater.ranking.config import NetworkConfig


def clicked(impressions: Impressions) -> Dataset:
    """Clicks of known users on known items among some impressions, in time order: what an encoder is pre-trained on."""
    is_known = (impressions.user_codes >= 0) & (impressions.item_codes >= 0)
    rows = (impressions.labels["click"] == 1) & is_known
    return Dataset.from_events(
        f"clicks of {impressions.name}",
        impressions.users,
        impressions.items,
        event_users=impressions.user_codes[rows],
        event_items=impressions.item_codes[rows],
        event_times=impressions.times[rows],
        item_attributes=impressions.item_attributes,
        user_attributes=impressions.user_attributes,
    )


class HistoryReader(nn.Module):
    """[h, e_i, h ∘ e_i]: what an encoder makes of a history, the target's vector in its space, and their product.

    The sum of the product is the logit by which the encoder, as it was pre-trained, orders items.

    Parameters
    ----------
    pretrained : BERT4RecNetwork
        Its weights are copied, and learned on.
    length : int
        Positions of it, one of which is the hidden item's behind the history.
    """

    def __init__(self, pretrained: BERT4RecNetwork, length: int) -> None:
        super().__init__()
        self.encoder = deepcopy(pretrained)
        self.length = length

    @property
    def width(self) -> int:
        """Of all three."""
        return 3 * self.encoder.inputs.items.own.shape[1]

    def forward(self, inputs: RankingInputs) -> list[Tensor]:
        """Each (b, d). Impressions with one history, such as those of one request, are read once."""
        histories, back = torch.unique(inputs.history, dim=0, return_inverse=True)
        windows, is_hidden = windows_of(histories, self.length)
        state = self.encoder.state(windows, is_hidden)[back]
        is_known = (inputs.items != NOBODY)[:, None]
        target = self.encoder.items((inputs.items - 1).clamp(min=0)) * is_known
        return [state, target, state * target]


def windows_of(history: Tensor, length: int) -> tuple[Windows, Tensor]:
    """Windows of rows of items, (b, w), with a hidden item behind each, and (b, w + 1) where that is."""
    places = torch.arange(history.shape[1] + 1, device=history.device)
    is_known = history != NOBODY
    counts = (is_known * places[1:]).amax(1)
    is_hidden = places == counts[:, None]
    positions = places + (length - 1 - counts)[:, None]
    windows = Windows(
        items=functional.pad((history - 1).clamp(min=0), (0, 1)),
        counts=counts + 1,
        is_event=functional.pad(is_known, (0, 1)) | is_hidden,
        positions=torch.where(places <= counts[:, None], positions, 0),
        ratings=None,
        times=None,
        gaps=None,
        request_gaps=None,
    )
    return windows, is_hidden


class ReadingDIN(DINNetwork):
    """DIN whose towers also read what an encoder says."""

    def __init__(self, config: NetworkConfig, features: RankingFeatures, reader: HistoryReader) -> None:
        super().__init__(config, features, extra=reader.width)
        self.reader = reader

    def parts(self, inputs: RankingInputs) -> list[Tensor]:
        """See `DINNetwork`."""
        return [*super().parts(inputs), *self.reader(inputs)]


class ReadingCAN(CANNetwork):
    """CAN, likewise."""

    def __init__(self, config: CANConfig, features: RankingFeatures, reader: HistoryReader) -> None:
        super().__init__(config, features, extra=reader.width)
        self.reader = reader

    def parts(self, inputs: RankingInputs) -> list[Tensor]:
        """See `CANNetwork`."""
        return [*super().parts(inputs), *self.reader(inputs)]


READING: dict[str, type[Any]] = {"din": ReadingDIN, "can": ReadingCAN}
"""Kind of the base model -> the same with a reader."""


class FineTuned(NetworkRanker[Any]):
    """The base model that also reads the history through a pre-trained encoder, all of it learned on with clicks.

    KEEP's baselines of pre-training do this: BERT4Rec (Sun et al., CIKM 2019) predicts hidden items of click sequences
    before, S3-Rec (Zhou et al., CIKM 2020) has four objectives of its own. It is there to be compared: it predicts, and
    is not served.

    Parameters
    ----------
    ranker : NetworkRanker
        The base model, untrained.
    pretrained : BERT4Rec
        Trained on `clicked` impressions of the same items, with a `length` of one more than the ranker's.

    Raises
    ------
    ConfigError
        The encoder reads too little, or inputs that a ranker's history has not.
    """

    kind: ClassVar[str] = "fine-tuned"

    def __init__(self, ranker: NetworkRanker[Any], pretrained: BERT4Rec) -> None:
        super().__init__(ranker.config)
        settings = pretrained.config
        if settings.length <= self.config.length:
            raise ConfigError(
                f"{settings.name} reads {settings.length} events, and needs one more than the {self.config.length} of "
                f"{self.config.name}: the item that it is asked about"
            )
        if settings.reads_times or settings.inputs.ratings:
            raise ConfigError(f"{settings.name} reads times or ratings, which a ranker's history has not")
        self.pretrained = pretrained

    def new_network(self, features: RankingFeatures) -> DINNetwork:
        """See `NetworkRanker`: new weights, but for the encoder's."""
        network: Any = self.pretrained.network
        return READING[self.config.kind](self.config, features, HistoryReader(network, self.pretrained.config.length))

    def learning(self, impressions: Impressions) -> Learning:
        """See `NetworkRanker`."""
        digest = xxhash.xxh3_64()
        for name, weight in sorted(self.pretrained.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(weight.cpu().numpy()).tobytes())
        return Learning(identity=f"+{self.pretrained.kind}:{digest.hexdigest()}")
