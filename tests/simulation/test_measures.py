"""PVR, Hirate and the counts of an arm, worked by hand."""

import math

import numpy as np
import pytest

from headwater.data.queries import Queries
from headwater.retrieval.base import Candidates
from headwater.simulation.homepage import Retrieved
from headwater.simulation.measures import ALL, COUNTS, REFERENCE_K, Measures
from headwater.simulation.play import Page
from headwater.simulation.scenarios import HOMEPAGE, MAIN_SEARCH, Requests
from headwater.simulation.shoppers import Outcome
from headwater.simulation.world import DAY


def page(scenario: int, time: int, ranked: list[int], bits: list[int], clicks: list[int], purchases: list[int]) -> Page:
    """One visit of user 0 that shows all it ranked."""
    n = len(ranked)
    one = np.zeros(1, np.int32)
    requests = Requests(one, np.array([scenario], np.int8), np.array([time]), np.array([0]), one - 1, one - 1)
    none = np.zeros(0, np.int32)
    queries = Queries(
        one, one.astype(np.int64), np.zeros(2, np.int64), none, none.astype(np.int64), none.astype(np.int8),
        np.array([time]), ("homepage",),
    )  # fmt: skip
    found = Candidates(
        1, np.zeros(n, np.int32), np.array(ranked, np.int32), np.zeros(n, np.float32), np.array(bits, np.uint32),
        ("a", "b"),
    )  # fmt: skip
    labels = np.array(clicks, np.int8), np.zeros(n, np.int8), np.array(purchases, np.int8)
    outcome = Outcome(np.array([0, n]), np.array(ranked, np.int32), *labels, np.zeros(n, np.float32), one, one)
    return Page(scenario, requests, queries, found, outcome, None)


def retrieved(time: int, a: list[int], b: list[int]) -> Retrieved:
    one = np.zeros(1, np.int32)
    requests = Requests(one, np.zeros(1, np.int8), np.array([time]), np.array([0]), one - 1, one - 1)

    def part(name: str, items: list[int]) -> Candidates:
        return Candidates.single(name, 1, np.zeros(len(items)), np.array(items), np.zeros(len(items)))

    merged = part("a", sorted({*a, *b}))
    return Retrieved(requests, [part("a", a), part("b", b)], merged)


def measures() -> Measures:
    return Measures(2, np.array([0, 0, 1, 1, 2], np.int32), 0, 2 * DAY)


def test_every_channel_that_retrieved_an_exposed_item_is_credited() -> None:
    found = measures()
    found(page(HOMEPAGE, 10, [0, 1, 2, 3], [1, 3, 2, 2], [1, 1, 0, 0], [0, 1, 0, 0]))
    everything, a, b = found.channels()
    assert (everything.name, everything.pvr, everything.ctr, everything.ctcvr) == (ALL, 1.0, 0.5, 0.25)
    assert (a.pvr, a.ctr, a.ctcvr) == (0.5, 1.0, 0.5)
    assert (b.pvr, b.ctr, b.ctcvr) == (0.75, pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_hirate_is_hits_of_the_next_24_hours_in_all_scenarios_normalised_by_what_was_retrieved() -> None:
    found = measures()
    found.watch(retrieved(100, [0, 1], [2, 3, 4, 1]))
    found.watch(retrieved(200, [3, 4], [0, 2]))  # the day's second request is not sampled
    found(page(MAIN_SEARCH, 500, [0, 2, 3], [1, 1, 1], [1, 1, 0], [0, 0, 0]))  # clicks 0 and 2
    found(page(HOMEPAGE, 100 + DAY + 1, [1], [1], [1], [0]))  # too late
    rows = {row.name: (row.hirate, row.retrieved) for row in found.channels()}
    assert rows["a"] == (pytest.approx(1 / 2 * REFERENCE_K / 2), 2.0)
    assert rows["b"] == (pytest.approx(1 / 2 * REFERENCE_K / 4), 4.0)
    assert rows[ALL] == (pytest.approx(1 * REFERENCE_K / 5), 5.0)


def test_a_request_whose_24_hours_are_not_all_measured_has_no_hirate() -> None:
    found = measures()
    found.watch(retrieved(DAY + 1, [0], [1]))
    assert all(math.isnan(row.hirate) for row in found.channels())
    assert found.channels()[0].texts() == [ALL, "0.00%", "-", "0.0000", "0.00000", "-", "0"]


def test_counts_are_by_user_and_the_homepages_apart_from_transactions_visits_and_sessions() -> None:
    found = measures()
    found(page(HOMEPAGE, 10, [0, 1, 2], [1, 1, 1], [1, 0, 0], [1, 0, 0]))
    found(page(MAIN_SEARCH, 90, [0, 4], [1, 1], [1, 1], [1, 1]))
    counts = dict(zip(COUNTS, found.users[0].tolist(), strict=True))
    assert counts == {
        "users": 1, "exposures": 3, "clicks": 1, "purchases": 1, "pages": 1, "categories": 2,
        "transactions": 3, "visits": 2, "sessions": 2,
    }  # fmt: skip
    assert found.users[1].tolist() == [1, *[0] * (len(COUNTS) - 1)]


def test_what_comes_before_the_measured_days_does_not_count() -> None:
    found = Measures(2, np.zeros(5, np.int32), DAY, 2 * DAY)
    found(page(HOMEPAGE, 10, [0], [1], [1], [1]))
    assert found.users[0, 1:].sum() == 0
