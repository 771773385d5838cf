"""The stream's figures for Prometheus, over HTTP: `GET /metrics`."""

# prometheus_client is typed in parts only.
# pyright: basic
from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from headwater.errors import ConfigError
from headwater.network import is_bearer, require_guard

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from headwater.nearline.local import Status

PREFIX = "headwater_stream"

_COUNTERS = {
    "records": "Records taken in, dead letters apart, since the start.",
    "dead_letters": "Records refused and kept as dead letters since the start.",
    "failures": "Batches that the store refused and that were tried again.",
    "torn_states": "States, or visits of states, that failed their checksum.",
}
_GAUGES = {
    "pending_bytes": "Bytes of the log that wait.",
    "lag_seconds": "While records wait: the age of the newest one taken in.",
    "users": "Users whose states are held in memory.",
    "memory_bytes": "About how much those states take.",
}


class MetricsEndpoint:
    """Serves a stream's `Status` in Prometheus' text format, from threads of its own, until it is closed.

    Parameters
    ----------
    status : callable
        Gives the status; asked at each scrape.
    port : int
        0 takes a free one.
    host : str
        Loopback; any other address needs a token.
    token : str, optional
        What a scraper must send as `Authorization: Bearer <token>`.

    Attributes
    ----------
    url : str
        What to scrape.

    Raises
    ------
    ConfigError
        The address is not loopback and there is no token, or it cannot be listened on.
    """

    def __init__(
        self, status: Callable[[], Status], *, port: int, host: str = "127.0.0.1", token: str | None = None
    ) -> None:
        from prometheus_client import CollectorRegistry, make_wsgi_app

        require_guard(host, token)
        registry = CollectorRegistry()
        registry.register(_Figures(status))
        answer: Any = make_wsgi_app(registry)

        def app(environment: dict[str, Any], start: Any) -> Iterable[bytes]:
            if token and not is_bearer(str(environment.get("HTTP_AUTHORIZATION", "")), token):
                start("401 Unauthorized", [("Content-Type", "text/plain")])
                return [b"this endpoint demands 'Authorization: Bearer <token>'\n"]
            if environment.get("PATH_INFO") not in ("/", "/metrics"):
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"the figures are at /metrics\n"]
            return answer(environment, start)

        try:
            self._server = make_server(host, port, app, _Server, _Handler)
        except OSError as error:
            raise ConfigError(f"the metrics endpoint cannot listen on {host}:{port}: {error.strerror}") from error
        self.url = f"http://{host}:{self._server.server_port}/metrics"
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


class _Figures:
    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        now = self._status()
        for name, what in _COUNTERS.items():
            yield CounterMetricFamily(f"{PREFIX}_{name}", what, value=getattr(now, name))
        for name, what in _GAUGES.items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", what, value=getattr(now, name))
        what = "1 while a changed policy file is faulty and the old policy is used."
        yield GaugeMetricFamily(f"{PREFIX}_policy_faulty", what, value=bool(now.policy_fault))


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # WSGIServer asks the resolver for the host's name, which may take seconds, and is used by nothing here.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is no news."""
