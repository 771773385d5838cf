"""Tables 2 to 8, and every sub-domain by itself, ours beside what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import t

from headwater.reproduce.knowledge.found import Found, activity_of, gain_over, pooled, same_seeds
from headwater.reproduce.knowledge.measure import GROUPS
from headwater.reproduce.knowledge.plan import BASE, EVERYTHING, EVERYWHERE, METHODS, OURS, SHUFFLED
from headwater.reproduce.knowledge.published import TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_7, TABLE_8
from headwater.reproduce.knowledge.steps import steps
from headwater.reproduce.sheet import NOT_PUBLISHED, Cell, Sheet
from headwater.show import NOT_RUN, over_seeds


def said_of(document: Mapping[str, Any]) -> str:
    """The figures of one job, in a line."""
    found = [f"{name} {figures['gauc']:.4f}" for name, figures in document["domains"].items() if figures["gauc"]]
    return f"GAUC {', '.join(found)}"


def sheets(found: Found) -> list[Sheet]:
    """Every table of one data set."""
    tables = [_table_2(found), _domains(found), _figures(found, "Table 3, what is plugged in", TABLE_3)]
    tables += [_figures(found, "Table 4, whose tasks' knowledge (of tasks that the data have)", TABLE_4)]
    tables += _table_5(found)
    tables += [_figures(found, "Table 6, share of the super-domain learned from", TABLE_6), _table_7(found)]
    return [*tables, _figures(found, "Table 8, decomposition and degeneration", TABLE_8, over=OURS), *steps(found)]


def _table_2(found: Found) -> Sheet:
    domains = found.largest()
    others = [name for name in METHODS if name not in TABLE_2 and not name.startswith("keep-")]
    ablations = [name for name in METHODS if name not in TABLE_2 and name.startswith("keep-")]
    lines = []
    for name in [*TABLE_2, *others, *ablations]:
        said, published = TABLE_2.get(name, (name, None))
        gain = "" if published is None else f"{published - TABLE_2[BASE][1]:+.4f}"
        seeds = len(found.runs.get(name, ()))
        lines.append([Cell(said), Cell(str(seeds or ""))])
        lines[-1] += [Cell(f"{published:.4f}" if published else NOT_PUBLISHED), Cell(gain)]
        lines[-1] += _with_gain(found, name, domains, "largest")
    notes = [
        f"means over {len(domains)} sub-domains: {', '.join(domains)}",
        "gain over Base, pooled over sub-domains, with a 95% interval from resampled users; AUC of each user weighted "
        "by samples (eq. 7), users with one class skipped",
        f"{EVERYTHING} is Base with all of the sub-domain before the test; published figures are of Taobao's own data",
        *_provenance(found),
    ]
    return Sheet(
        f"Table 2, {found.recipe}", ["method", "seeds", "published", "gain", "ours", "gain", "95%"], lines, notes
    )


def _with_gain(found: Found, method: str, domains: Sequence[str], scope: str, over: str = BASE) -> list[Cell]:
    means = found.means(method, domains)
    if not means:
        return [Cell(NOT_RUN), Cell(NOT_RUN), Cell(NOT_RUN)]
    if method == over or not found.runs.get(over):
        return [Cell(over_seeds(means)), Cell(NOT_PUBLISHED), Cell(NOT_PUBLISHED)]
    return [Cell(over_seeds(means)), *map(Cell, _interval(*gain_over(found.runs[over], found.runs[method], scope)))]


def _interval(gain: float, low: float, high: float) -> tuple[str, str]:
    return f"{gain:+.4f}", f"{low:+.4f} to {high:+.4f}"


def _domains(found: Found) -> Sheet:
    names, gains = found.domains(), []
    lines = []
    for name in names:
        line = [Cell(name)]
        figures = {method: found.gauc(method, name) for method in EVERYWHERE}
        base = found.runs[BASE][0]["domains"][name]
        line += [Cell(f"{base['trained']:,}"), Cell(f"{base['samples']:,}"), Cell(f"{base['users']:,}")]
        line += [Cell(over_seeds(figures[method]) if figures[method] else NOT_RUN) for method in EVERYWHERE]
        gain = fmean(figures[OURS]) - fmean(figures[BASE]) if figures[OURS] and figures[BASE] else None
        gains += [] if gain is None else [gain]
        lines.append([*line, Cell(NOT_RUN if gain is None else f"{gain:+.4f}")])
    notes = [RULE_NOTE, *_provenance(found)]
    if len(gains) > 1:
        mean, error = fmean(gains), float(np.std(gains, ddof=1)) / len(gains) ** 0.5
        reach = error * float(t.ppf(0.975, len(gains) - 1))
        gain, interval = _interval(mean, mean - reach, mean + reach)
        notes.insert(0, f"mean gain of KEEP over {len(gains)} sub-domains {gain}, 95% over sub-domains {interval}")
    for other in (SHUFFLED, BASE):
        if found.runs.get(OURS) and found.runs.get(other):
            gain, interval = _interval(*gain_over(found.runs[other], found.runs[OURS], "all"))
            notes.insert(0, f"pooled gain of KEEP over {other} {gain}, 95% over users {interval}")
    heads = ["sub-domain", "trained", "tested", "users", *EVERYWHERE, "gain of keep"]
    return Sheet(f"Every sub-domain, {found.recipe}", heads, lines, notes)


RULE_NOTE = "sub-domains share items, so their gains are not independent; the interval over users does not assume it"


def _figures(found: Found, title: str, published: Mapping[str, float | None], over: str = BASE) -> Sheet:
    domains, lines = found.largest(), []
    for name, theirs in published.items():
        said = NOT_PUBLISHED if theirs is None else f"{theirs:.4f}"
        lines.append([Cell(name), Cell(said), *_with_gain(found, name, domains, "largest", over)])
    heads = ["knowledge", "published", "ours", f"gain over {over}", "95%"]
    return Sheet(f"{title}, {found.recipe}", heads, lines, _provenance(found))


def _table_5(found: Found) -> list[Sheet]:
    """What follows clicks, where the data know of it: in each of the largest sub-domains, means over seeds."""
    lines = []
    for domain in found.largest():
        for task, theirs in TABLE_5.items():
            means = {}
            for method in (BASE, OURS):
                runs = [_of_task(run["domains"][domain], task) for run in found.runs.get(method, [])]
                means[method] = [one["gauc"] for one in runs if one is not None and one["gauc"] is not None]
            known = _of_task(found.runs[BASE][0]["domains"][domain], task)
            if known is None:
                continue
            line = [f"{task}, {domain}", f"{theirs:+.4f}", f"{known['samples']:,}", f"{known['users']:,}"]
            line += [over_seeds(means[method]) if means[method] else NOT_RUN for method in (BASE, OURS)]
            is_whole = means[BASE] and means[OURS]
            line.append(f"{fmean(means[OURS]) - fmean(means[BASE]):+.4f}" if is_whole else NOT_RUN)
            lines.append([Cell(text) for text in line])
    if all(line[0].text.startswith("click") for line in lines):
        return []
    heads = ["task", "published gain", "samples", "users", "base", "keep", "gain"]
    return [Sheet(f"Table 5, what is predicted, {found.recipe}", heads, lines, _provenance(found))]


def _of_task(figures: Mapping[str, Any], task: str) -> Mapping[str, Any] | None:
    return figures if task == "click" else figures.get("after_click", {}).get(task)


def _table_7(found: Found) -> Sheet:
    lines = []
    edges = [0, *GROUPS, 1 << 62]
    for at, (name, theirs) in enumerate(TABLE_7.items()):
        cells = [Cell(name), Cell(f"{theirs:+.4f}")]
        if found.runs.get(OURS) and found.runs.get(BASE):
            activity = activity_of(found)
            within = (activity >= edges[at]) & (activity < edges[at + 1])
            runs = same_seeds(found.runs[OURS], found.runs[BASE])
            (samples, ours), (_, base) = (pooled(some, "all") for some in runs)
            total = samples[within].sum()
            if total:
                values = [base[within].sum() / total, ours[within].sum() / total]
                cells += [Cell(f"{int((samples[within] > 0).sum()):,}"), *(Cell(f"{value:.4f}") for value in values)]
                cells += map(Cell, _interval(*gain_over(found.runs[BASE], found.runs[OURS], "all", within)))
            else:
                cells += [Cell("0"), *[Cell(NOT_PUBLISHED)] * 4]
        else:
            cells += [Cell(NOT_RUN)] * 5
        lines.append(cells)
    heads = ["clicks before", "published gain", "users", "base", "keep", "gain", "95%"]
    return Sheet(f"Table 7, {found.recipe}: users by clicks before the test", heads, lines, _provenance(found))


def _provenance(found: Found) -> list[str]:
    runs = [run for some in found.runs.values() for run in some]
    if not runs:
        return []
    commits = sorted({f"{run['row']['commit']}, {run['row']['machine']}" for run in runs})
    return [runs[0]["rule"], *commits]
