"""The classic channels under the contract that every trained channel passes."""

from typing import Any

import numpy as np
import pytest
from channel_contract import N_UNTOUCHED, TrainedChannelContract, columns, generated_dataset, strangers

from headwater.data import Dataset, Queries, Vocabulary
from headwater.errors import ArtefactError
from headwater.retrieval import Mask, channel_class
from headwater.retrieval.classic import EASE, MF, SLIM, SWING, EASEConfig, MFConfig, Pearson, SLIMConfig, SWINGConfig

# The made-up data set is small: penalties are set for tens of users, not for thousands.
FEW_USERS: dict[str, dict[str, Any]] = {
    "itemcf": {},
    "pearson": {},
    "swing": {},
    "slim": {"l1": 0.5, "l2": 5.0},
    "ease": {"regularisation": 5.0},
    "mf": {"factors": 8, "epochs": 3},
}


def make(kind: str, **more: Any) -> Any:
    cls = channel_class(kind)
    return cls(cls.config_class.model_validate({**FEW_USERS[kind], **more}))


class TestPearsonContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Pearson:
        return Pearson().fit(data)


class TestSWINGContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> SWING:
        return SWING(SWINGConfig(users_per_item=12, half_life=3.0)).fit(data)


class TestSLIMContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> SLIM:
        return SLIM(SLIMConfig(l1=0.5, l2=5.0)).fit(data)


class TestEASEContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> EASE:
        return EASE(EASEConfig(regularisation=5.0, half_life=4.0)).fit(data)


class TestMFContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> MF:
        return MF(MFConfig(factors=8, epochs=3)).fit(data)


class TestMFWithFadingHistoriesContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> MF:
        return MF(MFConfig(factors=8, epochs=3, half_life=0.4, window=9)).fit(data)


# -- what holds for every one of them beyond the contract


def of(histories: list[list[int]], n_items: int) -> Dataset:
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories]).astype(np.int32)
    return Dataset.from_events(
        "by hand",
        Vocabulary(np.arange(len(histories))),
        Vocabulary(np.arange(n_items)),
        event_users=users,
        event_items=np.array([item for history in histories for item in history], np.int32),
        event_times=np.arange(len(users)),
    )


@pytest.mark.parametrize("kind", FEW_USERS)
@pytest.mark.parametrize(
    ("histories", "n_items"), [([[0]], 1), ([[0], [0]], 1), ([[]], 0), ([[], []], 3), ([[0], [1], [2]], 3)]
)
def test_too_little_to_learn_from_is_fitted_and_answers_without_an_unseen_item(
    kind: str, histories: list[list[int]], n_items: int
) -> None:
    data = of(histories, n_items)
    channel = make(kind).fit(data)
    assert len(channel.retrieve(strangers(1), 3)) == 0
    queries = data.queries(np.arange(len(histories), dtype=np.int32))
    found = channel.retrieve(queries, 3, allowed=Mask.seen(queries))
    assert np.isfinite(found.scores).all()
    # Nobody chose two items, so nothing is similar to anything; only factors may say that users differ.
    assert kind == "mf" or len(found) == 0


@pytest.mark.parametrize("kind", FEW_USERS)
def test_a_user_of_one_item_changes_no_similarity_but_is_served(kind: str) -> None:
    data = generated_dataset()
    channel = make(kind).fit(data)
    popular = int(data.item_counts.argmax())
    one = of([[popular]], len(data.items)).queries(np.zeros(1, np.int32))
    found = channel.retrieve(one, 5, allowed=Mask.seen(one))
    assert len(found) == 5
    assert {reason.trigger for reasons in channel.explain(one, found) for reason in reasons} <= {popular, None}


@pytest.mark.parametrize("kind", FEW_USERS)
def test_items_that_nobody_had_are_never_returned(kind: str) -> None:
    data = generated_dataset()
    queries = data.queries(np.arange(len(data.users), dtype=np.int32))
    found = make(kind).fit(data).retrieve(queries, len(data.items))
    assert found.items.max() < len(data.items) - N_UNTOUCHED


@pytest.mark.parametrize("kind", FEW_USERS)
def test_two_fits_with_any_number_of_threads_give_the_same_bytes(kind: str) -> None:
    data = generated_dataset()
    queries = data.queries(np.arange(len(data.users), dtype=np.int32))
    options = [{}, {}] if kind == "ease" else [{"threads": 1}, {"threads": 3}]
    first, second = (make(kind).fit(generated_dataset(), **option) for option in options)
    assert columns(first.retrieve(queries, 20)) == columns(second.retrieve(queries, 20))
    for name, tensor in first.tensors().items():
        np.testing.assert_array_equal(tensor, second.tensors()[name])


@pytest.mark.parametrize("kind", FEW_USERS)
def test_pair_scores_are_the_retrieved_ones_in_any_order_of_pairs(kind: str) -> None:
    data = generated_dataset()
    queries = data.queries(np.arange(len(data.users), dtype=np.int32))
    channel = make(kind, half_life=3.0).fit(data)
    found = channel.retrieve(queries, 15, allowed=Mask.seen(queries))
    shuffled = np.random.default_rng(0).permutation(len(found))
    scores = channel.score_pairs(queries, found.rows[shuffled], found.items[shuffled])
    np.testing.assert_array_equal(scores, found.scores[shuffled])
    newer = np.array([len(data.items) + 7])
    assert channel.score_pairs(queries, np.zeros(1, int), newer).tolist() == [0.0]


@pytest.mark.parametrize("kind", FEW_USERS)
def test_the_parts_of_a_history_add_up_to_the_score(kind: str) -> None:
    data = generated_dataset()
    queries = data.queries(np.array([5], np.int32))
    channel = make(kind, half_life=4.0, window=6).fit(data)
    found = channel.retrieve(queries, 10)
    histories = channel._histories(queries)
    for item, score in zip(found.items.tolist(), found.scores.tolist(), strict=True):
        parts = channel._model.parts(histories.items, histories.weights, item)
        assert parts.sum() == pytest.approx(score, rel=1e-4, abs=1e-6)
        assert np.count_nonzero(parts[:-6]) == 0


@pytest.mark.parametrize("kind", FEW_USERS)
def test_fitting_leaves_the_data_set_as_it_was(kind: str) -> None:
    data = generated_dataset()
    before = data.checksum()
    make(kind).fit(data)
    assert data.checksum() == before


@pytest.mark.parametrize("kind", FEW_USERS)
def test_before_fit_nothing_is_returned_explained_or_saved(kind: str, tmp_path: Any) -> None:
    channel = make(kind)
    queries = generated_dataset().queries(np.arange(3, dtype=np.int32))
    found = channel.retrieve(queries, 5)
    assert (len(found), found.n_queries, channel.explain(queries, found), channel.n_items) == (0, 3, [], 0)
    assert channel.score_pairs(queries, np.array([0, 1]), np.array([3, 4])).tolist() == [0.0, 0.0]
    with pytest.raises(ArtefactError, match="not trained; call fit before save"):
        channel.save(tmp_path / "channel")
