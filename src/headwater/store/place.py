"""Which store a place names: a folder, or the URL of a server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlencode

from headwater.errors import StoreError
from headwater.store.base import Store
from headwater.store.connection import SCHEMES


def without_secrets(place: Path | str) -> str:
    """The place as it may be shown: of a URL, neither user nor password nor options."""
    scheme, mark, rest = str(place).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if mark else str(place)


def open_store(place: Path | str) -> Store:
    """The store at a place.

    Parameters
    ----------
    place : Path or str
        A folder, for `LmdbStore`; or a URL for `RedisStore`, such as ``redis://127.0.0.1:6379/0``, in which
        ``?prefix=shop`` keeps one server's stores apart (without it: ``headwater``).

    Raises
    ------
    StoreError
        The folder is no store, the URL cannot be read, or what it needs is not installed.
    """
    if isinstance(place, Path) or "://" not in place:
        from headwater.store.lmdb import LmdbStore

        return LmdbStore(place)
    scheme = place.partition("://")[0]
    if scheme not in SCHEMES:
        raise StoreError(f"no store has the scheme {scheme!r}: give a folder, or a URL with {', '.join(SCHEMES)}")
    from headwater.store.redis import RedisStore

    url, options = place, {}
    before, mark, query = place.partition("?")
    if mark:
        options = parse_qs(query)
        prefix = options.pop("prefix", None)
        url = before + ("?" + urlencode(options, doseq=True) if options else "")
        if prefix:
            return RedisStore(url, prefix=prefix[-1])
    return RedisStore(url)
