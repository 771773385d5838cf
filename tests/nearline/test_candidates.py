"""Several scenarios' candidates become one list, however they were read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ArtefactError
from headwater.nearline import Policy, operator
from headwater.nearline.candidates import NearlineCandidates, combine, decode, decode_all
from headwater.nearline.state import QueuedVisit, pack_content

ITEMS = st.lists(st.sampled_from([*range(12), 2**33, -5]), min_size=1, max_size=9, unique=True)
QUEUES = st.dictionaries(
    st.sampled_from(["in_shop", "é", "mini_detail", "main_search"]),
    st.lists(st.tuples(st.integers(0, 30), ITEMS), min_size=1, max_size=4),
    max_size=4,
)
WEIGHTS = st.none() | st.dictionaries(st.sampled_from(["in_shop", "é"]), st.sampled_from([0.5, 1.0, 3.0]), max_size=2)
POLICIES = st.builds(
    Policy,
    strategy=st.sampled_from(["score", "fifo", "random"]),
    alpha=st.sampled_from([1, 50, 100_000]),
    beta=st.sampled_from([1, 10, 100_000]),
    k=st.integers(1, 20),
)


def stored(queues: dict[str, list[tuple[int, list[int]]]], policy: Policy) -> list[bytes]:
    made = []
    for scenario, visits in sorted(queues.items()):
        queue = [
            QueuedVisit.of(time, f"r{n}", pack_content(np.array(items), np.zeros(len(items), np.int64) + n))
            for n, (time, items) in enumerate(visits)
        ]
        queue.sort(key=lambda visit: visit.order, reverse=True)
        made.append((scenario, queue, np.zeros(0, np.int64)))
    return operator.stored_candidates(made, policy)


def expected(
    parts: list[NearlineCandidates], weights: dict[str, float] | None
) -> list[tuple[int, float, str, str, int]]:
    """Every candidate scored by itself, the visits of all scenarios counted; then one after another, by hand."""
    moments = sorted(
        {
            (int(time), name, scenario)
            for part in parts
            for time, name, scenario in zip(part.timestamps, part.request_ids, part.scenarios, strict=True)
        },
        reverse=True,
    )
    rows = combine_nothing(parts, moments, weights)
    rows.sort(key=lambda row: (-row[1], row[5], row[4]))
    seen: set[int] = set()
    return [row[:5] for row in rows if row[0] not in seen and not seen.add(row[0])]


def combine_nothing(
    parts: list[NearlineCandidates], moments: list[tuple[int, str, str]], weights: dict[str, float] | None
) -> list[tuple[int, float, str, str, int, int]]:
    rows = []
    for part in parts:
        for item, visit, rank in zip(part.items.tolist(), part.visits.tolist(), part.ranks.tolist(), strict=True):
            scenario, name = part.scenarios[visit], part.request_ids[visit]
            time = moments.index((int(part.timestamps[visit]), name, scenario))
            score = (
                part.alpha * part.beta / ((part.alpha + rank) * (part.beta + time)) * (weights or {}).get(scenario, 1.0)
            )
            rows.append((item, score, scenario, name, rank, time))
    return rows


@given(QUEUES, WEIGHTS, POLICIES)
def test_candidates_read_together_are_those_read_one_by_one(
    queues: dict[str, list[tuple[int, list[int]]]], weights: dict[str, float] | None, policy: Policy
) -> None:
    raws = stored(queues, policy)
    together, apart = combine([decode_all(raws)], weights), combine([decode(raw) for raw in raws], weights)
    assert together.items.tolist() == apart.items.tolist()
    assert together.scores.tolist() == apart.scores.tolist()
    assert together.request_ids == apart.request_ids
    assert together.ranks.tolist() == apart.ranks.tolist()


@given(QUEUES, WEIGHTS, POLICIES.filter(lambda policy: policy.strategy == "score"))
def test_the_combined_list_is_the_one_worked_out_by_hand(
    queues: dict[str, list[tuple[int, list[int]]]], weights: dict[str, float] | None, policy: Policy
) -> None:
    raws = stored(queues, policy)
    found = combine([decode_all(raws)], weights)
    rows = zip(found.items.tolist(), found.scores.tolist(), found.visits.tolist(), found.ranks.tolist(), strict=True)
    assert [
        (item, score, found.scenarios[visit], found.request_ids[visit], rank) for item, score, visit, rank in rows
    ] == expected([decode(raw) for raw in raws], weights)


def test_thousands_of_items_of_which_many_come_again_keep_their_best_place() -> None:
    random = np.random.default_rng(0)
    queues = {f"s{n}": [(n, random.permutation(3_000)[:2_000].tolist())] for n in range(5)}
    found = combine([decode_all(stored(queues, Policy(k=2_000, category_cap=2_000)))])
    assert len(np.unique(found.items)) == len(found.items) > 2_900
    assert (np.diff(found.scores) <= 0).all()


def test_bytes_cut_short_or_of_another_version_are_refused_by_what_they_are() -> None:
    (raw,) = stored({"in_shop": [(1, [1, 2, 3])]}, Policy())
    for broken in (raw[:-1], raw[:25], raw + b"x"):
        with pytest.raises(ArtefactError, match="cut short"):
            decode_all([raw, broken])
    with pytest.raises(ArtefactError, match="version 09"):
        decode_all([raw[:2] + b"\x09" + raw[3:]])
    assert len(decode_all([])) == 0
