"""Table 2 in both protocols, the ablations, Table 4, Figure 7's numbers, and whether the paper's findings hold."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.reproduce.paths.found import Found, Protocol, Run, Side
from headwater.reproduce.paths.measure import LENGTH_CUTOFFS, LENGTHS
from headwater.reproduce.paths.plan import ABLATIONS, OURS, VECTOR
from headwater.reproduce.paths.published import GROUPS_OF_TABLE_4, METHODS, TABLE_2, TABLE_4, Published
from headwater.reproduce.sheet import NOT_PUBLISHED, Cell, Sheet, compared
from headwater.show import NOT_RUN, over_seeds

SIDES: dict[Side, str] = {"personalised": "personalised", "item_to_item": "item to item"}
PROTOCOLS: tuple[Protocol, ...] = ("sampled", "full")
BASELINE = "bst"
"""What Table 4 compares with."""

UNSEEN = "-unseen"
"""Ends the name of a channel whose loss leaves out what the history holds."""

VARIANTS = {
    "paths-vector": "Paths with vectors",
    "paths-bce": "Paths, binary cross-entropy",
    "paths-softmax": "Paths, softmax over candidates",
}

NONE = Published(None, None)


def sheets(found: Found) -> list[Sheet]:
    """Every table of one data set."""
    table_2 = [_table_2(found, protocol, side) for protocol in PROTOCOLS for side in SIDES]
    ablations = [_ablations(found, side) for side in SIDES]
    return [
        *table_2,
        *ablations,
        _table_4(found),
        _published_table_4(),
        *(_diversity(found, k) for k in LENGTH_CUTOFFS),
    ]


def methods_of(found: Found) -> dict[str, str]:
    """Channel -> what its row is called: what the paper does not have first, then the paper's rows in its order."""
    others = [channel for channel in found.channels if channel not in METHODS]
    variants = [channel for channel in others if channel.startswith(OURS)]
    first = {channel: channel for channel in others if channel not in variants}
    return first | METHODS | {channel: VARIANTS.get(channel, channel) for channel in variants}


def _table_2(found: Found, protocol: Protocol, side: Side) -> Sheet:
    published = TABLE_2.get(found.recipe, {})
    lines = []
    for channel, method in methods_of(found).items():
        theirs = getattr(published.get(channel, NONE), side)
        runs = [run for run in found.of(channel) if run.evaluation(side, protocol) is not None]
        if found.of(channel) and not runs and theirs is None:
            continue  # popularity, and vectors of paths, have no similarity of items
        source = _sources(runs)
        cells = [Cell(method)]
        for at, metric in enumerate(("hr@10", "ndcg@10")):
            figures = found.figures(channel, side, protocol, metric)
            cells += compared(None if theirs is None else theirs[at], figures, source)
        cells.append(Cell(over_seeds(found.figures(channel, side, protocol, "hr@50")), source))
        lines.append(cells)
    head = [f"{metric} {what}" for metric in ("HR@10", "NDCG@10") for what in ("published", "ours", "ratio")]
    title = f"Table 2, {found.title}, {SIDES[side]}, {_protocol(found, protocol)}"
    notes = provenance(found, protocol)
    if side == "item_to_item":
        notes.append("score: the sum of sim(j, i) over the whole history, without weights")
    if protocol == "full" and published:
        notes.append(
            "The paper says that all negative items compete, but figures of its height are those of sampled negatives: "
            "compare them with the table of sampled negatives"
        )
    if found.of("din"):
        notes.append("DIN scores every item here; it is a ranker, and served so in no system")
    return Sheet(title, ["method", *head, "HR@50 ours"], lines, notes)


def _protocol(found: Found, protocol: Protocol) -> str:
    evaluations = [run.evaluation("personalised", protocol) for run in found.every()]
    return next((evaluation.protocol for evaluation in evaluations if evaluation), "not measured")


def _sources(runs: Sequence[Run]) -> str:
    return "; ".join(run.source for run in runs)


def provenance(found: Found, protocol: Protocol = "full") -> list[str]:
    """Data, protocol, tie rules, seeds, machines and commits of a data set's runs."""
    runs = found.every()
    data, first = runs[0].dataset, runs[0].row.full
    seeds = sorted({run.row.seed for run in runs if run.row.seed is not None})
    return [
        f"{data['name']}: {data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions, "
        f"checksum {data['checksum']}; leave-one-out, test part, {first.n_queries:,} queries; "
        f"{_protocol(found, protocol)}",
        f"ties in time: {first.time_tie_rule}; ties in score: {first.score_tie_rule}",
        f"seeds {', '.join(map(str, seeds)) or 'none'}; ±: standard deviation over seeds; headwater "
        f"{_each(run.row.full.headwater for run in runs)}, commit {_each(run.row.commit for run in runs)}; "
        f"{_each(run.row.machine for run in runs)}",
    ]


def _each(values: Sequence[str] | object) -> str:
    return ", ".join(dict.fromkeys(values))  # type: ignore[call-overload]


def _ablations(found: Found, side: Side) -> Sheet:
    """Paths as it is, and with one thing changed, in both protocols."""
    names = [OURS, *ABLATIONS, *(channel for channel in found.channels if channel in ("paths-bce", "paths-softmax"))]
    lines = []
    for name in names:
        cells = [Cell(methods_of(found).get(name, name))]
        for protocol in PROTOCOLS:
            runs = [run for run in found.of(name) if run.evaluation(side, protocol) is not None]
            if found.of(name) and not runs:
                cells += [Cell(NOT_PUBLISHED), Cell(NOT_PUBLISHED)]
                continue
            for metric in ("hr@10", "ndcg@10"):
                figures = found.figures(name, side, protocol, metric)
                whole = found.mean(OURS, side, protocol, metric)
                said = over_seeds(figures)
                if name != OURS and whole and figures:
                    said += f" ({(sum(figures) / len(figures) - whole) / whole:+.1%})"
                cells.append(Cell(said, _sources(runs)))
        lines.append(cells)
    kinds = {"sampled": "99 negatives", "full": "full ranking"}
    head = [f"{metric}, {kinds[protocol]}" for protocol in PROTOCOLS for metric in ("HR@10", "NDCG@10")]
    notes = provenance(found, "sampled")
    whole, vector = (next((run.row.settings for run in found.of(name)), {}) for name in (OURS, VECTOR))
    if whole.get("shares_negatives") and vector:
        notes.append(
            f"vectors cannot share negatives: {vector['negatives']} of each positive's own, where {OURS} has "
            f"{whole['negatives']:,} of a step"
        )
    return Sheet(f"Ablations, {found.title}, {SIDES[side]}", ["", *head], lines, notes)


def _table_4(found: Found) -> Sheet:
    lines = []
    for channel, method in methods_of(found).items():
        cells = [Cell(method)]
        for length in LENGTHS:
            figures, baseline = found.by_length(channel, length, "hr@300"), found.mean_by_length(BASELINE, length)
            said = over_seeds(figures)
            if figures and baseline and channel != BASELINE:
                said += f" ({sum(figures) / len(figures) / baseline - 1:+.1%})"
            cells.append(Cell(said, _sources(found.of(channel))))
        lines.append(cells)
    read = {run.row.channel: run.row.settings["length"] for run in found.every() if "length" in run.row.settings}
    said = ", ".join(f"{name} {length}" for name, length in read.items())
    notes = [
        f"HR@300 (gain over {METHODS[BASELINE]}); each channel is trained once, on whole histories, and asked with the "
        "latest n events; all items of the whole history stay refused",
        f"events that a channel reads at most: {said or 'all'}",
        *provenance(found),
    ]
    return Sheet(f"Table 4, {found.title}, by length of history", ["method", *_lengths()], lines, notes)


def _lengths() -> list[str]:
    return ["all" if length is None else f"latest {length}" for length in LENGTHS]


def _published_table_4() -> Sheet:
    """The paper's own, whose groups are users, not cuts."""
    lines = [
        [
            Cell(METHODS[channel]),
            *(
                Cell(f"{value:.3f}" + (f" ({value / base - 1:+.1%})" if channel != BASELINE else ""))
                for value, base in zip(values, TABLE_4[BASELINE], strict=True)
            ),
        ]
        for channel, values in TABLE_4.items()
    ]
    notes = [
        "Taobao's log, users grouped by the length n of their history: its shape can be compared, not its height",
        "Gains over BST are computed from these figures; for PCF the paper prints others (-59.1% and -41.8%)",
    ]
    return Sheet("Table 4 as published", ["method", *GROUPS_OF_TABLE_4], lines, notes)


def _diversity(found: Found, k: int) -> Sheet:
    lines = []
    for channel, method in methods_of(found).items():
        if not found.of(channel):
            continue
        figures = (found.by_length(channel, length, f"category_coverage@{k}") for length in LENGTHS)
        lines.append([Cell(method), *(Cell(over_seeds(values), _sources(found.of(channel))) for values in figures)])
    notes = [f"Categories in the first {k} over min({k}, categories), averaged over queries", *provenance(found)]
    title = f"Figure 7, {found.title}: category coverage of the first {k}, by length of history"
    return Sheet(title, ["method", *_lengths()], lines, notes)


def conclusions(found: Found) -> Sheet:
    """What the paper concludes from its figures, and whether ours say so too."""
    lines = [
        [Cell(claim), *(Cell(verdict) for verdict in verdicts)]
        for claim, verdicts in (*_of_table_2(found), *_of_lengths(found))
    ]
    return Sheet(f"What the paper finds, on {found.title}", ["finding", "99 negatives", "full ranking"], lines)


def _of_table_2(found: Found) -> list[tuple[str, list[str]]]:
    def ahead(channel: str, others: Sequence[str], side: Side = "personalised") -> list[str]:
        return [_ahead(found, channel, others, side, protocol) for protocol in PROTOCOLS]

    with_items = [
        channel for channel in found.runs if not channel.startswith(OURS) and found.of(channel)[0].item_to_item
    ]
    return [
        ("DSSM is the weakest of the two towers", [_weakest(found, protocol) for protocol in PROTOCOLS]),
        ("BST is ahead of YoutubeDNN", ahead("bst", ["youtube_dnn"])),
        ("Paths is ahead of every two-tower model", ahead(OURS, _towers(found))),
        ("Paths is ahead of DIN", ahead(OURS, ["din"])),
        ("SimNet is ahead of Pearson and SLIM from item to item", ahead(OURS, ["pearson", "slim"], "item_to_item")),
        (
            "SimNet is ahead of every other model that was run, from item to item",
            ahead(OURS, with_items, "item_to_item"),
        ),
        ("Paths is worse without the bias net", ahead(OURS, ["paths-without-bias-net"])),
        ("Paths is worse without the direct net", ahead(OURS, ["paths-without-direct-net"])),
    ]


def _towers(found: Found) -> list[str]:
    """The two-tower models and those of them that the plan has with another loss: the strongest is who counts."""
    names = [tower + variant for tower in ("dssm", "youtube_dnn", "bst") for variant in ("", UNSEEN)]
    return [name for name in names if name in found.channels or not name.endswith(UNSEEN)]


def _ahead(found: Found, channel: str, others: Sequence[str], side: Side, protocol: Protocol) -> str:
    ours = found.mean(channel, side, protocol)
    measured = {other: found.mean(other, side, protocol) for other in others}
    figures = {other: value for other, value in measured.items() if value is not None}
    if ours is None or not figures or len(figures) < len(others):
        return NOT_RUN
    best = max(figures, key=lambda other: figures[other])
    return f"{'yes' if ours > figures[best] else 'no'}: HR@10 {ours:.4f}, {best} {figures[best]:.4f}"


def _weakest(found: Found, protocol: Protocol) -> str:
    figures = {channel: found.mean(channel, "personalised", protocol) for channel in ("dssm", "youtube_dnn", "bst")}
    known = {channel: value for channel, value in figures.items() if value is not None}
    if len(known) < len(figures):
        return NOT_RUN
    is_weakest = all(known["dssm"] < value for channel, value in known.items() if channel != "dssm")
    return f"{'yes' if is_weakest else 'no'}: {', '.join(f'{name} {value:.4f}' for name, value in known.items())}"


def _of_lengths(found: Found) -> list[tuple[str, list[str]]]:
    ours = [found.mean_by_length(OURS, length) for length in LENGTHS]
    theirs = [found.mean_by_length(BASELINE, length) for length in LENGTHS]
    gains = [None if a is None or not b else a / b - 1 for a, b in zip(ours, theirs, strict=True)]
    return [
        ("The gain over BST is largest for the shortest histories (HR@300)", [NOT_PUBLISHED, _falling(gains)]),
        (
            "Candidates become more diverse as histories grow, and are more so than BST's",
            [NOT_PUBLISHED, _wider(found)],
        ),
    ]


def _falling(gains: Sequence[float | None]) -> str:
    known = [gain for gain in gains if gain is not None]
    if len(known) < len(gains):
        return NOT_RUN
    said = ", ".join(f"{name} {gain:+.1%}" for name, gain in zip(_lengths(), known, strict=True))
    return f"{'yes' if known[0] == max(known) and known[0] > known[-1] else 'no'}: {said}"


def _wider(found: Found) -> str:
    k = LENGTH_CUTOFFS[-1]
    both = [
        [found.mean_by_length(channel, length, f"category_coverage@{k}") for length in LENGTHS]
        for channel in (OURS, BASELINE)
    ]
    ours, theirs = ([value for value in values if value is not None] for values in both)
    if min(len(ours), len(theirs)) < len(LENGTHS):
        return NOT_RUN
    grows, is_above = ours[-1] > ours[0], all(a > b for a, b in zip(ours, theirs, strict=True))
    said = "; ".join(
        f"{name} {' → '.join(f'{value:.3f}' for value in values)}"
        for name, values in ((OURS, ours), (BASELINE, theirs))
    )
    return f"{'grows' if grows else 'does not grow'}, {'above' if is_above else 'not always above'} BST's: {said}"
