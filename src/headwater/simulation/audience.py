"""Users before videos and ads: tastes and intents as everywhere, and a hidden side of these sub-domains alone.

What an item's utility is to a user is what it is in the scenarios, scaled by `kinship`. Beside it stand two things that
no other sub-domain tells: how well made the video or ad is, and how much a user likes clicking such things at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headwater.simulation.config import SCENARIOS
from headwater.simulation.domains import BlockConfig
from headwater.simulation.scenarios import Requests
from headwater.simulation.shoppers import Outcome, Shoppers, parameters_of
from headwater.simulation.world import World

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Audience:
    """A world's users as one sub-domain meets them.

    Parameters
    ----------
    world : World
    domain : int
        See `DOMAINS`.
    settings : BlockConfig
    """

    def __init__(self, world: World, domain: int, settings: BlockConfig) -> None:
        config = world.config
        random = np.random.default_rng([config.world.seed, 21, domain])
        self._appeal = (settings.appeal * random.standard_normal(config.world.items)).astype(np.float32)
        self._habits = (settings.habit * random.standard_normal(config.world.users)).astype(np.float32)
        own, kin = config.behaviour, settings.kinship
        behaviour = own.model_copy(
            update={
                "taste_weight": kin * own.taste_weight,
                "intent_weight": kin * own.intent_weight,
                "intent_match": kin * own.intent_match,
                "quality_weight": kin * own.quality_weight,
                "price_weight": kin * own.price_weight,
                "cart_logit": settings.cart_logit,
                "purchase_logit": settings.purchase_logit,
            }
        )
        self._parameters = parameters_of(behaviour)
        self._click_logits = np.full(len(SCENARIOS), settings.click_logit)

    def look(
        self, shoppers: Shoppers, requests: Requests, offsets: NDArray[np.int64], shown: NDArray[np.int32]
    ) -> Outcome:
        """Let users go through their blocks; clicks and intents are remembered as everywhere."""
        rows = np.repeat(requests.users, np.diff(offsets))
        extra = self._appeal[shown] + self._habits[rows]
        return shoppers.react(requests, offsets, shown, self._parameters, self._click_logits, extra)
