"""Indexes of deltas and recipes: figures that are within the limits, and within each other, or a refusal."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import StoreCorruptError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.manifest.document import ENTRIES_MAX
from sluice.formats.ted import recipe as ted_recipe
from sluice.formats.ted.file import PAYLOAD_OFFSET, TedWriter, needed_contents, read_contents
from sluice.formats.ted.frame import GROUP_MAX, SMALL_GROUP_MAX, Frame, FrameKind, Range
from sluice.formats.ted.index import DELTA_FRAMES_MAX, DELTA_INDEX_MAX, RECIPE_MAX, TedIndex, delta_fits, index_bytes, parse_index
from sluice.formats.ted.recipe import RANGES_MAX, Recipe, gone_contents, parse_recipe, read_recipe, recipe_bytes, resolved_references
from sluice.formats.varint import Reader, put, signed, zigzag
from sluice.formats.zstd import compress_frame
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber

BASE, NEW = RevisionNumber(1, 1), RevisionNumber(1, 2)
FRAMES = [
    Frame(30, 100),
    Frame(20, 5000, FrameKind.PREFIX, 6000),
    Frame(40, 7000, FrameKind.HDIFF, 6000, 90, "lzma"),
    Frame(0, 800, FrameKind.COPY, 800),
]
NAMED = [(Range(0, 0, 0),), (Range(2, 10, 5000), Range(0, 0, 1000)), ()]


def written(frames: list[Frame], *, recipe: bytes = b"", small: bool = False) -> tuple[bytes, TedIndex]:
    file = io.BytesIO()
    writer = TedWriter(file.write, distribution="zone", revision=NEW, base=BASE, small=small)
    plain = recipe or recipe_bytes(Recipe(b"", tuple(NAMED)))
    writer.recipe(compress_frame(plain), len(plain))
    for frame in frames:
        writer.delta_frame(frame, bytes(frame.length))
    index, _ = writer.finish()
    return file.getvalue(), index


def changed(**changes: Any) -> bytes:
    _, index = written(FRAMES)
    return canonical_bytes(json.loads(index_bytes(index)) | changes)


def test_an_index_of_a_delta_is_as_the_format_says() -> None:
    data, index = written(FRAMES)
    found = json.loads(index_bytes(index))
    length = found["recipe"][0]
    assert found["version"] == 2
    assert found["base"] == "1.1"
    assert found["small"] is False
    assert found["frames"] == [[30, 100], [20, 5000, "prefix", 6000], [40, 7000, "hdiff", 6000, 90, "lzma"], [0, 800, "copy"]]
    assert (found["payload"], found["plain"]) == (length + 90, 12_900)
    assert parse_index(index_bytes(index)) == index
    assert len(data) == 8 + found["payload"] + len(index_bytes(index)) + 12


def test_a_delta_is_not_read_as_a_whole_file() -> None:
    data, index = written(FRAMES)
    with pytest.raises(StoreCorruptError, match=r"a delta from 1\.1"):
        read_contents(io.BytesIO(data[PAYLOAD_OFFSET:]).read, index, [])


def test_more_frames_than_a_delta_may_have_are_refused_before_they_are_read() -> None:
    data = changed(frames=[[1, 1]] * (DELTA_FRAMES_MAX + 1))
    with pytest.raises(StoreCorruptError, match="beyond the limit of a delta"):
        parse_index(data)
    with pytest.raises(StoreCorruptError, match="beyond the limit of a delta"):
        parse_index(b" " * DELTA_INDEX_MAX + data[-20:])


def test_frames_that_make_little_of_much_are_refused() -> None:
    frames = [Frame(1, 1, FrameKind.PREFIX, GROUP_MAX)] * 5
    assert delta_fits(frames[:4], 4)
    assert not delta_fits(frames, 5)
    with pytest.raises(StoreCorruptError, match="more frames, or they read more"):
        parse_index(index_bytes(written(frames)[1]))


def with_frame(*frame: Any) -> dict[str, Any]:
    """An index of one frame, sums and all."""
    recipe = written(FRAMES)[1].recipe
    assert recipe
    payload = recipe[0] + max(0, frame[0])
    return {"frames": [list(frame)], "payload": payload, "plain": frame[1], "blocks": ["0" * 64] * -(-payload // 2**20)}


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 1},
        {"version": 3},
        {"base": None},
        {"base": "1.2"},
        {"base": "1.3"},
        {"small": 0},
        {"small": None},
        {"recipe": None},
        {"recipe": []},
        {"recipe": [1]},
        {"recipe": [0, 5]},
        {"recipe": [5, 0]},
        {"recipe": [True, 5]},
        {"recipe": [41, RECIPE_MAX + 1]},
        {"recipe": [41, 5, 5]},
        {"payload": 90},
        {"zzz": 1},
        with_frame(5, 100, "zstd"),
        with_frame(5, 100, "unknown", 5),
        with_frame(5, 100, None, 5),
        with_frame(5, 100, ["prefix"], 5),
        with_frame(5, 100, "prefix"),
        with_frame(5, 100, "prefix", 5, 5),
        with_frame(5, 100, "prefix", "5"),
        with_frame(5, 100, "prefix", True),
        with_frame(5, 100, "prefix", 0),
        with_frame(5, 100, "prefix", -1),
        with_frame(5, 100, "prefix", GROUP_MAX + 1),
        with_frame(5, GROUP_MAX + 1, "prefix", 5),
        with_frame(0, 100, "prefix", 5),
        with_frame(5, 0, "prefix", 5),
        with_frame(200_000, 100, "prefix", 5),
        with_frame(5, 100, "hdiff", 5, 5),
        with_frame(5, 100, "hdiff", 5, 5, "gzip"),
        with_frame(5, 100, "hdiff", 5, 5, None),
        with_frame(5, 100, "hdiff", 5, 0, "zstd"),
        with_frame(5, 100, "hdiff", 5, 100 + 12 + 64 * 1024 + 1, "zstd"),
        with_frame(5, 100, "hdiff", 5, 5.0, "zstd"),
        with_frame(5, 100, "copy"),
        with_frame(0, 0, "copy"),
        with_frame(0, GROUP_MAX + 1, "copy"),
        with_frame(0, 100, "copy", 100),
        {"small": True},
        {"small": True} | with_frame(5, SMALL_GROUP_MAX + 1, "prefix", 5),
        {"small": True} | with_frame(5, 100, "prefix", SMALL_GROUP_MAX + 1),
    ],
    ids=lambda changes: str(changes.get("frames", changes)),
)
def test_an_index_of_a_delta_that_breaks_a_rule_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreCorruptError):
        parse_index(changed(**changes))


def test_those_rules_are_what_is_wrong_with_them() -> None:
    for frame in ((5, 100, "prefix", GROUP_MAX), (5, 100, "hdiff", 5, 100, "zstd"), (0, GROUP_MAX, "copy")):
        assert parse_index(changed(**with_frame(*frame))).frames[0].length == frame[0]
    assert parse_index(changed(small=True, **with_frame(5, SMALL_GROUP_MAX, "prefix", SMALL_GROUP_MAX))).small


RANGES = st.builds(Range, st.integers(0, 10**6), st.integers(0, 2**40), st.integers(0, 2**40))


@given(st.binary(max_size=50), st.lists(st.lists(RANGES, max_size=4).map(tuple), min_size=3, max_size=3))
def test_a_recipe_is_read_as_it_was_written(manifest: bytes, references: list[tuple[Range, ...]]) -> None:
    recipe = Recipe(manifest, tuple(references))
    assert parse_recipe(recipe_bytes(recipe), FRAMES) == recipe


def test_a_recipe_is_the_first_frame_of_the_payload() -> None:
    data, index = written(FRAMES)
    file = io.BytesIO(data[PAYLOAD_OFFSET:])
    assert read_recipe(file.read, index) == Recipe(b"", tuple(NAMED))
    assert index.recipe
    assert file.tell() == index.recipe[0]
    with pytest.raises(StoreCorruptError, match="ends within its recipe"):
        read_recipe(io.BytesIO(data[PAYLOAD_OFFSET : PAYLOAD_OFFSET + 5]).read, index)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        b"\xff" * 20,
        b"\x00\x01\x00\x00",
        b"\x00\x80\x00",
        b"\x00\x00\x00",
        b"\x00\x00\x00\x00\x00",
        b"\x00\xff\xff\xff\x7f\x00\x00",
    ],
)
def test_a_recipe_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(StoreCorruptError):
        parse_recipe(raw, FRAMES)


def test_all_frames_of_a_delta_share_one_limit_of_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RANGES_MAX == ENTRIES_MAX
    monkeypatch.setattr(ted_recipe, "RANGES_MAX", 10)
    frames = [Frame(20, 1, FrameKind.PREFIX, 1)] * 2
    for counts, problem in (([9, 1], ""), ([9, 2], "out of range"), ([11, 0], "out of range")):
        raw = bytearray(b"\0")
        for count in counts:
            put(raw, count)
            raw += b"\0\0\1" * count
        if problem:
            with pytest.raises(StoreCorruptError, match=problem):
                parse_recipe(bytes(raw), frames)
        else:
            assert [len(ranges) for ranges in parse_recipe(bytes(raw), frames).references] == counts


def manifest(revision: RevisionNumber, *names: str) -> Manifest:
    """Files of 1,000 times their number, counted from 1; what begins with ``empty`` has no bytes."""
    sizes = {name: 0 if name.startswith("empty") else 1000 * (ord(name[0]) - ord("a") + 1) for name in names}
    files = (Entry(EntryKind.FILE, name, 0o644, 1, size, f"{ord(name[0]):064x}") for name, size in sizes.items())
    return Manifest("zone", revision, "file", (Destination("/d", True, (Entry(EntryKind.DIRECTORY, "", 0o755, 1), *files)),))


OLD, FRESH = manifest(BASE, "a", "b", "c", "empty", "d"), manifest(NEW, "b", "x")


def resolved(*references: tuple[Range, ...], length: int) -> list[tuple[Range, ...]]:
    frames = [Frame(5, 5), *(Frame(5, 5, FrameKind.PREFIX, length) for _ in references)]
    return resolved_references(Recipe(b"", references), written(frames)[1], OLD, FRESH)


def test_a_reference_of_no_ranges_is_all_that_has_gone() -> None:
    assert [digest for digest, _ in needed_contents(FRESH, OLD)] == [f"{ord('x'):064x}"]
    assert gone_contents(OLD, FRESH) == [0, 2, 3, 4]
    assert resolved((), length=8000) == [(Range(0, 0, 1000), Range(2, 0, 3000), Range(4, 0, 4000))]


def test_a_range_without_length_goes_to_the_end_of_its_content() -> None:
    assert resolved((Range(1, 500, 0), Range(0, 0, 7)), length=1507) == [(Range(1, 500, 1500), Range(0, 0, 7))]


@pytest.mark.parametrize(
    ("ranges", "length"),
    [
        ((), 7999),
        ((Range(0, 0, 1000),), 999),
        ((Range(5, 0, 1),), 1),
        ((Range(-1, 0, 1),), 1),
        ((Range(0, 0, 1001),), 1001),
        ((Range(0, 1000, 0),), 1),
        ((Range(0, 2**62, 1),), 1),
        ((Range(3, 0, 0), Range(0, 0, 1)), 1),
    ],
)
def test_a_reference_that_lies_in_no_content_or_has_another_length_is_refused(ranges: tuple[Range, ...], length: int) -> None:
    with pytest.raises(StoreCorruptError):
        resolved(ranges, length=length)


@given(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1))
def test_numbers_come_back(number: int, other: int) -> None:
    out = bytearray()
    put(out, number)
    put(out, zigzag(other))
    reader = Reader(bytes(out), what="numbers")
    assert (reader.number(2**64), reader.signed(2**63)) == (number, other)
    reader.end()
    assert signed(zigzag(other)) == other


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\x80\x00", b"\x81\x80\x00", b"\xff" * 11, b"\x65"])
def test_a_number_that_is_cut_longer_than_need_be_or_too_large_is_refused(raw: bytes) -> None:
    with pytest.raises(StoreCorruptError):
        Reader(raw, what="numbers").number(100)
