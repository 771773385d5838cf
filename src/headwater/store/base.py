"""The Store seam: keyed bytes that outlive a process, with expiry and idempotent writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from headwater.errors import StoreError

MAX_ADDRESS = 511
"""Bytes of a namespace, a NUL and a key together: what LMDB takes, asked of every store."""

MAX_VALUE = 64 << 20
"""Bytes of a value. What is larger belongs into a file."""


class Put(msgspec.Struct, frozen=True, gc=False):
    """One write. A struct, for a stream makes a hundred thousand of them a second.

    Attributes
    ----------
    namespace : str
        Keys of different namespaces never meet. Not empty, without a NUL character.
    key : bytes
    value : bytes or None
        At most `MAX_VALUE` bytes. None removes the key, with its expiry and offset, whatever they are.
    ttl : float or None
        Seconds, above 0, until the value is gone; None keeps it.
    offset : int or None
        Position in the log that this write follows from. A write whose offset is not above the stored
        one changes nothing, so that a replayed log leaves the store as it was. None always writes, and
        leaves the stored offset as it is. An offset lives as long as its key: it goes by expiry and deletion.
    """

    namespace: str
    key: bytes
    value: bytes | None
    ttl: float | None = None
    offset: int | None = None


def key_bytes(key: int) -> bytes:
    """A signed 64-bit key (of a user, an item) as 8 bytes whose order is the order of the numbers."""
    return (key + (1 << 63)).to_bytes(8, "big")


def address(namespace: str, key: bytes) -> bytes:
    """Where a store keeps a key: the namespace, a NUL, the key. Raises `StoreError` where it may not be."""
    place = _prefix(namespace) + key
    if len(place) > MAX_ADDRESS:
        raise StoreError(
            f"key {key[:32]!r}… of namespace {namespace!r} takes {len(place)} bytes with its namespace; "
            f"a store allows {MAX_ADDRESS}. Store a hash of the key instead."
        )
    return place


@lru_cache(maxsize=256)
def _prefix(namespace: str) -> bytes:
    if not namespace or "\0" in namespace:
        raise StoreError(f"a namespace is a text without NUL that is not empty, not {namespace!r}")
    return namespace.encode() + b"\0"


class Store(Protocol):
    """Keyed bytes. One call of a writing method is one atomic step: all of it is seen, or none.

    Methods raise `StoreAway` where the store cannot be reached, `StoreFull` where it has no room, and `StoreError`
    for a key or a value that does not fit; a writing method has written nothing then. (After `StoreAway` it may
    have: the answer was lost. Writing again is the cure, and offsets make it harmless.)

    A `change` passed to `update` or `update_many` must be a pure function of the values it is given: it may
    be called again, and it must not call the store.
    """

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, in order; None where there is none or it has expired.

        Raises `TornValue`, which names namespace and key, where a stored value fails its checksum.
        """
        ...

    def put_many(self, puts: Sequence[Put]) -> int:
        """Write all or nothing, in order; returns how many took effect. A torn value is replaced."""
        ...

    def update(
        self,
        namespace: str,
        key: bytes,
        change: Callable[[bytes | None], bytes | None],
        *,
        ttl: float | None = None,
    ) -> bytes | None:
        """Replace one value by `change(value)` with no other writer in between; None deletes. Returns the new value."""
        ...

    def update_many(
        self,
        keys: Sequence[tuple[str, bytes]],
        change: Callable[[list[bytes | None]], Sequence[Put]],
    ) -> int:
        """Write `change(values)` with no other writer since `values` of the (namespace, key) pairs were read.

        The writes may go to other keys than were read. Returns how many took effect. Raises `TornValue`, and
        changes nothing, where a value read fails its checksum.
        """
        ...

    def delete_many(self, namespace: str, keys: Sequence[bytes]) -> int:
        """Remove keys; returns how many living values there were. A torn value is removed, and counts."""
        ...

    def scan(self, namespace: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Every living (key, value) of a namespace whose key begins with `prefix`, in key order.

        Not one snapshot: a value written behind the scan is missed, one written ahead of it is found.
        """
        ...

    def close(self) -> None:
        """Flush and let go of files and connections."""
        ...
