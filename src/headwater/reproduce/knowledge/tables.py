"""Tables 2 to 8, and every sub-domain by itself, ours beside what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from headwater.errors import ArtefactError
from headwater.reproduce.jobs import Documents
from headwater.reproduce.knowledge.measure import GROUPS
from headwater.reproduce.knowledge.plan import BASE, EVERYTHING, EVERYWHERE, METHODS, OURS, KnowledgeJob
from headwater.reproduce.knowledge.published import TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_7, TABLE_8
from headwater.reproduce.sheet import NOT_PUBLISHED, Cell, Sheet
from headwater.show import NOT_RUN, over_seeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2_000
NEEDED = ("domains", "users", "rule", "row", "dataset", "seconds")


@dataclass(frozen=True, slots=True)
class Found:
    """All runs of one data set.

    Attributes
    ----------
    recipe : str
    runs : dict of str to list of dict
        Documents by method; without methods that were not run.
    """

    recipe: str
    runs: dict[str, list[dict[str, Any]]]

    def gauc(self, method: str, domain: str) -> list[float]:
        """In one sub-domain, one figure a run."""
        found = [run["domains"].get(domain, {}).get("gauc") for run in self.runs.get(method, [])]
        return [value for value in found if value is not None]

    def means(self, method: str, domains: Sequence[str]) -> list[float]:
        """Over sub-domains, one figure a run that has all of them."""
        found = []
        for run in self.runs.get(method, []):
            values = [run["domains"].get(domain, {}).get("gauc") for domain in domains]
            if values and None not in values:
                found.append(fmean(values))
        return found

    def domains(self, method: str = BASE) -> list[str]:
        """The sub-domains of a method that were measured, the largest first."""
        runs = self.runs.get(method, [])
        return [name for name, figures in runs[0]["domains"].items() if figures["gauc"] is not None] if runs else []

    def largest(self) -> list[str]:
        """The sub-domains that every method has."""
        everywhere = set(EVERYWHERE)
        shared = [set(self.domains(method)) for method in self.runs if method not in everywhere]
        return [name for name in self.domains() if all(name in some for some in shared)]


def read_found(jobs: Sequence[KnowledgeJob], documents: Documents) -> list[Found]:
    """What there is of each data set that has any. Raises `ArtefactError` where a document is none of such a job."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for job in jobs:
        document = documents.read(job)
        if document is None:
            continue
        missing = [part for part in NEEDED if part not in document]
        if missing:
            raise ArtefactError(f"{documents.path(job)} has no {missing[0]}; move it away and run the job again")
        found.setdefault(job.recipe_name, {}).setdefault(job.channel, []).append(document)
    return [Found(name, runs) for name, runs in found.items()]


def said_of(document: Mapping[str, Any]) -> str:
    """The figures of one job, in a line."""
    found = [f"{name} {figures['gauc']:.4f}" for name, figures in document["domains"].items() if figures["gauc"]]
    return f"GAUC {', '.join(found)}"


def sheets(found: Found) -> list[Sheet]:
    """Every table of one data set."""
    tables = [_table_2(found), _domains(found), _figures(found, "Table 3, what is plugged in", TABLE_3)]
    tables += [_figures(found, "Table 4, whose tasks' knowledge", TABLE_4), *_table_5(found)]
    tables += [_figures(found, "Table 6, share of the super-domain learned from", TABLE_6), _table_7(found)]
    return [*tables, _figures(found, "Table 8, decomposition and degeneration", TABLE_8)]


def _table_2(found: Found) -> Sheet:
    domains = found.largest()
    others = [name for name in METHODS if name not in TABLE_2 and not name.startswith("keep-")]
    ablations = [name for name in METHODS if name not in TABLE_2 and name.startswith("keep-")]
    lines = []
    for name in [*TABLE_2, *others, *ablations]:
        said, published = TABLE_2.get(name, (name, None))
        gain = "" if published is None else f"{published - TABLE_2[BASE][1]:+.4f}"
        lines.append([Cell(said), Cell(f"{published:.4f}" if published else NOT_PUBLISHED), Cell(gain)])
        lines[-1] += _with_gain(found, name, domains, "largest")
    notes = [
        f"means over {len(domains)} sub-domains: {', '.join(domains)}",
        "gain over Base, pooled over sub-domains, with a 95% interval from resampled users; AUC of each user weighted "
        "by samples (eq. 7), users with one class skipped",
        f"{EVERYTHING} is Base with all of the sub-domain before the test; published figures are of Taobao's own data",
        *_provenance(found),
    ]
    return Sheet(f"Table 2, {found.recipe}", ["method", "published", "gain", "ours", "gain", "95%"], lines, notes)


def _with_gain(found: Found, method: str, domains: Sequence[str], scope: str) -> list[Cell]:
    means = found.means(method, domains)
    if not means:
        return [Cell(NOT_RUN), Cell(NOT_RUN), Cell(NOT_RUN)]
    if method == BASE or not found.runs.get(BASE):
        return [Cell(over_seeds(means)), Cell(NOT_PUBLISHED), Cell(NOT_PUBLISHED)]
    gain, low, high = gain_over(found.runs[BASE], found.runs[method], scope)
    return [Cell(over_seeds(means)), Cell(f"{gain:+.4f}"), Cell(f"{low:+.4f} to {high:+.4f}")]


def gain_over(
    base: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]], scope: str
) -> tuple[float, float, float]:
    """Gain in pooled GAUC of the mean over seeds, and its 95% interval over resampled users.

    Pooled: every user of every sub-domain counts with their samples there.
    """
    samples, theirs = _pooled(base, scope)
    others, own = _pooled(ours, scope)
    if not np.array_equal(samples, others):
        raise ArtefactError("two methods were measured on other users or samples; run them again")
    random = np.random.default_rng(0)
    differences = own - theirs
    users = np.flatnonzero(samples)
    drawn = random.multinomial(len(users), np.full(len(users), 1 / len(users)), RESAMPLES)
    resampled = (drawn @ differences[users]) / (drawn @ samples[users])
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(differences.sum() / samples.sum()), float(low), float(high)


def _pooled(runs: Sequence[Mapping[str, Any]], scope: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Samples, and samples times AUC, of each user by code; of several seeds the mean."""
    n = runs[0]["dataset"]["users"]
    samples, areas = np.zeros(n), np.zeros(n)
    for run in runs:
        codes = run["users"]["codes"]
        samples[codes] += run["users"][scope]["samples"]
        areas[codes] += run["users"][scope]["auc"]
    return samples / len(runs), areas / len(runs)


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
        notes.insert(0, f"mean gain of KEEP over {len(gains)} sub-domains {mean:+.4f}, standard error {error:.4f}")
    if found.runs.get(OURS) and found.runs.get(BASE):
        gain, low, high = gain_over(found.runs[BASE], found.runs[OURS], "all")
        notes.insert(0, f"pooled gain of KEEP {gain:+.4f}, 95% over users {low:+.4f} to {high:+.4f}")
    heads = ["sub-domain", "trained", "tested", "users", *EVERYWHERE, "gain of keep"]
    return Sheet(f"Every sub-domain, {found.recipe}", heads, lines, notes)


RULE_NOTE = "sub-domains share items, so their gains are not independent; the interval over users does not assume it"


def _figures(found: Found, title: str, published: Mapping[str, float | None]) -> Sheet:
    domains, lines = found.largest(), []
    for name, theirs in published.items():
        said = NOT_PUBLISHED if theirs is None else f"{theirs:.4f}"
        lines.append([Cell(name), Cell(said), *_with_gain(found, name, domains, "largest")])
    return Sheet(
        f"{title}, {found.recipe}", ["knowledge", "published", "ours", "gain", "95%"], lines, _provenance(found)
    )


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
            first = found.runs[BASE][0]
            activity = np.zeros(first["dataset"]["users"])
            activity[first["users"]["codes"]] = first["users"]["activity"]
            within = (activity >= edges[at]) & (activity < edges[at + 1])
            samples, base = _pooled(found.runs[BASE], "all")
            _, ours = _pooled(found.runs[OURS], "all")
            total = samples[within].sum()
            if total:
                values = [base[within].sum() / total, ours[within].sum() / total]
                cells += [Cell(f"{int((samples[within] > 0).sum()):,}"), *(Cell(f"{value:.4f}") for value in values)]
                cells.append(Cell(f"{values[1] - values[0]:+.4f}"))
            else:
                cells += [Cell("0"), *[Cell(NOT_PUBLISHED)] * 3]
        else:
            cells += [Cell(NOT_RUN)] * 4
        lines.append(cells)
    heads = ["clicks before", "published gain", "users", "base", "keep", "gain"]
    return Sheet(f"Table 7, {found.recipe}: users by clicks before the test", heads, lines, _provenance(found))


def _provenance(found: Found) -> list[str]:
    runs = [run for some in found.runs.values() for run in some]
    if not runs:
        return []
    commits = sorted({f"{run['row']['commit']}, {run['row']['machine']}" for run in runs})
    return [runs[0]["rule"], *commits]
