"""What other papers say of live traffic, beside arms of the same homepage: Table 3 of Paths, Table 6 of Divide."""

from __future__ import annotations

from headwater.reproduce.nearline.cells import INTERVAL, difference, provenance, relative
from headwater.reproduce.nearline.found import Found
from headwater.reproduce.nearline.plan import BESIDE, RIVALS
from headwater.reproduce.nearline.published import DIVIDE_TABLE_6, PATHS_TABLE_3
from headwater.reproduce.sheet import NOT_PUBLISHED, Cell, Sheet
from headwater.show import NOT_RUN

METRICS = ("CTR", "clicks a user", "session length", "diversity")


def others(found: Found) -> list[Sheet]:
    """The tables that this world's arms have something to say to."""
    return [table for table in (_paths(found), _divide(found)) if table.lines]


def _paths(found: Found) -> Sheet:
    names = found.alternatives
    lines = []
    for name in names:
        theirs, tests = PATHS_TABLE_3.get(name, {}), found.tests(BESIDE + name, BESIDE + names[0])
        cells = [Cell(name)]
        for metric in METRICS:
            published = theirs.get(metric)
            is_base = name == names[0]
            cells.append(Cell("base" if is_base else NOT_PUBLISHED if published is None else f"{published:+.2%}"))
            cells.append(Cell("base") if is_base and tests else difference(tests[metric]) if tests else Cell(NOT_RUN))
        lines.append(cells)
    head = [f"{metric} {whose}" for metric in METRICS for whose in ("published", "ours")]
    notes = [
        *provenance(found, [BESIDE + name for name in names]),
        "beside the homepage's own channels one more, the same users in every arm, relative to the first row; session "
        "length: theirs in time, ours in visits; diversity: categories of a homepage",
    ]
    return Sheet(f"Paths in live traffic (Table 3), {found.recipe}", ["index", *head], lines, notes)


def _divide(found: Found) -> Sheet:
    planned = next((job.arm.channels for job in found.planned if job.arm.name == RIVALS), ())
    names = [settings.name for settings in planned if settings.name in DIVIDE_TABLE_6]
    arm, base = found.arm(RIVALS), names[0] if names else ""
    lines = []
    for name in names:
        theirs = DIVIDE_TABLE_6[name]
        cells = [Cell(name), Cell("base" if name == base else f"{theirs:+.1%}")]
        cells += [
            Cell("base") if arm and name == base else relative(arm, name, metric, arm, base)
            for metric in ("ctr", "ctcvr", "hirate", "pvr")
        ]
        lines.append(cells)
    head = ["channel", "clicks published", "CTR ours", "CTCVR ours", "Hirate ours", "PVR ours"]
    notes = [*provenance(found, [RIVALS]), "of what each channel gave, in one arm, relative to the first row", INTERVAL]
    return Sheet(f"Divide in live traffic (Table 6), {found.recipe}", head, lines, notes)
