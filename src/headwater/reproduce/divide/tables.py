"""Tables 2, 3 and 4, Figure 1a's figures, coverage against recall over alpha, losses at equal positives, the intent."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from headwater.reproduce.divide.found import Found, source
from headwater.reproduce.divide.plan import BASE, LATE, LOSSES, MIXES, OURS
from headwater.reproduce.divide.published import METHODS, TABLE_2, TABLE_3, TABLE_4
from headwater.reproduce.sheet import NOT_PUBLISHED, Cell, Sheet, compared
from headwater.show import NOT_RUN, over_seeds

TUNED = "sasrec+"
"""The mixture with the highest validation recall stands for it."""


def sheets(found: Found) -> list[Sheet]:
    """Every table of one data set."""
    tables = [_table_2, _table_3, _table_4, _losses, _beside, _figure_1a, _intents]
    return [*(table(found) for table in tables), *_curves(found)]


def _channel_of(found: Found, name: str) -> str:
    """The channel that stands for a row: of SASRec+ the mixture that validation chooses."""
    if name != TUNED:
        return name
    mixes = [channel for channel in found.channels if channel.startswith("sasrec+-") and found.of(channel)]
    k = found.ks[-1]

    def figure(channel: str) -> float:
        return fmean(run["merges"]["plain"]["validation"][str(k)] for run in found.of(channel))

    return max(mixes, key=figure) if mixes else TUNED


def _rows(found: Found) -> list[tuple[str, str]]:
    """(channel, what its row is called): the paper's rows in its order, then ours."""
    mixes = {f"{TUNED}-{mix}" for mix in MIXES}
    others = [name for name in found.channels if name not in METHODS and name not in mixes]
    rows = [(name, f"{METHODS[name]} ({name})") for name in METHODS if name in found.channels or name == TUNED]
    return rows + [(name, name) for name in others]


def _table_2(found: Found) -> Sheet:
    """Recall@M: as the channel serves, and with the quotas that validation chooses."""
    published = TABLE_2.get(found.recipe, {})
    lines = []
    for name, method in _rows(found):
        channel = _channel_of(found, name)
        runs, theirs = found.of(channel), published.get(name, {})
        cells = [Cell(method if channel == name else f"{method[: -len(name) - 3]} ({channel})")]
        for k in found.ks:
            cells += compared(theirs.get(k), found.recall(channel, "plain", k), source(runs))
        for k in found.ks:
            merge = found.best_merge(channel, k, among=lambda text: "alpha" in text)
            said = over_seeds(found.recall(channel, merge, k)) if merge else NOT_PUBLISHED if runs else NOT_RUN
            cells.append(Cell(f"{said} ({merge})" if merge else said, source(runs)))
        lines.append(cells)
    head = [f"R@{k} {what}" for k in found.ks for what in ("published", "ours", "ratio")]
    head += [f"R@{k}, quotas" for k in found.ks]
    notes = [
        *_provenance(found),
        "a list for k is made for k: quotas are exact; `quotas`: merged by quota, chances and alpha chosen on "
        "validation; SASRec with quotas has no prompts, so that what quotas do is not credited to them",
    ]
    return Sheet(f"Table 2, {found.recipe}", ["method", *head], lines, notes)


def _table_3(found: Found) -> Sheet:
    published = TABLE_3.get(found.recipe, {})
    runs = [run for run in found.every() if run["within"]]
    ks = sorted(map(int, runs[0]["within"])) if runs else list(next(iter(published.values()), {5: 0.0}))
    lines = []
    for name, method in _rows(found):
        channel = _channel_of(found, name)
        if found.of(channel) and not any(run["within"] for run in found.of(channel)):
            continue  # what knows no clusters
        cells = [Cell(method)]
        for k in ks:
            figures = [run["within"][str(k)] for run in found.of(channel) if run["within"]]
            cells += compared(published.get(name, {}).get(k), figures, source(found.of(channel)))
        lines.append(cells)
    head = [f"R@{k} {what}" for k in ks for what in ("published", "ours", "ratio")]
    return Sheet(f"Table 3, {found.recipe}: within the truth's cluster", ["method", *head], lines, _provenance(found))


def _table_4(found: Found) -> Sheet:
    lines = []
    for name, method in _rows(found):
        every = found.of(_channel_of(found, name))
        runs = [run for run in every if run["row"]["training"]]
        theirs = TABLE_4.get(name)
        cells = [Cell(method), Cell(NOT_PUBLISHED if theirs is None else f"{theirs:,.0f}")]
        if every and not runs:  # what is not trained by steps
            lines.append([*cells, *[Cell(NOT_PUBLISHED)] * 3])
            continue
        for what in ("passes", "positives"):
            speeds = [run["row"]["training"][f"{what}_per_second"] for run in runs]
            cells.append(Cell(over_seeds(speeds, "{:,.0f}"), source(runs)))
        seen = [_positives(run)[-1] / 1e6 for run in runs if run.get("positives_per_epoch")]
        lines.append([*cells, Cell(over_seeds(seen, "{:,.1f}"), source(runs))])
    notes = ["a pass: one window through the encoder (the paper's sample); the same layout in benchmarks/divide.py"]
    head = ["method", "samples/s published", "passes/s ours", "positives/s ours", "positives seen, millions"]
    return Sheet(f"Table 4, {found.recipe}: training throughput", head, lines, notes)


def _losses(found: Found) -> Sheet:
    """SASRec and Divide under every loss: the best validation figure within as many positives as both have seen."""
    lines = []
    for loss in LOSSES:
        for ours in (OURS, LATE):
            pair = [channel_under(found, name, loss) for name in (BASE, ours)]
            if None in pair:
                continue
            runs = [found.of(name) for name in pair if name]
            ends = [min(_positives(run)[-1] for run in of) for of in runs if of]
            budget = min(ends) if len(ends) == 2 else None
            cells = [Cell(loss), Cell(ours), Cell(NOT_RUN if budget is None else f"{budget / 1e6:.1f} M")]
            for of in runs:
                best = [] if budget is None else [_best_within(run, budget) for run in of]
                cells.append(Cell(over_seeds(best), source(of)))
            for k in found.ks[-2:]:
                for name in pair:
                    assert name is not None
                    cells.append(Cell(over_seeds(found.recall(name, "plain", k)), source(found.of(name))))
            lines.append(cells)
    head = ["loss", "model", "positives", "SASRec NDCG@10, validation", "model's NDCG@10, validation"]
    head += [f"{name} R@{k}, whole run" for k in found.ks[-2:] for name in ("SASRec", "model's")]
    notes = ["the first figures: the best validation up to the positives that the shorter of both runs has seen"]
    return Sheet(f"Losses, {found.recipe}, at equal positives seen", head, lines, notes)


def _beside(found: Found) -> Sheet:
    """What a second list adds to SASRec's: the union of both against one list of SASRec that is twice as long."""
    ks, lines = found.ks[-2:], []
    for loss in LOSSES:
        for ours in (OURS, LATE):
            base, name = (channel_under(found, model, loss) for model in (BASE, ours))
            if base is None or name is None:
                continue
            pairs = [
                (one, other)
                for one in found.of(base)
                for other in found.of(name)
                if one["seed"] == other["seed"] and "ranks" in one and "ranks" in other
            ]
            cells, origin = [Cell(loss), Cell(ours)], source([run for pair in pairs for run in pair])
            for k in ks:
                figures = [_shares_found(*pair, k) for pair in pairs]
                columns = zip(*figures, strict=True) if figures else [()] * 4
                for shares in columns:
                    kept = [share for share in shares if share is not None]
                    cells.append(Cell(over_seeds(kept) if kept or not pairs else NOT_PUBLISHED, origin))
            lines.append(cells)
    head = [f"{what}@{k}" for k in ks for what in ("SASRec", "the model", "both, k each", "SASRec, 2k")]
    notes = ["recall; a list of both holds up to 2k items, so that SASRec's of 2k is what it must beat"]
    return Sheet(f"Incremental recall, {found.recipe}, beside SASRec", ["loss", "model", *head], lines, notes)


def _shares_found(one: dict[str, Any], other: dict[str, Any], k: int) -> tuple[float, float, float, float | None]:
    """Recall@k of two runs and of both together, and recall@2k of the first, where its lists are that deep."""
    ranks = [np.array(run["ranks"]["targets"]) for run in (one, other)]
    first, second = ((of >= 0) & (of < k) for of in ranks)
    longer = (ranks[0] >= 0) & (ranks[0] < 2 * k)
    is_deep = 2 * k <= one["ranks"]["depth"]
    return (
        float(first.mean()),
        float(second.mean()),
        float((first | second).mean()),
        float(longer.mean()) if is_deep else None,
    )


def channel_under(found: Found, name: str, loss: str) -> str | None:
    """The channel that is `name` under a loss, which may be its own."""
    if f"{name}-{loss}" in found.channels:
        return f"{name}-{loss}"
    own = next((run["row"]["settings"]["objective"]["loss"] for run in found.of(name)), None)
    return name if own in (None, LOSSES[loss]["loss"]) and name in found.channels else None


def _positives(run: dict[str, Any]) -> list[float]:
    """Positives seen at the end of each epoch of the curve."""
    return [(epoch + 1) * run["positives_per_epoch"] for epoch, *_ in run["row"]["training"]["curve"]]


def _best_within(run: dict[str, Any], budget: float) -> float:
    curve = run["row"]["training"]["curve"]
    figures = [figure for (*_, figure), seen in zip(curve, _positives(run), strict=True) if seen <= budget * 1.0001]
    return max((figure for figure in figures if figure is not None), default=0.0)


def _figure_1a(found: Found) -> Sheet:
    k_within, k_outside, lines = None, str(found.ks[0]), []
    for mix in (0.0, *MIXES):
        name = f"{TUNED}-{mix}" if mix else "sasrec-bce"
        runs = [run for run in found.of(name) if run["within"]]
        if runs:
            k_within = k_within or str(sorted(map(int, runs[0]["within"]))[1])
        within = [run["within"][k_within] for run in runs if k_within]
        outside = [run["outside"][k_outside] for run in runs]
        overall = found.recall(name, "plain", found.ks[0])
        lines.append(
            [Cell(f"{mix:g}"), *(Cell(over_seeds(values), source(runs)) for values in (within, outside, overall))]
        )
    head = [
        "share of hard negatives",
        f"R@{k_within or 20} within the cluster",
        f"R@{k_outside} out of cluster",
        f"R@{found.ks[0]} among all",
    ]
    return Sheet(f"Figure 1a, {found.recipe}", head, lines, ["one negative, binary cross-entropy"])


def _curves(found: Found) -> list[Sheet]:
    """Coverage against recall over alpha, of Divide and of SASRec with the same merge."""
    made = []
    k = str(found.ks[-1])
    losses = ("", "-sampled", "-bce")
    for name in (f"{model}{loss}" for loss in losses for model in (OURS, LATE, BASE)):
        runs = found.of(name)
        if not runs and name not in (OURS, BASE):
            continue
        lines = []
        for merge in found.merges(name):
            of_merge = [run["merges"][merge] for run in runs if merge in run["merges"]]
            figures = [[one[part][k] for one in of_merge] for part in ("test", "clusters_shown", "category_coverage")]
            lines.append([Cell(merge), *(Cell(over_seeds(values), source(runs)) for values in figures)])
        head = ["merge", f"R@{k}", f"clusters among {k}", f"category coverage@{k}"]
        made.append(Sheet(f"Recall and coverage, {found.recipe}, {name}", head, lines or [[Cell(NOT_RUN)] * 4]))
    return made


def _intents(found: Found) -> Sheet:
    lines = []
    for name in found.channels:
        runs = found.of(name)
        for chances in runs[0]["intent"] if runs else ():
            of_source = [run["intent"][chances] for run in runs]
            parts = ("accuracy", "log_loss", "calibration_error", "entropy")
            cells = [Cell(over_seeds([one[part] for one in of_source]), source(runs)) for part in parts]
            lines.append([Cell(name), Cell(chances), *cells])
    head = ["channel", "chances", "accuracy", "log-loss", "calibration error", "entropy"]
    return Sheet(f"Intent, {found.recipe}: the cluster of the next item", head, lines, _provenance(found))


def _provenance(found: Found) -> list[str]:
    runs: Sequence[dict[str, Any]] = found.every()
    data, full = runs[0]["dataset"], runs[0]["row"]["full"]
    seeds = sorted({run["seed"] for run in runs if run["seed"] is not None})
    commits = ", ".join(dict.fromkeys(run["row"]["commit"] for run in runs))
    machines = ", ".join(dict.fromkeys(run["row"]["machine"] for run in runs))
    return [
        f"{data['name']}: {data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions, "
        f"checksum {data['checksum']}; leave-one-out, test part, {full['n_queries']:,} queries, all unseen items; "
        f"ties in time: {full['time_tie_rule']}",
        f"seeds {', '.join(map(str, seeds)) or 'none'}; ±: standard deviation over seeds; commit {commits}; {machines}",
    ]
