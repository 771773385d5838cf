"""Knowledge over HTTP: the client, and how an answer is written.

An answer is little-endian: int64 version, rows, width of a user and of an item, width of a pair of user and category;
then rows × (user, item, pair) numbers in half precision, and rows bytes of flags. That is less than half of what it is
widened to: the product of user and item, and single precision, are made by whoever asked.
"""

from __future__ import annotations

import http.client
import json
import struct
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from headwater.errors import ConfigError, StoreAway, StoreError, VersionGone
from headwater.knowledge.client import Answer, Held, Stored

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINARY = "application/octet-stream"
PATH = "/v1/knowledge"

_HEAD = struct.Struct("<qqqq")
_SECONDS = 10.0


def packed(stored: Stored) -> bytes:
    """The bytes of an answer."""
    rows, both = stored.halves.shape
    head = _HEAD.pack(stored.version, rows, stored.width, both - 2 * stored.width)
    return b"".join((head, stored.halves.astype("<u2", copy=False).data, stored.flags.data))


def unpacked(raw: bytes) -> Stored:
    """What `packed` wrote. Raises `StoreError` where it is something else."""
    if len(raw) >= _HEAD.size:
        version, rows, width, of_pairs = _HEAD.unpack_from(raw)
        numbers = rows * (2 * width + of_pairs)
        end = _HEAD.size + 2 * numbers
        if min(rows, width, of_pairs) >= 0 and len(raw) == end + rows:
            halves = np.frombuffer(raw, "<u2", numbers, _HEAD.size).reshape(rows, 2 * width + of_pairs)
            return Stored(version, width, halves, np.frombuffer(raw, np.uint8, rows, end))
    raise StoreError(f"{len(raw)} bytes are no answer of a knowledge center; is it another service?")


class HttpKnowledge:
    """Asks the center of a service. Threads share one; each has a connection of its own, which stays open.

    Parameters
    ----------
    url : str
        Of the service, such as ``http://127.0.0.1:8080``.
    token : str, optional
        What a service that is reached from other machines demands.

    Raises
    ------
    ConfigError
        The URL cannot be read.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{url!r} is no service; give a URL such as http://127.0.0.1:8080")
        self._connects = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._name = parts.hostname, parts.port, url
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._own = threading.local()

    def get(
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        categories: NDArray[np.int64] | None = None,
        *,
        version: int | None = None,
    ) -> Answer:
        """See `KnowledgeClient`.

        Raises
        ------
        VersionGone
            The version is not there.
        StoreAway
            The service cannot be reached.
        StoreError
            It refuses, and says why.
        """
        question: dict[str, Any] = {"users": users.tolist(), "items": items.tolist()}
        if categories is not None:
            question["categories"] = categories.tolist()
        if version is not None:
            question["version"] = version
        return unpacked(self._ask("POST", json.dumps(question).encode())).widened()

    def held(self) -> list[Held]:
        """See `KnowledgeClient`; raises as `get` does."""
        return [
            Held(one["version"], one["is_current"], tuple(one["pins"]), one["about"])
            for one in json.loads(self._ask("GET"))
        ]

    def _ask(self, method: str, body: bytes | None = None) -> bytes:
        try:
            try:
                response = self._send(method, body)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # A connection that stayed open may have been closed there meanwhile; reading twice harms nobody.
                self._close()
                response = self._send(method, body)
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._close()
            raise StoreAway(f"{self._name} cannot be reached: {error}. Check that it serves there.") from error
        if response.status == 200:
            return raw
        said = _said(raw)
        if response.status == 404 and said["where"] == "$.version":
            raise VersionGone(said["error"])
        raise StoreError(f"{self._name} answers {response.status}: {said['error']}")

    def _send(self, method: str, body: bytes | None) -> http.client.HTTPResponse:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._connects(self._host, self._port, timeout=_SECONDS)
        connection.request(method, PATH, body, self._headers)
        return connection.getresponse()

    def _close(self) -> None:
        connection = getattr(self._own, "connection", None)
        if connection is not None:
            connection.close()
            self._own.connection = None


def _said(raw: bytes) -> dict[str, str]:
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    found = found if isinstance(found, dict) else {}
    return {"error": str(found.get("error", "no reason given")), "where": str(found.get("where", ""))}
