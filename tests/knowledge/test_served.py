"""A plugged ranker in service: arrays score what it says in training, with the same bytes of knowledge."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from knowing import SMALL

from headwater import release as releases
from headwater.data import Dataset, Impressions, Queries, Vocabulary
from headwater.data.schema import Behaviour
from headwater.errors import ArtefactError, ConfigError, LineageError
from headwater.home import Home
from headwater.knowledge.build import build
from headwater.knowledge.center import Center
from headwater.knowledge.client import CenterSource
from headwater.knowledge.config import DecompositionConfig, DegenerationConfig, ExtractionConfig, PlugConfig
from headwater.knowledge.decompose import Decomposition
from headwater.knowledge.extract import Degeneration, Extraction
from headwater.knowledge.plugged import Plugged
from headwater.knowledge.served import ServedPlugged
from headwater.ranking.can import CAN, CANConfig
from headwater.ranking.din import DIN, DINConfig
from headwater.release import Merge
from headwater.retrieval import Candidates
from headwater.retrieval.classic.popular import Popular
from headwater.service.live import Live
from headwater.service.local import open_pipeline
from headwater.service.messages import CandidatesRequest
from made_up import SMALL as RANKER
from made_up import impressions

READS = {**RANKER, "context": ("scenario",), "user_attributes": ("age",)}
BASES = {
    "din": lambda: DIN(DINConfig(**READS)),
    "din with dice": lambda: DIN(DINConfig(**READS, activation="dice")),
    "can for conversion": lambda: CAN(CANConfig(**READS, serves="conversion")),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data() -> Impressions:
    return impressions(5)


def built_of(data: Impressions, folder: Path, seed: int = 0) -> Path:
    """What two small models, which have seen half of the log, say of everybody."""
    training = SMALL["training"].model_copy(update={"seed": seed})
    config = {**SMALL, "training": training}
    towers = DecompositionConfig(**{**config, "hidden": (12, 8), "item_attributes": ("category",)})
    first = data.select(data.days < 2)
    build(Decomposition(towers).fit(first), Degeneration(DegenerationConfig(**config)).fit(first), first, folder)
    return folder


@pytest.fixture(scope="module")
def center(data: Impressions, tmp_path_factory: pytest.TempPathFactory) -> Center:
    folder = tmp_path_factory.mktemp("center")
    center = Center(folder / "knowledge")
    center.publish(built_of(data, folder / "built"))
    return center


def as_requests(data: Impressions) -> tuple[Queries, Candidates]:
    """Each impression as a request of its own with one candidate; impressions of unknown items are left out before."""
    start, stop = data.history_slices()
    events = np.concatenate([np.arange(a, b) for a, b in zip(start, stop, strict=True)]).astype(np.int64)
    queries = Queries(
        users=data.user_codes,
        user_keys=np.where(data.user_codes < 0, 999_999, data.users.keys[data.user_codes]),
        offsets=np.concatenate([[0], np.cumsum(stop - start)]).astype(np.int64),
        items=data.history_items[events],
        times=data.history_times[events],
        behaviours=np.full(len(events), Behaviour.CLICK, np.int8),
        request_times=data.times,
        scenarios=tuple(data.context_levels["scenario"][level] for level in data.context["scenario"]),
    )
    rows = np.arange(len(data), dtype=np.int32)
    return queries, Candidates.single("any", len(data), rows, data.item_codes, np.zeros(len(data)))


def halves(data: Impressions) -> tuple[Impressions, Impressions]:
    known = data.select(data.item_codes >= 0)
    return known.select(known.days < 4), known.select(known.days == 4)


@pytest.mark.parametrize("layer", ["hidden_1", "hidden_3"])
@pytest.mark.parametrize("base", BASES)
def test_a_served_ranker_scores_what_training_says_within_a_hundred_thousandth(
    base: str, layer: str, data: Impressions, center: Center, tmp_path: Path
) -> None:
    train, test = halves(data)
    ranker = Plugged(BASES[base](), CenterSource(center), PlugConfig(layer=layer, hidden=9)).fit(train)
    ranker.save(tmp_path / "ranker")
    queries, candidates = as_requests(test)
    served = ServedPlugged.load(tmp_path / "ranker", data.items)
    served.connect(center)
    logits = served.score(queries, candidates)
    expected = ranker.predict(test)[ranker.config.serves]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected, rtol=0, atol=1e-5)
    assert logits.tobytes() == ranker.score(queries, candidates).tobytes()
    stranger = served.score(replace(queries, user_keys=queries.user_keys + 1_000_000), candidates)
    assert np.abs(stranger - logits).max() > 1e-3, "what is known of the user is read"


def test_training_and_serving_read_the_same_bytes(data: Impressions, center: Center) -> None:
    _, test = halves(data)
    queries, candidates = as_requests(test)
    source = CenterSource(center)
    told = source.of_pairs(queries.user_keys[candidates.rows], data.items.keys[candidates.items])
    assert told.tobytes() == source.knowledge(test).tobytes()
    over_several = CenterSource(center)
    assert (
        over_several.of_pairs(np.repeat(queries.user_keys, 20), np.repeat(data.items.keys[test.item_codes], 20))[
            ::20
        ].tobytes()
        == told.tobytes()
    )


def test_parts_of_what_is_known_are_served_as_they_were_plugged_in(data: Impressions, center: Center) -> None:
    train, test = halves(data)
    parts = PlugConfig(parts=("product", "click"))
    ranker = Plugged(DIN(DINConfig(**RANKER)), CenterSource(center), parts).fit(train)
    logits = ranker.score(*as_requests(test))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), ranker.predict(test)["click"], rtol=0, atol=1e-5)


def test_it_is_loaded_and_scores_without_torch(data: Impressions, center: Center, tmp_path: Path) -> None:
    train, _ = halves(data)
    Plugged(DIN(DINConfig(**RANKER)), CenterSource(center)).fit(train).save(tmp_path / "ranker")
    data.items.save(tmp_path / "items.parquet")
    code = f"""
import sys
from pathlib import Path
import numpy as np
from headwater.data import Queries, Vocabulary
from headwater.knowledge.center import Center
from headwater.ranking import served_class
from headwater.retrieval import Candidates
folder = Path({str(tmp_path)!r})
ranker = served_class("plugged").load(folder / "ranker", Vocabulary.load(folder / "items.parquet"))
ranker.connect(Center(Path({str(center.root)!r})))
one = Queries(np.zeros(1, np.int32), np.ones(1, np.int64), np.array([0, 2]), np.array([3, 4], np.int32), np.arange(2),
              np.ones(2, np.int8), np.array([9]), ("homepage",))
found = ranker.score(one, Candidates.single("any", 1, np.zeros(5, np.int32), np.arange(5), np.zeros(5)))
assert found.shape == (5,) and np.isfinite(found).all()
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def test_another_version_is_refused_and_the_right_one_is_found_under_any_number(
    data: Impressions, tmp_path: Path
) -> None:
    right, wrong = built_of(data, tmp_path / "right"), built_of(data, tmp_path / "wrong", seed=1)
    center = Center(tmp_path / "knowledge")
    center.publish(right)
    train, test = halves(data)
    Plugged(DIN(DINConfig(**RANKER)), CenterSource(center)).fit(train).save(tmp_path / "ranker")
    served = ServedPlugged.load(tmp_path / "ranker", data.items)
    queries, candidates = as_requests(test)
    with pytest.raises(ConfigError, match="was given no center; call connect"):
        served.score(queries, candidates)
    center.publish(wrong)
    served.connect(center)
    before = served.score(queries, candidates)
    other = Center(tmp_path / "elsewhere")
    other.publish(wrong)
    with pytest.raises(LineageError, match=r"which no version of the center is; it has 1 \(center:"):
        ServedPlugged.load(tmp_path / "ranker", data.items).connect(other)
    assert center.publish(right) == 3
    center.remove(1)
    assert served.score(queries, candidates).tobytes() == before.tobytes(), "the same content, in version 3"
    center.publish(wrong)
    center.remove(3)
    with pytest.raises(LineageError, match="no version of the center is"):
        served.score(queries, candidates)


def test_what_cannot_serve_says_so(data: Impressions, center: Center, tmp_path: Path) -> None:
    train, test = halves(data)
    told = Plugged(DIN(DINConfig(**RANKER)), Extraction(ExtractionConfig(**SMALL)).fit(train)).fit(train)
    with pytest.raises(ConfigError, match="knows impressions and no candidates"):
        told.score(*as_requests(test))
    beside = Plugged(DIN(DINConfig(**RANKER)), CenterSource(center), PlugConfig(is_concatenated=True)).fit(train)
    with pytest.raises(ConfigError, match="which is not served; plug it in"):
        beside.score(*as_requests(test))
    beside.save(tmp_path / "beside")
    with pytest.raises(ArtefactError, match="holds no arrays that serve"):
        ServedPlugged.load(tmp_path / "beside", data.items)
    other = Vocabulary([f"other {code}" for code in range(40)])
    told.save(tmp_path / "told")
    with pytest.raises(LineageError):
        ServedPlugged.load(tmp_path / "told", other)
    with pytest.raises(LineageError, match="knowledge of extraction:"):
        ServedPlugged.load(tmp_path / "told", data.items).connect(center)


# -- in a release


def released(home: Home, data: Impressions, dataset: Dataset, ranker: Any) -> str:
    release = releases.build(
        home.releases,
        dataset=dataset,
        channels=[Popular().fit(dataset)],
        ranker=ranker,
        merge=Merge(weights={"popular": 1.0, "nearline": 1.0}, pool=20),
        metrics={},
    )
    releases.promote(home.releases, release)
    return release


def test_a_service_ranks_by_knowledge_and_keeps_the_old_release_where_the_center_lacks_it(
    data: Impressions, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    center = Center(home.knowledge)
    center.publish(built_of(data, tmp_path / "built"))
    train, _ = halves(data)
    owners = np.repeat(np.arange(len(data.users), dtype=np.int32), np.diff(data.history_offsets))
    dataset = Dataset.from_events(
        "clicks", data.users, data.items, event_users=owners, event_items=data.history_items,
        event_times=data.history_times, item_attributes=data.item_attributes,
    )  # fmt: skip
    ranker = Plugged(DIN(DINConfig(**RANKER)), CenterSource(center)).fit(train)
    first = released(home, data, dataset, ranker)
    live = Live(home)
    try:
        assert isinstance(live.pipeline.release.ranker, ServedPlugged)
        request = CandidatesRequest(user=3, k=10)
        answer = live.pipeline.answer(request, now=1_000_000.0)
        assert len(answer.items) == 10
        queries = live.pipeline.hydrate(request, 1_000_000.0).queries
        codes = data.items.encode([one.item for one in answer.items])
        expected = ranker.score(queries, Candidates.single("x", 1, np.zeros(10, np.int32), codes, np.zeros(10)))
        np.testing.assert_allclose([one.score for one in answer.items], expected, rtol=0, atol=1e-5)
        assert [one.score for one in answer.items] == sorted((one.score for one in answer.items), reverse=True)

        elsewhere = Center(tmp_path / "elsewhere")
        elsewhere.publish(built_of(data, tmp_path / "other", seed=1))
        released(home, data, dataset, Plugged(DIN(DINConfig(**RANKER)), CenterSource(elsewhere)).fit(train))
        live.refresh()
        assert live.pipeline.release.id == first
        assert "which no version of the center is" in (live.refused or "")
    finally:
        live.close()
    with pytest.raises(LineageError, match="which no version of the center is"), open_pipeline(home):
        pass
