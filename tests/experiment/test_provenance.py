"""Where figures come from."""

import subprocess
from pathlib import Path

import pytest

from headwater.experiment.provenance import commit_id, machine


@pytest.fixture(autouse=True)
def _unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_COMMIT", raising=False)


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *words], cwd=root, capture_output=True, text=True, check=True).stdout


def test_a_commit_is_marked_where_the_source_has_changed_and_only_there(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    for name in ("pyproject.toml", "src/model.py", "docs/results/table.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1", encoding="utf-8")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Begin")
    head = git(tmp_path, "rev-parse", "HEAD").strip()[:12]
    assert commit_id(tmp_path) == head
    (tmp_path / "docs/results/table.json").write_text("2", encoding="utf-8")
    assert commit_id(tmp_path) == head, "what an evaluation writes changes no figure"
    (tmp_path / "src/model.py").write_text("2", encoding="utf-8")
    assert commit_id(tmp_path) == head + "+"


def test_a_copy_without_history_says_so_or_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_id(tmp_path) == "unknown"
    monkeypatch.setenv("HEADWATER_COMMIT", "0123456789ab")
    assert commit_id(tmp_path) == "0123456789ab"


def test_an_installed_package_is_a_release(tmp_path: Path) -> None:
    assert commit_id(tmp_path) == "release"


def test_a_machine_names_its_processor_and_python() -> None:
    assert "cores, Python 3." in machine()
