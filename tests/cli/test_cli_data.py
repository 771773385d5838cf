"""`headwater data …` as a user types it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from headwater.cli.data import data_app
from headwater.data import Dataset
from headwater.data.catalogue import load
from headwater.data.packed import unpack
from headwater.errors import ConfigError, DatasetUnavailable, SchemaError

SHOP = "customer,sku,at,did\n" + "".join(
    f"{customer},{sku},{1_600_000_000 + sku},{'buy' if sku % 2 else 'view'}\n" for customer in "abc" for sku in range(8)
)
MAPPING = (
    "--user customer --item sku --time at --behaviour did --behaviour-map buy=purchase --behaviour-map view=impression"
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "shop.csv").write_text(SHOP, encoding="utf-8")
    return lambda line: CliRunner().invoke(data_app, line.split())


def test_own_events_are_imported_described_and_loaded_by_name(run, tmp_path: Path) -> None:
    done = run(f"import shop.csv {MAPPING} --home h")
    assert done.exit_code == 0, done.output
    assert "rows read: 24; exact duplicates dropped: 0; impressions kept out: 12" in done.output
    dataset = load("shop", tmp_path / "h")
    assert (len(dataset.users), len(dataset.items), len(dataset)) == (3, 4, 12)
    described = run("describe shop --home h")
    assert described.exit_code == 0
    assert "12 purchase" in described.output
    assert "3 users asked; 6 interactions to train on" in described.output


def test_a_file_and_a_folder_can_be_described(run) -> None:
    assert run(f"describe shop.csv {MAPPING}").exit_code == 0
    run(f"import shop.csv {MAPPING} --home h --name other")
    assert "12 purchase" in run("describe h/data/other").output


def test_check_tells_every_fault_and_exits_with_one(run) -> None:
    good = run(f"check shop.csv {MAPPING}")
    assert good.exit_code == 0, good.output
    assert "can be imported" in good.output
    bad = run("check shop.csv --user customer --item sku --time did")
    assert bad.exit_code == 1
    assert "'view' is not a finite number" in bad.output
    assert "1 error, 0 warnings, 0 notes: shop.csv cannot be imported as it is." in bad.output


def test_what_cannot_be_imported_raises_one_error_and_writes_nothing(run, tmp_path: Path) -> None:
    done = run("import shop.csv --home h")
    assert isinstance(done.exception, SchemaError)
    assert "no column 'user_id'" in str(done.exception)
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("import shop.csv --name ml-1m", ConfigError, "name of a published data set"),
        ("check shop.csv --behaviour-map buy", ConfigError, "is not WORD=BEHAVIOUR"),
        ("describe nothing", DatasetUnavailable, "there is no data set 'nothing'"),
        ("get ml-2m", DatasetUnavailable, "known are ml-1m"),
        ("get ml-1m --from none.zip", DatasetUnavailable, "none.zip: there is no such file"),
    ],
)
def test_mistakes_are_named(line: str, kind: type[Exception], said: str, run) -> None:
    done = run(line)
    assert isinstance(done.exception, kind)
    assert said in str(done.exception)


def test_events_without_a_clock_and_without_ratings_are_taken_when_said_so(run, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("user_id,item_id,rating\n1,a,\n1,b,\n2,a,5\n", encoding="utf-8")
    assert run("import list.csv --positions --home h").exit_code == 1
    assert run("import list.csv --positions --rating= --home h").exit_code == 0
    assert load("list", tmp_path / "h").time_unit == "position"


def test_a_data_set_is_packed_into_one_file(run, tmp_path: Path) -> None:
    run(f"import shop.csv {MAPPING} --home h")
    done = run("pack shop shop.npz --home h")
    dataset = load("shop", tmp_path / "h")
    assert "12 interactions in shop.npz" in done.output
    assert dataset.checksum() in done.output
    assert unpack(tmp_path / "shop.npz").checksum() == dataset.checksum()
    done = run("pack shop frequent.npz --min-item-interactions 2 --home h")
    assert done.exit_code == 0, done.output
    assert unpack(tmp_path / "frequent.npz").checksum() == dataset.with_frequent_items(2).checksum()


@pytest.mark.parametrize("verb", ["get", "import", "describe", "check", "pack"])
def test_help_teaches_by_example(verb: str, run) -> None:
    shown = run(f"{verb} --help")
    assert shown.exit_code == 0
    assert f"headwater data {verb} " in shown.output
    assert verb in ("get", "pack") or "(default: user_id)" in shown.output


def test_items_are_clustered_from_a_packed_set_or_a_known_one(run, tmp_path: Path, marketplace: Dataset) -> None:
    from headwater.data.disk import save_dataset
    from headwater.data.packed import pack
    from headwater.retrieval.divide.clusters import load_clusters

    pack(marketplace, tmp_path / "m.npz")
    save_dataset(marketplace, tmp_path / "h" / "data" / "m", source="made up")
    for line in ("cluster m.npz a/one.npz -n 6", "cluster m other.npz -n 6 --home h"):
        done = run(line)
        assert done.exit_code == 0, done.output
        assert "150 items in 6 clusters" in done.output
    one, other = (load_clusters(tmp_path / name, marketplace) for name in ("a/one.npz", "other.npz"))
    assert one.labels.tolist() == other.labels.tolist()
    by_column = run("cluster m.npz c.npz -n 4 --column category")
    assert "(25, 25, 25, 75)" in by_column.output
    assert run("cluster m.npz c.npz -n 4 --column colour").exception is not None
