"""Arrays score what the network scores, without torch, from the user's whole history in a request."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headwater.data import Impressions, Queries, Vocabulary
from headwater.data.schema import Behaviour
from headwater.errors import ConfigError, LineageError
from headwater.ranking.batches import InputColumns
from headwater.ranking.can import CAN, CANConfig
from headwater.ranking.config import SearchConfig
from headwater.ranking.din import DIN, DINConfig
from headwater.retrieval import Candidates
from made_up import SMALL, impressions

EVERYTHING = {
    **SMALL,
    "user_attributes": ("age",),
    "user_dimension": 6,
    "context": ("scenario",),
    "search": SearchConfig(length=30, kept=3),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def as_requests(data: Impressions) -> tuple[Queries, Candidates]:
    """Each impression as a request of its own with one candidate."""
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


RANKERS = {
    "din": DIN(DINConfig(**SMALL)),
    "din with dice": DIN(DINConfig(**EVERYTHING, activation="dice")),
    "din with everything": DIN(DINConfig(**EVERYTHING)),
    "din for conversion": DIN(DINConfig(**EVERYTHING, serves="conversion")),
    "can": CAN(CANConfig(**SMALL)),
    "can with everything": CAN(CANConfig(**EVERYTHING, coaction_widths=(4, 4, 3, 2), coaction_orders=3)),
}


@pytest.mark.parametrize("name", RANKERS)
def test_arrays_and_network_agree_within_a_hundred_thousandth(name: str) -> None:
    train, test = impressions(8).split_days(6, 7)
    ranker = RANKERS[name].fit(train)
    queries, candidates = as_requests(test)
    logits = ranker.score(queries, candidates)
    expected = ranker.predict(test)[ranker.config.serves]
    assert np.ptp(logits) > 0.5
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected, rtol=0, atol=1e-5)
    double = ranker.network.double()
    columns = InputColumns(test, ranker.features, ranker.config, torch.device("cpu"))
    with torch.inference_mode():
        exact = double(columns.inputs(np.arange(len(test))))[ranker.config.serves].numpy()
    ranker.network.float()
    np.testing.assert_allclose(logits, exact, rtol=0, atol=1e-5)


def test_a_loaded_ranker_scores_without_torch_and_predicts_with_it(tmp_path: Path) -> None:
    train, test = impressions().split_days(4, 5)
    ranker = CAN(CANConfig(**EVERYTHING)).fit(train)
    ranker.save(tmp_path / "can")
    train.items.save(tmp_path / "items.parquet")
    code = f"""
import sys
from pathlib import Path
import numpy as np
from headwater.data import Queries, Vocabulary
from headwater.ranking import ranker_class
from headwater.retrieval import Candidates
folder = Path({str(tmp_path)!r})
ranker = ranker_class("can").load(folder / "can", Vocabulary.load(folder / "items.parquet"))
one = Queries(np.zeros(1, np.int32), np.ones(1, np.int64), np.array([0, 2]), np.array([3, 4], np.int32), np.arange(2),
              np.ones(2, np.int8), np.array([9]), ("homepage",))
found = ranker.score(one, Candidates.single("any", 1, np.zeros(5, np.int32), np.arange(5), np.zeros(5)))
assert found.shape == (5,) and np.isfinite(found).all()
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
    again = CAN.load(tmp_path / "can", train.items)
    assert again.predict(test)["cart"].tobytes() == ranker.predict(test)["cart"].tobytes()


def test_impressions_of_other_users_or_items_are_refused(tmp_path: Path) -> None:
    data = impressions(2)
    ranker = DIN(DINConfig(**EVERYTHING)).fit(data)
    others = replace(data, users=Vocabulary(np.arange(900, 940)))
    with pytest.raises(LineageError, match=r"din \(users\) was built on another vocabulary"):
        ranker.predict(others)
    with pytest.raises(LineageError, match=r"din \(items\) was built on another vocabulary"):
        ranker.predict(replace(data, items=Vocabulary([f"other {code}" for code in range(40)])))
    # A ranker that reads nothing of users takes anybody's.
    assert len(DIN(DINConfig(**SMALL)).fit(data).predict(others)["click"]) == len(data)


def test_levels_are_matched_by_name_and_new_ones_count_as_unseen() -> None:
    data = impressions(3)
    ranker = DIN(DINConfig(**EVERYTHING)).fit(data)
    expected = ranker.predict(data)["click"]
    moved = replace(
        data,
        context={"scenario": np.array([0, 3, 2], np.int32)[data.context["scenario"]]},
        context_levels={"scenario": ("", "feed", "search", "homepage")},
    )
    assert ranker.predict(moved)["click"].tobytes() == expected.tobytes()
    unseen, feed = (
        replace(data, context={"scenario": np.full(len(data), level, np.int32)}, context_levels=levels)
        for level, levels in ((0, {"scenario": ("",)}), (1, {"scenario": ("", "feed")}))
    )
    assert ranker.predict(unseen)["click"].tobytes() == ranker.predict(feed)["click"].tobytes()
    assert ranker.predict(unseen)["click"].tobytes() != expected.tobytes()


def test_a_request_that_lacks_what_the_ranker_reads_is_refused() -> None:
    data = impressions(2)
    placed = replace(data, context={"position": data.context["scenario"]}, context_levels={"position": ("", "1", "2")})
    ranker = DIN(DINConfig(**{**SMALL, "context": ("position",)})).fit(placed)
    with pytest.raises(ConfigError, match="a request has no 'position'"):
        ranker.score(*as_requests(data))


def test_inputs_that_the_data_lack_are_named() -> None:
    data = impressions(2, tasks=("click",))
    for settings, message in (
        ({"item_attributes": ("catgory",)}, r"no attribute 'catgory'; did you mean 'category'\?"),
        ({"user_attributes": ("income",)}, "users have no attribute 'income'"),
        ({"context": ("hour",)}, "made up has no context 'hour'; it has scenario"),
        ({"serves": "cart"}, "made up has no label 'cart' to serve; it has click"),
    ):
        with pytest.raises(ConfigError, match=message):
            DIN(DINConfig(**{**SMALL, **settings})).fit(data)
    with pytest.raises(ConfigError, match="made up has no impression"):
        DIN(DINConfig(**SMALL)).fit(data.select(np.zeros(len(data), bool)))
    with pytest.raises(ConfigError, match="din is not trained yet"):
        DIN(DINConfig(**SMALL)).predict(data)
