"""A ranker that a recipe chooses by kind: in the release, in the pipeline, and without torch where it serves."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from headwater import release as releases
from headwater.data import Dataset
from headwater.errors import ConfigError, ReleaseError
from headwater.experiment import train
from headwater.home import Home
from headwater.ranking.can import CAN
from headwater.ranking.din import DIN
from headwater.recipe import load_recipe
from headwater.service.local import open_pipeline
from headwater.service.messages import CandidatesRequest

RECIPE = """
dataset = "marketplace"

[[channels]]
kind = "popular"

[ranker]
kind = "{kind}"
item_attributes = ["category"]
context = ["scenario", "hour"]
{more}
hidden = [16, 8]
dimension = 8
training = {{ epochs = 1, batch_size = 256, device = "cpu", learning_rate = 1e-2 }}

[merge]
pool = 30
"""


def written(tmp_path: Path, kind: str = "din", more: str = "") -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(kind=kind, more=more), encoding="utf-8")
    return path


@pytest.mark.parametrize(("kind", "ranker"), [("din", DIN), ("can", CAN)])
def test_a_release_serves_with_the_ranker_that_its_recipe_names(
    kind: str, ranker: type, marketplace: Dataset, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    path = written(tmp_path, kind)
    path.write_text(path.read_text().replace('"scenario", "hour"', '"hour"'), encoding="utf-8")
    home = Home(tmp_path / "home")
    release = train(load_recipe(path), marketplace, home, validate=False)
    loaded = releases.load(home.releases / release)
    assert loaded.manifest.ranker.kind == kind
    assert type(loaded.ranker) is ranker

    with open_pipeline(home) as pipeline:
        request = CandidatesRequest(user=7, k=20)
        hydrated = pipeline.hydrate(request, 1_700_000_000.0)
        ranked = pipeline.rank(hydrated)
        assert len(ranked) == 30
        assert (np.diff(ranked.scores) <= 0).all()
        again = loaded.ranker.score(hydrated.queries, ranked)
        np.testing.assert_allclose(ranked.scores, again, rtol=0, atol=1e-5)  # products of reordered rows may round
        answer = pipeline.answer(request, now=1_700_000_000.0)
        assert [round(float(score), 6) for score in ranked.scores[:20]] == [item.score for item in answer.items]


def test_a_service_with_a_network_ranker_loads_no_torch(marketplace: Dataset, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace('"scenario", "hour"', ""), encoding="utf-8")
    home = Home(tmp_path / "home")
    train(load_recipe(path), marketplace, home, validate=False)
    code = f"""
import sys
from pathlib import Path
from headwater.home import Home
from headwater.service.local import open_pipeline
from headwater.service.messages import CandidatesRequest
with open_pipeline(Home(Path({str(home.root)!r}))) as pipeline:
    assert len(pipeline.answer(CandidatesRequest(user=7, k=20)).items) == 20
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def test_an_altered_ranker_is_refused(marketplace: Dataset, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace('"scenario", "hour"', ""), encoding="utf-8")
    home = Home(tmp_path / "home")
    folder = home.releases / train(load_recipe(path), marketplace, home, validate=False)
    served = folder / "ranker" / "served.safetensors"
    raw = bytearray(served.read_bytes())
    raw[-1] ^= 1
    served.write_bytes(raw)
    with pytest.raises(ReleaseError, match=r"ranker/served\.safetensors was altered"):
        releases.load(folder)


def test_a_recipe_names_what_is_wrong_with_its_ranker(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ranker\.kind: unknown ranker 'dni'; did you mean 'din'\?"):
        load_recipe(written(tmp_path, "dni"))
    with pytest.raises(ConfigError, match=r"ranker: unknown key 'lenght'; did you mean 'length'\?"):
        load_recipe(written(tmp_path, more="lenght = 3"))
    path = tmp_path / "flat.toml"
    path.write_text('dataset = "x"\nranker = "din"\n[[channels]]\nkind = "popular"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"ranker must be a table: \[ranker\]"):
        load_recipe(path)


def test_a_ranker_that_reads_what_no_request_says_is_not_released(marketplace: Dataset, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace('"scenario", "hour"', '"position"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="din reads 'position', which no request says"):
        train(load_recipe(path), marketplace, Home(tmp_path / "home"), validate=False)
