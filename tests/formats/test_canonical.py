"""Canonical JSON: one value, one byte string; hostile bytes are refused, each by the right error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import TamperedError, TruncatedError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_was_written_is_read_back(value: object) -> None:
    assert parse_canonical(canonical_bytes(value), limit=1_000_000, what="it") == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_keys_makes_no_difference(value: dict[str, int]) -> None:
    assert canonical_bytes(value) == canonical_bytes(dict(reversed(value.items())))


def test_keys_are_sorted_and_nothing_is_escaped_or_spaced() -> None:
    assert canonical_bytes({"b": "ä", "a": [1, True, None]}) == '{"a":[1,true,null],"b":"ä"}'.encode()


@given(VALUES.filter(lambda value: isinstance(value, dict | list | str)), st.data())
def test_a_cut_container_is_refused(value: object, data: st.DataObject) -> None:
    whole = canonical_bytes(value)
    left = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises((TruncatedError, TamperedError)):
        parse_canonical(whole[:left], limit=1_000_000, what="it")


@pytest.mark.parametrize("data", [b"", b"  ", b"{", b'{"a"', b'{"a":', b'{"a":1', b"[1,", b'"abc'])
def test_a_cut_value_is_called_truncated(data: bytes) -> None:
    with pytest.raises(TruncatedError):
        parse_canonical(data, limit=100, what="it")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"a":2}', "appears twice"),
        (b'{"a":NaN}', "NaN is not allowed"),
        (b"[Infinity]", "Infinity is not allowed"),
        (b"{} {}", "isn't JSON"),
        (b"\xff\xfe", "isn't UTF-8"),
        (rb'"\ud800"', "isn't UTF-8"),
        (rb'{"a":["\uDFFF\ud83d"]}', "isn't UTF-8"),
        (rb'{"\udc00":1}', "isn't UTF-8"),
        ('{"a":1}'.encode("utf-16"), "isn't UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'"' + b"x" * 2_000_000 + b'"', "more than the 1000000 allowed"),
    ],
)
def test_hostile_json_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(TamperedError, match=reason):
        parse_canonical(data, limit=1_000_000, what="it")


@pytest.mark.parametrize(("data", "text"), [(rb'"\ud83d\ude00"', "😀"), (rb'"\\ud800"', r"\ud800"), (rb'"\ud7ff"', "\ud7ff")])
def test_escapes_that_are_unicode_are_read(data: bytes, text: str) -> None:
    assert parse_canonical(data, limit=100, what="it") == text


@pytest.mark.slow
@pytest.mark.timeout(60)  # comparing each with each takes many minutes
def test_a_key_that_stands_twice_among_many_is_found() -> None:
    keys = ",".join(f'"{number}":0' for number in range(200_000))
    with pytest.raises(TamperedError, match=r"key '7' appears twice"):
        parse_canonical(f'{{{keys},"7":1}}'.encode(), limit=10_000_000, what="it")
    with pytest.raises(TamperedError, match=r"key 'z' appears twice"):
        parse_canonical(f'{{{keys},"z":1,"z":2}}'.encode(), limit=10_000_000, what="it")


def test_more_values_than_memory_should_hold_are_refused_before_they_are_parsed() -> None:
    scripts = ",[{" * 300_000 + r"\",["
    text = canonical_bytes({"run": scripts, "list": [0] * 249_990})
    assert parse_canonical(text, limit=10_000_000, what="it")["run"] == scripts
    with pytest.raises(TamperedError, match="it has more than the 250000 values allowed"):
        parse_canonical(canonical_bytes([[]] * 125_001), limit=10_000_000, what="it")


@pytest.mark.timeout(60)  # looking for the end anew from each quote takes days
def test_a_text_without_end_is_looked_through_once() -> None:
    with pytest.raises(TruncatedError):
        parse_canonical(b'"' + rb"\"" * 4_000_000 + b"," * 300_000, limit=10_000_000, what="it")


def test_a_key_nobody_asked_for_is_refused() -> None:
    fields = Fields({"a": 1, "b": 2}, what="it")
    fields.number("a")
    with pytest.raises(TamperedError, match="unknown key 'b'"):
        fields.done()


@pytest.mark.parametrize("value", [True, -1, 11, 1.0, "1", None])
def test_a_number_out_of_range_or_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(TamperedError, match="a isn't a whole number from 0 to 10"):
        Fields({"a": value}, what="it").number("a", most=10)


@pytest.mark.parametrize("value", ["xxx", "a\0", 1, None])
def test_a_text_too_long_or_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(TamperedError, match="a isn't a text"):
        Fields({"a": value}, what="it").text("a", limit=2)


def test_true_is_no_version_one() -> None:
    with pytest.raises(TamperedError):
        Fields({"version": True}, what="it").constant("version", 1)
