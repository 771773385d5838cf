"""Reasons said to a person."""

from types import SimpleNamespace
from typing import Any

import pytest

from headwater.retrieval.base import Reason
from headwater.service.why import say_why

RELEASE: Any = SimpleNamespace(titles=[], items=None)


@pytest.mark.parametrize(
    ("chance", "said"), [(0.234, "23%"), (0.004, "0.4%"), (0.999, "99.9%"), (0.01, "1%"), (0.0, "0.0%")]
)
def test_a_cluster_is_named_with_its_chance(chance: float, said: str) -> None:
    why = say_why(RELEASE, Reason("divide", cluster="Comedy", chance=chance), -1)
    assert (why.kind, why.cluster, why.chance) == ("cluster", "Comedy", chance)
    assert why.text == f"a {said} chance that you want Comedy"
