import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headwater.data import Vocabulary
from headwater.index.neighbours import Header, NeighbourTable, empty_rows, write_table
from headwater.retrieval.base import Candidates, Mask
from headwater.retrieval.paths.search import (
    PathSearch,
    exact_scores,
    quantised,
    recall_against_exact,
)
from headwater.retrieval.paths.search_kernels import path_parts, softplus_in_place


def table_of(neighbours: list[list[tuple[int, float]]], k: int) -> NeighbourTable:
    rows = empty_rows(len(neighbours), k)
    for item, own in enumerate(neighbours):
        for place, (other, score) in enumerate(own):
            rows["items"][item, place], rows["scores"][item, place] = other, score
    return NeighbourTable(Header(k, len(rows), 0, len(rows), "v"), rows)


def seeded_table(n_items: int, k: int, rng: np.random.Generator) -> NeighbourTable:
    """Between 0 and k neighbours an item."""
    rows = empty_rows(n_items, k)
    for row in rows:
        size = int(rng.integers(0, min(k, n_items) + 1))
        row["items"][:size] = rng.choice(n_items, size, replace=False)
        row["scores"][:size] = np.sort(rng.normal(0, 2, size))[::-1]
    return NeighbourTable(Header(k, n_items, 0, n_items, "v"), rows)


class Case(NamedTuple):
    table: NeighbourTable
    vectors: NDArray[np.float32]
    users: NDArray[np.float32]
    offsets: NDArray[np.int64]
    triggers: NDArray[np.int32]
    scores: NDArray[np.float32]


def case(seed: int, *, n_items: int = 300, k: int = 20, d: int = 8, n: int = 5, spread: float = 1.0) -> Case:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 40, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    triggers = rng.integers(-1, n_items + 2, offsets[-1]).astype(np.int32)
    # Rounded, so that some are equal.
    scores = rng.normal(0, 1, offsets[-1]).round(1).astype(np.float32)
    return Case(
        seeded_table(n_items, k, rng),
        rng.normal(0, spread, (n_items, d)).astype(np.float32),
        rng.normal(0, 1, (n, d)).astype(np.float32),
        offsets,
        triggers,
        scores,
    )


def reference(world: Case, row: int, m: int, depth: int) -> dict[int, float]:
    """Eq. 14 as it stands: the score of each item that one query's paths reach, or of all where they reach none."""
    begin, stop = world.offsets[row], world.offsets[row + 1]
    events = [at for at in range(begin, stop) if 0 <= world.triggers[at] < len(world.table)]
    events.sort(key=lambda at: (-world.scores[at], -at))
    total: dict[int, float] = {}
    for at in events[:m]:
        for item, similarity in zip(*world.table.row(int(world.triggers[at])), strict=True):
            if item in world.table.items[world.triggers[at], :depth]:
                part = np.logaddexp(0, float(world.scores[at]) + float(similarity))
                total[int(item)] = total.get(int(item), 0.0) + part
    total = total or dict.fromkeys(range(len(world.table)), 0.0)
    direct = np.logaddexp(0, world.vectors.astype(np.float64) @ world.users[row])
    return {item: paths + direct[item] for item, paths in total.items()}


def best(scores: dict[int, float], k: int) -> list[tuple[int, float]]:
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k]


def assert_is_best(found: Candidates, row: int, scores: dict[int, float], k: int) -> None:
    """The k best of `scores`, up to what float32 tells apart."""
    expected = best(scores, k)
    own = found.rows == row
    items, values = found.items[own], found.scores[own]
    assert len(items) == len(set(items.tolist())) == len(expected)
    np.testing.assert_allclose(values, [score for _, score in expected], rtol=3e-6, atol=1e-5)
    np.testing.assert_allclose(values, [scores[item] for item in items.tolist()], rtol=3e-6, atol=1e-5)
    assert (np.diff(values) <= 0).all()
    assert all(a < b for a, b, x, y in zip(items, items[1:], values, values[1:], strict=False) if x == y)


# Item 0 leads to 2 and 3, item 1 to 3; d = 1.
SMALL = table_of([[(2, 1.0), (3, 0.5)], [(3, -1.0)], [], []], 2)
SMALL_VECTORS = np.array([[0], [0], [0], [1]], np.float32)


def test_two_triggers_and_the_direct_path_add_up_as_worked_by_hand() -> None:
    found = PathSearch(SMALL, SMALL_VECTORS).retrieve(
        "paths", np.array([[2]], np.float32), np.array([0, 2]), np.array([0, 1], np.int32), np.array([1, 0], "f4"), 5
    )
    # Item 3: softplus(1 + .5) + softplus(0 - 1) + softplus(2) = 1.70141 + 0.31326 + 2.12693.
    # Item 2: softplus(1 + 1) + softplus(0) = 2.12693 + 0.69315.
    assert found.candidates.items.tolist() == [3, 2]
    np.testing.assert_allclose(found.candidates.scores, [4.14160, 2.82008], atol=1e-5)
    assert found.reached.tolist() == [2]
    assert found.candidates.names == ("paths",)


@given(
    st.integers(0, 1 << 30), st.sampled_from([1, 3, 30, 1000]), st.sampled_from([1, 4, 50]), st.sampled_from([7, 20])
)
def test_what_is_found_is_what_scoring_every_reached_item_finds(seed: int, k: int, m: int, depth: int) -> None:
    world = case(seed)
    found = PathSearch(world.table, world.vectors, triggers=m, neighbours=depth).retrieve(
        "paths", world.users, world.offsets, world.triggers, world.scores, k
    )
    for row in range(len(world.users)):
        assert_is_best(found.candidates, row, reference(world, row, m, depth), k)


@pytest.mark.parametrize("spread", [1e-4, 0.1, 1.0, 30.0])
def test_estimates_of_one_byte_lose_none_of_the_best_whatever_the_size_of_vectors(spread: float) -> None:
    world = case(3, n_items=4000, k=100, d=64, n=8, spread=spread)
    found = PathSearch(world.table, world.vectors).retrieve(
        "paths", world.users, world.offsets, world.triggers, world.scores, 50
    )
    for row in range(len(world.users)):
        assert_is_best(found.candidates, row, reference(world, row, 50, 100), 50)


@given(st.integers(0, 1 << 30), st.booleans(), st.booleans())
def test_no_item_that_the_mask_refuses_is_found_and_all_others_are(
    seed: int, is_allowlist: bool, has_catalogue: bool
) -> None:
    world = case(seed)
    rng = np.random.default_rng(seed)
    n_items = len(world.table)
    listed = [rng.choice(n_items + 5, 150, replace=False).astype(np.int32) for _ in world.users]
    # A catalogue that does not reach the last items does not allow them.
    catalogue = rng.random(n_items - 20) < 0.5 if has_catalogue else None
    mask = Mask(np.arange(len(listed) + 1) * 150, np.concatenate(listed), is_allowlist, catalogue)
    found = PathSearch(world.table, world.vectors).retrieve(
        "paths", world.users, world.offsets, world.triggers, world.scores, 10, allowed=mask
    )
    for row, own in enumerate(listed):
        scores = {
            item: score
            for item, score in reference(world, row, 50, 20).items()
            if (item in own) == is_allowlist and (catalogue is None or (item < len(catalogue) and catalogue[item]))
        }
        assert_is_best(found.candidates, row, scores, 10)


def test_one_batch_and_one_query_at_a_time_answer_the_same_to_the_last_bit() -> None:
    world = case(11, n=7)
    search = PathSearch(world.table, world.vectors)
    together = search.retrieve("paths", world.users, world.offsets, world.triggers, world.scores, 9).candidates
    for row in range(7):
        begin, stop = world.offsets[row], world.offsets[row + 1]
        alone = search.retrieve(
            "paths",
            world.users[row : row + 1],
            np.array([0, stop - begin]),
            world.triggers[begin:stop],
            world.scores[begin:stop],
            9,
        ).candidates
        assert alone.items.tolist() == together.of(row).tolist()
        assert alone.scores.tobytes() == together.scores[together.rows == row].tobytes()


def test_equal_scores_stand_by_item_and_the_first_of_them_are_kept() -> None:
    table = table_of([[(item, 0.0) for item in range(9, 0, -1)], *[[]] * 9], 9)
    found = PathSearch(table, np.zeros((10, 4), np.float32)).retrieve(
        "paths", np.ones((1, 4), np.float32), np.array([0, 1]), np.array([0], np.int32), np.zeros(1, np.float32), 4
    )
    assert found.candidates.items.tolist() == [1, 2, 3, 4]


def test_of_triggers_with_equal_scores_the_newest_are_followed() -> None:
    table = table_of([[(3, 0.0)], [(4, 0.0)], [(5, 0.0)], [], [], []], 1)
    found = PathSearch(table, triggers=2).retrieve(
        "paths", np.zeros((1, 0), np.float32), np.array([0, 3]), np.array([0, 1, 2], np.int32), np.ones(3, "f4"), 9
    )
    assert found.candidates.items.tolist() == [4, 5]


def test_a_user_without_history_gets_the_best_of_all_items_by_the_direct_path() -> None:
    world = case(5)
    none = np.zeros(0, np.int32)
    mask = Mask(np.array([0, 2]), np.array([7, 8], np.int32))
    found = PathSearch(world.table, world.vectors).retrieve(
        "paths", world.users[:1], np.array([0, 0]), none, none.astype(np.float32), 20, allowed=mask
    )
    direct = np.logaddexp(0, world.vectors.astype(np.float64) @ world.users[0])
    scores = {item: float(score) for item, score in enumerate(direct) if item not in (7, 8)}
    assert_is_best(found.candidates, 0, scores, 20)
    assert found.reached.tolist() == [0]


def test_without_a_direct_net_only_paths_lead_to_items() -> None:
    search = PathSearch(SMALL)
    users = np.zeros((2, 0), np.float32)
    found = search.retrieve("paths", users, np.array([0, 0, 1]), np.array([0], np.int32), np.array([1], "f4"), 5)
    assert found.candidates.rows.tolist() == [1, 1]
    np.testing.assert_allclose(found.candidates.scores, [2.12693, 1.70141], atol=1e-5)


def test_unknown_triggers_are_dropped_and_counted() -> None:
    triggers = np.array([-1, 0, 4, 1 << 30, 1], np.int32)
    users = np.zeros((2, 1), np.float32)
    search = PathSearch(SMALL, SMALL_VECTORS)
    found = search.retrieve("paths", users, np.array([0, 4, 5]), triggers, np.zeros(5, np.float32), 5)
    assert found.unknown.tolist() == [3, 0]
    assert found.candidates.of(0).tolist() == [2, 3]


@given(st.integers(0, 1 << 30))
def test_the_parts_of_a_score_sum_to_it_within_1e_5(seed: int) -> None:
    world = case(seed, n=2)
    search = PathSearch(world.table, world.vectors, triggers=10)
    found = search.retrieve("paths", world.users, world.offsets, world.triggers, world.scores, 30).candidates
    for row in range(2):
        begin, stop = world.offsets[row], world.offsets[row + 1]
        items = found.of(row)
        parts = search.parts(world.users[row], world.triggers[begin:stop], world.scores[begin:stop], items)
        returned = found.scores[found.rows == row]
        np.testing.assert_allclose(parts.paths.sum(1) + parts.direct, returned, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(parts.scores, returned)
        assert len(parts.triggers) <= 10


def test_reasons_name_the_triggers_strongest_first_and_their_shares_sum_to_one() -> None:
    parts = PathSearch(SMALL, SMALL_VECTORS).parts(
        np.array([2], np.float32), np.array([0, 1], np.int32), np.array([1, 0], "f4"), np.array([3, 2], np.int32)
    )
    first, second = parts.reasons("paths")
    assert [reason.trigger for reason in first] == [None, 0, 1]
    np.testing.assert_allclose([reason.share for reason in first], np.array([2.12693, 1.70141, 0.31326]) / 4.1416, 1e-5)
    assert [reason.trigger for reason in second] == [0, None]
    assert sum(reason.share for reason in second) == pytest.approx(1, abs=1e-6)


def test_parts_of_no_items_are_none() -> None:
    parts = PathSearch(SMALL, SMALL_VECTORS).parts(
        np.array([2], np.float32), np.array([0], np.int32), np.array([1], "f4"), np.zeros(0, np.int32)
    )
    assert (parts.paths.shape, parts.reasons("paths")) == ((0, 1), [])


def test_greedy_over_the_whole_matrix_is_exact_mode_and_a_shallow_index_recalls_less() -> None:
    rng = np.random.default_rng(0)
    n_items, n = 60, 12
    similarities = rng.normal(0, 2, (n_items, n_items)).astype(np.float16).astype(np.float32)
    rows = empty_rows(n_items, n_items)
    rows["items"] = np.argsort(-similarities, axis=1, kind="stable")
    rows["scores"] = np.take_along_axis(similarities, rows["items"], 1)
    table = NeighbourTable(Header(n_items, n_items, 0, n_items, "v"), rows)
    vectors, users = rng.normal(0, 1, (2, n_items, 4)).astype(np.float32)
    triggers, scores = rng.integers(0, n_items, 8 * n).astype(np.int32), rng.normal(0, 1, 8 * n).astype(np.float32)
    offsets = np.arange(n + 1) * 8
    exact = Candidates.from_scores(
        "paths",
        np.stack([
            exact_scores(users[row], vectors, triggers[8 * row : 8 * row + 8], scores[8 * row : 8 * row + 8],
                         lambda left, right: similarities[left, right])
            for row in range(n)
        ]),
        10,
    )  # fmt: skip

    def recall(m: int, depth: int) -> float:
        search = PathSearch(table, vectors, triggers=m, neighbours=depth)
        return recall_against_exact(
            search.retrieve("paths", users[:n], offsets, triggers, scores, 10).candidates, exact
        )

    whole = PathSearch(table, vectors).retrieve("paths", users[:n], offsets, triggers, scores, 10).candidates
    assert whole.items.tolist() == exact.items.tolist()
    np.testing.assert_allclose(whole.scores, exact.scores, rtol=1e-5)
    assert recall(50, n_items) == 1.0
    assert recall(2, 10) < recall(8, 30) <= 1.0


def test_recall_counts_each_query_for_itself() -> None:
    def candidates(rows: list[int], items: list[int]) -> Candidates:
        return Candidates.single("paths", 2, np.array(rows), np.array(items), np.zeros(len(rows), np.float32))

    assert recall_against_exact(candidates([0, 1], [5, 6]), candidates([0, 0, 1, 1], [5, 6, 5, 6])) == 0.5
    assert recall_against_exact(candidates([], []), candidates([], [])) == 1.0


def test_softplus_is_right_from_far_below_zero_to_far_above() -> None:
    x = np.concatenate([np.linspace(-90, 90, 20_001), [-1e4, -1e-8, 0, 1e-8, 1e4]]).astype(np.float32)
    values = x.copy()
    softplus_in_place(values)
    exact = np.logaddexp(0, x.astype(np.float64))
    held = x > -86
    np.testing.assert_allclose(values[held], exact[held], rtol=4e-7)
    assert (values[~held] <= 1e-37).all()


def test_every_finite_half_is_read_as_its_value() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    values = halves.view(np.float16)
    kept = np.isfinite(values)
    parts = np.empty(kept.sum(), np.float32)
    path_parts(np.float32(0.25), np.ascontiguousarray(halves[kept]), parts)
    exact = np.logaddexp(0, 0.25 + values[kept].astype(np.float64))
    np.testing.assert_allclose(parts, exact, rtol=4e-7, atol=2e-38)


@given(st.integers(0, 1 << 30), st.sampled_from([1e-3, 1.0, 1e3]))
def test_no_quantised_vector_is_further_off_than_said(seed: int, spread: float) -> None:
    vectors = np.random.default_rng(seed).normal(0, spread, (50, 6)).astype(np.float32)
    vectors[:, 2] = 0
    codes, steps, residual = quantised(vectors)
    apart = np.linalg.norm(vectors - codes * steps, axis=1)
    assert apart.max() <= residual * 1.00001
    assert (np.abs(vectors - codes * steps) <= steps / 2 * 1.001).all()


def test_a_trigger_that_stands_twice_in_the_history_has_the_sum_of_its_paths() -> None:
    parts = PathSearch(SMALL).parts(
        np.zeros(0, np.float32), np.array([1, 0, 1], np.int32), np.zeros(3, np.float32), np.array([3], np.int32)
    )
    assert parts.triggers.tolist() == [1, 0, 1]
    (reasons,) = parts.reasons("paths")
    # softplus(.5) = 0.97408 by item 0, and twice softplus(-1) = 0.31326 by item 1.
    assert [reason.trigger for reason in reasons] == [0, 1]
    np.testing.assert_allclose([reason.share for reason in reasons], np.array([0.97408, 0.62652]) / 1.6006, 1e-5)


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ValueError, match="3 item vectors, and the index holds 4 items"):
        PathSearch(SMALL, SMALL_VECTORS[:3])
    with pytest.raises(ValueError, match="item vectors must be finite"):
        PathSearch(SMALL, SMALL_VECTORS * np.float32(np.nan))
    with pytest.raises(ValueError, match="at least one trigger"):
        PathSearch(SMALL, SMALL_VECTORS, triggers=0)
    search = PathSearch(SMALL, SMALL_VECTORS)
    one = (np.array([0, 1]), np.array([0], np.int32))
    with pytest.raises(ValueError, match="k must be at least 1"):
        search.retrieve("paths", np.zeros((1, 1), np.float32), *one, np.zeros(1, np.float32), 0)
    with pytest.raises(ValueError, match="must be finite"):
        search.retrieve("paths", np.zeros((1, 1), np.float32), *one, np.full(1, np.nan, np.float32), 1)


def test_an_index_read_from_its_file_is_searched_as_one_in_memory(tmp_path: Path) -> None:
    world = case(2)
    vocabulary = Vocabulary(np.arange(len(world.table)))
    header = world.table.header
    write_table(tmp_path / "t", Header(header.k, header.n_items, 0, header.rows, vocabulary.fingerprint()),
                [world.table.records])  # fmt: skip
    mapped = NeighbourTable.open(tmp_path / "t", vocabulary)
    asked = ("paths", world.users, world.offsets, world.triggers, world.scores, 12)
    ours, theirs = (PathSearch(table, world.vectors).retrieve(*asked).candidates for table in (mapped, world.table))
    assert ours.items.tolist() == theirs.items.tolist()
    assert ours.scores.tobytes() == theirs.scores.tobytes()


def test_no_torch_is_loaded_to_search() -> None:
    program = "import sys, headwater.retrieval.paths.search; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert answer.split() == ["False"]
