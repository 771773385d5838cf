"""The documentation holds: every Python block runs as it stands, and so do the README's five lines for one's own data.

Every other `headwater` line is parsed by the real command line, not run: its verb and its options must exist.
"""

import re
import shlex
from pathlib import Path

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.data import Dataset
from headwater.data.disk import save_dataset

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words of every `headwater` line, in blocks of commands and after the `$` of blocks that show output."""
    scripts = [line for block in blocks(page, "(?:sh|bash)") for line in whole_lines(block)]
    shown = [line for block in blocks(page, "(?:console|text)") for line in whole_lines(block)]
    lines = scripts + [line.removeprefix("$ ") for line in shown if line.startswith("$ ")]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("headwater ")]


def whole_lines(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def parse(words: list[str]) -> None:
    """Raise what the command line would say of a verb or an option that does not exist."""
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):  # a group may be a verb too
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context("headwater", list(words))
    except typer.Exit as left:
        if left.exit_code:
            raise


@pytest.fixture
def place(tmp_path: Path, marketplace: Dataset, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that holds what the pages speak of, with a small set in the place of MovieLens."""
    save_dataset(marketplace, tmp_path / ".headwater" / "data" / "ml-1m", source="made up")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_every_python_block_runs(page: Path, place: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


def test_commands_are_found_in_scripts_and_after_a_prompt_over_several_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nheadwater serve  # until stopped\nls\n```\n"
        "```console\n$ headwater data check a.csv \\\n    --user who\nheadwater said this\n```\n"
        "```text\n$ headwater results\nheadwater said that\n```\n",
        encoding="utf-8",
    )
    assert commands(page) == [["serve"], ["data", "check", "a.csv", "--user", "who"], ["results"]]


@pytest.mark.parametrize("line", ["date", "data checks", "data check a.csv --usr who"])
def test_a_verb_or_option_that_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(Exception, match=r"date|checks|--usr"):
        parse(line.split())


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    for words in commands(page):
        parse(words)


def test_the_five_lines_of_the_readme_take_ones_own_data_to_an_answer(place: Path) -> None:
    import os

    rows = ["customer,sku,at", *(f"{n % 60},{(n * 7) % 31},{1_600_000_000 + n}" for n in range(800))]
    (place / "events.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (place / "recipes").mkdir()
    (place / "recipes" / "ml-1m.toml").write_bytes((ROOT / "recipes" / "ml-1m.toml").read_bytes())
    block = next(block for block in blocks(ROOT / "README.md", "sh") if "data check" in block)
    runner = CliRunner()
    for line in block.strip().splitlines():
        if line.startswith("sed "):
            expression, source, _, destination = shlex.split(line)[1:]
            _, old, new, _ = expression.split("/")
            text = Path(source).read_text(encoding="utf-8").replace(old, new)
            Path(destination).write_text(text, encoding="utf-8")
            continue
        done = runner.invoke(app, shlex.split(line)[1:], env={**os.environ, "COLUMNS": "120"})
        assert done.exit_code == 0, (line, done.output)
    assert "itemcf" in done.output
