"""The whole loop over HTTP, as a user would drive it: real service process, real stream process, real store."""

import time
from typing import Any

import httpx

from headwater.demo.processes import running, running_verb
from headwater.home import Home

USER = 7
WAIT_SECONDS = 30.0


def ask(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/candidates", json={"user": USER, "k": 20, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def click(client: httpx.Client, item: str, request_id: str) -> None:
    event = {"user": USER, "item": item, "behaviour": "click", "request_id": request_id, "scenario": "mini_detail"}
    assert client.post("/v1/events", json={"events": [event]}).json() == {"accepted": 1, "unknown_items": 0}


def reasons(answer: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [why for item in answer["items"] for why in item["why"] if why["kind"] == kind]


def visit_detail_and_click(client: httpx.Client) -> tuple[str, str]:
    """Look at a detail page, click its second item; returns (the clicked item, the visit's request id)."""
    looked_at = ask(client)["items"][0]["item"]
    detail = ask(client, scenario="mini_detail", item=looked_at)
    assert reasons(detail, "context")[0]["item"] == looked_at
    clicked = detail["items"][1]["item"]
    click(client, clicked, detail["request_id"])
    return clicked, detail["request_id"]


def test_a_click_and_a_visit_elsewhere_shape_the_next_homepage(home: Home) -> None:
    with running(home) as client:
        assert not reasons(ask(client), "nearline")
        clicked, visit = visit_detail_and_click(client)
        deadline = time.monotonic() + WAIT_SECONDS
        answer = ask(client)
        while not reasons(answer, "nearline") and time.monotonic() < deadline:
            time.sleep(0.05)
            answer = ask(client)
        named = [why for why in reasons(answer, "profile") if why["item"] == clicked]
        assert named, "no item's reason names what was clicked a moment ago"
        nearline = reasons(answer, "nearline")
        assert nearline, "the rank log did not come back through the stream and the store"
        assert {why["visit"] for why in nearline} == {visit}
        assert {why["scenario"] for why in nearline} == {"mini_detail"}
        assert clicked not in [item["item"] for item in answer["items"]]


def test_once_the_stream_is_stopped_no_new_visit_comes_back_as_nearline(home: Home) -> None:
    with running(home, stream=False) as client:
        with running_verb(["stream", "--quiet"], home, home.root / "stream.log"):
            _, first_visit = visit_detail_and_click(client)
            deadline = time.monotonic() + WAIT_SECONDS
            while not reasons(ask(client), "nearline") and time.monotonic() < deadline:
                time.sleep(0.05)
            assert {why["visit"] for why in reasons(ask(client), "nearline")} == {first_visit}
        _, second_visit = visit_detail_and_click(client)  # the operator is stopped now
        for _ in range(20):
            time.sleep(0.1)
            visits = {why["visit"] for why in reasons(ask(client), "nearline")}
            assert visits <= {first_visit}
            assert second_visit not in visits


def test_without_the_stream_process_nothing_comes_back_as_nearline(home: Home) -> None:
    with running(home, stream=False) as client:
        clicked, visit = visit_detail_and_click(client)
        time.sleep(1.5)  # many times what the stream needs
        answer = ask(client)
        assert not reasons(answer, "nearline")
        assert [why for why in reasons(answer, "profile") if why["item"] == clicked], "the profile needs no stream"
        # Nothing was lost: the visit waits in the log, and a stream that is started later brings it.
        with running_verb(["stream", "--quiet"], home, home.root / "late.log"):
            deadline = time.monotonic() + WAIT_SECONDS
            while not reasons(answer, "nearline") and time.monotonic() < deadline:
                time.sleep(0.05)
                answer = ask(client)
        assert {why["visit"] for why in reasons(answer, "nearline")} == {visit}


def test_a_promoted_release_is_served_without_a_restart(home: Home) -> None:
    from headwater import release as releases

    first = releases.current(home.releases)
    with running(home, stream=False) as client:
        assert client.get("/healthz").json()["release"] == first
        source = home.releases / first
        second = "20990101T000000Z-copy0000"
        copy_release(source, home.releases / second, second)
        releases.promote(home.releases, second)
        deadline = time.monotonic() + WAIT_SECONDS
        while client.get("/healthz").json()["release"] != second and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ask(client)["release"] == second
        releases.rollback(home.releases)
        while client.get("/healthz").json()["release"] != first and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ask(client)["release"] == first


def copy_release(source: Any, destination: Any, release: str) -> None:
    import shutil

    import msgspec

    from headwater.release import read_manifest

    shutil.copytree(source, destination)
    manifest = msgspec.structs.replace(read_manifest(source), release=release)
    (destination / "manifest.json").write_bytes(manifest.to_json())
