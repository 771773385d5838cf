"""Tables 1 to 4, the online test and the scenarios' funnel: published beside ours, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headwater.reproduce.nearline.cells import INTERVAL, NAMES, difference, figure, provenance, relative
from headwater.reproduce.nearline.found import Arm, Found
from headwater.reproduce.nearline.others import others
from headwater.reproduce.nearline.plan import BASE, EVERYTHING, ONLINE, SEARCH
from headwater.reproduce.nearline.published import (
    CONTRADICTION,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TRANSACTIONS,
    Published,
)
from headwater.reproduce.nearline.worlds import worlds
from headwater.reproduce.sheet import NOT_PUBLISHED, Cell, Sheet
from headwater.show import NOT_RUN
from headwater.simulation.abtest import Difference, assign, paired, sample_ratio, split
from headwater.simulation.config import SCENARIOS
from headwater.simulation.measures import ALL, METRICS, REFERENCE_K
from headwater.simulation.summary import STAGES


def sheets(found: Found) -> list[Sheet]:
    """Every table of one recipe."""
    tables = [_table_1, _table_2, _table_3, _table_4, _betas, _online, _funnel]
    return [*(table(found) for table in tables), *others(found), *worlds(found)]


def policy_arm(found: Found, name: str, value: int) -> str:
    """The arm in which alpha or beta has this value: the base where it is the policy's own."""
    own = next(
        (job.arm.nearline.policy for job in found.planned if job.arm.name == BASE and job.arm.nearline is not None),
        None,
    )
    return BASE if own is not None and getattr(own, name) == value else f"{BASE}-{name}-{value}"


def values_of(found: Found, name: str) -> list[int]:
    """Every alpha, or beta, that is planned, ascending."""
    values = {
        getattr(job.arm.nearline.policy, name)
        for job in found.planned
        if job.arm.nearline is not None and (job.arm.name == BASE or job.arm.name.startswith(f"{BASE}-{name}-"))
    }
    return sorted(values)


def online_test(found: Found, *, is_split: bool) -> list[Difference]:
    """The homepage with MNR against the one without: every user in both, or split by a hash; empty if not run."""
    control, treatment = found.arm(ONLINE), found.arm(EVERYTHING)
    if control is None or treatment is None:
        return []
    if not is_split:
        return paired(control.users, treatment.users)
    return split(control.users, treatment.users, _is_treated(control))


def _table_1(found: Found) -> Sheet:
    arm = found.arm(EVERYTHING)
    lines = []
    for channel, theirs in TABLE_1.items():
        cells = [Cell(NAMES[channel]), Cell(_truncation(found, channel))]
        for name in ("pvr", "hirate"):
            published = getattr(theirs, name)
            cells.append(Cell(NOT_PUBLISHED if published is None else f"{published:.2%}"))
            cells.append(figure(arm, arm and arm.figure(channel, name)))
        cells.append(Cell("base" if channel == ALL else f"{theirs.ctcvr:+.1%}"))
        cells.append(Cell("base") if channel == ALL and arm else relative(arm, channel, "ctcvr", arm, ALL))
        cells.append(relative(arm, channel, "ctr", arm, ALL) if channel != ALL or not arm else Cell("base"))
        sums = arm.channels.get(channel) if arm else None
        mean, bought = (NOT_RUN, NOT_RUN) if sums is None else _sizes(sums)
        lines.append([*cells, Cell(mean), Cell(bought)])
    head = ["channel", "truncation", "PVR published", "PVR ours", "Hirate published", "Hirate ours", "CTCVR published"]
    head += ["CTCVR ours", "CTR ours", "retrieved", "purchases"]
    notes = [
        *provenance(found, [EVERYTHING]),
        "PVR: share of exposed items that the channel had retrieved; all that did are credited. Hirate: share of the "
        f"clicks of the next 24 hours, in all scenarios, times {REFERENCE_K} over mean retrieved. CTCVR and CTR: of "
        "what was exposed and retrieved, relative to all channels; published CTCVR likewise",
        INTERVAL,
    ]
    return Sheet(f"Table 1, {found.recipe}: the channels of one homepage", head, lines, notes)


def _table_2(found: Found) -> Sheet:
    rows = [(what, f"{BASE}-daily" if what == "daily" else BASE, TABLE_2[what]) for what in TABLE_2]
    title = f"Table 2, {found.recipe}: MNR of main search, streaming against once a day"
    return _ablation(found, title, "aggregation", rows)


def _table_3(found: Found) -> Sheet:
    rows = [(what, BASE if what == "score" else f"{BASE}-{what}", TABLE_3[what]) for what in TABLE_3]
    title = f"Table 3, {found.recipe}: MNR of main search, how the queue is ordered"
    return _ablation(found, title, "strategy", rows)


def _table_4(found: Found) -> Sheet:
    alphas = sorted({*TABLE_4, *values_of(found, "alpha")})
    rows = [(str(alpha), policy_arm(found, "alpha", alpha), TABLE_4.get(alpha)) for alpha in alphas]
    return _ablation(found, f"Table 4, {found.recipe}: MNR of main search by alpha", "alpha", rows, CONTRADICTION)


def _betas(found: Found) -> Sheet:
    rows = [(str(beta), policy_arm(found, "beta", beta), None) for beta in values_of(found, "beta")]
    title = f"The same by beta, {found.recipe}, of which the paper shows nothing"
    return _ablation(found, title, "beta", rows)


def _ablation(
    found: Found, title: str, what: str, rows: Sequence[tuple[str, str, Published | None]], *notes: str
) -> Sheet:
    base = found.arm(BASE)
    lines = []
    for said, name, theirs in rows:
        arm = found.arm(name)
        pvr, ctcvr = (theirs.pvr, theirs.ctcvr) if theirs else (None, None)
        cells = [Cell(said), Cell(NOT_PUBLISHED if pvr is None else f"{pvr:.2%}")]
        cells.append(figure(arm, arm and arm.figure(SEARCH, "pvr")))
        cells.append(Cell(NOT_PUBLISHED if ctcvr is None else f"{ctcvr:+.1%}" if ctcvr else "base"))
        is_base = arm is not None and name == BASE
        for_base = [Cell("base")] * 3
        metrics = ("ctcvr", "ctr", "hirate")
        cells += for_base if is_base else [relative(arm, SEARCH, metric, base, SEARCH) for metric in metrics]
        lines.append(cells)
    head = [what, "PVR published", "PVR ours", "CTCVR published", "CTCVR ours", "CTR ours", "Hirate ours"]
    said = [
        *provenance(found, [name for _, name, _ in rows]),
        "beside the homepage's own channels, without Glare and the other scenarios; relative to the base, the same "
        "users in both arms",
        INTERVAL,
        *notes,
    ]
    return Sheet(title, [*head], lines, said)


def _online(found: Found) -> Sheet:
    pairs, halves = (online_test(found, is_split=is_split) for is_split in (False, True))
    lines = []
    for at, metric in enumerate(METRICS):
        published = f"{TRANSACTIONS:+.0%}" if metric == "transactions" else NOT_PUBLISHED
        ours = [difference(differences[at]) if differences else Cell(NOT_RUN) for differences in (pairs, halves)]
        lines.append([Cell(metric), Cell(published), *ours])
    control = found.arm(ONLINE)
    notes = [*provenance(found, [ONLINE, EVERYTHING])]
    if control is not None and halves:
        ratio = sample_ratio(_is_treated(control))
        notes.append(
            f"split by a hash: {ratio.control:,} and {ratio.treatment:,} users, sample ratio p {ratio.p:.2f}"
            + ("; a mismatch: do not read it" if ratio.is_mismatch else "")
        )
    notes += [
        "the homepage with MNR's five channels against the same without; transactions are those of all scenarios, the "
        "others but the session's length those of the homepage",
        "in brackets: 95% intervals of a bootstrap over users; p by the delta method",
    ]
    head = ["metric", "published", "every user in both arms", "users split by a hash"]
    return Sheet(f"The online test, {found.recipe} (section 3.4)", head, lines, notes)


def _funnel(found: Found) -> Sheet:
    arm = found.arm(EVERYTHING)
    lines = []
    for code, name in enumerate(SCENARIOS):
        if arm is None:
            lines.append([Cell(name), *[Cell(NOT_RUN)] * (len(STAGES) + 2)])
            continue
        counts = dict(zip(STAGES, arm.funnel[code].tolist(), strict=True))
        shown = counts["exposures"] or 1
        cells = [Cell(f"{counts[stage]:,}", arm.source) for stage in STAGES]
        rates = Cell(f"{counts['clicks'] / shown:.2%}"), Cell(f"{counts['purchases'] / shown:.3%}")
        lines.append([Cell(name), *cells, *rates])
    head = ["scenario", *STAGES, "CTR", "CTCVR"]
    return Sheet(f"Scenarios, {found.recipe}: measured days", head, lines, provenance(found, [EVERYTHING]))


def _is_treated(arm: Arm) -> np.ndarray:
    """A hash of the users' ids, which are their keys: 1 to n."""
    return assign(np.arange(1, len(arm.users) + 1, dtype=np.int64), salt=0)


def _truncation(found: Found, channel: str) -> str:
    policy = next((job.arm.nearline.policy for job in found.planned if job.arm.nearline is not None), None)
    if policy is None or not channel.startswith("nearline/"):
        return NOT_PUBLISHED
    return str(policy.truncation(channel.removeprefix("nearline/")))


def _sizes(sums: np.ndarray) -> tuple[str, str]:
    """Mean retrieved, and purchases, in words."""
    _, _, purchases, requests, retrieved, _, _ = sums.sum(axis=0).tolist()
    return (f"{retrieved / requests:.0f}" if requests else NOT_PUBLISHED), f"{purchases:,}"
