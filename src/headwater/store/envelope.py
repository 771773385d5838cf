"""What stands around every stored value: a mark, an expiry, a log offset and a checksum.

Layout, little-endian, 28 bytes before the payload:

====== ====== =====================================================================
bytes  type   meaning
====== ====== =====================================================================
0-1    bytes  ``HW``
2      uint8  format version, 1
3      uint8  flags: 1 where an expiry is set, 2 where an offset is set
4-11   f64    expiry, Unix seconds (0 where not set)
12-19  int64  log offset (0 where not set)
20-27  uint64 xxh3-64 of bytes 0-19 followed by the payload
====== ====== =====================================================================
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import xxhash

from headwater.errors import TornValue

_MAGIC = b"HW"
_VERSION = 1
_HAS_EXPIRY = 1
_HAS_OFFSET = 2
_HEADER = struct.Struct("<2sBBdq")
_CHECKSUM = struct.Struct("<Q")
_PAYLOAD_AT = HEADER_BYTES = _HEADER.size + _CHECKSUM.size
"""Bytes before the payload; with the checksum among them, they tell one value from another."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An opened value.

    Attributes
    ----------
    payload : bytes
    expires : float or None
        Unix seconds from which on the value is gone.
    offset : int or None
        Position in the log that the write followed from.
    """

    payload: bytes
    expires: float | None
    offset: int | None

    def is_expired(self, now: float) -> bool:
        """Whether the value is gone at `now`, Unix seconds."""
        return self.expires is not None and self.expires <= now


def seal(payload: bytes, *, expires: float | None = None, offset: int | None = None) -> bytes:
    """Wrap `payload`; the same arguments give the same bytes."""
    return seal_under(header_of(expires, offset), payload)


def header_of(expires: float | None, offset: int | None) -> bytes:
    """What stands before the checksum: many values of one expiry share it."""
    flags = (_HAS_EXPIRY if expires is not None else 0) | (_HAS_OFFSET if offset is not None else 0)
    return _HEADER.pack(_MAGIC, _VERSION, flags, expires or 0.0, offset or 0)


def seal_under(header: bytes, payload: bytes) -> bytes:
    """Wrap `payload` under a header of `header_of`."""
    return b"".join((header, _CHECKSUM.pack(xxhash.xxh3_64_intdigest(header + payload)), payload))


def unseal(raw: bytes | memoryview) -> Envelope:
    """Open what `seal` returned.

    Raises
    ------
    TornValue
        The bytes were not written by `seal`, are of another format version, or were torn or altered since.
    """
    if len(raw) < _PAYLOAD_AT:
        raise TornValue(f"{len(raw)} bytes are shorter than an envelope of {_PAYLOAD_AT}")
    header, payload = bytes(raw[: _HEADER.size]), bytes(raw[_PAYLOAD_AT:])
    magic, version, flags, expires, offset = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise TornValue("the value was not written by Headwater")
    if version != _VERSION:
        raise TornValue(f"the value has envelope version {version}, and this Headwater reads version {_VERSION}")
    (checksum,) = _CHECKSUM.unpack(raw[_HEADER.size : _PAYLOAD_AT])
    if checksum != _checksum(header, payload):
        raise TornValue("the checksum does not fit: the value is torn or altered")
    return Envelope(payload, expires if flags & _HAS_EXPIRY else None, offset if flags & _HAS_OFFSET else None)


def claims_offset(raw: bytes | memoryview | None) -> bool:
    """Whether stored bytes, or their first `HEADER_BYTES`, say that a log offset counts; a torn value may lie."""
    return raw is not None and len(raw) >= _PAYLOAD_AT and raw[3] & _HAS_OFFSET != 0


def offset_in(raw: bytes | memoryview | None, now: float) -> int | None:
    """The log offset that a write over these stored bytes must pass; None where none counts.

    None counts of a value that has expired at `now` (Unix seconds) or is torn, and so can only be replaced. A value
    without an offset is not read further than its header: to replace a large value costs no checksum of it.
    """
    if raw is None or not claims_offset(raw):
        return None
    try:
        envelope = unseal(raw)
    except TornValue:
        return None
    return None if envelope.is_expired(now) else envelope.offset


def is_expired(raw: bytes | memoryview, now: float) -> bool:
    """Whether these stored bytes are a value that is gone at `now` (Unix seconds); a torn one is not."""
    if len(raw) < _PAYLOAD_AT or not raw[3] & _HAS_EXPIRY:
        return False
    _, _, _, expires, _ = _HEADER.unpack(raw[: _HEADER.size])
    if expires > now:
        return False
    if raw[:2] != _MAGIC:  # of a value that lies elsewhere
        return True
    try:
        return unseal(raw).is_expired(now)
    except TornValue:
        return False


def _checksum(header: bytes, payload: bytes) -> int:
    return xxhash.xxh3_64_intdigest(header + payload)
