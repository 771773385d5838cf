"""What a list of writes comes to, before any of it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from headwater.errors import StoreError
from headwater.store.base import MAX_ADDRESS, MAX_VALUE, Put, address
from headwater.store.envelope import claims_offset, header_of, offset_in, seal_under

Staged = dict[bytes, tuple[bytes | None, float | None]]
"""Address -> the sealed value, None to remove it, and the seconds it has to live."""


def stage(
    puts: Sequence[Put],
    read: Callable[[Sequence[bytes]], Mapping[bytes, bytes | memoryview | None]],
    now: float,
    *,
    seals_expiry: bool,
) -> tuple[Staged, int]:
    """The writes that take effect, in the order of their addresses, and how many puts they come from.

    Parameters
    ----------
    puts : sequence of Put
        In order: of two puts to one key the later one wins, and it meets the offset of the earlier one.
    read : callable
        Addresses in ascending order -> the bytes stored at each, None or nothing where there are none. An expired value
        may still be there.
    now : float
        Unix seconds.
    seals_expiry : bool
        Whether the envelope carries the expiry; a store with an expiry of its own does without.

    Raises
    ------
    StoreError
        A key or a value is too large.
    ValueError
        A ttl is not above 0.
    """
    places: list[bytes] = []
    prefixes: dict[str, bytes] = {}
    for put in puts:
        value, namespace = put.value, put.namespace
        if put.ttl is not None or (value is not None and len(value) > MAX_VALUE):
            check(put)
        place = (prefixes.get(namespace) or prefixes.setdefault(namespace, address(namespace, b""))) + put.key
        if len(place) > MAX_ADDRESS:
            address(namespace, put.key)  # raises
        places.append(place)
    ordered = sorted(set(places))
    stored = read(ordered)
    staged: Staged = {}
    effective = 0
    headers: dict[tuple[float | None, int | None], bytes] = {}
    is_repeated = len(ordered) < len(places)
    for place, put in zip(places, puts, strict=True):
        there = staged[place][0] if is_repeated and place in staged else stored.get(place)
        value = put.value
        if value is None:
            effective += there is not None
            staged[place] = (None, None)
            continue
        offset, ttl = put.offset, put.ttl
        if there is not None and claims_offset(there):
            kept = offset_in(there, now)
            if kept is not None:
                if offset is None:
                    offset = kept
                elif offset <= kept:
                    continue
        header = headers.get((ttl, offset))
        if header is None:
            header = headers[ttl, offset] = header_of(now + ttl if seals_expiry and ttl is not None else None, offset)
        staged[place] = seal_under(header, value), ttl
        effective += 1
    return {place: staged[place] for place in ordered if place in staged}, effective


def check(put: Put) -> None:
    """Raise where a put can be written to no store: see `stage`."""
    if put.ttl is not None and not put.ttl > 0:
        raise ValueError(f"ttl must be above 0 seconds, not {put.ttl}")
    if put.value is not None and len(put.value) > MAX_VALUE:
        raise StoreError(
            f"the value of key {put.key[:32]!r} of namespace {put.namespace!r} has {len(put.value)} bytes; a store "
            f"allows {MAX_VALUE}. Put it into a file, or split it."
        )
