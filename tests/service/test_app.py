"""What the service refuses, and how it says so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from litestar.testing import TestClient

from headwater.data import Dataset
from headwater.errors import ConfigError, ReleaseError
from headwater.home import Home
from headwater.service.app import MAX_BODY, create_app, serve
from headwater.store.base import key_bytes

LOOPBACK = "http://127.0.0.1"


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Any]]:
    with TestClient(create_app(home), base_url=LOOPBACK) as opened:
        yield opened


@pytest.mark.parametrize(
    ("body", "where", "says"),
    [
        ({}, "$", "user"),
        ({"user": 7, "k": 0}, "$.k", ">= 1"),
        ({"user": 7, "k": 100_000}, "$.k", "<= 1000"),
        ({"user": 7, "k": "ten"}, "$.k", "int"),
        ({"user": True}, "$.user", "bool"),
        ({"user": None}, "$.user", "null"),
        ({"user": 2**70}, "$.user", "int"),
        ({"user": 7, "scenario": "../etc"}, "$.scenario", "regex"),
        ({"user": 7, "scenario": "homepage\n"}, "$.scenario", "regex"),
        ({"user": 7, "kk": 5}, "$", "kk"),
        ({"user": 7, "exclude": [1.5]}, "$.exclude", "float"),
    ],
)
def test_a_bad_request_is_refused_with_the_field_and_the_rule(
    client: TestClient[Any], body: dict[str, Any], where: str, says: str
) -> None:
    response = client.post("/v1/candidates", json=body)
    assert response.status_code == 400
    failure = response.json()
    assert says in failure["error"]
    assert where.removeprefix("$.").removeprefix("$") in (failure["where"] or "") + failure["error"]


def test_broken_json_is_refused(client: TestClient[Any]) -> None:
    response = client.post("/v1/candidates", content=b'{"user": 7', headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert "malformed" in response.json()["error"] or "truncated" in response.json()["error"]


def test_an_item_on_view_that_nobody_knows_is_named(client: TestClient[Any]) -> None:
    response = client.post("/v1/candidates", json={"user": 7, "scenario": "mini_detail", "item": "no such thing"})
    assert response.status_code == 404
    assert response.json()["where"] == "$.item"
    assert "'no such thing' is not in release" in response.json()["error"]


def test_a_user_that_nobody_knows_gets_what_is_popular(client: TestClient[Any]) -> None:
    answer = client.post("/v1/candidates", json={"user": "a stranger", "k": 5}).json()
    assert answer["history"] == 0
    assert len(answer["items"]) == 5
    assert {why["kind"] for item in answer["items"] for why in item["why"]} == {"popular"}


def test_excluded_and_seen_items_are_never_returned(client: TestClient[Any]) -> None:
    first = client.post("/v1/candidates", json={"user": 7, "k": 10}).json()
    refused = [item["item"] for item in first["items"][:4]]
    second = client.post("/v1/candidates", json={"user": 7, "k": 10, "exclude": refused}).json()
    assert not {item["item"] for item in second["items"]} & set(refused)
    client.post("/v1/events", json={"events": [{"user": 7, "item": second["items"][0]["item"]}]})
    third = client.post("/v1/candidates", json={"user": 7, "k": 10}).json()
    assert second["items"][0]["item"] not in {item["item"] for item in third["items"]}


def test_more_than_the_catalogue_gives_all_that_may_be_returned(client: TestClient[Any], marketplace: Dataset) -> None:
    answer = client.post("/v1/candidates", json={"user": 7, "k": 1000}).json()
    returned = [item["item"] for item in answer["items"]]
    assert len(set(returned)) == len(returned)
    code = marketplace.users.code(7)
    seen = marketplace.event_items[marketplace.offsets[code] : marketplace.offsets[code + 1]]
    ever = np.flatnonzero(marketplace.item_counts)
    assert set(returned) == set(marketplace.items.decode(np.setdiff1d(ever, seen)))


@pytest.mark.parametrize(
    ("event", "where", "says"),
    [
        ({"user": 7}, "$.events[1]", "item"),
        ({"user": 7, "item": "item-001", "behaviour": "clik"}, "$.events[1].behaviour", "did you mean 'click'"),
        ({"user": 7, "item": "item-001", "request_id": ""}, "$.events[1].request_id", ">= 1"),
        ({"user": 7, "item": "item-001", "time": -5}, "$.events[1].time", ">= 0"),
        ({"user": 7, "item": "item-001", "time": 4_000_000_000}, "$.events[1].time", "ahead"),
        ({"user": 7, "item": "item-001", "time": 1_600_000_000_000}, "$.events[1].time", "<="),
    ],
)
def test_one_bad_event_refuses_all_and_applies_none(
    client: TestClient[Any], home: Home, event: dict[str, Any], where: str, says: str
) -> None:
    before = client.post("/v1/candidates", json={"user": 7}).json()["history"]
    written = [path.read_bytes() for path in sorted(home.log.glob("*.jsonl"))]
    good = {"user": 7, "item": "item-149"}
    response = client.post("/v1/events", json={"events": [good, event]})
    assert response.status_code == 400
    failure = response.json()
    assert says in failure["error"]
    assert where in f"{failure['where']} {failure['error']}".replace("[...]", "[1]")
    assert [path.read_bytes() for path in sorted(home.log.glob("*.jsonl"))] == written
    assert client.post("/v1/candidates", json={"user": 7}).json()["history"] == before


def test_an_event_sent_twice_changes_nothing(client: TestClient[Any]) -> None:
    event = {"user": 7, "item": "item-149", "time": 1_650_000_000}
    before = client.post("/v1/candidates", json={"user": 7}).json()["history"]
    for _ in range(2):
        assert client.post("/v1/events", json={"events": [event]}).status_code == 202
    assert client.post("/v1/candidates", json={"user": 7}).json()["history"] == before + 1


def test_an_event_on_an_unknown_item_is_kept_and_counted(client: TestClient[Any]) -> None:
    events = {"events": [{"user": 7, "item": "arrives tomorrow"}, {"user": 7, "item": "item-003"}]}
    assert client.post("/v1/events", json=events).json() == {"accepted": 2, "unknown_items": 1}


def test_a_body_beyond_the_limit_is_refused(client: TestClient[Any]) -> None:
    body = b'{"user": 7, "exclude": [' + b"1," * MAX_BODY + b"1]}"
    response = client.post("/v1/candidates", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 413


def test_a_token_guards_all_but_the_health_check(home: Home) -> None:
    # With a token the name it is reached by does not matter: that is what the token is for.
    with TestClient(create_app(home, token="secret")) as guarded:
        assert guarded.get("/schema/openapi.json").status_code == 401
        assert guarded.get("/healthz").status_code == 200
        assert guarded.post("/v1/candidates", json={"user": 7}).status_code == 401
        wrong = guarded.post("/v1/candidates", json={"user": 7}, headers={"authorization": "Bearer secre"})
        assert wrong.status_code == 401
        right = guarded.post("/v1/candidates", json={"user": 7}, headers={"authorization": "Bearer secret"})
        assert right.status_code == 200


@pytest.mark.parametrize("name", ["127.0.0.1:8080", "localhost", "[::1]:8080"])
def test_loopback_names_are_answered(client: TestClient[Any], name: str) -> None:
    assert client.post("/v1/candidates", json={"user": 7}, headers={"host": name}).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::2]"])
def test_a_page_that_renames_itself_to_loopback_is_refused(client: TestClient[Any], name: str) -> None:
    assert client.post("/v1/candidates", json={"user": 7}, headers={"host": name}).status_code in (400, 403)


def test_what_any_web_page_may_send_unasked_is_refused(client: TestClient[Any], home: Home) -> None:
    body = b'{"events": [{"user": 7, "item": "item-149"}]}'
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert client.post("/v1/events", content=body, headers={"content-type": kind}).status_code == 415
    assert not list(home.log.glob("*.jsonl"))


def test_a_torn_profile_is_a_newcomer_and_begins_anew(client: TestClient[Any]) -> None:
    store = client.app.state.live.store
    with store._env.begin(write=True) as transaction:
        transaction.put(b"profile\0" + key_bytes(7), b"torn")
    assert client.post("/v1/candidates", json={"user": 7}).json()["history"] == 0
    assert client.post("/v1/events", json={"events": [{"user": 7, "item": "item-149"}]}).status_code == 202
    assert client.post("/v1/candidates", json={"user": 7}).json()["history"] == 1


def test_an_address_beyond_loopback_demands_a_token(home: Home) -> None:
    with pytest.raises(ConfigError, match="HEADWATER_TOKEN"):
        serve(home, host="0.0.0.0")


def test_serving_without_a_release_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="headwater train"):
        serve(Home(tmp_path))


def test_a_promoted_release_that_is_damaged_leaves_the_old_one_serving(home: Home, client: TestClient[Any]) -> None:
    import shutil

    from headwater import release as releases

    good = releases.current(home.releases)
    bad = "20990101T000000Z-damaged0"
    shutil.copytree(home.releases / good, home.releases / bad)
    (home.releases / bad / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReleaseError, match=r"items.parquet was altered"):
        releases.promote(home.releases, bad)
    (home.releases / "current").write_text(bad, encoding="utf-8")  # damaged after it was promoted
    client.app.state.live.refresh()
    health = client.get("/healthz").json()
    assert health["release"] == good
    assert "items.parquet was altered" in health["refused"]
    assert client.post("/v1/candidates", json={"user": 7}).status_code == 200


def test_a_pointer_that_cannot_be_read_leaves_the_watch_watching(home: Home, client: TestClient[Any]) -> None:
    from headwater import release as releases

    live = client.app.state.live
    good = releases.current(home.releases)
    (home.releases / "current").write_bytes(b"\xff\xfe")
    live.refresh()
    assert "damaged" in client.get("/healthz").json()["refused"]
    (home.releases / "current").unlink()
    (home.releases / "current").mkdir()  # no error of ours
    live.refresh()
    assert client.get("/healthz").json()["refused"]
    assert live._watcher.is_alive()
    (home.releases / "current").rmdir()
    releases.promote(home.releases, good)
    live.refresh()
    health = {"status": "ok", "release": good, "items": 150, "unknown_triggers": 0, "refused": None}
    assert client.get("/healthz").json() == health
