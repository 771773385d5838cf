"""The tour, whole, on the made-up marketplace: real processes, real report."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from headwater.data import Dataset
from headwater.data.disk import save_dataset
from headwater.demo import play
from headwater.home import Home
from headwater.nn.training import TrainingConfig
from headwater.recipe import MergeRecipe, Recipe
from headwater.retrieval.classic.itemcf import ItemCFConfig
from headwater.retrieval.classic.popular import PopularConfig
from headwater.retrieval.sequence.sasrec import SASRecConfig


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory, marketplace: Dataset) -> tuple[Path, str]:
    """(report, what was printed)."""
    home = Home(tmp_path_factory.mktemp("home"))
    save_dataset(marketplace, home.root / "data" / "marketplace", source="made up")
    sasrec = SASRecConfig(
        length=10,
        dimension=8,
        layers=1,
        heads=1,
        training=TrainingConfig(epochs=2, validate_every=2, device="cpu"),
    )
    channels = (PopularConfig(), ItemCFConfig(neighbours=30, half_life=2.0), sasrec)
    recipe = Recipe(dataset="marketplace", channels=channels, merge=MergeRecipe(pool=60))
    console = Console(file=io.StringIO(), width=100)
    report = play(recipe, home, console)
    assert isinstance(console.file, io.StringIO)
    return report, console.file.getvalue()


def test_the_tour_shows_the_loop_closing(toured: tuple[Path, str]) -> None:
    _, printed = toured
    said = " ".join(printed.split())
    assert "The stream had that visit's ranked list in the store" in said
    returned = re.search(r"(\d+) name Thing \d+ as their reason; (\d+) were ranked on the detail page", said)
    assert returned, said
    assert int(returned[1]) > 0, "the click is the reason of some item"
    assert int(returned[2]) > 0, "what the detail page ranked came back through the stream"
    assert "nearline: ranked" in said
    assert "popular: popular with everybody" in said
    assert "report with plots" in said


def test_the_tour_says_how_long_training_takes_and_trains_once(toured: tuple[Path, str]) -> None:
    report, printed = toured
    assert "sasrec learns for 2 epochs" in printed
    assert printed.count("training sasrec") == 1
    assert "sasrec" in report.read_text(encoding="utf-8")


def test_the_report_stands_alone(toured: tuple[Path, str]) -> None:
    report, _ = toured
    page = report.read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == 3
    assert "http://" not in page
    assert "https://" not in page
    assert "<h3>Visit 5" in page
    assert "[bold]" not in page


@pytest.mark.servers
def test_the_report_renders_in_a_browser(toured: tuple[Path, str], tmp_path: Path) -> None:
    import subprocess

    from PIL import Image

    report, _ = toured
    picture = tmp_path / "report.png"
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,2600",
            f"--screenshot={picture}", report.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert picture.is_file(), done.stderr
    image = Image.open(picture).convert("RGB")
    colours = {colour for _, colour in image.getcolors(1 << 24) or []}
    # The channels' own colours are on the page only where the plots were drawn.
    assert {(0x1F, 0x6F, 0x8B), (0xE0, 0x7A, 0x3F)} <= colours
