"""A search draws what it says, goes on where it stopped, and outlives a bad trial."""

import json
from pathlib import Path

import pytest

from headwater.data import Dataset
from headwater.data.packed import pack
from headwater.errors import ConfigError
from headwater.search import drawn, load_search, run

SEARCHES = [
    path
    for path in sorted((Path(__file__).parents[1] / "recipes" / "search").rglob("*.toml"))
    if path.parent.name != "knowledge"  # methods of a paper, see tests/reproduce
]

ITEMCF = """
kind = "itemcf"
trials = 3
[base]
neighbours = 20
[space]
power = [1.0, 1.5]
half_life = [2.0, 5.0]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "search.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def packed(tmp_path: Path, marketplace: Dataset) -> Path:
    pack(marketplace, tmp_path / "marketplace.npz")
    return tmp_path / "marketplace.npz"


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_search_of_the_project_can_be_drawn(path: Path) -> None:
    search = load_search(path)
    assert len(drawn(search)) == search.trials


def test_trials_are_distinct_seeded_and_begin_with_the_first_values(tmp_path: Path) -> None:
    search = load_search(written(tmp_path, ITEMCF))
    trials = drawn(search)
    assert trials[0] == {"kind": "itemcf", "neighbours": 20, "power": 1.0, "half_life": 2.0}
    assert len({json.dumps(trial, sort_keys=True) for trial in trials}) == 3
    assert drawn(search) == trials
    everything = drawn(search.model_copy(update={"trials": 100}))
    assert len({json.dumps(trial, sort_keys=True) for trial in everything}) == len(everything) == 4


def test_a_dotted_setting_reaches_into_a_table_and_keeps_its_neighbours(tmp_path: Path) -> None:
    text = "kind = 'sasrec'\n[base]\ntraining = { epochs = 7 }\n[space]\n'training.learning_rate' = [0.01]\n"
    assert drawn(load_search(written(tmp_path, text)))[0]["training"] == {"epochs": 7, "learning_rate": 0.01}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind = 'itemfc'", "did you mean 'itemcf'"),
        ("kind = 'itemcf'\n[space]\nneigbours = [1]", "did you mean 'neighbours'"),
        ("kind = 'itemcf'\n[space]\npower = []", "space.power has no value"),
        ("kind = 'itemcf'\n[space]\npower = [1.0, -1.0]", "power"),
        ("kind = 'itemcf'\ntrails = 3", "did you mean 'trials'"),
    ],
)
def test_a_faulty_search_is_refused_before_anything_runs(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_search(written(tmp_path, text))


def test_a_stopped_search_goes_on_where_it_was(tmp_path: Path, packed: Path) -> None:
    search = load_search(written(tmp_path, ITEMCF))
    results = tmp_path / "trials.jsonl"
    first = run([search.model_copy(update={"trials": 2})], [packed], results)
    assert len(first) == 2
    assert all(line["validation"]["metrics"]["hr@10"] > 0 for line in first)
    with results.open("a", encoding="utf-8") as handle:
        handle.write('{"key": "torn')  # as a kill leaves it
    told: list[str] = []
    every = run([search], [packed], results, parallel=2, told=lambda line: told.append(line["key"]))
    assert len(told) == 1
    assert [line["key"] for line in every[:2]] == [line["key"] for line in first]
    assert len(every) == 3
    assert run([search], [packed], results, told=lambda line: told.append(line["key"]))
    assert len(told) == 1, "all three are known now"


def test_a_trial_that_fails_is_a_line_with_its_reason(tmp_path: Path, marketplace: Dataset) -> None:
    pack(marketplace.keep(marketplace.event_users < 0), tmp_path / "empty.npz")
    results = tmp_path / "trials.jsonl"
    search = load_search(written(tmp_path, ITEMCF)).model_copy(update={"trials": 1})
    lines = run([search], [tmp_path / "empty.npz"], results)
    assert "leave-one-out needs a user" in lines[0]["failed"]
