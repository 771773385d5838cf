"""What a data set without impressions gives to learn from, by a rule that is stated."""

from dataclasses import replace

import numpy as np
import pytest
from ranker_contract import N_ITEMS, N_USERS, generated_dataset

from headwater.errors import ConfigError
from headwater.ranking.din import DINConfig
from headwater.ranking.examples import examples_of, sampled_impressions


def test_rated_events_are_impressions_clicked_where_the_rating_is_high() -> None:
    data = generated_dataset()
    ratings = np.random.default_rng(0).integers(1, 6, len(data)).astype(np.float32)
    data = replace(data, event_ratings=ratings)
    made = examples_of(data, DINConfig())
    assert len(made) == len(data)
    order = np.argsort(data.event_times, kind="stable")
    assert made.labels["click"].tolist() == (ratings[order] >= 4).tolist()
    # The sequence holds every earlier event, of whatever rating: a service's profile knows no ratings.
    start, stop = made.history_slices()
    for row in range(0, len(made), 37):
        user = made.user_codes[row]
        own = slice(data.offsets[user], data.offsets[user + 1])
        expected = data.event_items[own][data.event_times[own] < made.times[row]]
        assert made.history_items[start[row] : stop[row]].tolist() == expected.tolist()
    assert examples_of(data, DINConfig(clicked_rating=5.0)).labels["click"].sum() == (ratings == 5).sum()


def test_events_without_ratings_stand_beside_items_that_the_user_never_had() -> None:
    data = generated_dataset()
    made = examples_of(data, DINConfig(negatives=3))
    assert made.sampled == "3 an event, by interactions^0.75, none that the user has an event with"
    clicked = made.labels["click"] == 1
    assert clicked.sum() == len(data)
    assert (~clicked).sum() == 3 * len(data)
    known = {(user, item) for user, item in zip(data.event_users.tolist(), data.event_items.tolist(), strict=True)}
    drawn = list(zip(made.user_codes[~clicked].tolist(), made.item_codes[~clicked].tolist(), strict=True))
    assert not known & set(drawn)
    # Popular items come more often, and nobody's item never does.
    counts = np.bincount(made.item_codes[~clicked], minlength=N_ITEMS)
    assert counts[:10].sum() > counts[20:30].sum() > 0
    assert counts[data.item_counts == 0].sum() == 0


def test_a_user_who_has_everything_gets_no_negative() -> None:
    data = generated_dataset()
    only = data.keep(np.isin(data.event_items, [0, 1]))
    made = sampled_impressions(only, 2)
    has_both = [user for user in range(N_USERS) if len(set(only.event_items[only.event_users == user].tolist())) == 2]
    drawn = made.user_codes[made.labels["click"] == 0]
    assert has_both
    assert len(drawn)
    assert not set(drawn.tolist()) & set(has_both)


def test_ratings_that_are_not_there_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="generated has no ratings: set examples = 'sampled'"):
        examples_of(generated_dataset(), DINConfig(examples="rated"))
