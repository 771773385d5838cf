"""The demo's report: one HTML file with its plots inside, to be opened or sent as it is."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from headwater.show import evaluation_cells, quality_metrics, say_reasons

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from headwater.demo.visits import Played
    from headwater.experiment import Table
    from headwater.service.messages import Answer

INK, PAPER, COLOURS = "#1d2b3a", "#ffffff", ["#1f6f8b", "#e07a3f", "#7aa95c", "#8a6fb0", "#c94f6d"]

STYLE = f"""
body {{ font: 16px/1.5 system-ui, sans-serif; color: {INK}; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ margin-bottom: 0; }} h2 {{ margin-top: 2.5rem; border-bottom: 1px solid #d8dee5; }}
table {{ border-collapse: collapse; width: 100%; margin: 1rem 0; font-size: 0.9rem; }}
th, td {{ text-align: left; padding: 0.3rem 0.6rem; border-bottom: 1px solid #e6eaef; vertical-align: top; }}
th {{ background: #f4f6f8; }} td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
figure {{ margin: 1.5rem 0; }} img {{ max-width: 100%; }} figcaption, .quiet {{ color: #5b6b7b; font-size: 0.9rem; }}
"""


def write_report(folder: Path, table: Table, played: Played) -> Path:
    """Write `index.html` into `folder` and return its path."""
    parts = [
        "<h1>Headwater: the loop on real data</h1>",
        f"<p class=quiet>{html.escape(_what(table))}</p>",
        "<h2>Channels compared</h2>",
        _evaluation(table),
        *(f"<p class=quiet>{html.escape(note)}</p>" for note in table.notes()),
        _figure(_quality(table), "Hit rate and NDCG of each channel on the held-out last interaction."),
        _figure(
            _breadth(table),
            "What the first lists are made of: share of the catalogue and of the categories that "
            "is shown at all, and popularity over that of what users really chose next (1: no bias).",
        ),
        "<h2>The loop, live</h2>",
        f"<p>{html.escape(_speed(played))}</p>",
        _figure(
            _sources(played),
            "Which channels retrieved the items shown at each visit. An item counts for all of its channels.",
        ),
        *(_visit(number, what, answer) for number, (what, answer) in enumerate(played.answers, 1)),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Headwater: the loop on real data</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>"
    )
    staging = path.with_suffix(".partial")
    staging.write_text(page, encoding="utf-8")
    staging.replace(path)
    return path


# -- words and tables


def _what(table: Table) -> str:
    data = table.dataset
    return (
        f"{data.name}: {len(data.users):,} users, {len(data.items):,} items, {len(data):,} interactions. "
        f"{table.recipe.split.kind}, {table.part}."
    )


def _speed(played: Played) -> str:
    said = f"Answers over HTTP took {np.median(played.answer_ms):.1f} ms in the median"
    if played.stream_ms:
        said += f"; a visit's ranked list was in the store {played.stream_ms[0]:.0f} ms after the click"
    return said + "."


def _evaluation(table: Table) -> str:
    headings, lines = evaluation_cells(table)
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = ""
    for channel, *figures in lines:
        cells = "".join(f"<td class=n>{figure}</td>" for figure in figures)
        body += f"<tr><td>{html.escape(channel)}</td>{cells}</tr>"
    return f"<table><tr>{head}</tr>{body}</table>"


def _visit(number: int, what: str, answer: Answer) -> str:
    plain = Text.from_markup(what).plain
    rows = "".join(
        f"<tr><td class=n>{place}</td><td>{html.escape(item.title)}</td><td>{html.escape(item.category)}</td>"
        f"<td>{_lines(say_reasons(item))}</td></tr>"
        for place, item in enumerate(answer.items, 1)
    )
    return (
        f"<h3>Visit {number}: {html.escape(plain)}</h3>"
        f"<table><tr><th></th><th>title</th><th>category</th><th>why</th></tr>{rows}</table>"
    )


def _lines(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


# -- pictures


def _figure(figure: Figure, caption: str) -> str:
    raw = io.BytesIO()
    figure.savefig(raw, format="svg", bbox_inches="tight", facecolor=PAPER)
    source = base64.b64encode(raw.getvalue()).decode()
    text = html.escape(caption)
    image = f"<img alt='{text}' src='data:image/svg+xml;base64,{source}'>"
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def _canvas(width: float, height: float) -> Figure:
    # Figures are made without pyplot: no global state, no display, safe in any thread.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _tidy(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def _quality(table: Table) -> Figure:
    names = quality_metrics(table)
    figure = _canvas(9, 3.4)
    axes = figure.subplots()
    width = 0.8 / len(table.rows)
    for at, row in enumerate(table.rows):
        places = np.arange(len(names)) + (at - (len(table.rows) - 1) / 2) * width
        figures = [row.full.metrics[metric] for metric in names.values()]
        bars = axes.bar(places, figures, width, label=row.channel, color=COLOURS[at % len(COLOURS)])
        axes.bar_label(bars, fmt="%.3f", fontsize=7, padding=2)
    axes.set_xticks(range(len(names)), list(names))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    _tidy(axes)
    return figure


def _breadth(table: Table) -> Figure:
    k = table.recipe.evaluate.ks[0]
    panels = {
        f"coverage@{k}": "catalogue",
        f"category_coverage@{k}": "categories",
        f"popularity_ratio@{k}": "popularity",
    }
    figure = _canvas(9, 0.8 + 0.4 * len(table.rows))
    names = [row.channel for row in table.rows]
    for axes, (metric, title) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
        colours = [COLOURS[at % len(COLOURS)] for at in range(len(names))]
        bars = axes.barh(names, [row.full.metrics[metric] for row in table.rows], color=colours)
        axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
        axes.set_title(title, fontsize=10)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        _tidy(axes)
    return figure


def _sources(played: Played) -> Figure:
    visits = [answer for _, answer in played.answers]
    names = list(dict.fromkeys(name for answer in visits for item in answer.items for name in item.channels))
    figure = _canvas(9, 2.8)
    axes = figure.subplots()
    width = 0.8 / max(len(names), 1)
    for at, name in enumerate(names):
        counts = [sum(name in item.channels for item in answer.items) for answer in visits]
        places = np.arange(len(visits)) + (at - (len(names) - 1) / 2) * width
        bars = axes.bar(places, counts, width, label=name, color=COLOURS[at % len(COLOURS)])
        axes.bar_label(bars, fontsize=7, padding=2)
    axes.set_xticks(range(len(visits)), [f"{at}: {answer.scenario}" for at, answer in enumerate(visits, 1)])
    axes.set_ylabel("items shown")
    axes.legend(frameon=False, ncols=len(names), loc="upper center", bbox_to_anchor=(0.5, 1.2))
    _tidy(axes)
    return figure
