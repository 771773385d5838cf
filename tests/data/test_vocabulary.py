"""Ids, codes, keys and lineage."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import UNKNOWN, Vocabulary, key_of
from headwater.errors import ArtefactError, LineageError, SchemaError

int64 = st.integers(-(2**63), 2**63 - 1)
integer_ids = st.lists(int64, unique=True)
string_ids = st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True)


@given(integer_ids | string_ids)
def test_codes_follow_the_order_of_the_ids_and_come_back_as_they_were(ids: list) -> None:
    vocabulary = Vocabulary(ids)
    codes = vocabulary.encode(ids)
    assert codes.dtype == np.int32
    assert codes.tolist() == list(range(len(ids)))
    assert vocabulary.decode(codes) == ids


@given(integer_ids | string_ids, st.data())
def test_a_grown_vocabulary_keeps_old_codes_and_accepts_every_older_fingerprint(ids: list, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(ids)))
    older = Vocabulary(ids[:size])
    grown = older.extended(ids)
    assert grown.decode(np.arange(len(grown), dtype=np.int32)) == ids
    assert grown.accepts(older.fingerprint())
    assert older.accepts(grown.fingerprint()) == (size == len(ids))


def test_a_vocabulary_of_other_order_is_another_lineage() -> None:
    ours, theirs = Vocabulary([1, 2, 3]), Vocabulary([2, 1, 3])
    assert not ours.accepts(theirs.fingerprint())
    with pytest.raises(LineageError, match=r"itemcf was built on another vocabulary.*Rebuild"):
        ours.require_lineage(theirs.fingerprint(), "itemcf")
    ours.require_lineage(ours.fingerprint(2), "itemcf")


def test_integers_and_the_same_digits_as_text_are_different_lineages() -> None:
    assert not Vocabulary([1, 2]).accepts(Vocabulary(["1", "2"]).fingerprint())


def test_neighbouring_strings_do_not_run_together_in_a_fingerprint() -> None:
    assert Vocabulary(["ab", "c"]).fingerprint() != Vocabulary(["a", "bc"]).fingerprint()


@pytest.mark.parametrize("fingerprint", ["", "x", "2", "-1:integer:0", "9:integer:0", "1:integer:0"])
def test_what_is_no_fingerprint_is_not_accepted(fingerprint: str) -> None:
    assert not Vocabulary([1, 2]).accepts(fingerprint)


def test_unknown_ids_and_ids_of_the_other_kind_get_no_code() -> None:
    numbers, words = Vocabulary([5, 7]), Vocabulary(["5", "x"])
    assert numbers.encode([7, 8, 2**70]).tolist() == [1, UNKNOWN, UNKNOWN]
    assert numbers.encode(["7"]).tolist() == [UNKNOWN]
    assert words.encode([5]).tolist() == [UNKNOWN]  # type: ignore[list-item]
    assert 7 in numbers
    assert "7" not in numbers
    assert 7.0 not in numbers
    assert Vocabulary([]).encode(np.array([1])).tolist() == [UNKNOWN]


def test_a_boolean_is_not_the_integer_one() -> None:
    assert Vocabulary([0, 1]).encode([True]).tolist() == [UNKNOWN]
    with pytest.raises(SchemaError, match="bool"):
        Vocabulary([True, False])


@pytest.mark.parametrize("codes", [[-1], [2]])
def test_decoding_a_code_outside_the_vocabulary_raises(codes: list[int]) -> None:
    with pytest.raises(IndexError, match=r"0\.\.1"):
        Vocabulary([1, 2]).decode(codes)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, "a"], "all integers or all strings, not int, str"),
        ([1.0, 2.0], "not float"),
        ([None], "NoneType"),
        ([3, 3, 4], "1 stand twice"),
        (["a", "a", "a"], "2 stand twice"),
        ([2**63], f"id {2**63} does not fit 64 bits"),
        (np.array([2**63], np.uint64), f"id {2**63} does not fit 64 bits"),
    ],
)
def test_ids_that_are_mixed_repeated_or_too_wide_are_refused(ids: list, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Vocabulary(ids)


def test_a_vocabulary_does_not_grow_by_ids_of_the_other_kind() -> None:
    with pytest.raises(SchemaError, match="integer ids cannot take string ids"):
        Vocabulary([1]).extended(["a"])
    with pytest.raises(SchemaError, match="string ids cannot take integer ids"):
        Vocabulary(["a"]).extended([1])


@given(int64)
def test_the_key_of_an_integer_is_itself(value: int) -> None:
    assert key_of(value) == value


@given(string_ids)
def test_keys_lead_back_to_codes(ids: list[str]) -> None:
    vocabulary = Vocabulary(ids)
    assert vocabulary.keys.tolist() == [key_of(value) for value in ids]
    assert vocabulary.codes_of_keys(vocabulary.keys).tolist() == list(range(len(ids)))


def test_the_key_of_a_string_is_its_signed_xxh3() -> None:
    # XXH3_64bits("") with seed 0, from the reference implementation: 0x2d06800538d394c2.
    assert key_of("") == 0x2D06800538D394C2


def test_a_key_that_belongs_to_nobody_has_no_code() -> None:
    assert Vocabulary([4, 5]).codes_of_keys(np.array([5, 6])).tolist() == [1, UNKNOWN]


def test_an_integer_beyond_64_bits_has_no_key() -> None:
    with pytest.raises(SchemaError, match="does not fit 64 bits"):
        key_of(2**63)


@pytest.mark.parametrize("ids", [[3, 1, 2], ["b", "ä", ""], []])
def test_a_saved_vocabulary_is_the_same_lineage(ids: list, tmp_path: Path) -> None:
    Vocabulary(ids).save(tmp_path / "items.parquet")
    assert Vocabulary.load(tmp_path / "items.parquet").fingerprint() == Vocabulary(ids).fingerprint()


def test_a_truncated_vocabulary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    Vocabulary(list(range(1000))).save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtefactError, match=r"items\.parquet is not a vocabulary file"):
        Vocabulary.load(path)
