"""Every ranker keeps the contract."""

from typing import Any

import pytest
import torch
from ranker_contract import RankerContract

from headwater.nn.training import TrainingConfig
from headwater.ranking.affinity import AffinityRanker
from headwater.ranking.can import CAN, CANConfig
from headwater.ranking.config import SearchConfig
from headwater.ranking.din import DIN, DINConfig

TRAINING = TrainingConfig(epochs=1, batch_size=64, device="cpu", learning_rate=1e-2, precision="fp32")
SMALL: dict[str, Any] = {"dimension": 4, "unit_hidden": 6, "hidden": (12, 6), "length": 10, "training": TRAINING}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


class TestAffinity(RankerContract):
    @classmethod
    def make_ranker(cls) -> AffinityRanker:
        return AffinityRanker()


class TestDIN(RankerContract):
    @classmethod
    def make_ranker(cls) -> DIN:
        return DIN(DINConfig(**SMALL))


class TestDINWithEverything(RankerContract):
    @classmethod
    def make_ranker(cls) -> DIN:
        config = DINConfig(
            **SMALL,
            activation="dice",
            item_attributes=("category", "tags"),
            user_attributes=("age",),
            context=("hour", "weekday"),
            user_dimension=6,
            search=SearchConfig(length=20, kept=3),
        )
        return DIN(config)


class TestCAN(RankerContract):
    @classmethod
    def make_ranker(cls) -> CAN:
        return CAN(CANConfig(**SMALL))


class TestCANWithEverything(RankerContract):
    @classmethod
    def make_ranker(cls) -> CAN:
        config = CANConfig(
            **SMALL,
            item_attributes=("category", "tags"),
            user_attributes=("age",),
            context=("hour", "weekday"),
            user_dimension=6,
            search=SearchConfig(length=20, kept=3),
            coaction_widths=(4, 4, 3, 2),
            coaction_orders=3,
        )
        return CAN(config)
