"""The page of an A/B test: one file that holds its pictures, and tells one user's day."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.reproduce.bazaar.timeline import timeline, told
from headwater.simulation.chronicle import Entry
from headwater.simulation.scenarios import HOMEPAGE, MAIN_SEARCH

ROOT = Path(__file__).parents[2]
WORLD = "users = 120\nitems = 800\ndays = 3\ncategories = 12\ndepartments = 4\nshops = 12\nbrands = 12\n"


def entry(time: int, scenario: int, categories: list[int], intent: int, clicked: int | None = None) -> Entry:
    n = len(categories)
    clicks = np.zeros(n, np.int8)
    if clicked is not None:
        clicks[clicked] = 1
    about = -1 if scenario == HOMEPAGE else intent
    is_nearline = np.array([scenario == HOMEPAGE and category == intent for category in categories])
    return Entry(
        time, scenario, about, intent, np.array(categories, np.int32), is_nearline, clicks, np.zeros(n, np.int8)
    )


DAY = [
    entry(36_000, HOMEPAGE, [1, 2, 3], -1),
    entry(36_070, MAIN_SEARCH, [7, 7], 7, clicked=1),
    entry(36_145, HOMEPAGE, [7, 7, 3], 7),
    entry(50_000, HOMEPAGE, [1, 2, 3], -1),
]


def test_a_day_is_told_by_the_search_that_changed_the_homepage() -> None:
    said = told(DAY)
    assert "At 10:01:10 the user searches category 7" in said
    assert "before showed 0 of 3" in said
    assert "75 seconds after the search it shows 2 of 3, 2 of them retrieved by nearline" in said
    assert told(DAY[:1]) == "No search of this day changed the homepage."


def test_a_timeline_has_a_line_a_visit_a_mark_an_item_and_says_when_intents_begin_and_end() -> None:
    text = timeline(DAY)
    assert text.count("class='time'") == 4
    assert text.count("<span class='mark") == 3 + 2 + 3 + 3
    assert text.count("mark wanted nearline") == 2
    assert text.count("✓") == 1
    assert text.count("begins to want category 7") == 1
    assert text.count(">wants category 7") == 1
    assert "no longer wants category 7" in text
    assert "3 hours later" in text


def test_an_ab_test_leaves_a_page_that_holds_all_it_shows(tmp_path: Path) -> None:
    arm = f'[days]\nsettle = 0\nmeasured = 1\n[bazaar.world]\n{WORLD}[[channels]]\nkind = "popular"\n'
    (tmp_path / "control.toml").write_text(f'name = "plain <b>"\n{arm}')
    (tmp_path / "treatment.toml").write_text(f'name = "fresh"\n{arm}[nearline]\n')
    words = ["simulate", "abtest", str(tmp_path / "control.toml"), str(tmp_path / "treatment.toml")]
    words += ["--rerandomisations", "10", "--report", str(tmp_path / "report")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert "src='http" not in page
    assert "href='http" not in page
    assert "plain <b>" not in page.replace("plain &lt;b&gt;", "")
    for words in ("every user in both arms", "users split by a hash", "nearline", "main_search", "95% interval"):
        assert words in page
    assert ("class='day'" in page) or ("no search changed" in page)


def test_the_arms_that_come_along_are_played_in_a_small_world_and_leave_a_page(tmp_path: Path) -> None:
    arms = [str(ROOT / "recipes" / "bazaar" / f"{name}.toml") for name in ("control", "treatment")]
    words = ["simulate", "abtest", *arms, "--fast", "--rerandomisations", "100"]
    words += ["--report", str(tmp_path / "report"), "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "250 users" in done.output
    assert "sample ratio: p " in done.output
    assert "100 A/A splits of control" in done.output
    assert (tmp_path / "report" / "index.html").exists()
