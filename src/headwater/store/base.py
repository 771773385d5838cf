"""The Store seam: keyed bytes that outlive a process, with expiry and idempotent writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Put:
    """One write.

    Attributes
    ----------
    namespace : str
        Keys of different namespaces never meet.
    key, value : bytes
    ttl : float or None
        Seconds until the value is gone; None keeps it.
    offset : int or None
        Position in the log that this write follows from. A write whose offset is not above the stored
        one changes nothing, so that a replayed log leaves the store as it was. None always writes.
    """

    namespace: str
    key: bytes
    value: bytes
    ttl: float | None = None
    offset: int | None = None


class Store(Protocol):
    """Keyed bytes. One call of a writing method is one atomic step: all of it is seen, or none."""

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, in order; None where there is none or it has expired.

        Raises `StoreError` where a stored value fails its checksum.
        """
        ...

    def put_many(self, puts: Sequence[Put]) -> int:
        """Write all or nothing; returns how many took effect."""
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

    def delete_many(self, namespace: str, keys: Sequence[bytes]) -> int:
        """Remove keys; returns how many were there."""
        ...

    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        """Every living (key, value) of a namespace, in key order."""
        ...

    def close(self) -> None:
        """Flush and let go of files and connections."""
        ...
