"""What every Ranker must do. Subclass `RankerContract`, give `make_ranker`, and pytest runs all of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater.data import Dataset, Queries, Vocabulary
from headwater.errors import ArtefactError, ConfigError, LineageError
from headwater.ranking import Ranker, ranker_class
from headwater.ranking.config import RankerSettings
from headwater.retrieval import Candidates, Trainable

N_USERS, N_ITEMS, N_UNTOUCHED = 40, 60, 5


def generated_dataset(seed: int = 0) -> Dataset:
    """Skewed popularity, repeated events, users without a history, items that nobody touched, missing attributes."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 25, N_USERS)
    lengths[0] = 0
    popularity = 1 / np.arange(1, N_ITEMS - N_UNTOUCHED + 1)
    users = np.repeat(np.arange(N_USERS, dtype=np.int32), lengths)
    items = rng.choice(N_ITEMS - N_UNTOUCHED, len(users), p=popularity / popularity.sum()).astype(np.int32)
    ids = [f"item {code}" for code in range(N_ITEMS)]
    return Dataset.from_events(
        "generated",
        Vocabulary(np.arange(100, 100 + N_USERS)),
        Vocabulary(ids),
        event_users=users,
        event_items=items,
        event_times=rng.integers(1_000_000, 2_000_000, len(users)),
        item_attributes=pa.table(
            {
                "id": ids,
                "category": [None if code % 10 == 0 else f"c{code % 4}" for code in range(N_ITEMS)],
                "tags": [[f"t{code % 3}", f"t{code % 5}"] if code % 7 else [] for code in range(N_ITEMS)],
            }
        ),
        user_attributes=pa.table({"id": np.arange(100, 100 + N_USERS), "age": rng.normal(40, 9, N_USERS)}),
    )


def every_item(n_queries: int, n_items: int = N_ITEMS) -> Candidates:
    rows, items = (index.ravel() for index in np.indices((n_queries, n_items)))
    return Candidates.single("any", n_queries, rows, items, np.zeros(len(rows)))


def strangers(n: int = 2) -> Queries:
    """Users whom nobody has met, without a history."""
    none = np.zeros(0, np.int64)
    return Queries(
        users=np.full(n, -1, np.int32),
        user_keys=np.arange(n, dtype=np.int64) + 999_999,
        offsets=np.zeros(n + 1, np.int64),
        items=none.astype(np.int32),
        times=none,
        behaviours=none.astype(np.int8),
        request_times=np.full(n, 2_000_000, np.int64),
        scenarios=("homepage",) * n,
    )


class RankerContract:
    """Subclasses are collected by pytest; this class is not, since its name does not begin with Test."""

    @classmethod
    def make_ranker(cls) -> Any:
        """An untrained ranker."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls) -> Dataset:
        return generated_dataset()

    @pytest.fixture(scope="class")
    @classmethod
    def queries(cls, data: Dataset) -> Queries:
        return data.queries(np.arange(N_USERS, dtype=np.int32))

    @pytest.fixture(scope="class")
    @classmethod
    def ranker(cls, data: Dataset) -> Any:
        return cls.make_ranker().fit(data)

    def test_it_is_a_trainable_ranker_that_its_kind_names(self, ranker: Any) -> None:
        assert isinstance(ranker, Ranker)
        assert isinstance(ranker, Trainable)
        assert ranker_class(ranker.kind) is type(ranker)
        assert isinstance(ranker.config, RankerSettings)
        assert (ranker.config.kind, ranker.config.name) == (ranker.kind, ranker.name)

    def test_settings_come_back_from_json(self, ranker: Any) -> None:
        values = ranker.config.model_dump(mode="json")
        assert type(ranker).config_class.model_validate(values) == ranker.config

    def test_every_candidate_has_a_finite_float32_score(self, ranker: Any, queries: Queries) -> None:
        scores = ranker.score(queries, every_item(N_USERS))
        assert (scores.dtype, scores.shape) == (np.float32, (N_USERS * N_ITEMS,))
        assert np.isfinite(scores).all()

    def test_scores_tell_items_and_histories_apart(self, ranker: Any, queries: Queries) -> None:
        scores = ranker.score(queries, every_item(N_USERS)).reshape(N_USERS, N_ITEMS)
        assert (scores[:, : N_ITEMS - N_UNTOUCHED].std(1) > 0).all()
        assert len(np.unique(scores[queries.lengths > 3], axis=0)) > 1

    def test_a_query_scores_the_same_alone_and_in_a_batch(self, ranker: Any, queries: Queries) -> None:
        together = ranker.score(queries, every_item(N_USERS)).reshape(N_USERS, N_ITEMS)
        for row in (0, 5, N_USERS - 1):
            np.testing.assert_array_equal(together[row], ranker.score(queries.slice(row, row + 1), every_item(1)))

    def test_a_candidates_score_depends_on_no_other_candidate(self, ranker: Any, queries: Queries) -> None:
        whole = ranker.score(queries, every_item(N_USERS))
        keep = np.random.default_rng(1).random(len(whole)) < 0.3
        some = ranker.score(queries, every_item(N_USERS).select(keep))
        np.testing.assert_allclose(some, whole[keep], rtol=0, atol=1e-5)

    def test_scoring_twice_gives_the_same_bytes_and_leaves_the_queries_as_they_were(
        self, ranker: Any, queries: Queries
    ) -> None:
        before = queries.items.tobytes()
        first = ranker.score(queries, every_item(N_USERS))
        assert first.tobytes() == ranker.score(queries, every_item(N_USERS)).tobytes()
        assert queries.items.tobytes() == before

    def test_two_rankers_of_one_seed_are_one(self, ranker: Any, data: Dataset, queries: Queries) -> None:
        other = self.make_ranker().fit(data)
        asked = every_item(N_USERS)
        assert ranker.score(queries, asked).tobytes() == other.score(queries, asked).tobytes()

    def test_strangers_without_a_history_are_scored(self, ranker: Any) -> None:
        scores = ranker.score(strangers(), every_item(2)).reshape(2, N_ITEMS)
        assert np.isfinite(scores).all()
        np.testing.assert_array_equal(scores[0], scores[1])

    def test_no_candidates_have_no_scores(self, ranker: Any, queries: Queries) -> None:
        assert ranker.score(queries, Candidates.empty("any", N_USERS)).shape == (0,)

    def test_a_loaded_ranker_gives_the_same_bytes_and_takes_newer_items(
        self, ranker: Any, data: Dataset, queries: Queries, tmp_path: Path
    ) -> None:
        ranker.save(tmp_path / "ranker")
        again = type(ranker).load(tmp_path / "ranker", data.items.extended(["newer"]))
        assert again.config == ranker.config
        expected = ranker.score(queries, every_item(N_USERS))
        assert again.score(queries, every_item(N_USERS)).tobytes() == expected.tobytes()
        grown = again.score(queries, every_item(N_USERS, N_ITEMS + 1)).reshape(N_USERS, N_ITEMS + 1)
        np.testing.assert_allclose(grown[:, :N_ITEMS].ravel(), expected, rtol=0, atol=1e-5)
        assert np.isfinite(grown).all()

    def test_a_loaded_ranker_saves_the_same_files(self, ranker: Any, data: Dataset, tmp_path: Path) -> None:
        ranker.save(tmp_path / "one")
        type(ranker).load(tmp_path / "one", data.items).save(tmp_path / "two")
        for path in (tmp_path / "one").iterdir():
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name

    def test_another_vocabulary_is_refused_by_name(self, ranker: Any, tmp_path: Path) -> None:
        ranker.save(tmp_path / "ranker")
        with pytest.raises(LineageError, match=rf"{ranker.kind} at .*ranker was built on another vocabulary"):
            type(ranker).load(tmp_path / "ranker", Vocabulary([f"other {code}" for code in range(N_ITEMS)]))

    def test_an_altered_file_is_refused(self, ranker: Any, data: Dataset, tmp_path: Path) -> None:
        ranker.save(tmp_path / "ranker")
        for path in sorted((tmp_path / "ranker").iterdir()):
            raw = path.read_bytes()
            path.write_bytes(raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:])
            with pytest.raises(ArtefactError):
                type(ranker).load(tmp_path / "ranker", data.items)
            path.write_bytes(raw)

    def test_an_untrained_ranker_is_not_saved(self, tmp_path: Path) -> None:
        with pytest.raises((ArtefactError, ConfigError), match="not trained"):
            self.make_ranker().save(tmp_path / "ranker")
