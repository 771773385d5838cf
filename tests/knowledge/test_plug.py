"""A plug changes nothing until it has learned, and nothing but what it adds afterwards."""

import copy
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from knowing import SMALL
from torch import nn

from headwater.data import Impressions
from headwater.errors import ConfigError, LineageError
from headwater.knowledge.config import ExtractionConfig, PlugConfig
from headwater.knowledge.extract import Extraction
from headwater.knowledge.plug import concatenate, plug
from headwater.knowledge.plugged import Plugged
from headwater.nn.checkpoint import load_parameters
from headwater.nn.inheritance import take_over
from headwater.ranking.can import CAN, CANConfig
from headwater.ranking.din import DIN, DINConfig
from made_up import SMALL as RANKER
from made_up import impressions


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


class Somebodys(nn.Module):
    """A model that knows nothing of this project."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(5, 7), nn.ReLU())
        self.second = nn.Linear(7, 1)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(vectors))


# -- any module


def test_columns_are_a_wider_layer_that_reads_knowledge_beside_its_input() -> None:
    model, vectors, known = Somebodys(), torch.randn(20, 5), torch.randn(20, 11)
    before = model(vectors)
    columns = concatenate(model, layer="first.0", knowledge=11)
    assert torch.equal(model(vectors, knowledge=known), before), "they are zero at first"
    nn.init.normal_(columns.weight)
    wider = nn.Linear(5 + 11, 7)
    with torch.no_grad():
        wider.weight.copy_(torch.cat([model.first[0].weight, columns.weight], 1))
        wider.bias.copy_(model.first[0].bias)
    expected = model.second(torch.relu(wider(torch.cat([vectors, known], 1))))
    assert torch.allclose(model(vectors, knowledge=known), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("given", [11, torch.randn(50, 11)])
def test_at_first_a_plugged_model_says_what_it_said(dtype: torch.dtype, given: int | torch.Tensor) -> None:
    model, vectors, known = Somebodys().to(dtype), torch.randn(20, 5, dtype=dtype), torch.randn(20, 11) * 100
    before = model(vectors)
    plug(model, layer="first", knowledge=given)
    assert torch.equal(model(vectors, knowledge=known), before)
    assert model(vectors, knowledge=known).dtype == dtype


def test_it_learns_from_the_knowledge_and_then_says_otherwise() -> None:
    model, vectors, known = Somebodys(), torch.randn(200, 5), torch.randn(200, 11)
    plug(model, layer="first", knowledge=11)
    before = model(vectors, knowledge=known).detach()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(100):
        loss = (model(vectors, knowledge=known)[:, 0] - known[:, 3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2
    assert not torch.equal(model(vectors, knowledge=known), before)


def test_a_second_plug_adds_on_and_the_first_keeps_its_name_and_its_part() -> None:
    model, vectors, known = Somebodys(), torch.randn(20, 5), torch.randn(20, 11)
    first = plug(model, layer="first", knowledge=11)
    nn.init.normal_(first.output.weight)
    before, names = model(vectors, knowledge=known), set(model.state_dict())
    plug(model, layer="first", knowledge=3, name="more")
    given = {"knowledge": known, "more": torch.randn(20, 3)}
    assert torch.equal(model(vectors, knowledge=given), before)
    assert {name for name in model.state_dict() if not name.startswith("plugs.1.")} == names
    nn.init.normal_(model.plugs[1].output.weight)  # type: ignore[union-attr,arg-type]
    assert not torch.equal(model(vectors, knowledge=given), before)


def test_weights_and_moments_of_the_model_are_inherited_by_name() -> None:
    model, vectors = Somebodys(), torch.randn(20, 5)
    optimizer = torch.optim.Adam(model.parameters())
    model(vectors).sum().backward()
    optimizer.step()
    kept = {f"model.{name}": value.clone() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        kept |= {f"adam.{key}.{name}": value for key, value in optimizer.state[parameter].items()}
    grown = Somebodys()
    plug(grown, layer="first", knowledge=11)
    later = torch.optim.Adam(grown.parameters())
    new = take_over(kept, "before", grown, later)
    assert all(name.startswith("plugs.0.") for name in new)
    assert len(later.state) == 4
    assert torch.equal(grown(vectors, knowledge=torch.randn(20, 11)), model(vectors))


def test_a_plugged_model_can_be_copied_and_asked_by_several_threads() -> None:
    model = Somebodys()
    nn.init.normal_(plug(model, layer="first", knowledge=11).output.weight)
    other = copy.deepcopy(model)
    nn.init.zeros_(other.plugs[0].output.weight)  # type: ignore[union-attr,arg-type]
    vectors = torch.randn(4, 5)
    assert not torch.equal(model(vectors, knowledge=torch.ones(4, 11)), other(vectors, knowledge=torch.ones(4, 11)))
    known = [torch.full((4, 11), float(at)) for at in range(4)]
    expected = [model(vectors, knowledge=one) for one in known]
    wrong: list[int] = []

    def ask(at: int) -> None:
        wrong.extend(at for _ in range(200) if not torch.equal(model(vectors, knowledge=known[at]), expected[at]))

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "knowledge="),
        (torch.ones(20, 10), "11 wide"),
        (torch.ones(19, 11), "one row of knowledge"),
        (torch.full((20, 11), float("nan")), "row 0: knowledge is not finite"),
        (torch.full((20, 11), float("inf")), "not finite"),
    ],
)
def test_knowledge_that_does_not_fit_is_refused(given: torch.Tensor | None, says: str) -> None:
    model = Somebodys()
    plug(model, layer="first", knowledge=11)
    with pytest.raises(ConfigError, match=says):
        model(torch.ones(20, 5), knowledge=given)
    assert model(torch.ones(20, 5), knowledge=torch.ones(20, 11)).shape == (20, 1), "and the model goes on"


def test_a_layer_that_is_not_there_or_of_unknown_width_is_named() -> None:
    with pytest.raises(ConfigError, match="no layer 'third'"):
        plug(Somebodys(), layer="third", knowledge=3)
    with pytest.raises(ConfigError, match="width="):
        plug(Somebodys(), layer="first.1", knowledge=3)
    model = Somebodys()
    plug(model, layer="first.1", knowledge=3, width=7)
    assert model(torch.ones(2, 5), knowledge=torch.ones(2, 3)).shape == (2, 1)


# -- rankers


@pytest.fixture(scope="module")
def data() -> Impressions:
    return impressions(5)


@pytest.fixture(scope="module")
def extraction(data: Impressions) -> Extraction:
    return Extraction(ExtractionConfig(**SMALL)).fit(data.select(data.days < 2))


BASES = {"din": DIN(DINConfig(**RANKER)), "can": CAN(CANConfig(**RANKER))}


@pytest.mark.parametrize("kind", BASES)
def test_a_plugged_ranker_begins_at_the_predictions_of_the_ranker_that_it_inherits(
    kind: str, data: Impressions, extraction: Extraction, tmp_path: Path
) -> None:
    ranker, days = BASES[kind], data.select((data.days >= 2) & (data.days < 4))
    base = type(ranker)(ranker.config).fit(days, checkpoint=tmp_path / "base")
    today = data.select(data.days == 4)
    before, told = base.predict(today), []

    def each_day(model: Plugged, day: int) -> None:
        told.append(model.predict(today))

    plugged = Plugged(ranker, extraction, PlugConfig(layer="hidden_2"))
    plugged.fit(today, inherit=tmp_path / "base", each_day=each_day)
    for task in data.tasks:
        assert np.array_equal(told[0][task], before[task])
        assert not np.array_equal(plugged.predict(today)[task], before[task])
    assert plugged.report is not None
    assert {name.split(".")[1] for name in plugged.report.new_parameters} == {"plugs"}
    kept = load_parameters(tmp_path / "base", plugged.features.vocabulary)
    assert any(name.startswith("adam.exp_avg.") for name in kept)


def test_days_one_by_one_and_resumed_runs_give_the_bits_of_one_call(
    data: Impressions, extraction: Extraction, tmp_path: Path
) -> None:
    whole = Plugged(BASES["din"], extraction).fit(data.select(data.days < 4), checkpoint=tmp_path / "whole")
    first = data.select(data.days < 2)
    again = Plugged(BASES["din"], extraction)
    again._examples = whole._examples  # the plug's statistics are those of the days that it was made for
    again.fit(first, checkpoint=tmp_path / "parts")
    again = Plugged(BASES["din"], extraction)
    again._examples = whole._examples
    again.fit(data.select(data.days < 4), checkpoint=tmp_path / "parts", resume=True)
    today = data.select(data.days == 4)
    assert np.array_equal(whole.predict(today)["click"], again.predict(today)["click"])


def test_knowledge_that_says_who_clicks_is_used(data: Impressions) -> None:
    class Telling:
        identity, parts = "telling", {"user": 2, "item": 1}

        def knowledge(self, some: Impressions) -> np.ndarray:
            return np.stack([np.ones(len(some)), some.labels["click"] * 0.01, np.zeros(len(some))], 1).astype("f4")

    today = data.select(data.days == 4)
    found = Plugged(BASES["din"], Telling()).fit(data.select(data.days < 4)).predict(today)["click"]
    assert (found[today.labels["click"] == 1].min()) > found[today.labels["click"] == 0].max()
    assert Plugged(BASES["din"], Telling(), PlugConfig(parts=("item",))).width == 1
    with pytest.raises(ConfigError, match="'shop'; there is user, item"):
        Plugged(BASES["din"], Telling(), PlugConfig(parts=("shop",)))


def test_it_is_pinned_to_the_knowledge_that_it_was_trained_with(
    data: Impressions, extraction: Extraction, tmp_path: Path
) -> None:
    plugged = Plugged(BASES["can"], extraction).fit(data.select(data.days < 4))
    plugged.save(tmp_path / "kept")
    today = data.select(data.days == 4)
    again = Plugged.load(tmp_path / "kept", data.items, extraction)
    assert np.array_equal(again.predict(today)["click"], plugged.predict(today)["click"])
    other = Extraction(ExtractionConfig(**SMALL)).fit(data.select(data.days < 1))
    with pytest.raises(LineageError, match="allow_other"):
        Plugged.load(tmp_path / "kept", data.items, other)
    assert Plugged.load(tmp_path / "kept", data.items, other, allow_other=True).predict(today)
    wider = Extraction(ExtractionConfig(**{**SMALL, "user_dimension": 7})).fit(data.select(data.days < 1))
    with pytest.raises(ConfigError, match="reads knowledge of"):
        Plugged.load(tmp_path / "kept", data.items, wider, allow_other=True)


def test_knowledge_that_is_not_finite_is_refused_before_training(data: Impressions) -> None:
    class Broken:
        identity, parts = "broken", {"user": 1}

        def knowledge(self, some: Impressions) -> np.ndarray:
            return np.where(np.arange(len(some))[:, None] == 7, np.nan, 1).astype(np.float32)

    with pytest.raises(ConfigError, match="broken: what it says of impression 7"):
        Plugged(BASES["din"], Broken()).fit(replace(data))
