"""Greedy serving from an artefact: as the model says, without torch, and refused where the index is not its own."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from channel_contract import N_ITEMS, N_UNTOUCHED, N_USERS, generated_dataset

from headwater.data import Dataset, Queries, Vocabulary
from headwater.errors import ArtefactError, ConfigError, LineageError
from headwater.index.neighbours import Header, NeighbourTable, write_table
from headwater.nn.inputs import InputConfig, gap_levels
from headwater.nn.sequences import Histories
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Mask
from headwater.retrieval.paths.channel import Paths
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.indexing import candidate_pairs
from headwater.retrieval.paths.requests import Requests
from headwater.retrieval.paths.requests import gap_levels as gap_levels_of_arrays
from headwater.retrieval.paths.search import recall_against_exact
from headwater.retrieval.paths.serving import INDEX, SERVED

LENGTH = 9
"""Shorter than most histories."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def rich_dataset() -> Dataset:
    """Ratings of which some are NaN, attributes of which some are missing, for items and users."""
    data = generated_dataset()
    random = np.random.default_rng(1)
    ratings = random.integers(1, 6, len(data)).astype(np.float32)
    ratings[::7] = np.nan
    return replace(
        data,
        event_ratings=ratings,
        item_attributes=pa.table(
            {
                "id": data.items.ids,
                "genres": [["a", "b"], ["c"], None] * (N_ITEMS // 3),
                "price": [float("nan"), None, *random.random(N_ITEMS - 2).tolist()],
            }
        ),
        user_attributes=pa.table(
            {
                "id": data.users.ids,
                "age": random.integers(1, 5, N_USERS),
                "income": [float("nan"), None, *random.random(N_USERS - 2).tolist()],
            }
        ),
    )


def settings(**changed: Any) -> PathsConfig:
    rich: dict[str, Any] = {
        "length": LENGTH,
        "dimension": 8,
        "field_dimension": 4,
        "trigger_hidden": (8, 4),
        "similarity_hidden": (8, 4),
        "direct_hidden": (8,),
        "negatives": 8,
        "inputs": InputConfig(attributes=("genres", "price"), ratings=True, gaps=True, request_time=True, periods=True),
        "user_attributes": ("age", "income"),
        "training": TrainingConfig(epochs=8, batch_size=64, device="cpu", learning_rate=1e-2),
        "search": "greedy",
        "neighbours": 10,
        "candidates_per_item": 30,
        "followed_triggers": 4,
    }
    return PathsConfig(**(rich | changed))


@cache
def trained() -> Paths:
    return Paths(settings()).fit(rich_dataset())


def queries_of(data: Dataset) -> Queries:
    """Every user's history, the empty one among them; some events are of items that nobody knows."""
    queries = data.queries(np.arange(N_USERS, dtype=np.int32))
    items = queries.items.copy()
    items[::11] = N_ITEMS + 3
    items[5::13] = -1
    return replace(queries, items=items)


def test_hops_from_arrays_are_those_of_the_network_whatever_is_read_of_a_history() -> None:
    data, channel = rich_dataset(), trained()
    queries = queries_of(data)
    # A history may go on after the data ends, and a stranger may ask.
    queries = replace(queries, request_times=queries.request_times + 5_000_000)
    queries.user_keys[3] = -123
    model, greedy = channel.model, channel._greedy
    assert greedy is not None
    requests = greedy._requests(queries)
    histories = Histories.from_queries(queries, N_ITEMS, torch.device("cpu"))
    users, windows = model._requests(queries, histories, np.arange(len(queries)))
    with torch.inference_mode():
        t = model.network.interests(users, windows)[..., 0].numpy()
        assert model.network.direct is not None
        p = model.network.direct.vectors(users, windows).numpy()
    seen = 0
    for row in range(len(queries)):
        scores, user = greedy._hops(requests, row)
        n = int(windows.counts[row])
        assert len(scores) == n
        np.testing.assert_allclose(scores, t[row, :n], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(user, p[row], rtol=1e-4, atol=1e-5)
        seen += n
    assert seen > 200


def test_along_a_whole_index_the_answer_is_that_of_scoring_every_item() -> None:
    data, channel = rich_dataset(), trained()
    queries = queries_of(data)
    allowed = Mask.seen(replace(queries, items=np.maximum(queries.items, 0)))
    exact = channel.exactly().retrieve(queries, 10, allowed=allowed)
    whole = channel.greedily(data, neighbours=N_ITEMS - 1, candidates_per_item=N_ITEMS, followed_triggers=LENGTH)
    # An item without a history and without attributes has no pair, and none leads to itself.
    found = whole.retrieve(queries, 10, allowed=allowed)
    assert recall_against_exact(found, exact) > 0.9
    shallow = channel.greedily(data, neighbours=2, followed_triggers=1).retrieve(queries, 10, allowed=allowed)
    assert recall_against_exact(shallow, exact) < recall_against_exact(found, exact)


def test_pairs_come_from_histories_and_from_shared_values() -> None:
    data, channel = rich_dataset(), trained()
    pairs = candidate_pairs(data, channel.features, channel.config)
    untouched = np.arange(N_ITEMS - N_UNTOUCHED, N_ITEMS, dtype=np.int32)
    codes = channel.features.catalogue.attributes
    for item in untouched:
        candidates = pairs.of(np.array([item], np.int32)).candidates
        genres = [bool(set(codes["genres"][item]) & set(codes["genres"][other]) - {0}) for other in candidates]
        prices = codes["price"][item, 0] == codes["price"][candidates, 0]
        assert len(candidates)
        assert (np.array(genres) | prices).all()
        assert any(genres) == bool(codes["genres"][item].any())
    visits = data.matrix()
    together = (visits.T @ visits).toarray()
    cosine = together / np.sqrt(np.outer(np.diag(together), np.diag(together)) + 1e-9)
    popular = int(data.item_counts.argmax())
    few = candidate_pairs(data, channel.features, channel.config.model_copy(update={"candidates_per_item": 5}))
    found = few.of(np.array([popular], np.int32)).candidates
    cosine[popular, popular] = 0
    assert sorted(cosine[popular, found]) == pytest.approx(np.sort(cosine[popular])[-5:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "paths"
    trained().save(path)
    return path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "paths"
    path.mkdir()
    for file in folder.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


PROGRAM = """
import sys
from pathlib import Path

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch was asked for")

sys.meta_path.insert(0, NoTorch())
import numpy as np
from headwater.data import Queries, Vocabulary
from headwater.retrieval import Mask, channel_class

channel = channel_class("paths").load(Path(sys.argv[1]), Vocabulary([f"item {code}" for code in range(60)]))
queries = Queries(
    users=np.array([-1], np.int32), user_keys=np.array([105]), offsets=np.array([0, 3]),
    items=np.array([1, 4, 2], np.int32), times=np.array([10, 20, 30]), behaviours=np.ones(3, np.int8),
    request_times=np.array([50]), scenarios=("homepage",),
)
found = channel.retrieve(queries, 5, allowed=Mask.seen(queries))
reasons = channel.explain(queries, found)
print(found.items.tolist(), [len(of_one) for of_one in reasons], "torch" in sys.modules)
"""


def test_a_greedy_channel_loads_retrieves_and_explains_without_torch(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    queries = replace(
        generated_dataset().queries(np.array([5], np.int32)),
        offsets=np.array([0, 3]),
        items=np.array([1, 4, 2], np.int32),
        times=np.array([10, 20, 30]),
        behaviours=np.ones(3, np.int8),
        request_times=np.array([50]),
    )
    expected = trained().retrieve(queries, 5, allowed=Mask.seen(queries))
    assert done.stdout.startswith(str(expected.items.tolist()))
    assert done.stdout.rstrip().endswith("False")


def test_shares_times_score_are_the_paths_along_the_index_and_add_up_to_the_score() -> None:
    data, channel = rich_dataset(), trained()
    queries = queries_of(data)
    found = channel.retrieve(queries, 6)
    greedy = channel._greedy
    assert greedy is not None
    requests = greedy._requests(queries)
    n_paths = 0
    for at, reasons in enumerate(channel.explain(queries, found)):
        row, item, score = int(found.rows[at]), int(found.items[at]), float(found.scores[at])
        parts = {reason.trigger: reason.share * score for reason in reasons}
        assert sum(parts.values()) == pytest.approx(score, abs=1e-5)
        t, p = greedy._hops(requests, row)
        triggers = requests.triggers[requests.offsets[row] : requests.offsets[row + 1]]
        expected: dict[int | None, float] = {None: np.logaddexp(0, p @ greedy.weights.direct_items[item])}
        for place in sorted(range(len(t)), key=lambda place: (-t[place], -place))[:4]:
            others, similarities = channel.index.row(int(triggers[place]))
            for s in similarities[others == item]:
                weight = np.logaddexp(0, float(t[place]) + float(s))
                expected[int(triggers[place])] = expected.get(int(triggers[place]), 0.0) + weight
        assert parts == pytest.approx(expected, abs=1e-5)
        assert [reason.trigger is None for reason in reasons] == [reason.is_direct for reason in reasons]
        n_paths += len(expected) - 1
    assert n_paths > len(found)


@pytest.mark.parametrize("search", ["greedy", "exact"])
def test_without_a_known_trigger_the_direct_path_is_all_and_every_unknown_one_is_counted(search: str) -> None:
    data = rich_dataset()
    channel = trained().exactly() if search == "exact" else trained().greedily(data)
    one = data.queries(np.array([0], np.int32))
    assert len(one.items) == 0
    found = channel.retrieve(one, 3)
    assert channel.unknown_triggers == 0
    n = 4
    unknown = replace(
        one,
        offsets=np.array([0, n]),
        items=np.array([N_ITEMS, -1, 70, N_ITEMS + 1], np.int32),
        times=np.arange(n),
        behaviours=np.ones(n, np.int8),
        ratings=np.full(n, 3, np.float32),
    )
    again = channel.retrieve(unknown, 3)
    assert channel.unknown_triggers == 4
    channel.retrieve(unknown, 3)
    assert channel.unknown_triggers == 8
    assert again.items.tolist() == found.items.tolist()
    assert again.scores.tobytes() == found.scores.tobytes()
    for reasons in channel.explain(unknown, again):
        assert [(reason.share, reason.trigger, reason.is_direct) for reason in reasons] == [(1.0, None, True)]


def test_what_is_not_a_number_is_read_as_missing() -> None:
    data, channel = rich_dataset(), trained()
    features = channel.features
    assert features.catalogue.attributes["price"][:2, 0].tolist() == [0, 0]
    rows = features.user_rows(data.users.keys[:3])
    assert (features.user_codes["income"][rows, 0] == 0).tolist() == [True, True, False]
    queries = replace(
        data.queries(np.array([0], np.int32)),
        offsets=np.array([0, 4]),
        items=np.arange(4, dtype=np.int32),
        times=np.arange(4),
        behaviours=np.ones(4, np.int8),
        ratings=np.array([np.nan, np.inf, -np.inf, 1], np.float32),
    )
    levels = Requests.of(queries, features, LENGTH, ["ratings"]).behaviours[:, 0]
    assert levels.tolist() == [0, 0, 0, 1]
    unrated = replace(queries, ratings=None)
    assert not Requests.of(unrated, features, LENGTH, ["ratings"]).behaviours.any()
    assert np.isfinite(channel.retrieve(queries, N_ITEMS).scores).all()


def test_gaps_have_the_levels_that_training_gave_them() -> None:
    gaps = np.array([-5, -1, 0, 1, 2, 3, 4, 1023, 1024, 2**31 - 1, 2**31, 2**40])
    np.testing.assert_array_equal(gap_levels_of_arrays(gaps), gap_levels(torch.from_numpy(gaps)).numpy())


def test_while_it_trains_every_item_is_scored() -> None:
    was_greedy: list[bool] = []

    def figure(channel: Paths) -> float:
        was_greedy.append(channel._greedy is not None)
        return 0.0

    training = TrainingConfig(epochs=2, batch_size=64, device="cpu", validate_every=1)
    channel = Paths(settings(training=training)).fit(rich_dataset(), validate=figure)
    assert was_greedy == [False, False]
    assert len(channel.index) == N_ITEMS


def test_vectors_have_no_index() -> None:
    with pytest.raises(ValueError, match="set path_dimension = 1"):
        settings(path_dimension=3)
    with pytest.raises(ConfigError, match="has no index"):
        _ = trained().exactly().index


# -- what is refused


def test_the_artefact_holds_the_index_and_an_exact_one_that_replaces_it_does_not(copied: Path) -> None:
    files = {"config.json", "tensors.safetensors", INDEX, SERVED}
    assert {file.name for file in copied.iterdir()} == files
    assert set(json.loads((copied / "config.json").read_text())["files"]) == {INDEX, SERVED}
    Paths.load(copied, rich_dataset().items).save(copied)
    assert {file.name for file in copied.iterdir()} == files
    trained().exactly().save(copied)
    assert {file.name for file in copied.iterdir()} == {"config.json", "tensors.safetensors"}
    (copied / "neighbours").write_bytes(b"not ours any more")
    with pytest.raises(ArtefactError, match="holds other things"):
        trained().save(copied)


@pytest.mark.parametrize("name", [INDEX, SERVED])
def test_a_truncated_flipped_or_missing_file_is_refused_by_name(copied: Path, name: str) -> None:
    whole = (copied / name).read_bytes()
    vocabulary = rich_dataset().items
    for at in (0, 20, len(whole) // 2, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[at] ^= 4
        (copied / name).write_bytes(flipped)
        with pytest.raises(ArtefactError, match=name):
            Paths.load(copied, vocabulary)
    for size in (0, 100, len(whole) - 1):
        (copied / name).write_bytes(whole[:size])
        with pytest.raises(ArtefactError, match=name):
            Paths.load(copied, vocabulary)
    (copied / name).unlink()
    with pytest.raises(ArtefactError, match=name):
        Paths.load(copied, vocabulary)


def test_an_index_of_another_vocabulary_or_training_is_refused_by_name(copied: Path) -> None:
    vocabulary = rich_dataset().items
    table = NeighbourTable.open(copied / INDEX, vocabulary)
    records, header = table.records.copy(), table.header
    other = Vocabulary([f"other {code}" for code in range(N_ITEMS)])
    write_table(copied / INDEX, Header(header.k, N_ITEMS, 0, N_ITEMS, other.fingerprint(), header.run), [records])
    with pytest.raises(LineageError, match=rf"index at .*{INDEX} was built on another vocabulary"):
        Paths.load(copied, vocabulary)
    write_table(copied / INDEX, Header(header.k, N_ITEMS, 0, N_ITEMS, header.vocabulary, "another run"), [records])
    with pytest.raises(ArtefactError, match=f"{INDEX} is the index of another training"):
        Paths.load(copied, vocabulary)


def test_a_loaded_channel_is_still_its_model(folder: Path) -> None:
    loaded = Paths.load(folder, rich_dataset().items)
    triggers, targets = np.array([1, 2, 3]), np.array([4, 5, 6])
    np.testing.assert_array_equal(loaded.score_pairs(triggers, targets), trained().score_pairs(triggers, targets))
    np.testing.assert_array_equal(loaded.index.items, trained().index.items)


def test_what_a_request_reads_is_mapped_so_that_processes_share_it(folder: Path) -> None:
    greedy = Paths.load(folder, rich_dataset().items)._greedy
    assert greedy is not None
    assert isinstance(greedy.table.records, np.memmap)
    for table in (greedy.weights.trigger_items, greedy.weights.direct_items, greedy.features.user_keys):
        assert table is not None
        base = table
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
