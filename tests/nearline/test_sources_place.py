"""A place names a log: a folder, or a stream on a server."""

from pathlib import Path

import pytest

from headwater.errors import ConfigError, StoreError
from headwater.nearline import DirectorySource, RankedItem, RedisRankLog, RedisSource, Visit, open_source
from redis_server import RedisServer

VISIT = Visit(request_id="r", scenario="s", user=1, timestamp=10, items=[RankedItem(1, 1.0)])


@pytest.mark.parametrize("as_text", [True, False])
def test_a_folder_may_come_later(tmp_path: Path, as_text: bool) -> None:
    place = tmp_path / "log"
    source = open_source(str(place) if as_text else place)
    assert isinstance(source, DirectorySource)
    assert source.poll({}, 5).records == 0
    place.mkdir()
    (place / "1.jsonl").write_bytes(b"one\n")
    assert source.poll({}, 5).records == 1


def test_a_url_names_the_server_its_options_and_the_stream(redis_server: RedisServer) -> None:
    log = RedisRankLog(redis_server.url, "shop-ranklog")
    log.append(VISIT)
    log.close()
    source = open_source(f"{redis_server.url}&stream=shop-ranklog")
    other = open_source(redis_server.url)
    assert isinstance(source, RedisSource)
    assert isinstance(other, RedisSource)
    assert (source.poll({}, 5).records, other.poll({}, 5).records) == (1, 0)
    source.close()
    other.close()


def test_what_is_no_log_is_said(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(b"")
    with pytest.raises(ConfigError, match="name the folder"):
        open_source(tmp_path / "1.jsonl")
    with pytest.raises(ConfigError, match="scheme 'amqp'"):
        open_source("amqp://127.0.0.1/topic")
    with pytest.raises(StoreError, match="URL"):
        open_source("redis://127.0.0.1:nonsense")
