from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headwater.data import Vocabulary
from headwater.index import generation
from headwater.index.generation import Shard, generate, generate_changed
from headwater.index.neighbours import ABSENT, NeighbourTable, merge_shards
from headwater.index.pairs import CandidatePairs

N_ITEMS = 60
VOCABULARY = Vocabulary(np.arange(N_ITEMS))


def counts(seed: int = 0, n: int = N_ITEMS) -> sp.csr_array:
    """Symmetric, about a tenth full, some items without any; the diagonal is full, as a self-join's is."""
    rng = np.random.default_rng(seed)
    dense = np.triu(rng.poisson(0.15, (n, n)), 1)
    dense[:, rng.integers(0, n, 8)] = 0
    return sp.csr_array((dense + dense.T + 5 * np.eye(n)).astype(np.float32))


def attributes(n: int = N_ITEMS) -> NDArray[np.int32]:
    """A rare value and a frequent one of each item, some without."""
    rng = np.random.default_rng(1)
    return np.stack([rng.integers(-1, 12, n), rng.integers(-1, 3, n)], axis=1).astype(np.int32)


def similarity_of(vectors: NDArray[np.float64]):
    """A similarity that is not symmetric, and the pairs that it was asked for."""
    asked: list[tuple[int, int]] = []

    def similarity(left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        asked.extend(zip(left.tolist(), right.tolist(), strict=True))
        return (vectors[left] * np.roll(vectors[right], 1, axis=1)).sum(axis=1).round(1).astype(np.float32)

    return similarity, asked


VECTORS = np.random.default_rng(2).normal(size=(N_ITEMS + 10, 4))
similarity, _ = similarity_of(VECTORS)


def candidates_of(pairs: CandidatePairs, item: int) -> list[int]:
    return pairs.of(np.array([item], np.int32)).candidates.tolist()


# Items 0-2 occur together; 3 and 4 never do. Brand 7 is of 0, 3, 4; category 1 of 1, 3, 5.
FEW = sp.csr_array(np.array([[9, 2, 3, 0, 0, 0], [2, 9, 1, 0, 0, 0], [3, 1, 9, 0, 0, 0], *[[0] * 6] * 3], np.float32))
BRAND_AND_CATEGORY = np.array([[7, -1], [-1, 1], [-1, -1], [7, 1], [7, -1], [-1, 1]])
POPULARITY = np.array([10, 4, 3, 1, 2, 5])


def test_candidates_occur_together_or_share_an_attribute_the_most_popular_first() -> None:
    pairs = CandidatePairs(FEW, BRAND_AND_CATEGORY, POPULARITY, per_item=5)
    assert [candidates_of(pairs, item) for item in range(6)] == [
        [1, 2, 4, 3],  # co-occurrence, then the brand's
        [0, 2, 5, 3],
        [0, 1],
        [0, 4, 5, 1],  # never acted on: its brand's, then its category's
        [0, 3],
        [1, 3],
    ]


def test_where_room_is_short_the_highest_counts_stay_equal_ones_by_code_and_then_the_first_attributes() -> None:
    assert candidates_of(CandidatePairs(FEW, BRAND_AND_CATEGORY, POPULARITY, per_item=1), 0) == [2]
    assert candidates_of(CandidatePairs(FEW, BRAND_AND_CATEGORY, POPULARITY, per_item=3), 3) == [0, 4, 5]
    same = sp.csr_array(np.ones((5, 5), np.float32))
    assert candidates_of(CandidatePairs(same, per_item=3), 1) == [0, 2, 3]


@given(st.integers(0, 1 << 20), st.sampled_from([1, 4, 25, 500]))
def test_candidates_are_distinct_never_the_item_itself_and_no_count_left_out_is_higher(seed: int, room: int) -> None:
    matrix = counts(seed)
    block = CandidatePairs(matrix, attributes(), per_item=room).of(np.arange(N_ITEMS, dtype=np.int32))
    dense = matrix.toarray()
    np.fill_diagonal(dense, 0)
    for item in range(N_ITEMS):
        own = block.candidates[block.offsets[item] : block.offsets[item + 1]]
        assert len(set(own.tolist())) == len(own) <= room
        assert item not in own
        together = np.flatnonzero(dense[item])
        left_out = np.setdiff1d(together, own)
        assert len(np.intersect1d(own, together)) == min(room, len(together))
        assert not len(left_out) or dense[item, left_out].max() <= dense[item, own].min()


def test_the_order_of_a_rows_entries_does_not_matter() -> None:
    matrix = counts()
    columns = [matrix.indices[a:b][::-1] for a, b in zip(matrix.indptr, matrix.indptr[1:], strict=False)]
    values = [matrix.data[a:b][::-1] for a, b in zip(matrix.indptr, matrix.indptr[1:], strict=False)]
    turned = sp.csr_array((np.concatenate(values), np.concatenate(columns), matrix.indptr), matrix.shape)
    ours, theirs = (CandidatePairs(each, attributes(), per_item=9) for each in (matrix, turned))
    assert ours.fingerprint == theirs.fingerprint
    assert candidates_of(ours, 3) == candidates_of(theirs, 3)


def test_items_that_share_any_of_several_values_are_candidates() -> None:
    none = sp.csr_array((5, 5), dtype=np.float32)
    genres = np.array([[4, 7], [7, -1], [-1, -1], [2, 4], [2, -1]], np.int32)
    brand = np.array([1, -1, 1, -1, -1], np.int32)
    pairs = CandidatePairs(none, [brand, genres], np.array([1, 2, 3, 4, 5]), per_item=4)
    assert candidates_of(pairs, 0) == [2, 3, 1]  # its brand first; then the values as they stand
    assert candidates_of(pairs, 1) == [0]
    assert candidates_of(pairs, 2) == [0]
    assert candidates_of(pairs, 4) == [3]


def test_digests_tell_other_counts_where_they_matter_and_other_candidates_always() -> None:
    def digests(matrix: sp.csr_array, of_counts: bool) -> list[int]:
        pairs = CandidatePairs(matrix, per_item=3, of_counts=of_counts)
        return pairs.of(np.arange(4, dtype=np.int32)).digests.tolist()

    few = sp.csr_array(np.array([[0, 5, 3, 0], [5, 0, 0, 1], [3, 0, 0, 2], [0, 1, 2, 0]], np.float32))
    turned, other = few.copy(), few.copy()
    turned[0, 1], turned[0, 2] = 2, 4
    other[0, 2] = 0
    assert digests(few, True)[0] != digests(turned, True)[0]
    assert digests(few, False) == digests(turned, False)
    for of_counts in (True, False):
        before, after = digests(few, of_counts), digests(other, of_counts)
        assert [one != two for one, two in zip(before, after, strict=True)] == [True, False, False, False]
        assert before[0] != before[1]


def test_parts_of_different_catalogues_are_refused() -> None:
    with pytest.raises(ValueError, match="co-occurrence is of 60 items, attributes of 5, popularity of 60"):
        CandidatePairs(counts(), attributes(5))
    with pytest.raises(ValueError, match="at least one candidate"):
        CandidatePairs(counts(), per_item=0)
    with pytest.raises(ValueError, match="must be square: 2 rows, and a column 2"):
        CandidatePairs(sp.csr_array(np.ones((2, 3), np.float32)))


def test_each_row_holds_the_most_similar_candidates_rounded_best_first_and_equals_by_code(tmp_path: Path) -> None:
    pairs = CandidatePairs(counts(), attributes(), per_item=20)
    assert generate(tmp_path / "t", pairs, similarity, 4, vocabulary=VOCABULARY, model="m")
    table = NeighbourTable.open(tmp_path / "t", VOCABULARY)
    for item in range(N_ITEMS):
        own = np.array(candidates_of(pairs, item), np.int32)
        scores = similarity(np.full(len(own), item, np.int32), own).astype(np.float16)
        order = np.lexsort((own, -scores))[:4]
        items, similarities = table.row(item)
        assert items.tolist() == own[order].tolist()
        assert similarities.tolist() == scores[order].tolist()


def test_signs_zeros_and_scores_beyond_float16_keep_their_order(tmp_path: Path) -> None:
    given = np.array([0, 1e9, -1e9, 0.0, -0.0, 1e-9, -1e-9, 3.0, -3.0, 70_000], np.float32)
    pairs = CandidatePairs(sp.csr_array(np.ones((10, 10), np.float32)))
    generate(tmp_path / "t", pairs, lambda left, right: given[right], 9, vocabulary=VOCABULARY, model="m")
    items, scores = NeighbourTable.open(tmp_path / "t", VOCABULARY).row(0)
    assert items.tolist() == [1, 9, 7, 3, 4, 5, 6, 8, 2]
    assert scores.tolist() == [65504, 65504, 3, 0, 0, 0, 0, -3, -65504]


def test_an_item_without_candidates_has_an_empty_row(tmp_path: Path) -> None:
    pairs = CandidatePairs(sp.csr_array((3, 3), dtype=np.float32))
    generate(tmp_path / "t", pairs, similarity, 2, vocabulary=VOCABULARY, model="m")
    assert (NeighbourTable.open(tmp_path / "t", VOCABULARY).items == ABSENT).all()


@pytest.mark.parametrize("count", [1, 2, 7, 60, 70])
def test_merged_shards_are_the_bytes_of_the_single_run(tmp_path: Path, count: int) -> None:
    folder = tmp_path
    pairs = CandidatePairs(counts(), attributes(), per_item=20)
    generate(folder / "single", pairs, similarity, 4, vocabulary=VOCABULARY, model="m")
    shards = [folder / f"{index}" for index in range(count)]
    for index, shard in enumerate(shards):
        generate(shard, pairs, similarity, 4, vocabulary=VOCABULARY, model="m", shard=Shard(index, count))
    merge_shards(shards, folder / "merged", VOCABULARY)
    assert (folder / "merged").read_bytes() == (folder / "single").read_bytes()


def test_the_size_of_batches_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = CandidatePairs(counts(), attributes(), per_item=20)
    for size in (1, 130, 1 << 20):
        monkeypatch.setattr(generation, "PAIRS_AT_ONCE", size)
        generate(tmp_path / f"{size}", pairs, similarity, 4, vocabulary=VOCABULARY, model="m")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_shard_that_is_there_is_not_made_again_but_one_that_was_damaged_or_of_another_run_is(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    pairs = CandidatePairs(counts(), attributes(), per_item=20)

    def is_made(pairs: CandidatePairs = pairs, model: str = "m", shard: Shard = Shard(1, 3), k: int = 4) -> bool:  # noqa: B008
        return generate(path, pairs, similarity, k, vocabulary=VOCABULARY, model=model, shard=shard)

    assert is_made()
    assert not is_made()
    path.write_bytes(path.read_bytes()[:-1])
    assert is_made()
    assert is_made(model="newer")
    assert is_made(CandidatePairs(counts(9), attributes(), per_item=20), model="newer")
    assert is_made(shard=Shard(2, 3))
    assert is_made(shard=Shard(2, 3), k=5)
    assert not is_made(shard=Shard(2, 3), k=5)


def test_a_similarity_that_is_not_finite_or_missing_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    pairs = CandidatePairs(FEW)
    with pytest.raises(ValueError, match="similarity of items 1 and 0 is nan"):
        generate(tmp_path / "t", pairs, lambda left, right: np.where(left == 1, np.nan, 0.0).astype("f4"), 2,
                 vocabulary=VOCABULARY, model="m")  # fmt: skip
    with pytest.raises(ValueError, match=r"6 pairs were to be scored, and the scores are \(1,\)"):
        generate(
            tmp_path / "t", pairs, lambda left, right: np.zeros(1, np.float32), 2, vocabulary=VOCABULARY, model="m"
        )
    assert not list(tmp_path.iterdir())


def test_there_is_no_shard_outside_its_count() -> None:
    for index, count in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(ValueError, match=f"no shard {index} of {count}"):
            Shard(index, count).range(10)


@given(st.data())
def test_generating_what_changed_gives_the_bytes_of_generating_everything(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    matrix = counts().toarray()
    before = CandidatePairs(sp.csr_array(matrix), attributes(), POPULAR[:N_ITEMS], per_item=12)
    generate(folder / "old", before, similarity, 4, vocabulary=VOCABULARY, model="m")
    # New items, other counts (rising, falling, vanishing), other categories, other vectors.
    n = N_ITEMS + data.draw(st.integers(0, 5))
    grown = np.zeros((n, n), np.float32)
    grown[:N_ITEMS, :N_ITEMS] = matrix
    item = st.integers(0, n - 1)
    for left, right, count in data.draw(st.lists(st.tuples(item, item, st.integers(0, 4)), max_size=6)):
        grown[left, right] = grown[right, left] = count
    codes = attributes(n)
    codes[:N_ITEMS] = attributes()
    for at, value in data.draw(st.lists(st.tuples(item, st.integers(-1, 12)), max_size=3)):
        codes[at, 0] = value
    changed = data.draw(st.lists(item, max_size=4, unique=True))
    vectors = VECTORS.copy()
    vectors[changed] += 1
    now, asked = similarity_of(vectors)
    after = CandidatePairs(sp.csr_array(grown), codes, POPULAR[:n], per_item=12)
    vocabulary = Vocabulary(np.arange(n))
    old = NeighbourTable.open(folder / "old", vocabulary)
    n_scored = generate_changed(
        folder / "new", old, after, now, changed=np.array(changed, int), vocabulary=vocabulary, model="n"
    )
    assert n_scored >= len({left for left, _ in asked})
    generate(folder / "full", after, now, 4, vocabulary=vocabulary, model="n")
    assert (folder / "new").read_bytes() == (folder / "full").read_bytes()


POPULAR = np.random.default_rng(4).random(N_ITEMS + 10)


def test_where_nothing_changed_nothing_is_scored_and_one_item_concerns_only_those_who_may_have_it(
    tmp_path: Path,
) -> None:
    pairs = CandidatePairs(counts(), attributes(), per_item=12)
    generate(tmp_path / "t", pairs, similarity, 4, vocabulary=VOCABULARY, model="m")
    raw = (tmp_path / "t").read_bytes()
    old = NeighbourTable.open(tmp_path / "t", VOCABULARY)

    def n_scored(changed: list[int]) -> int:
        return generate_changed(tmp_path / "t", old, pairs, similarity, changed=np.array(changed, int),
                                vocabulary=VOCABULARY, model="m")  # fmt: skip

    assert n_scored([]) == 0
    assert (tmp_path / "t").read_bytes() == raw
    concerned = {17} | {item for item in range(N_ITEMS) if 17 in candidates_of(pairs, item)}
    assert n_scored([17]) == len(concerned) < N_ITEMS
    assert (tmp_path / "t").read_bytes() == raw
