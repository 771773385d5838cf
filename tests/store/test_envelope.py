"""The envelope gives back what it was given, or says that it cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import TornValue
from headwater.store.envelope import Envelope, seal, unseal

expiries = st.none() | st.floats(0, 1e12)
offsets = st.none() | st.integers(-(2**63), 2**63 - 1)


@given(st.binary(), expiries, offsets)
def test_what_was_sealed_is_unsealed(payload: bytes, expires: float | None, offset: int | None) -> None:
    assert unseal(seal(payload, expires=expires, offset=offset)) == Envelope(payload, expires, offset)


@given(st.binary(max_size=64), expiries, offsets, st.data())
def test_any_changed_byte_is_noticed(
    payload: bytes, expires: float | None, offset: int | None, data: st.DataObject
) -> None:
    raw = bytearray(seal(payload, expires=expires, offset=offset))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(TornValue):
        unseal(bytes(raw))


@given(st.binary(max_size=64), st.data())
def test_any_missing_tail_is_noticed(payload: bytes, data: st.DataObject) -> None:
    raw = seal(payload, expires=5.0)
    with pytest.raises(TornValue):
        unseal(raw[: data.draw(st.integers(0, len(raw) - 1))])


def test_the_bytes_are_those_of_version_1() -> None:
    raw = seal(b"payload", expires=2.0, offset=3)
    assert raw[:20] == b"HW\x01\x03" + b"\0\0\0\0\0\0\0\x40" + b"\x03\0\0\0\0\0\0\0"
    assert raw[28:] == b"payload"


def test_a_value_expires_at_its_moment_and_one_without_expiry_never() -> None:
    assert not Envelope(b"", 10.0, None).is_expired(9.9)
    assert Envelope(b"", 10.0, None).is_expired(10.0)
    assert not Envelope(b"", None, None).is_expired(1e18)
