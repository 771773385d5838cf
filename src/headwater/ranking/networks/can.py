"""The Co-Action Network (Bian et al., WSDM 2022): an item's parameters are a small network that its partners pass."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from headwater.ranking.can import CANConfig
from headwater.ranking.features import NOBODY, RankingFeatures
from headwater.ranking.networks.din import DINNetwork, RankingInputs
from headwater.ranking.networks.layers import FieldTable

COACTION_STD = 0.1
"""Of parameters and partners at the start: a product of much smaller ones would hardly learn at first."""


class CoActionUnit(nn.Module):
    """H(u, i) = MLP_i(P_u): what the item's own weights make of a partner's embedding (section 4.2 of CAN).

    P_i is cut into the weights and biases of layers, h₀ = P_u, h_l = tanh(W_l h_{l−1} + b_l), the last one linear. Each
    order c reads the partner's entries to the power c, and orders stand side by side (multi-order enhancement).

    Parameters
    ----------
    widths : tuple of int
        Of a partner, and of each layer of the small network.
    orders : int
    """

    def __init__(self, widths: tuple[int, ...], orders: int) -> None:
        super().__init__()
        self.widths, self.orders = widths, orders
        self.shapes = list(pairwise(widths))
        self.n_parameters = sum(width_in * width + width for width_in, width in self.shapes)
        self.width = widths[-1] * orders

    def layers(self, parameters: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weight (b, in, out) and bias (b, out) of each layer, of (b, n_parameters)."""
        found, at = [], 0
        for width_in, width in self.shapes:
            weight = parameters[:, at : at + width_in * width].unflatten(1, (width_in, width))
            at += width_in * width
            found.append((weight, parameters[:, at : at + width]))
            at += width
        return found

    def forward(self, parameters: Tensor, partners: Tensor, counts: Tensor) -> Tensor:
        """(b, width) the sum over each row's partners (b, w, ·), those that `counts` (b, w) marks.

        The last layer is linear, so what enters it is summed first.
        """
        *inner, (last_weight, last_bias) = self.layers(parameters)
        is_partner = counts[..., None].to(partners.dtype)
        found = []
        for order in range(1, self.orders + 1):
            hidden = partners if order == 1 else partners**order
            for weight, bias in inner:
                hidden = torch.tanh(torch.baddbmm(bias[:, None], hidden, weight))
            total = (hidden * is_partner).sum(1)
            found.append(torch.bmm(total[:, None], last_weight)[:, 0] + last_bias * is_partner.sum(1))
        return torch.cat(found, 1)


class CANNetwork(DINNetwork):
    """DIN with co-actions of the target item with the user and with each event of the history (Figure 2 of CAN).

    Partners have embeddings of their own: learning a co-action leaves the representations alone.
    """

    config: CANConfig

    def __init__(self, config: CANConfig, features: RankingFeatures, extra: int = 0) -> None:
        unit = CoActionUnit(config.coaction_widths, config.coaction_orders)
        n_users = bool(config.user_dimension) + len(features.user_fields)
        super().__init__(config, features, extra=(n_users + 1) * unit.width + extra)
        self.coaction = unit
        rows, width = features.n_items + 1, unit.widths[0]
        self.coaction_items = _embedding(rows, unit.n_parameters)
        self.coaction_events = _embedding(rows, width)
        self.coaction_users = None
        if n_users:
            own = width if config.user_dimension else 0
            self.coaction_users = FieldTable(
                len(features.user_keys), own, features.user_fields, width, std=COACTION_STD
            )

    def parts(self, inputs: RankingInputs) -> list[Tensor]:
        """What stands side by side at the towers' input: DIN's, and then co-actions with user fields and events."""
        found = super().parts(inputs)
        parameters = self.coaction_items(inputs.items)
        if self.coaction_users is not None:
            partners = self.coaction_users(inputs.users).unflatten(1, (-1, self.coaction.widths[0]))
            every = torch.ones(len(partners), 1, dtype=torch.bool, device=partners.device)
            found += [self.coaction(parameters, partners[:, at : at + 1], every) for at in range(partners.shape[1])]
        found.append(self.coaction(parameters, self.coaction_events(inputs.history), inputs.history != NOBODY))
        return found


def _embedding(rows: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(rows, width, padding_idx=NOBODY)
    nn.init.normal_(embedding.weight, std=COACTION_STD)
    with torch.no_grad():
        embedding.weight[NOBODY] = 0
    return embedding
