"""Flink's REST interface, as far as a job is watched and stopped by it."""

from __future__ import annotations

from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import msgspec

from headwater.errors import ClusterError

_SECONDS = 10.0


class Rest:
    """Questions to one JobManager.

    Parameters
    ----------
    url : str
        Such as ``http://127.0.0.1:8081``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # A cluster is a neighbour: whatever proxy the environment names for the world is not asked.
        self._opener = build_opener(ProxyHandler({}))

    def get(self, path: str) -> Any:
        """The answer to a GET. Raises `ClusterError` where there is none."""
        return self._ask(Request(self.url + path))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a POST. Raises `ClusterError` where there is none."""
        return self._ask(
            Request(self.url + path, data=msgspec.json.encode(body), headers={"Content-Type": "application/json"})
        )

    def _ask(self, request: Request) -> Any:
        try:
            with self._opener.open(request, timeout=_SECONDS) as answer:
                return msgspec.json.decode(answer.read())
        except HTTPError as error:
            said = error.read(2_000).decode(errors="replace")
            raise ClusterError(f"{request.full_url}: Flink answers {error.code}: {said}") from error
        except (URLError, OSError, msgspec.DecodeError) as error:
            raise ClusterError(
                f"no Flink answers at {self.url}: {error}. Start a cluster there, or name another with --cluster"
            ) from error
