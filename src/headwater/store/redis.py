"""The store on a server: Redis or Valkey, for services and streams on several machines."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence

from headwater.errors import StoreError, TornValue
from headwater.store.base import Put, address
from headwater.store.connection import Connection
from headwater.store.envelope import HEADER_BYTES, claims_offset, unseal
from headwater.store.staging import Staged, stage

_ATTEMPTS = 100
_LONGEST_PAUSE = 0.05
_SCAN_KEYS = 100
_MAX_CALL = 256 << 20

_COMPARE_AND_WRITE = f"""
for i = 1, #KEYS do
  if redis.call('GETRANGE', KEYS[i], 0, {HEADER_BYTES - 1}) ~= ARGV[i] then return 0 end
end
for i = #KEYS + 1, #ARGV, 3 do
  local key, ttl = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  if ttl == 'gone' then redis.call('DEL', key)
  elseif ttl == '' then redis.call('SET', key, ARGV[i + 2])
  else redis.call('SET', key, ARGV[i + 2], 'PX', ttl) end
end
return 1
"""
"""Write, if the keys begin as they did when they were read. The beginning holds the checksum, so it names the value."""


_BEGINNINGS = f"""
local heads = {{}}
for i = 1, #KEYS do heads[i] = redis.call('GETRANGE', KEYS[i], 0, {HEADER_BYTES - 1}) end
return heads
"""


class RedisStore:
    """`Store` over a Redis (6.2 or later) or Valkey server. Threads share one `RedisStore`.

    Reading many keys is one round trip. A write is optimistic: what it depends on is read, and one script
    compares and writes; where another writer came in between, it is done again. Expiry is the server's, by its clock.

    How durable a write is, is the server's configuration: `appendonly yes` with `appendfsync always` is what
    `LmdbStore` promises, `everysec` may lose the last second to a power cut. A Redis Cluster is refused by the server,
    for keys that are written together lie on different nodes.

    Parameters
    ----------
    url : str
        See `Connection`.
    prefix : str
        Stores of different prefixes never meet on one server. Without a NUL character.

    Raises
    ------
    StoreError
        The URL cannot be read, or the package `redis` is not installed.
    """

    def __init__(self, url: str, *, prefix: str = "headwater") -> None:
        if not prefix or "\0" in prefix:
            raise StoreError(f"a prefix is a text without NUL that is not empty, not {prefix!r}")
        self._server = Connection(url)
        self._prefix = prefix.encode() + b"\0"

    # -- the seam

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Store.get_many`. One round trip: the values are of one moment."""
        places = [address(namespace, key) for key in keys]
        return [self._payload(place, raw) for place, raw in zip(places, self._read(places), strict=True)]

    def put_many(self, puts: Sequence[Put]) -> int:
        """See `Store.put_many`. Three round trips at most, unless other writers come in between."""
        return self.update_many((), lambda _: puts)

    def update(
        self,
        namespace: str,
        key: bytes,
        change: Callable[[bytes | None], bytes | None],
        *,
        ttl: float | None = None,
    ) -> bytes | None:
        """See `Store.update`."""
        updated: list[bytes | None] = []

        def write(values: list[bytes | None]) -> list[Put]:
            updated[:] = [change(values[0])]
            return [Put(namespace, key, updated[0], ttl)]

        self.update_many([(namespace, key)], write)
        return updated[0]

    def update_many(
        self,
        keys: Sequence[tuple[str, bytes]],
        change: Callable[[list[bytes | None]], Sequence[Put]],
    ) -> int:
        """See `Store.update_many`. Raises `StoreError` where other writers were faster a hundred times."""
        places = [address(namespace, key) for namespace, key in keys]
        for attempt in range(_ATTEMPTS):
            found = dict(zip(places, self._read(places), strict=True))
            puts = change([self._payload(place, found[place]) for place in places])
            # What is written but was not read counts too: its log offset decides.
            found |= self._beginnings([place for place in _places(puts) if place not in found])
            staged, effective = stage(puts, lambda _, found=found: found, 0.0, seals_expiry=False)
            if not staged or self._compare_and_write(found, staged):
                return effective
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.001 * 2 ** min(attempt, 10))))
        raise StoreError(
            f"{self._server.name}: other writers changed the same keys {_ATTEMPTS} times in a row. Nothing was "
            "written; try again, or let fewer processes write one key."
        )

    def delete_many(self, namespace: str, keys: Sequence[bytes]) -> int:
        """See `Store.delete_many`."""
        places = [self._prefix + address(namespace, key) for key in keys]
        return self._server.command("DEL", *places) if places else 0

    def scan(self, namespace: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """See `Store.scan`. Goes through the keys of the whole server, and holds those that it seeks in memory."""
        first = self._prefix + address(namespace, b"")
        start = first + prefix
        pattern = b"".join(b"\\" + bytes([byte]) if byte in b"*?[]^\\" else bytes([byte]) for byte in start) + b"*"
        found: set[bytes] = set()
        cursor: int | bytes = 0
        while True:
            cursor, page = self._server.command("SCAN", cursor, "MATCH", pattern, "COUNT", 1_000)
            found.update(page)
            if int(cursor) == 0:
                break
        keys = sorted(key[len(first) :] for key in found)
        for at in range(0, len(keys), _SCAN_KEYS):
            page_keys = keys[at : at + _SCAN_KEYS]
            for key, value in zip(page_keys, self.get_many(namespace, page_keys), strict=True):
                if value is not None:
                    yield key, value

    def close(self) -> None:
        """See `Store.close`. Any later call raises `StoreError`."""
        self._server.close()

    # -- values

    def _read(self, places: Sequence[bytes]) -> list[bytes | None]:
        return self._server.command("MGET", *(self._prefix + place for place in places)) if places else []

    def _beginnings(self, places: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """What tells the stored values apart, and whole those whose offset counts only if they are not torn."""
        if not places:
            return {}
        heads: list[bytes] = self._server.script(_BEGINNINGS, [self._prefix + place for place in places], ())
        found: dict[bytes, bytes | None] = {place: head or None for place, head in zip(places, heads, strict=True)}
        with_offset = [place for place, head in found.items() if claims_offset(head)]
        return found | dict(zip(with_offset, self._read(with_offset), strict=True))

    def _payload(self, place: bytes, raw: bytes | None) -> bytes | None:
        if raw is None:
            return None
        try:
            return unseal(raw).payload
        except TornValue as error:
            namespace, _, key = place.partition(b"\0")
            raise TornValue(
                f"{self._server.name}: key {key!r} of namespace {namespace.decode()!r}: {error}. "
                "Delete the key, or put a new value there."
            ) from error

    def _compare_and_write(self, found: dict[bytes, bytes | None], staged: Staged) -> bool:
        places = list(found)
        row = {place: at for at, place in enumerate(places, 1)}
        words: list[bytes | str | int] = [(raw or b"")[:HEADER_BYTES] for raw in found.values()]
        for place, (value, ttl) in staged.items():
            milliseconds = "" if ttl is None else max(1, round(ttl * 1_000))
            words += [row[place], "gone" if value is None else milliseconds, value or b""]
        size = sum(len(value) for value, _ in staged.values() if value is not None)
        if size > _MAX_CALL:
            raise StoreError(
                f"{self._server.name}: one call writes {size} bytes; a server is sent at most {_MAX_CALL} at once. "
                "Nothing was written; write in several calls."
            )
        return bool(self._server.script(_COMPARE_AND_WRITE, [self._prefix + place for place in places], words))


def _places(puts: Sequence[Put]) -> list[bytes]:
    return list(dict.fromkeys(address(put.namespace, put.key) for put in puts))
