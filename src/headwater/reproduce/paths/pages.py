"""The report: an index page with tables and pictures, a case-study page, and the tables as Markdown.

Pages hold everything that they show, pictures included, so that each can be sent as one file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from headwater.reproduce.page import page, pictures
from headwater.reproduce.paths.drawings import draw
from headwater.reproduce.paths.found import Found
from headwater.reproduce.paths.plan import OURS
from headwater.reproduce.paths.tables import conclusions, sheets

INDEX, CASES, TABLES = "index.html", "case-study.html", "tables.md"

RIVALS = ("itemcf-99", "itemcf")
"""Whose neighbours stand beside SimNet's: the first of them that was run."""


def write_report(found: Sequence[Found], folder: Path, say: Callable[[str], None]) -> Path:
    """Write the pages of everything that was found into `folder`, and return the index page.

    Without matplotlib the pictures are left out, which the page and `say` tell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    has_cases = any(_cases(one) for one in found)
    parts = []
    for one in found:
        parts.append(f"<h2 id='{escape(one.recipe)}'>{escape(one.title)}</h2>")
        parts.append(conclusions(one).html().replace("<table>", "<table class='words'>", 1))
        parts.append(pictures(partial(draw, one, folder), one.recipe, say))
        parts += [sheet.html() for sheet in sheets(one)]
    links = [f"<a href='#{escape(one.recipe)}'>{escape(one.title)}</a>" for one in found]
    if has_cases:
        links.append(f"<a href='{CASES}'>case study</a>")
    lead = (
        "Offline experiments of the Path-based Deep Network (Li et al., SIGIR 2021), ours beside what was published. "
        "A cell's tooltip names the runs behind it; <em>not run</em> is what no machine has run yet."
    )
    body = f"<h1>Paths, reproduced</h1><p class='lead'>{lead}</p><nav>{''.join(links)}</nav>{''.join(parts)}"
    (folder / INDEX).write_text(page("Paths, reproduced", body), encoding="utf-8")
    markdown = [sheet.markdown() for one in found for sheet in (conclusions(one), *sheets(one))]
    (folder / TABLES).write_text("\n".join(markdown), encoding="utf-8")
    if has_cases:
        (folder / CASES).write_text(_case_page(found), encoding="utf-8")
    return folder / INDEX


def _cases(found: Found) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The same items by SimNet and by the rival; empty where one of them was not run."""
    ours = found.view(OURS, "neighbours")
    theirs = next((view for name in RIVALS if (view := found.view(name, "neighbours")) is not None), None)
    if ours is None or theirs is None:
        return []
    by_title = {case["title"]: case for case in theirs}
    return [(case, by_title[case["title"]]) for case in ours if case["title"] in by_title]


def _case_page(found: Sequence[Found]) -> str:
    parts = [
        "<h1>What is near: SimNet and ItemCF</h1><p class='lead'>The ten nearest items of the most chosen item of each "
        "large category, as in the paper's Figure 9. <span class='shared'>In blue</span>: near by both. "
        "Beside a title its category, and how many users chose it in training: co-occurrence is said to favour what is "
        f"popular. Similarities are on scales of their own. <a href='{INDEX}'>Tables and figures</a></p>"
    ]
    for one in found:
        cases = _cases(one)
        if not cases:
            continue
        runs = {"SimNet": one.of(OURS)[0], "ItemCF": next(one.of(name)[0] for name in RIVALS if one.of(name))}
        parts.append(f"<h2>{escape(one.title)}</h2>")
        popularity = {name: _mean_popularity([pair[at] for pair in cases]) for at, name in enumerate(runs)}
        said = ", ".join(f"{name} {value:,.0f}" for name, value in popularity.items())
        parts.append(f"<p>Interactions of a neighbour, on average over these lists: {said}.</p>")
        parts += [f"<p class='note'>{name}: {escape(run.source)}</p>" for name, run in runs.items()]
        parts += [_case(ours, theirs) for ours, theirs in cases]
    return page("Case study", "".join(parts))


def _mean_popularity(cases: Sequence[dict[str, Any]]) -> float:
    counts = [near["interactions"] for case in cases for near in case["neighbours"]]
    return sum(counts) / max(len(counts), 1)


def _case(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    shared = {near["title"] for near in ours["neighbours"]} & {near["title"] for near in theirs["neighbours"]}
    sides = "".join(
        f"<div><h4>{name}</h4><table>{''.join(_near(near, case, shared) for near in case['neighbours'])}</table></div>"
        for name, case in (("SimNet", ours), ("ItemCF", theirs))
    )
    kind = f"{ours['category']}, {ours['interactions']:,} interactions; {len(shared)} of the neighbours by both"
    return (
        f"<div class='case'><h3>{escape(ours['title'])}</h3><span class='kind'>{escape(kind)}</span>"
        f"<div class='pair'>{sides}</div></div>"
    )


def _near(near: dict[str, Any], case: dict[str, Any], shared: set[str]) -> str:
    largest = max(abs(other["similarity"]) for other in case["neighbours"])
    width = 100 * max(near["similarity"], 0.0) / (largest or 1.0)
    kind = " class='shared'" if near["title"] in shared else ""
    about = f"{near['category']}, {near['interactions']:,}"
    return (
        f"<tr><td><span{kind}>{escape(near['title'])}</span><br><span class='kind'>{escape(about)}</span></td>"
        f"<td style='width:26%'><div class='bar' style='width:{width:.0f}%'></div></td>"
        f"<td class='number'>{near['similarity']:.3g}</td></tr>"
    )
