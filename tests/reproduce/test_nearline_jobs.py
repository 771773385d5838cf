"""The nearline paper's arms: what is planned, measured and told, and how sure each figure is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.config import parse
from headwater.errors import ArtefactError, ConfigError
from headwater.reproduce.jobs import Documents, Ended, run_jobs
from headwater.reproduce.nearline.drawings import draw
from headwater.reproduce.nearline.found import Arm, Found, read_found
from headwater.reproduce.nearline.measure import measure, said_of
from headwater.reproduce.nearline.pages import write_report
from headwater.reproduce.nearline.plan import (
    BASE,
    EVERYTHING,
    ONLINE,
    SEARCH,
    ArmJob,
    NearlineRecipe,
    arms_of,
    in_world,
    load_plan,
    load_recipe,
)
from headwater.reproduce.nearline.tables import sheets
from headwater.reproduce.nearline.verdicts import verdicts
from headwater.reproduce.nearline.worlds import worlds
from headwater.retrieval.classic.popular import PopularConfig
from headwater.simulation.config import BazaarConfig, WorldConfig
from headwater.simulation.measures import ALL, COUNTS, GROUPS, SUMS
from training_machine import headwater_without

RECIPES = Path(__file__).parents[2] / "recipes" / "reproduce" / "nearline"
SMALL = NearlineRecipe(
    bazaar=BazaarConfig(world=WorldConfig(users=60, items=400, days=4, categories=8, departments=4, shops=8, brands=8)),
    days={"settle": 0},  # type: ignore[arg-type]
    channels=(PopularConfig(),),
    alphas=(500,),
    betas=(),
)


def jobs() -> list[ArmJob]:
    return [ArmJob("small", arm) for arm in arms_of(SMALL)]


def arm(*, exposures: int = 100, bought: int = 4, shown: int = 40, mine: int = 4, noise: int = 0) -> dict[str, Any]:
    """A document whose channel shows `shown` of `exposures` items in each group, of which `mine` are bought."""
    random = np.random.default_rng(noise)
    users = np.ones((2 * GROUPS, len(COUNTS)), np.int64)
    users[:, COUNTS.index("transactions")] += random.integers(0, 3, 2 * GROUPS)

    def sums(exposed: int, purchases: int) -> np.ndarray:
        found = np.tile([exposed, exposed // 10, purchases, 2, 200, 10, 1], (GROUPS, 1))
        found[:, 2] += random.integers(0, 2, GROUPS) if noise else 0
        return found

    channels = {ALL: sums(exposures, bought), SEARCH: sums(shown, mine), "popular": sums(exposures, bought)}
    lines = {
        name: {of: " ".join(map(str, values[:, at])) for at, of in enumerate(SUMS)} for name, values in channels.items()
    }
    return {
        "row": {"settings": {"days": SMALL.days.model_dump()}, "config": "c", "seed": 1, "commit": "d", "machine": "m"},
        "users": {name: " ".join(map(str, users[:, at])) for at, name in enumerate(COUNTS)},
        "channels": lines,
        "funnel": np.full((6, 6), 100).tolist(),
        "health": {},
        "records": 0,
        "seconds": 1.0,
    }


class Start:
    """Stands for the first days."""

    def __init__(self, checksum: str = "x") -> None:
        self._checksum = checksum

    def checksum(self) -> str:
        return self._checksum


def found_of(documents: Documents, given: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Found:
    head = {"dataset": {"name": "b", "users": 500, "items": 400, "checksum": "x"}, "world": "w"}
    monkeypatch.setattr(ArmJob, "head", lambda self, start: head)
    for job in jobs():
        if job.arm.name in given:
            documents.write(job, Start(), given[job.arm.name])  # type: ignore[arg-type]
    (found,) = read_found(jobs(), documents, lambda _: None)
    return found


def test_the_plan_has_every_arm_that_the_tables_need_in_the_frozen_world() -> None:
    names = [job.id for job in load_plan(RECIPES)]
    assert {
        f"frozen/{name}" for name in (ONLINE, EVERYTHING, BASE, f"{BASE}-daily", f"{BASE}-fifo", f"{BASE}-random")
    } <= set(names)
    assert {f"frozen/{BASE}-alpha-{alpha}" for alpha in (10, 20, 200, 500)} <= set(names)
    assert f"frozen/{BASE}-alpha-50" not in names, "that is the base"
    assert len(set(names)) == len(names)
    compared = {job.arm.name: job.compared for job in load_plan(RECIPES)}
    assert compared[ONLINE] == compared[EVERYTHING] != compared[BASE] == compared[f"{BASE}-alpha-10"]
    assert compared["with-itemcf"] == compared["with-paths"] not in (compared[BASE], compared["rivals"])
    recipe = load_recipe(RECIPES / "frozen.toml")
    assert recipe.bazaar.hash == BazaarConfig().hash
    assert {channel.kind for channel in recipe.channels} >= {"swing", "mind"}
    assert {job.recipe_name for job in load_plan(RECIPES, is_fast=True)} == {"fast"}


def test_every_arm_is_planned_again_in_each_further_world_and_the_first_keeps_its_names() -> None:
    planned = load_plan(RECIPES, worlds=3)
    first = load_plan(RECIPES)
    assert planned[: len(first)] == first
    assert {job.recipe_name for job in first} == {"frozen"}
    for seed in (2, 3):
        others = [job for job in planned if job.recipe_name == f"frozen-{seed}"]
        assert [job.arm.name for job in others] == [job.arm.name for job in first]
        assert {job.arm.bazaar.world.seed for job in others} == {seed}
        settings = {job.arm.bazaar.model_dump_json().replace(f'"seed":{seed}', '"seed":1', 1) for job in others}
        assert settings == {BazaarConfig().model_dump_json()}, "nothing else is another"
    assert len({job.config for job in planned}) == len(planned) == 3 * len(first)


def test_an_arms_hash_follows_what_decides_its_figures_and_nothing_else() -> None:
    base = next(job for job in jobs() if job.arm.name == BASE)
    slow = ArmJob("small", base.arm.model_copy(update={"stall_seconds": 99.0}))
    other = ArmJob("small", base.arm.model_copy(update={"bazaar": BazaarConfig()}))
    assert slow.config == base.config != other.config
    assert len({job.config for job in jobs()}) == len(jobs())


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[[channels]]\nkind = "swnig"\n', "channels[0].kind"),
        ('alpha = [1]\n[[channels]]\nkind = "popular"\n', "did you mean 'alphas'"),
        ('[days]\nmeasured = 99\n[[channels]]\nkind = "popular"\n', "bazaar.world.days (7)"),
        ("", "[[channels]]"),
    ],
)
def test_a_faulty_recipe_names_the_key(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "faulty.toml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_plan(tmp_path)
    assert key in str(raised.value)


def test_an_alternative_has_an_arm_of_its_own_and_rivals_share_one() -> None:
    others = tuple(PopularConfig(name=name) for name in ("itemcf", "paths"))
    rivals = tuple(PopularConfig(name=name) for name in ("comirec", "divide"))
    planned = arms_of(SMALL.model_copy(update={"alternatives": others, "rivals": rivals}))
    names = {arm.name: [channel.name for channel in arm.channels] for arm in planned}
    assert names["with-itemcf"] == ["popular", "itemcf"]
    assert names["with-paths"] == ["popular", "paths"]
    assert names["rivals"] == ["popular", "comirec", "divide"]


def test_an_alpha_that_the_operator_refuses_is_refused_when_arms_are_planned() -> None:
    with pytest.raises(ConfigError, match="alpha"):
        arms_of(parse(NearlineRecipe, {**SMALL.model_dump(), "channels": SMALL.channels, "alphas": (0,)}, "small"))


def test_figures_are_of_sums_and_a_difference_of_arms_that_share_their_users_is_narrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {BASE: arm(mine=4, noise=1), f"{BASE}-fifo": arm(mine=2, shown=20, noise=1)}
    found = found_of(Documents(tmp_path), given, monkeypatch)
    base, fifo = found.arms[BASE], found.arms[f"{BASE}-fifo"]
    share = base.figure(SEARCH, "pvr")
    assert share is not None
    assert share == pytest.approx((0.4, 0.4, 0.4)), "every group has the same share"
    rate = base.figure(SEARCH, "hirate")
    assert rate is not None
    assert rate.value == pytest.approx(1 / 10 * 100 / 100)
    bought = base.figure(SEARCH, "ctcvr")
    gain = fifo.against(SEARCH, "ctcvr", base, SEARCH)
    assert bought is not None
    assert gain is not None
    assert bought.low < bought.value < bought.high
    mine, theirs = (arm.channels[SEARCH].sum(axis=0) for arm in (fifo, base))
    assert gain.value == pytest.approx(mine[2] / mine[0] / (theirs[2] / theirs[0]) - 1)
    assert (gain.high - gain.low) / (1 + gain.value) < 2 * (bought.high - bought.low) / bought.value
    itself = base.against(SEARCH, "ctcvr", base, SEARCH)
    assert itself == (0.0, 0.0, 0.0), "users are drawn alike in both arms"
    assert base.figure("nobody", "pvr") is None


def test_tables_have_what_was_published_beside_ours_and_say_what_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {BASE: arm(mine=8, noise=1), f"{BASE}-daily": arm(mine=2, shown=20, noise=2)}
    found = found_of(Documents(tmp_path), given, monkeypatch)
    text = "\n".join(sheet.markdown() for sheet in sheets(found))
    assert "not run" in text
    assert "contradicts itself" in text
    table_2 = next(sheet for sheet in sheets(found) if sheet.title.startswith("Table 2"))
    stream, daily = ([cell.text for cell in line] for line in table_2.lines)
    assert stream[:4] == ["stream", "6.99%", "40.00% [40.00 to 40.00]", "base"]
    assert daily[:4] == ["daily", "3.02%", "20.00% [20.00 to 20.00]", "-36.0%"]
    assert daily[4].startswith("-")
    answers = {line[0].text: line[1].text for line in verdicts(found).lines}
    asked = "Does a stream give more of what is exposed than a batch once a day?"
    assert answers[asked] == "yes: +100.0% [+100.0 to +100.0]"
    assert answers["Does the score give more of what is exposed than chance?"] == "not run"
    page = write_report([found], tmp_path / "report", print).read_text(encoding="utf-8")
    assert "made-up marketplace" in page
    assert "<span class='yes'>yes</span>: +100.0% [+100.0 to +100.0]" in page
    assert "failed" not in page


def test_what_channels_failed_stands_below_the_tables_of_their_arm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = arm() | {"health": {"mind": {"asked": 9, "faults": 3, "cut_off": "failed 3 times, at last with OSError"}}}
    found = found_of(Documents(tmp_path), {BASE: broken, ONLINE: arm()}, monkeypatch)
    notes = {sheet.title.partition(",")[0]: sheet.notes for sheet in sheets(found)}
    said = f"small/{BASE}: mind failed 3 of 9 times. failed 3 times, at last with OSError"
    assert said in notes["Table 2"]
    assert said not in notes["The online test"]


def test_worlds_are_summed_and_stand_beside_each_other_with_their_deviation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, said = Documents(tmp_path), []
    head = {"dataset": {"name": "b", "users": 500, "items": 400, "checksum": "x"}, "world": "w"}
    monkeypatch.setattr(ArmJob, "head", lambda self, start: head)
    planned = [*jobs(), *(ArmJob("small", one, is_other_world=True) for one in arms_of(in_world(SMALL, 1)))]
    of = {job.id: job for job in planned}
    start: Any = Start()
    documents.write(of[f"small/{BASE}"], start, arm(shown=40, noise=1))
    documents.write(of[f"small/{BASE}-daily"], start, arm(shown=20, noise=2))
    documents.write(of[f"small-2/{BASE}"], start, arm(shown=60, noise=3))
    (found,) = read_found(planned, documents, said.append)
    assert found.worlds == ()
    assert said == [f"small-2 has not played {BASE}-daily (1 missing), and is left out of the tables"]
    documents.write(of[f"small-2/{BASE}-daily"], start, arm(shown=20, noise=4))
    (found,) = read_found(planned, documents, said.append)
    assert [world.recipe for world in found.worlds] == ["small", "small-2"]
    share = found.arms[BASE].figure(SEARCH, "pvr")
    assert share is not None
    assert share == pytest.approx((0.5, 0.482, 0.518), abs=0.01), "half of all that was shown in both"
    assert len(found.arms[BASE].users) == 2 * 2 * GROUPS
    (table,) = worlds(found)
    (line,) = [line for line in table.lines if line[0].text == "Table 2: daily against stream, PVR"]
    assert [cell.text for cell in line[1:]] == ["-56.8%", "-50.0%", "-66.7%", "-58.3% ± 11.8"]
    assert worlds(found.worlds[0]) == []
    assert "Worlds of small" in [sheet.title for sheet in sheets(found)]


def test_arms_of_other_papers_stand_beside_what_those_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tuple(PopularConfig(name=name) for name in ("itemcf", "paths"))
    rivals = tuple(PopularConfig(name=name) for name in ("comirec", "divide"))
    recipe = SMALL.model_copy(update={"alternatives": others, "rivals": rivals})
    planned = [ArmJob("small", arm) for arm in arms_of(recipe)]
    found = found_of(Documents(tmp_path), {BASE: arm(noise=1)}, monkeypatch)
    base, both = (
        found.arms[BASE],
        Arm(found.arms[BASE].documents, found.arms[BASE].users.copy(), {}, np.zeros((6, 6))),
    )
    both.users[:, COUNTS.index("clicks")] *= 2
    both.channels.update(
        {ALL: base.channels[ALL], "comirec": base.channels[SEARCH], "divide": base.channels[SEARCH].copy()}
    )
    both.channels["divide"][:, SUMS.index("clicks")] *= 3
    arms = {"with-itemcf": base, "with-paths": both, "rivals": both}
    paths, divide = sheets(Found("small", arms, planned))[-2:]
    assert [cell.text for cell in paths.lines[1]][:4:3] == ["paths", "+15.38%"]
    assert paths.lines[1][2].text.startswith("+100.0%"), "twice the clicks"
    assert [cell.text for cell in divide.lines[1]][:3] == ["divide", "+7.8%", "+200.0% [+200.0 to +200.0]"]
    assert len(sheets(found)) == len(sheets(Found("small", arms, planned))) - 2, "none where none is planned"
    answers = {line[0].text: line[1].text for line in verdicts(Found("small", arms, planned)).lines}
    assert answers["Is a homepage clicked more often with paths than with itemcf?"].startswith("yes: +100.0%")
    assert answers["Is a homepage more diverse with paths than with itemcf?"].startswith("not sure: +0.0%")
    assert answers["Is what Divide found clicked more often than what ComiRec found?"].startswith("yes: +200.0%")
    assert not [line for line in verdicts(found).lines if "Divide" in line[0].text]


def test_the_verb_lists_runs_and_writes_a_page_that_holds_what_it_shows(tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    world = "users = 60\nitems = 400\ndays = 4\ncategories = 8\ndepartments = 4\nshops = 8\nbrands = 8\n"
    (recipes / "tiny.toml").write_text(
        f'[bazaar.world]\n{world}[days]\nsettle = 0\nmeasured = 1\n[[channels]]\nkind = "popular"\n'
    )
    places = ["--home", str(tmp_path), "--recipes", str(recipes), "--results", str(tmp_path / "results")]

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["reproduce", "nearline", *places, *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert run("--list").count("not run") == len(arms_of(load_recipe(recipes / "tiny.toml")))
    assert "tiny/online: " in run("--only", "tiny/online")
    assert "done" in run("--list", "--only", "tiny/online")
    page = (tmp_path / "reports" / "reproduce-nearline" / "index.html").read_text(encoding="utf-8")
    assert "Does the shape come out?" in page


def test_a_training_machine_plays_what_reads_no_rank_log_and_says_what_it_lacks_for_the_rest(tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    world = "users = 60\nitems = 400\ndays = 4\ncategories = 8\ndepartments = 4\nshops = 8\nbrands = 8\n"
    (recipes / "tiny.toml").write_text(
        f'[bazaar.world]\n{world}[days]\nsettle = 0\nmeasured = 1\n[[channels]]\nkind = "popular"\n'
        '[[alternatives]]\nkind = "itemcf"\n'
    )
    words = ["reproduce", "nearline", "--recipes", "recipes", "--results", "results", "--only", "tiny/with-itemcf"]
    words += ["--only", "tiny/main_search"]
    done = headwater_without(["redis"], words, tmp_path)
    assert "Traceback" not in done.stderr
    assert "tiny/main_search: not run: No module named 'lmdb'" in done.stdout
    assert "tiny/with-itemcf: " in done.stdout
    assert [path.name for path in (tmp_path / "results").rglob("*.json")] == ["tiny--with-itemcf.json"]
    assert done.returncode == 1, "one arm could not be played here"


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {BASE: arm(noise=1), f"{BASE}-alpha-500": arm(noise=2), EVERYTHING: arm(noise=3)}
    found = found_of(Documents(tmp_path), given, monkeypatch)
    assert [path.name for path, _ in draw(found, tmp_path)] == ["small-channels.png", "small-alpha-beta.png"]
    assert draw(Found("small", {}), tmp_path) == []
    tested = Found("small", {ONLINE: found.arms[BASE], EVERYTHING: found.arms[EVERYTHING]})
    assert "small-live.png" in [path.name for path, _ in draw(tested, tmp_path)]


def test_an_arm_that_went_on_from_other_first_days_is_left_out_and_a_damaged_document_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, said = Documents(tmp_path), []
    found_of(documents, {BASE: arm(), f"{BASE}-fifo": arm(), ONLINE: arm()}, monkeypatch)
    path = documents.path(next(job for job in jobs() if job.arm.name == f"{BASE}-fifo"))
    path.write_text(path.read_text().replace('"checksum": "x"', '"checksum": "y"'))
    (found,) = read_found(jobs(), documents, said.append)
    assert list(found.arms) == [ONLINE, BASE]
    assert said == [
        f"small/{BASE}-fifo went on from other first days than what it is compared with, and is left out: run it again"
    ]
    alone = documents.path(next(job for job in jobs() if job.arm.name == ONLINE))
    alone.write_text(alone.read_text().replace('"checksum": "x"', '"checksum": "z"'))
    assert ONLINE in read_found(jobs(), documents, said.append)[0].arms, "no table compares it with the others"
    path.write_text(path.read_text().replace('"checksum": "y"', '"checksum": "x"').replace('"hits": "1 ', '"hits": "'))
    with pytest.raises(ArtefactError, match=r"fifo\.json is damaged"):
        read_found(jobs(), documents, said.append)


def test_an_arm_leaves_a_document_that_comes_back_as_what_was_measured(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "results")
    chosen = [job for job in jobs() if job.arm.name in (ONLINE, EVERYTHING)]

    def run() -> list[Ended[ArmJob]]:
        return list(run_jobs(chosen, documents, measure, home=tmp_path))

    ended = run()
    assert [one.reason for one in ended] == ["", ""]
    assert all(one.document is not None and "homepage exposures" in said_of(one.document) for one in ended)
    again = [one.document for one in run()]
    assert again == [one.document for one in ended], "what is done is not done again"
    (found,) = read_found(jobs(), documents, lambda _: None)
    whole: Arm = found.arms[EVERYTHING]
    assert set(whole.channels) == {
        ALL,
        "popular",
        "glare",
        *(f"nearline/{name}" for name in ("mini_detail", "post_purchase", "main_search", "in_shop", "photo_search")),
    }
    exposures = whole.users[:, COUNTS.index("exposures")].sum()
    assert exposures == whole.channels[ALL][:, 0].sum() == whole.funnel[0, 2] > 0
    assert len(whole.users) == 60
    shares = {name: whole.figure(name, "pvr") for name in (SEARCH, "glare")}
    assert all(share is not None and share.value > 0 for share in shares.values())
    kept = list((tmp_path / "bazaar").glob("*/channels/*"))
    assert [path.name.split("-")[0] for path in kept] == ["popular"], "one training for both arms"


def test_arms_of_every_learned_channel_are_played_in_the_fast_world(tmp_path: Path) -> None:
    chosen = [job for job in load_plan(RECIPES, is_fast=True) if job.arm.name in ("with-simnet", "rivals")]
    ended = list(run_jobs(chosen, Documents(tmp_path / "results"), measure, home=tmp_path))
    documents = {one.job.arm.name: one.document for one in ended}
    for name, channels in {"with-simnet": {"simnet"}, "rivals": {"comirec", "divide"}}.items():
        document = documents[name]
        assert document is not None, [one.reason for one in ended]
        assert {"swing", "mind", *channels} <= set(document["channels"])
        assert not [channel for channel, health in document["health"].items() if health["faults"]]
        exposures = {channel: sum(map(int, document["channels"][channel]["exposures"].split())) for channel in channels}
        assert all(exposures.values())
