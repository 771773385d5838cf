"""The metrics endpoint, scraped over HTTP as Prometheus does it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headwater.errors import ConfigError
from headwater.nearline import DirectorySource, Policy, RankedItem, RankLog, Status, Stream, Visit
from headwater.nearline.prometheus import MetricsEndpoint
from headwater.store import LmdbStore


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as opened:
        yield opened


def figures(text: str) -> dict[str, float]:
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def test_a_scrape_tells_what_the_stream_has_done_by_now(tmp_path: Path, client: httpx.Client) -> None:
    log, store = RankLog(tmp_path / "log"), LmdbStore(tmp_path / "store")
    stream = Stream(DirectorySource(tmp_path / "log"), store, Policy())
    endpoint = MetricsEndpoint(stream.status, port=0)
    try:
        assert endpoint.url.startswith("http://127.0.0.1:")
        assert figures(client.get(endpoint.url).text)["headwater_stream_records_total"] == 0
        for user in (1, 2):
            log.append(Visit(request_id="r", scenario="s", user=user, timestamp=1, items=[RankedItem(1, 1.0)]))
        log.close()
        (tmp_path / "log" / "0.jsonl").write_bytes(b"broken\n")
        stream.run_once()
        response = client.get(endpoint.url)
        assert response.headers["content-type"].startswith("text/plain")
        found = figures(response.text)
    finally:
        endpoint.close()
        store.close()
    assert found["headwater_stream_records_total"] == 2
    assert found["headwater_stream_dead_letters_total"] == 1
    assert found["headwater_stream_failures_total"] == 0
    assert found["headwater_stream_users"] == 2
    assert found["headwater_stream_memory_bytes"] > 0
    assert found["headwater_stream_lag_seconds"] == 0
    assert found["headwater_stream_policy_faulty"] == 0


def test_a_faulty_policy_shows_and_other_paths_are_not_there(client: httpx.Client) -> None:
    endpoint = MetricsEndpoint(lambda: Status(policy_fault="alpa"), port=0)
    try:
        assert figures(client.get(endpoint.url).text)["headwater_stream_policy_faulty"] == 1
        assert client.get(endpoint.url + "/etc").status_code == 404
    finally:
        endpoint.close()


def test_with_a_token_a_scraper_must_send_it(client: httpx.Client) -> None:
    endpoint = MetricsEndpoint(Status, port=0, token="secret")
    try:
        assert client.get(endpoint.url).status_code == 401
        assert client.get(endpoint.url, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get(endpoint.url, headers={"authorization": "Bearer secret"}).is_success
    finally:
        endpoint.close()


def test_beyond_loopback_a_token_is_demanded_and_a_port_in_use_is_named() -> None:
    with pytest.raises(ConfigError, match="HEADWATER_TOKEN"):
        MetricsEndpoint(Status, port=0, host="0.0.0.0")
    endpoint = MetricsEndpoint(Status, port=0)
    port = int(endpoint.url.split(":")[2].split("/")[0])
    try:
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
            MetricsEndpoint(Status, port=port)
    finally:
        endpoint.close()
