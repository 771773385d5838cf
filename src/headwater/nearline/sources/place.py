"""Which log a place names: a folder, or a stream on a server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlencode

from headwater.errors import ConfigError
from headwater.nearline.sources.base import Source
from headwater.nearline.sources.directory import DirectorySource
from headwater.store.connection import SCHEMES


def open_source(place: Path | str) -> Source:
    """The log at a place, read by positions.

    Parameters
    ----------
    place : Path or str
        A folder, for `DirectorySource`; or a URL for `RedisSource`, such as
        ``redis://127.0.0.1:6379/0?stream=shop-ranklog`` (without ``stream``: ``headwater-ranklog``).

    Raises
    ------
    ConfigError
        The URL has another scheme, or the place is a file.
    StoreError
        The URL cannot be read, or the package `redis` is not installed.
    """
    if isinstance(place, Path) or "://" not in place:
        if Path(place).is_file():
            raise ConfigError(f"{place} is a file; name the folder that it lies in, for a log is a folder of files")
        return DirectorySource(place)
    scheme = place.partition("://")[0]
    if scheme not in SCHEMES:
        raise ConfigError(f"no log has the scheme {scheme!r}: give a folder, or a URL with {', '.join(SCHEMES)}")
    from headwater.nearline.sources.redis import STREAM, RedisSource

    before, _, query = place.partition("?")
    options = parse_qs(query)
    stream = options.pop("stream", [STREAM])[-1]
    return RedisSource(before + ("?" + urlencode(options, doseq=True) if options else ""), stream)
