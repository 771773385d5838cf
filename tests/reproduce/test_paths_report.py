"""Tables, findings and pages of the Paths paper from documents alone, whatever of them is there."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater.data import Dataset
from headwater.errors import ArtefactError
from headwater.recipe import Recipe
from headwater.reproduce.jobs import Documents, Job, jobs_of
from headwater.reproduce.paths.found import Found, read_found
from headwater.reproduce.paths.pages import CASES, INDEX, TABLES, write_report
from headwater.reproduce.paths.plan import with_ablations
from headwater.reproduce.paths.tables import conclusions, sheets
from headwater.reproduce.sheet import Cell, Sheet, compared
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.pearson import PearsonConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.towers.bst import BSTConfig
from headwater.retrieval.towers.dssm import DSSMConfig

CHANNELS = (PopularConfig(), ItemCFConfig(), PearsonConfig(), DSSMConfig(), BSTConfig(), PathsConfig())


def evaluation(protocol: str, hit_rate: float, ks: tuple[int, ...]) -> dict[str, Any]:
    names = ("hr", "ndcg", "category_coverage")
    return {
        "channel": "c",
        "protocol": protocol,
        "metrics": {f"{name}@{k}": hit_rate / (1 + at) for k in ks for at, name in enumerate(names)},
        "n_queries": 10,
        "n_items": 20,
        "n_repeated": 0,
        "n_tied": 0,
        "n_unanswered": 0,
        "seed": None,
        "headwater": "0",
    }


def document(job: Job, hit_rate: float, items: float | None, by_length: list[float]) -> dict[str, Any]:
    """Such as a job leaves, with figures that are known."""
    both = {
        "full": evaluation("full ranking over unseen items", hit_rate / 2, (10, 50)),
        "sampled": evaluation("99 sampled negatives, uniform, seed 0", hit_rate, (10, 50)),
    }
    of_items = None
    if items is not None:
        of_items = {
            "full": evaluation("full ranking over unseen items", items / 2, (10, 50)),
            "sampled": evaluation("99 sampled negatives, uniform, seed 0", items, (10, 50)),
        }
    near = [{"title": f"near <{at}>", "category": "c", "interactions": at, "similarity": 1 / at} for at in (1, 2)]
    views: dict[str, Any] = {}
    if items is not None:
        views["neighbours"] = [{"title": "Heat & Co", "category": "c", "interactions": 9, "neighbours": near}]
    if job.channel == "paths":
        views |= {
            "category_similarity": {"categories": ["a", "b"], "mean": [[0.2, 0.1], [0.1, 0.3]]},
            "trigger_weights": {"positive": 1.5, "negative": 0.5, "higher": 0.9, "users": 10},
            "gender_interest": {
                "categories": ["a", "b"],
                "difference": [0.1, -0.2],
                "more": "M",
                "less": "F",
                "people": [5, 5],
            },
        }
    return {
        "row": {
            "channel": job.channel,
            "settings": job.settings.model_dump(mode="json"),
            "config": job.config,
            "seed": job.seed,
            "commit": "abc",
            "machine": "a machine",
            "fit_seconds": 1.0,
            "retrieving": {"p50_ms": 1.0, "p99_ms": 2.0, "n": 1, "k": 1},
            **both,
            "training": None,
            "refitted": None,
        },
        "item_to_item": of_items,
        "by_length": [
            {"length": length, "full": evaluation("full", value, (10, 50, 300))}
            for length, value in zip((15, 30, 45, None), by_length, strict=True)
        ],
        "views": views,
        "seconds": 1.0,
    }


FIGURES: dict[str, tuple[float, float | None, list[float]]] = {
    "popular/None": (0.40, None, [0.1] * 4),
    "itemcf/None": (0.66, 0.66, [0.3] * 4),
    "pearson/None": (0.50, 0.45, [0.3] * 4),
    "dssm/0": (0.45, 0.20, [0.3] * 4),
    "bst/0": (0.60, 0.10, [0.40, 0.45, 0.50, 0.50]),
    "bst/1": (0.64, 0.12, [0.40, 0.45, 0.50, 0.50]),
    "paths/0": (0.70, 0.55, [0.60, 0.60, 0.60, 0.55]),
    "paths-without-bias-net/0": (0.65, 0.54, [0.5] * 4),
    "paths-vector/0": (0.71, None, [0.5] * 4),
}


@pytest.fixture
def jobs() -> list[Job]:
    recipe = with_ablations(Recipe(dataset="marketplace", channels=CHANNELS))
    return jobs_of({"ml-1m": recipe}, lambda name: 2 if name == "bst" else 1)


@pytest.fixture
def documents(tmp_path: Path, jobs: list[Job], marketplace: Dataset) -> Documents:
    documents = Documents(tmp_path / "results")
    for job in jobs:
        if f"{job.channel}/{job.seed}" in FIGURES:
            documents.write(job, marketplace, document(job, *FIGURES[f"{job.channel}/{job.seed}"]))
    return documents


@pytest.fixture
def found(jobs: list[Job], documents: Documents) -> Found:
    (one,) = read_found(jobs, documents, pytest.fail)
    return one


def lines(sheet: Sheet) -> dict[str, list[str]]:
    return {line[0].text: [cell.text for cell in line[1:]] for line in sheet.lines}


def test_table_2_stands_in_both_protocols_and_ways_with_published_ours_and_ratio(found: Found) -> None:
    titles = [sheet.title for sheet in sheets(found)][:4]
    assert [("personalised" in title, "99 sampled" in title) for title in titles] == [
        (True, True),
        (False, True),
        (True, False),
        (False, False),
    ]
    personalised, items, full, _ = (lines(sheet) for sheet in sheets(found)[:4])
    assert personalised["Paths (PDN)"][:3] == ["0.6770", "0.7000", "1.03"]
    assert items["Paths (PDN)"][:3] == ["0.5152", "0.5500", "1.07"]
    assert full["Paths (PDN)"][:3] == ["0.6770", "0.3500", "0.52"]
    assert personalised["BST"][:3] == ["0.6316", "0.6200 ± 0.0283", "0.98"]
    assert personalised["Pearson CF (PCF)"][:3] == ["-", "0.5000", "-"]
    assert personalised["SLIM"][:3] == ["-", "not run", ""]
    assert items["SLIM"][:3] == ["0.4400", "not run", ""]
    assert personalised["DIN"] == ["0.6454", "not run", "", "0.3767", "not run", "", "not run"]
    assert "popular" in personalised
    assert not {"popular", "Paths with vectors"} & items.keys(), "they have no similarities"


def test_every_table_says_data_protocol_ties_seeds_machine_and_commit(found: Found) -> None:
    for sheet in sheets(found):
        said = " ".join(sheet.notes)
        if "as published" in sheet.title:
            continue
        for word in ("200 users", "checksum", "leave-one-out", "ties in time", "ties in score", "seeds 0, 1"):
            assert word in said, sheet.title
        assert "commit abc" in said
        assert "a machine" in said
    cell = next(line for line in sheets(found)[0].lines if line[0].text == "BST")[2]
    assert cell.source.count("config") == 2
    assert "ml-1m/bst/1" in cell.source


def test_table_4_gives_gains_over_bst_at_each_length(found: Found) -> None:
    table = next(sheet for sheet in sheets(found) if "by length" in sheet.title)
    assert lines(table)["Paths (PDN)"] == ["0.6000 (+50.0%)", "0.6000 (+33.3%)", "0.6000 (+20.0%)", "0.5500 (+10.0%)"]
    assert lines(table)["BST"][0] == "0.4000 ± 0.0000"
    assert "bst 50" in " ".join(table.notes), "what a channel reads at most explains where its line ends"
    published = lines(next(sheet for sheet in sheets(found) if "as published" in sheet.title))
    assert published["Paths (PDN)"][0] == "0.263 (+113.8%)"


def test_ablations_are_compared_with_the_whole(found: Found) -> None:
    table = next(sheet for sheet in sheets(found) if sheet.title.startswith("Ablations"))
    assert lines(table)["Paths without bias net"][0] == "0.6500 (-7.1%)"
    assert lines(table)["Paths with vectors"][0] == "0.7100 (+1.4%)"
    assert lines(table)["Paths without direct net"][0] == "not run"
    of_items = [sheet for sheet in sheets(found) if sheet.title.startswith("Ablations")][1]
    assert lines(of_items)["Paths with vectors"] == ["-"] * 4


def test_findings_are_judged_by_our_figures_and_only_where_all_of_them_are_there(found: Found) -> None:
    judged = lines(conclusions(found))
    assert judged["BST is ahead of YoutubeDNN"] == ["not run", "not run"]
    assert judged["Paths is ahead of every two-tower model"] == ["not run", "not run"]
    assert judged["Paths is ahead of DIN"] == ["not run", "not run"]
    beaten = judged["SimNet is ahead of every other model that was run, from item to item"][0]
    assert beaten == "no: HR@10 0.5500, itemcf 0.6600"
    assert judged["Paths is worse without the bias net"][0].startswith("yes: HR@10 0.7000")
    assert judged["The gain over BST is largest for the shortest histories (HR@300)"][1].startswith("yes: latest 15")
    assert judged["Candidates become more diverse as histories grow, and are more so than BST's"][1].startswith(
        "does not grow, above"
    )


class Page(HTMLParser):
    """Fails on nothing, so tests look at what it found: headings, images, links, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            self.images.append(values["src"] or "")
        if tag == "a":
            self.links.append(values["href"] or "")
        if tag not in ("img", "br", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_pages_hold_all_they_show_and_close_every_tag(found: Found, tmp_path: Path) -> None:
    index = write_report([found], tmp_path / "report", pytest.fail)
    assert index.name == INDEX
    page = Page(index.read_text(encoding="utf-8"))
    assert page.open == []
    assert len(page.images) == 5
    assert all(image.startswith("data:image/png;base64,iVBOR") for image in page.images)
    assert CASES in page.links
    assert "0.6200 ± 0.0283" in page.text
    case = Page((tmp_path / "report" / CASES).read_text(encoding="utf-8"))
    assert case.open == []
    assert "Heat & Co" in case.text
    assert case.text.count("near <1>") == 2, "by SimNet and by ItemCF"
    assert "http" not in index.read_text(encoding="utf-8").replace("http-equiv", "")
    tables = (tmp_path / "report" / TABLES).read_text(encoding="utf-8")
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in tables.splitlines() if line.startswith("|")]
    assert len(widths) > 40
    assert "| Paths (PDN) | 0.6770 | 0.7000 | 1.03 |" in tables


def test_without_matplotlib_the_pages_have_no_pictures_and_say_so(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    told: list[str] = []
    page = Page(write_report([found], tmp_path / "report", told.append).read_text(encoding="utf-8"))
    assert page.images == []
    assert "No pictures" in page.text
    assert "--no-run" in told[0]


def test_one_job_alone_makes_a_report(jobs: list[Job], documents: Documents, tmp_path: Path) -> None:
    for job in jobs:
        if job.channel != "pearson":
            documents.path(job).unlink(missing_ok=True)
    found = read_found(jobs, documents, pytest.fail)
    page = Page(write_report(found, tmp_path / "report", pytest.fail).read_text(encoding="utf-8"))
    assert page.images == []
    assert CASES not in page.links
    assert "0.4500" in page.text


def test_a_run_on_other_data_is_left_out_and_told(jobs: list[Job], documents: Documents, marketplace: Dataset) -> None:
    bst = next(job for job in jobs if job.id == "ml-1m/bst/1")
    other = marketplace.keep(np.arange(len(marketplace)) % 20 > 0)
    documents.write(bst, other, document(bst, 0.9, 0.9, [0.9] * 4))
    told: list[str] = []
    (found,) = read_found(jobs, documents, told.append)
    assert found.figures("bst", "personalised", "sampled", "hr@10") == [0.60]
    assert "ml-1m/bst/1 was run on other data" in told[0]


def test_a_document_that_is_none_is_named(jobs: list[Job], documents: Documents) -> None:
    path = documents.path(jobs[0])
    plain = json.loads(path.read_text(encoding="utf-8"))
    del plain["by_length"]
    path.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"ml-1m--popular\.json is no document"):
        read_found(jobs, documents, pytest.fail)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"ml-1m--popular\.json is no JSON"):
        read_found(jobs, documents, pytest.fail)


def test_cells_are_safe_in_markdown_and_html() -> None:
    sheet = Sheet("A <b>", ["x|y"], [[Cell("1 | 2 <i>", "from 'here'")]], ["a & b"])
    assert "x\\|y" in sheet.markdown()
    assert "1 \\| 2" in sheet.markdown()
    assert "<i>" not in sheet.html()
    assert "title='from &#x27;here&#x27;'" in sheet.html()
    assert "a &amp; b" in sheet.html()


def test_a_ratio_needs_both_figures() -> None:
    assert [cell.text for cell in compared(0.5, [0.4, 0.6])] == ["0.5000", "0.5000 ± 0.1414", "1.00"]
    assert [cell.text for cell in compared(None, [0.4])] == ["-", "0.4000", "-"]
    assert [cell.text for cell in compared(0.5, [])] == ["0.5000", "not run", ""]


def test_the_verb_lists_jobs_and_makes_the_report_of_what_there_is(
    jobs: list[Job], documents: Documents, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from headwater.cli.app import app

    (tmp_path / "recipes").mkdir()
    channels = "".join(f'[[channels]]\nkind = "{chosen.kind}"\n' for chosen in CHANNELS)
    (tmp_path / "recipes" / "ml-1m.toml").write_text(f'dataset = "marketplace"\n{channels}', encoding="utf-8")
    words = ["reproduce", "paths", "--results", str(documents.folder), "--recipes", str(tmp_path / "recipes")]
    words += ["--home", str(tmp_path / "home"), "--seeds", "2"]
    listed = CliRunner().invoke(app, [*words, "--list"])
    states = dict(line.split(maxsplit=2)[:2] for line in listed.stdout.splitlines() if line.startswith(" ml-1m/"))
    assert states["ml-1m/bst/1"] == states["ml-1m/popular"] == "done"
    assert states["ml-1m/paths/1"] == states["ml-1m/paths-bce/0"] == "not"
    made = CliRunner().invoke(app, [*words, "--no-run"])
    assert made.exit_code == 0
    assert "0.6200 ± 0.0283" in made.stdout
    assert (tmp_path / "home" / "reports" / "reproduce-paths" / INDEX).is_file()
    lacking = CliRunner().invoke(app, words)
    assert lacking.exit_code == 0, "who has not asked for this data set need not have it"
    assert "ml-1m/popular: not run: there is no data set" in lacking.stdout
    asked = CliRunner().invoke(app, [*words, "--only", "ml-1m/popular"])
    assert asked.exit_code == 1
