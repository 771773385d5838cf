"""The center over HTTP answers what it answers in process, and refuses by name."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from litestar.testing import TestClient

from headwater.errors import ConfigError, StoreAway, StoreError, VersionGone
from headwater.home import Home
from headwater.knowledge.center import Center
from headwater.knowledge.client import KnowledgeClient
from headwater.knowledge.http import HttpKnowledge, unpacked
from headwater.service.app import create_app
from knowledge_built import made_up_built

LOOPBACK = "http://127.0.0.1"


@pytest.fixture
def center(home: Home, tmp_path: Path) -> Center:
    found = Center(home.knowledge)
    for mark in (1.0, 2.0):
        found.publish(made_up_built(tmp_path / f"built-{mark}", mark).folder)
    return found


@pytest.fixture
def client(home: Home, center: Center) -> Iterator[TestClient[Any]]:
    with TestClient(create_app(home), base_url=LOOPBACK) as opened:
        yield opened


@pytest.fixture
def remote(client: TestClient[Any]) -> Iterator[HttpKnowledge]:
    """The client over a real connection, to a door that hands all on to the application."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            content_type = {"content-type": self.headers.get("content-type", "")}
            response = client.request(self.command, self.path, content=body, headers=content_type)
            self.send_response(response.status_code)
            self.send_header("content-length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found = HttpKnowledge(f"http://127.0.0.1:{server.server_port}")
    yield found
    found._close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_both_clients_answer_alike(center: Center, remote: HttpKnowledge) -> None:
    clients: list[KnowledgeClient] = [center, remote]
    users, items = np.arange(1, 101), np.tile(np.arange(1, 51), 2)
    for version in (None, 1, 2):
        here, there = (one.get(users, items, version=version) for one in clients)
        assert here.version == there.version == (version or 2)
        assert np.array_equal(here.values, there.values)
        assert np.array_equal(here.flags, there.flags)
    assert remote.held() == center.held()
    with pytest.raises(VersionGone, match="no version 7 of knowledge; there is 1, 2"):
        remote.get(users, items, version=7)
    with pytest.raises(StoreError, match="400: 100 users, 3 items"):
        remote.get(users, items[:3])


def test_ids_are_numbers_or_text(client: TestClient[Any], center: Center) -> None:
    asked = {"users": [5, "nobody"], "items": [1, 1], "categories": ["c0", "c0"]}
    response = client.post("/v1/knowledge", json=asked)
    assert response.status_code == 200
    answer = unpacked(response.content).widened()
    assert answer.version == 2
    assert answer.flags.tolist()[1] == 1 + 4
    listed = client.get("/v1/knowledge").json()
    assert [one["version"] for one in listed] == [1, 2]
    assert list(listed[0]["about"]["parts"]) == ["user", "item", "product", "click"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"users": [1]}, "items"),
        ({"users": [1], "items": [1], "version": 0}, ">= 1"),
        ({"users": [1] * 5_000, "items": [1] * 5_000}, "4096"),
        ({"users": [1.5], "items": [1]}, "float"),
        ({"users": [1], "items": [1], "versoin": 1}, "versoin"),
    ],
)
def test_a_bad_question_is_refused(client: TestClient[Any], body: dict[str, Any], says: str) -> None:
    response = client.post("/v1/knowledge", json=body)
    assert response.status_code == 400
    assert says in str(response.json())


def test_a_service_without_a_center_says_so(home: Home) -> None:
    with TestClient(create_app(home), base_url=LOOPBACK) as opened:
        response = opened.post("/v1/knowledge", json={"users": [1], "items": [1]})
        assert response.status_code == 404
        assert "publish one" in response.json()["error"]
        assert opened.get("/v1/knowledge").json() == []


def test_a_service_that_is_not_there_or_answers_something_else_is_named() -> None:
    with pytest.raises(ConfigError, match="is no service"):
        HttpKnowledge("127.0.0.1:80")
    with pytest.raises(StoreAway, match="cannot be reached"):
        HttpKnowledge("http://127.0.0.1:9").get(np.array([1]), np.array([1]))
    for raw in (b"", b"x" * 40, (-1).to_bytes(8, "little", signed=True) * 4):
        with pytest.raises(StoreError, match="no answer"):
            unpacked(raw)
