import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headwater.index import exact
from headwater.index.exact import Found
from headwater.index.vector import EXACT_BELOW, VectorIndex, recall_against_exact


class Allowed(NamedTuple):
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    is_allowlist: bool = False
    catalogue: NDArray[np.bool_] | None = None


def allowed(listed: list[list[int]], *, is_allowlist: bool = False, catalogue: list[bool] | None = None) -> Allowed:
    offsets = np.cumsum([0, *(len(own) for own in listed)])
    items = np.array([item for own in listed for item in own], np.int32)
    return Allowed(offsets, items, is_allowlist, None if catalogue is None else np.array(catalogue))


def lists(found: Found, n: int) -> list[list[int]]:
    return [found.items[found.rows == row].tolist() for row in range(n)]


def gaussian(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


# Inner products 3, 3, 1, 3, 2 with (1, 0), and 0, 1, 5, 2, 0 with (0, 1).
ITEMS = np.array([[3, 0], [3, 1], [1, 5], [3, 2], [2, 0]], np.float32)
AXES = np.eye(2, dtype=np.float32)


def test_the_best_come_first_and_equals_by_item() -> None:
    found = VectorIndex(ITEMS).search(AXES, 2)
    assert lists(found, 2) == [[0, 1], [2, 3]]
    assert found.scores.tolist() == [3, 3, 5, 2]
    assert (found.rows.dtype, found.items.dtype, found.scores.dtype) == (np.int32, np.int32, np.float32)


def test_of_items_that_tie_at_the_cut_the_first_are_found() -> None:
    same = np.ones((500, 3), np.float32)
    for k in (1, 7, 499):
        assert lists(VectorIndex(same).search(same[:2], k), 2) == [list(range(k))] * 2


def test_an_item_scores_its_best_over_a_querys_vectors() -> None:
    found = VectorIndex(ITEMS).search(AXES[None], 3)
    assert lists(found, 1) == [[2, 0, 1]]
    assert found.scores.tolist() == [5, 3, 3]


def test_vectors_that_a_query_does_not_have_say_nothing() -> None:
    queries = np.stack([AXES, AXES])
    has_vector = torch.tensor([[True, True], [True, False]])
    assert lists(VectorIndex(ITEMS).search(queries, 2, has_vector=has_vector), 2) == [[2, 0], [0, 1]]


def test_what_is_refused_is_not_found_and_fewer_come_back() -> None:
    index = VectorIndex(ITEMS)
    assert lists(index.search(AXES, 5, allowed=allowed([[0, 1, 3], []])), 2) == [[4, 2], [2, 3, 1, 0, 4]]
    only = allowed([[4, 2], []], is_allowlist=True)
    assert lists(index.search(AXES, 5, allowed=only), 2) == [[4, 2], []]
    shown = allowed([[0], [2]], catalogue=[True, False, True, False])  # item 4 is not mentioned
    assert lists(index.search(AXES, 5, allowed=shown), 2) == [[2], [0]]


def test_items_beyond_the_index_are_passed_over() -> None:
    index = VectorIndex(ITEMS)
    assert lists(index.search(AXES[:1], 5, allowed=allowed([[5, 900, 0]])), 1) == [[1, 3, 4, 2]]
    assert lists(index.search(AXES[:1], 5, allowed=allowed([[900]], is_allowlist=True)), 1) == [[]]


def test_few_scores_held_at_once_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = gaussian(50, 4), gaussian(30, 4, 1)
    listed = allowed([[row, row + 1] for row in range(30)])
    whole = VectorIndex(vectors).search(queries, 7, allowed=listed)
    monkeypatch.setattr(exact, "SCORES_AT_ONCE", 120)
    piecewise = VectorIndex(vectors).search(queries, 7, allowed=listed)
    assert np.array_equal(whole.rows, piecewise.rows)
    assert np.array_equal(whole.items, piecewise.items)
    np.testing.assert_allclose(whole.scores, piecewise.scores, rtol=1e-5)


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        VectorIndex(ITEMS).search(AXES, k)


def test_no_query_finds_nothing() -> None:
    assert len(VectorIndex(ITEMS).search(np.zeros((0, 2), np.float32), 3).items) == 0


@settings(max_examples=60, deadline=None)
@given(
    vectors=st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=12),
    queries=st.lists(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=2, max_size=2), max_size=4),
    k=st.integers(1, 15),
    is_allowlist=st.booleans(),
    data=st.data(),
)
def test_the_answer_is_that_of_sorting_everything(vectors, queries, k, is_allowlist, data) -> None:
    # Small integers: products are exact and ties are many.
    items = np.array(vectors, np.float32)
    asked = np.array(queries, np.float32).reshape(len(queries), 2, 2)
    listed = [data.draw(st.lists(st.integers(0, 14), unique=True)) for _ in queries]
    expected = []
    for own, vector in zip(listed, asked, strict=True):
        scores = (items @ vector.T).max(1)
        chosen = [item for item in range(len(items)) if (item in own) == is_allowlist]
        expected.append(sorted(chosen, key=lambda item: (-scores[item], item))[:k])
    found = VectorIndex(items).search(asked, k, allowed=allowed(listed, is_allowlist=is_allowlist))
    assert lists(found, len(queries)) == expected


# -- faiss


@pytest.fixture(scope="module")
def many() -> NDArray[np.float32]:
    """3,000 vectors in 30 clumps, as items are."""
    centres = gaussian(30, 16)
    return centres[np.arange(3_000) % 30] + 0.3 * gaussian(3_000, 16, 1)


@pytest.mark.parametrize("method", ["ivf", "hnsw"])
def test_approximate_search_finds_nearly_all_and_more_with_more_effort(many, method) -> None:
    queries = many[::50] + 0.1 * gaussian(60, 16, 2)
    little = recall_against_exact(VectorIndex(many, method=method, effort=1), queries, 10)
    default = recall_against_exact(VectorIndex(many, method=method), queries, 10)
    assert little < default
    assert default > 0.95
    assert recall_against_exact(VectorIndex(many), queries, 10) == 1.0


@pytest.mark.parametrize("method", ["ivf", "hnsw"])
def test_approximate_search_obeys_what_is_allowed_and_merges_vectors_as_exact_search_does(many, method) -> None:
    rng = np.random.default_rng(5)
    queries = (many[rng.integers(0, 3_000, (20, 3))] + 0.1 * gaussian(60, 16, 2).reshape(20, 3, 16)).astype(np.float32)
    has_vector = torch.from_numpy(rng.random((20, 3)) < 0.6)
    has_vector[:, 0] = True
    plain = VectorIndex(many).search(queries, 40, has_vector=has_vector)
    index = VectorIndex(many, method=method, effort=3_000)  # every list, or a beam as wide as the catalogue
    catalogue = rng.random(3_000) < 0.7
    best = [own[: row % 7 * 5] for row, own in enumerate(lists(plain, 20))]
    for limits in (None, allowed(best), allowed(best, catalogue=catalogue.tolist()), allowed(best, is_allowlist=True)):
        expected = VectorIndex(many).search(queries, 30, allowed=limits, has_vector=has_vector)
        found = index.search(queries, 30, allowed=limits, has_vector=has_vector)
        if method == "ivf":  # misses nothing that way
            assert lists(found, 20) == lists(expected, 20)
            np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-4)
        for row, own in enumerate(lists(found, 20)):
            permitted = lists(expected, 20)[row]
            assert len(set(own) & set(permitted)) >= 0.9 * len(permitted)
            assert len(own) == len(set(own)) == len(permitted)
            if limits is not None and not limits.is_allowlist:
                assert not set(own) & set(best[row])
            if limits is not None and limits.catalogue is not None:
                assert catalogue[own].all()
            assert (np.diff(found.scores[found.rows == row]) <= 0).all()


def test_the_size_of_the_catalogue_decides_the_method() -> None:
    assert VectorIndex(np.zeros((EXACT_BELOW - 1, 1), np.float32)).method == "exact"
    large = VectorIndex(gaussian(EXACT_BELOW, 2))
    assert large.method == "ivf"
    assert lists(large.search(gaussian(1, 2, 4), 5), 1)[0]


def test_importing_the_room_loads_neither_torch_nor_faiss() -> None:
    code = "import sys, headwater.index, headwater.nn; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "faiss", "lightning_fabric"} & set(loaded)
    code = "import sys, headwater.index.vector; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "faiss" not in loaded
