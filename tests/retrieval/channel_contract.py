"""What every Channel must do. Subclass a contract, give `make_channel`, and pytest runs all of it.

`TrainedChannelContract` is for what is fitted and saved. A channel that keeps online state takes `ChannelContract`
and fills its store in `make_channel` for the queries that it is given.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater.data import Dataset, Queries, Vocabulary
from headwater.errors import ArtefactError, LineageError
from headwater.retrieval import Candidates, Channel, Mask

N_USERS, N_ITEMS, N_UNTOUCHED = 40, 60, 5


def generated_dataset(seed: int = 0) -> Dataset:
    """Skewed popularity, repeated interactions, users with an empty history, and items that nobody touched."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 25, N_USERS)
    lengths[0] = 0
    popularity = 1 / np.arange(1, N_ITEMS - N_UNTOUCHED + 1)
    users = np.repeat(np.arange(N_USERS, dtype=np.int32), lengths)
    items = rng.choice(N_ITEMS - N_UNTOUCHED, len(users), p=popularity / popularity.sum()).astype(np.int32)
    return Dataset.from_events(
        "generated",
        Vocabulary(np.arange(100, 100 + N_USERS)),
        Vocabulary([f"item {code}" for code in range(N_ITEMS)]),
        event_users=users,
        event_items=items,
        event_times=rng.integers(1_000_000, 2_000_000, len(users)),
    )


def columns(candidates: Candidates) -> list[Any]:
    """Everything that a caller can see, byte for byte."""
    parts = (candidates.rows, candidates.items, candidates.scores, candidates.channels)
    return [candidates.n_queries, candidates.names, *(part.tobytes() for part in parts)]


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


def saved(channel: Any, folder: Path) -> Path:
    channel.save(folder)
    return folder


class ChannelContract:
    """Subclasses are collected by pytest; this class is not, since its name does not begin with Test."""

    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        raise NotImplementedError

    @pytest.fixture
    def data(self) -> Dataset:
        return generated_dataset()

    @pytest.fixture
    def queries(self, data: Dataset) -> Queries:
        return data.queries(np.arange(N_USERS, dtype=np.int32))

    @pytest.fixture
    def channel(self, data: Dataset, queries: Queries) -> Channel:
        return self.make_channel(data, queries)

    # -- the shape of an answer

    def test_an_answer_is_sorted_by_query_then_score_then_item(self, channel: Channel, queries: Queries) -> None:
        found = channel.retrieve(queries, 10)
        assert len(found), "the contract needs a channel that answers these queries"
        assert (found.rows.dtype, found.items.dtype) == (np.int32, np.int32)
        assert (found.scores.dtype, found.channels.dtype) == (np.float32, np.uint32)
        assert np.isfinite(found.scores).all()
        order = np.lexsort((found.items, -found.scores, found.rows))
        np.testing.assert_array_equal(order, np.arange(len(found)))
        pairs = found.rows.astype(np.int64) * N_ITEMS + found.items
        assert len(np.unique(pairs)) == len(pairs)
        assert np.diff(found.offsets).max() <= 10
        assert found.n_queries == len(queries)

    def test_an_answer_names_its_channel(self, channel: Channel, queries: Queries) -> None:
        found = channel.retrieve(queries, 3)
        assert found.names == (channel.name,)
        assert found.found_by(channel.name).all()

    def test_a_shorter_answer_is_the_beginning_of_a_longer_one(self, channel: Channel, queries: Queries) -> None:
        longer = channel.retrieve(queries, 20)
        assert columns(channel.retrieve(queries, 7)) == columns(longer.select(longer.ranks() < 7))

    def test_k_beyond_the_catalogue_returns_what_there_is(self, channel: Channel, queries: Queries) -> None:
        assert columns(channel.retrieve(queries, 10 * N_ITEMS)) == columns(channel.retrieve(queries, N_ITEMS))

    @pytest.mark.parametrize("k", [0, -1])
    def test_k_below_one_is_refused(self, channel: Channel, queries: Queries, k: int) -> None:
        with pytest.raises(ValueError, match="k must be at least 1"):
            channel.retrieve(queries, k)

    def test_no_query_has_no_answer(self, channel: Channel, queries: Queries) -> None:
        found = channel.retrieve(queries.slice(0, 0), 5)
        assert (len(found), found.n_queries) == (0, 0)

    def test_a_batch_answers_as_its_queries_do_one_by_one(self, channel: Channel, queries: Queries) -> None:
        allowed = Mask.seen(queries)
        alone = [
            (row, channel.retrieve(queries.slice(row, row + 1), 9, allowed=allowed.slice(row, row + 1)))
            for row in range(len(queries))
        ]
        assert columns(Candidates.stack(alone)) == columns(channel.retrieve(queries, 9, allowed=allowed))

    def test_inputs_are_left_as_they_are_and_may_be_read_only(self, channel: Channel, queries: Queries) -> None:
        expected = columns(channel.retrieve(queries, 5, allowed=Mask.seen(queries)))
        for column in (queries.offsets, queries.items, queries.times, queries.user_keys):
            column.setflags(write=False)
        assert columns(channel.retrieve(queries, 5, allowed=Mask.seen(queries))) == expected

    # -- what is allowed

    def test_a_mask_gives_the_unmasked_answer_without_the_refused_items(
        self, channel: Channel, queries: Queries
    ) -> None:
        rng = np.random.default_rng(3)
        everything = channel.retrieve(queries, N_ITEMS)
        sizes = rng.integers(0, 30, len(queries))
        listed = np.concatenate([np.zeros(0, np.int32), *(rng.choice(N_ITEMS, size, False) for size in sizes)])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        catalogue = rng.random(N_ITEMS) < 0.6
        for is_allowlist in (False, True):
            for shown in (None, catalogue, np.zeros(N_ITEMS, bool)):
                mask = Mask(offsets, listed.astype(np.int32), is_allowlist, shown)
                kept = everything.select(mask.allows(everything.rows, everything.items))
                expected = kept.select(kept.ranks() < 6)
                assert columns(channel.retrieve(queries, 6, allowed=mask)) == columns(expected)

    def test_nothing_seen_comes_back(self, channel: Channel, queries: Queries) -> None:
        found = channel.retrieve(queries, N_ITEMS, allowed=Mask.seen(queries))
        assert Mask.seen(queries).allows(found.rows, found.items).all()

    # -- whoever asks

    def test_a_stranger_without_history_is_served_or_gets_nothing_but_never_fails(self, channel: Channel) -> None:
        found = channel.retrieve(strangers(), 5)
        assert found.n_queries == 2
        assert channel.explain(strangers(), found) is not None

    # -- why

    def test_reasons_stand_beside_their_candidates_and_share_the_whole_score(
        self, channel: Channel, queries: Queries
    ) -> None:
        found = channel.retrieve(queries, 5, allowed=Mask.seen(queries))
        reasons = channel.explain(queries, found)
        assert len(reasons) == len(found)
        for row, of_candidate in zip(found.rows, reasons, strict=True):
            shares = [reason.share for reason in of_candidate]
            assert sum(shares) == pytest.approx(1.0, abs=1e-5)
            assert shares == sorted(shares, reverse=True)
            assert min(shares) > 0
            assert {reason.channel for reason in of_candidate} == {channel.name}
            history = queries.items[queries.offsets[row] : queries.offsets[row + 1]]
            triggers = [reason.trigger for reason in of_candidate if reason.trigger is not None]
            assert len(set(triggers)) == len(triggers)
            assert set(triggers) <= set(history.tolist())

    def test_candidates_of_other_channels_get_no_reason(self, channel: Channel, queries: Queries) -> None:
        found = channel.retrieve(queries, 5)
        others = Candidates(found.n_queries, found.rows, found.items, found.scores, found.channels, ("another",))
        assert channel.explain(queries, others) == [()] * len(found)


class TrainedChannelContract(ChannelContract):
    """Also saves and loads itself, under its own vocabulary only."""

    def make_channel(self, data: Dataset, queries: Queries) -> Any:
        raise NotImplementedError

    def test_a_loaded_channel_gives_the_same_bytes(
        self, channel: Any, queries: Queries, data: Dataset, tmp_path: Path
    ) -> None:
        again = type(channel).load(saved(channel, tmp_path / "channel"), data.items)
        mask = Mask.seen(queries)
        assert again.name == channel.name
        assert columns(again.retrieve(queries, 9, allowed=mask)) == columns(channel.retrieve(queries, 9, allowed=mask))

    def test_an_artefact_is_refused_under_another_vocabulary(self, channel: Any, tmp_path: Path) -> None:
        folder = saved(channel, tmp_path / "channel")
        other = Vocabulary([f"other {code}" for code in range(N_ITEMS)])
        with pytest.raises(LineageError, match=str(folder)):
            type(channel).load(folder, other)

    def test_an_artefact_serves_a_vocabulary_that_has_grown(
        self, channel: Any, queries: Queries, data: Dataset, tmp_path: Path
    ) -> None:
        grown = data.items.extended(["a new item"])
        again = type(channel).load(saved(channel, tmp_path / "channel"), grown)
        item = np.array([N_ITEMS], np.int32)
        with_new = Queries(
            users=queries.users[:1],
            user_keys=queries.user_keys[:1],
            offsets=np.array([0, 1]),
            items=item,
            times=np.zeros(1, np.int64),
            behaviours=np.ones(1, np.int8),
            request_times=queries.request_times[:1],
            scenarios=queries.scenarios[:1],
        )
        catalogue = np.ones(N_ITEMS + 1, bool)
        for is_allowlist in (False, True):
            found = again.retrieve(with_new, 5, allowed=Mask(np.array([0, 1]), item, is_allowlist, catalogue))
            assert N_ITEMS not in found.items
            assert len(again.explain(with_new, found)) == len(found)

    @pytest.mark.parametrize("name", ["config.json", "tensors.safetensors"])
    def test_a_truncated_altered_or_missing_file_is_refused(
        self, channel: Any, data: Dataset, tmp_path: Path, name: str
    ) -> None:
        path = saved(channel, tmp_path / "channel") / name
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for damaged in (b"", whole[: len(whole) // 2], whole[:-1] if name != "config.json" else b"[]", bytes(flipped)):
            path.write_bytes(damaged)
            with pytest.raises(ArtefactError, match="rain it again"):
                type(channel).load(path.parent, data.items)
        path.unlink()
        with pytest.raises(ArtefactError, match=name):
            type(channel).load(path.parent, data.items)


class RoundsWithTheBatch:
    """One sentence is weaker: products of another shape may round the last bits otherwise."""

    def test_a_batch_answers_as_its_queries_do_one_by_one(self, channel: Any, queries: Queries) -> None:
        allowed = Mask.seen(queries)
        alone = Candidates.stack(
            [
                (row, channel.retrieve(queries.slice(row, row + 1), 9, allowed=allowed.slice(row, row + 1)))
                for row in range(len(queries))
            ]
        )
        together = channel.retrieve(queries, 9, allowed=allowed)
        np.testing.assert_array_equal(alone.rows, together.rows)
        np.testing.assert_array_equal(alone.items, together.items)
        np.testing.assert_allclose(alone.scores, together.scores, atol=1e-5)


class LearnedChannelContract(RoundsWithTheBatch, TrainedChannelContract):
    """Over a network."""
