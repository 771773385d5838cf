"""The public names of `headwater.retrieval`, and that asking for them costs little."""

import subprocess
import sys

import pytest

import headwater.retrieval
from headwater.errors import ConfigError
from headwater.retrieval import CHANNELS, Channel, Trainable, channel_class


@pytest.mark.parametrize("kind", CHANNELS)
def test_every_kind_is_a_trainable_channel_of_that_kind(kind: str) -> None:
    cls = channel_class(kind)
    assert cls.kind == kind
    assert cls().name == kind
    assert isinstance(cls(), Channel)
    assert isinstance(cls(), Trainable)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown channel 'item_cf'; did you mean 'itemcf'"):
        channel_class("item_cf")


def test_the_public_names_are_sorted_and_resolve() -> None:
    assert sorted(headwater.retrieval.__all__) == headwater.retrieval.__all__
    for name in headwater.retrieval.__all__:
        assert hasattr(headwater.retrieval, name)


@pytest.mark.parametrize("room", ["metrics", "retrieval", "retrieval.classic", "ranking.affinity"])
def test_importing_a_room_compiles_nothing_and_loads_no_heavy_package(room: str) -> None:
    code = f"import sys, headwater.{room}; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = {"numba", "torch", "polars", "faiss", "gensim", "msgspec", "pyarrow", "scipy", "safetensors"}
    assert not loaded & heavy
