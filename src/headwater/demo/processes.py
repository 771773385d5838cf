"""The service and the stream as processes of their own, as in production."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from headwater.errors import HeadwaterError
from headwater.home import Home

START_SECONDS = 60.0
"""How long the service may take until it answers `/healthz`."""


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(home: Home, *, stream: bool = True) -> Iterator[httpx.Client]:
    """Start `headwater serve` and, if asked, `headwater stream`; give a client of the service; stop both.

    Raises `HeadwaterError`, with the end of the service's log, where it does not come up.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (
        running_verb(["serve", "--port", str(port)], home, home.root / "serve.log") as service,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client,
    ):
        _wait_until_healthy(client, service, home.root / "serve.log")
        if stream:
            with running_verb(["stream", "--quiet"], home, home.root / "stream.log"):
                yield client
        else:
            yield client


@contextmanager
def running_verb(verb: list[str], home: Home, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run one verb of the command line with its output in `log`; ask it to end, and end it, when left."""
    command = [sys.executable, "-m", "headwater", *verb, "--home", str(home.root)]
    with log.open("ab") as handle:
        # A session of its own: the terminal's Ctrl-C reaches this process alone, which then stops its children.
        process = subprocess.Popen(
            command, stdout=handle, stderr=handle, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(client: httpx.Client, service: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        try:
            if client.get("/healthz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise HeadwaterError(f"the service did not start; the end of {log}:\n{tail}")
