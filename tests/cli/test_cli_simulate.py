"""`headwater simulate`: a world by its hash, and two arms beside each other."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.errors import ConfigError

WORLD = "users = 200\nitems = 800\ndays = 4\ncategories = 12\ndepartments = 4\nshops = 12\n"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["simulate", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_world_says_its_hash_and_what_its_users_do(tmp_path: Path) -> None:
    path = tmp_path / "bazaar.toml"
    path.write_text(f"[world]\n{WORLD}")
    shown = run("world", "--config", str(path), "--days", "1")
    assert "200 users, 800 items" in shown
    assert shown == run("world", "--config", str(path), "--days", "1")
    path.write_text(f"[world]\n{WORLD}seed = 5\n")
    assert run("world", "--config", str(path), "--days", "0").split()[1] != shown.split()[1]


def test_impossible_settings_are_an_error_that_names_the_key(tmp_path: Path) -> None:
    path = tmp_path / "bazaar.toml"
    path.write_text("[world]\ncategories = 0\n")
    with pytest.raises(ConfigError, match=r"world\.categories"):
        CliRunner().invoke(app, ["simulate", "world", "--config", str(path)], catch_exceptions=False)


def test_two_arms_are_played_and_tested_and_all_figures_are_kept(tmp_path: Path) -> None:
    arm = f'[days]\nsettle = 0\nmeasured = 1\n[bazaar.world]\n{WORLD}[[channels]]\nkind = "popular"\n'
    control, treatment, kept = (tmp_path / name for name in ("control.toml", "treatment.toml", "kept.json"))
    control.write_text(f'name = "plain"\n{arm}')
    treatment.write_text(f'name = "fresh"\n{arm}[nearline]\n')
    words = ("abtest", str(control), str(treatment), "--rerandomisations", "50", "--json", str(kept))
    shown = run(*words, "--home", str(tmp_path / "home"))
    assert list((tmp_path / "home" / "bazaar").iterdir())
    document = json.loads(kept.read_text(), parse_constant=pytest.fail)
    assert document["world"] in shown
    assert {one["hirate"] for arm in document["arms"] for one in arm["channels"]} == {None}, "one day has none"
    assert "nan" not in shown
    assert [one["name"] for one in document["arms"]] == ["plain", "fresh"]
    assert document["arms"][0]["stream_records"] == 0 < document["arms"][1]["stream_records"]
    assert [one["name"] for one in document["arms"][1]["channels"]] == ["all channels", "popular", "nearline"]
    assert all(0 <= share <= 1 for share in document["a_a"]["shares"].values())
    assert 0 < document["sample_ratio"]["p"] <= 1


def test_logs_are_written_day_by_day_and_gone_on_with(tmp_path: Path) -> None:
    path, to = tmp_path / "logs.toml", tmp_path / "logs"
    path.write_text(f"[bazaar.world]\n{WORLD}")
    shown = run("logs", "--days", "1", "--to", str(to), "--config", str(path))
    assert "day 0: " in shown
    assert [line.split()[1] for line in shown.splitlines() if line.split()[:1] == ["0"]] == ["product", "video", "ad"]
    again = run("logs", "--days", "2", "--to", str(to), "--config", str(path))
    assert "there already" in again
    assert sorted(file.name for file in (to / "impressions").iterdir()) == ["day-00.parquet", "day-01.parquet"]
    home = tmp_path / "home"
    words = ["data", "import-impressions", str(to / "impressions"), "--name", "bazaar", "--sub-domain", "domain"]
    words += ["--history", str(to / "events"), "--items-file", str(to / "items.parquet"), "--home", str(home)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "on days 0 to 1" in done.output
    assert (home / "impressions" / "bazaar.npz").exists()
