"""`headwater paths index`: whole, in shards, and brought up to date."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from headwater.cli.app import app
from headwater.data import Dataset, leave_one_out
from headwater.data.disk import save_dataset
from headwater.errors import ArtefactError, ConfigError
from headwater.nn.training import TrainingConfig
from headwater.retrieval.paths.channel import Paths
from headwater.retrieval.paths.config import PathsConfig


def paths(seed: int = 0) -> PathsConfig:
    return PathsConfig(
        length=20, dimension=8, field_dimension=4, trigger_hidden=(8,), similarity_hidden=(8, 4), direct_hidden=(8,),
        negatives=8, positions=4, neighbours=20, candidates_per_item=60,
        training=TrainingConfig(epochs=1, batch_size=128, device="cpu", seed=seed),
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(marketplace: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("place")
    save_dataset(marketplace, folder / "home" / "data" / "marketplace", source="made up")
    grown = marketplace.keep(np.arange(len(marketplace)) < len(marketplace) - 40)
    save_dataset(replace(grown, name="before"), folder / "home" / "data" / "before", source="made up")
    for name in ("marketplace", "before"):
        (folder / f"{name}.toml").write_text(f'dataset = "{name}"\n[[channels]]\nkind = "paths"\n')
    Paths(paths()).fit(marketplace).save(folder / "paths")
    return folder


def test_recall_stands_beside_quality_and_a_deeper_index_finds_more(place: Path, marketplace: Dataset) -> None:
    trained = Paths(paths().model_copy(update={"training": TrainingConfig(epochs=6, batch_size=128, device="cpu")}))
    trained.fit(leave_one_out(marketplace).train).save(place / "trained")
    words = ["paths", "recall", str(place / "marketplace.toml"), "--home", str(place / "home")]
    depths = ["--neighbours", "3", "--neighbours", "149", "--followed", "2", "--followed", "20"]
    done = CliRunner().invoke(app, [*words, "--artefact", str(place / "trained"), *depths], catch_exceptions=False)
    rows = {line.split("  ")[0].strip(): line.split() for line in done.output.splitlines()}
    assert rows["every item"][2:6] == ["1.000"] * 4
    shallow, whole = (float(rows[name][4]) for name in ("k 3, m 2", "k 149, m 20"))
    assert shallow < 0.6
    assert whole > 0.85  # pairs that never occur together are no candidates here
    assert float(rows["k 149, m 20"][8]) == pytest.approx(float(rows["every item"][6]), abs=0.05)
    refused = CliRunner().invoke(app, [*words, "--part", "train"])
    assert "is neither 'test' nor 'validation'" in refused.output


def index(place: Path, out: str, *words: str, of: str = "paths", recipe: str = "marketplace") -> str:
    command = ["paths", "index", str(place / of), "--recipe", str(place / f"{recipe}.toml")]
    done = CliRunner().invoke(app, [*command, "--home", str(place / "home"), "--out", str(place / out), *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_shards_make_the_bytes_of_the_whole(place: Path, marketplace: Dataset) -> None:
    assert "20 neighbours an item, 150 items" in index(place, "whole")
    with pytest.raises(ArtefactError, match="no shards were given"):
        index(place, "joined", "--merge")
    for part in ("1/3", "0/3"):
        assert "written" in index(place, "joined", "--shard", part)
    with pytest.raises(ArtefactError, match="the last is missing"):
        index(place, "joined", "--merge")
    index(place, "joined", "--shard", "2/3")
    assert "was there already" in index(place, "joined", "--shard", "2/3")
    with pytest.raises(ConfigError, match="of another training, other settings or other data"):
        index(place, "joined", "--merge", "--candidates", "30")
    assert "3 shards" in index(place, "joined", "--merge")
    for name in ("config.json", "neighbours", "served.safetensors", "tensors.safetensors"):
        assert (place / "joined" / name).read_bytes() == (place / "whole" / name).read_bytes()
    channel = Paths.load(place / "joined", marketplace.items)
    assert channel.config.search == "greedy"
    assert len(channel.retrieve(marketplace.queries(np.array([3], np.int32)), 5)) == 5


def test_a_refreshed_index_is_the_one_built_anew_for_fewer_rows(place: Path, marketplace: Dataset) -> None:
    index(place, "older", recipe="before")
    said = index(place, "newer", "--refresh", of="older")
    n_scored = int(said.split(" neighbours an item, ")[1].split(" of ")[0])
    assert 0 < n_scored < len(marketplace.items)
    index(place, "anew", of="older")
    assert (place / "newer" / "neighbours").read_bytes() == (place / "anew" / "neighbours").read_bytes()
    assert "0 of 150 items scored" in index(place, "again", "--refresh", of="newer")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shard", "3/3"), "is no part such as 0/8"),
        (("--shard", "half"), "is no part such as 0/8"),
        (("--shard", "0/2", "--merge"), "one of them at most"),
        (("--refresh", "--neighbours", "5"), "keeps the settings"),
    ],
)
def test_what_does_not_go_together_is_said(place: Path, words: tuple[str, ...], said: str) -> None:
    assert said in " ".join(index(place, "nowhere", *words).replace("│", " ").split())
    assert not (place / "nowhere").exists()


def test_without_an_index_there_is_nothing_to_refresh(place: Path) -> None:
    with pytest.raises(ConfigError, match="paths has no index"):
        index(place, "nowhere", "--refresh")
