"""Packs: contents lie one after another in frames; the index names itself."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import SourceChangedError, StoreCorruptError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.pack import PACK_MAGIC, PackIndex, PackWriter, pack_index_bytes, pack_name, parse_pack_index
from sluice.formats.ted.frame import FRAME_MAX
from sluice.formats.zstd import decompress_frame


def plaintext(data: bytes, index: PackIndex) -> bytes:
    frames = [data[index.frame_start(n) : index.frame_start(n) + length] for n, (length, _) in enumerate(index.frames)]
    return b"".join(decompress_frame(frame, plain, what="a pack") for frame, (_, plain) in zip(frames, index.frames, strict=True))


@given(st.lists(st.binary(max_size=200), unique=True, max_size=20))
def test_contents_lie_one_after_another(contents: list[bytes]) -> None:
    file = io.BytesIO()
    writer = PackWriter(file)
    for content in contents:
        writer.put(blake3(content).hexdigest(), len(content), [content])
    index = writer.finish()
    data = file.getvalue()
    assert data.startswith(PACK_MAGIC)
    assert len(data) == index.length
    plain = plaintext(data, index)
    assert [plain[first : first + size] for _, size, first in index.contents] == contents
    raw = pack_index_bytes(index)
    assert parse_pack_index(raw, pack_name(raw)) == index


def test_a_large_content_begins_a_frame_and_frames_are_full() -> None:
    chance = random.Random(1)
    contents = [b"small", chance.randbytes(2 * FRAME_MAX + 10), b"after", chance.randbytes(FRAME_MAX)]
    file = io.BytesIO()
    writer = PackWriter(file)
    for content in contents:
        halves = [content[: len(content) // 2], content[len(content) // 2 :]]
        writer.put(blake3(content).hexdigest(), len(content), halves)
    index = writer.finish()
    assert [plain for _, plain in index.frames] == [5, FRAME_MAX, FRAME_MAX, FRAME_MAX, 15]
    assert plaintext(file.getvalue(), index) == b"".join(contents)
    assert list(index.spans(0, 5)) == [(0, 0, 5)]
    assert list(index.spans(5, FRAME_MAX)) == [(1, 0, FRAME_MAX)]
    assert list(index.spans(4, FRAME_MAX + 3)) == [(0, 4, 5), (1, 0, FRAME_MAX), (2, 0, 2)]
    assert list(index.spans(4 + FRAME_MAX, 1)) == [(1, FRAME_MAX - 1, FRAME_MAX)]
    assert list(index.spans(index.plain, 0)) == []
    assert index.next_frame(4) == 5


def test_a_content_whose_reading_fails_leaves_the_pack_as_it_was() -> None:
    def failing() -> Iterator[bytes]:
        yield bytes(FRAME_MAX)
        yield bytes(10)
        raise SourceChangedError("changed")

    file = io.BytesIO()
    writer = PackWriter(file)
    writer.put(blake3(b"a").hexdigest(), 1, [b"a"])
    for size in (FRAME_MAX + 20, 20):
        with pytest.raises(SourceChangedError):
            writer.put("0" * 64, size, failing())
    for size in (FRAME_MAX + 20, 20):
        with pytest.raises(StoreCorruptError):
            writer.put("0" * 64, size, [b"short"])
    with pytest.raises(StoreCorruptError):
        writer.put("0" * 64, FRAME_MAX + 1, [bytes(FRAME_MAX), bytes(FRAME_MAX)])
    writer.put(blake3(b"b").hexdigest(), 1, [b"b"])
    index = writer.finish()
    assert len(file.getvalue()) == index.length
    assert plaintext(file.getvalue(), index) == b"ab"
    assert [content[0] for content in index.contents] == [blake3(b"a").hexdigest(), blake3(b"b").hexdigest()]


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"zzz": 1},
        {"frames": [[9, FRAME_MAX + 1]]},
        {"frames": [[0, 3]]},
        {"frames": [[9000, 3]]},
        {"frames": [[9, "3"]]},
        {"frames": [[9, 4]]},
        {"contents": [["0" * 64, 3, 1]]},
        {"contents": [["0" * 63, 3, 0]]},
        {"contents": [["0" * 64, -3, 0]]},
        {"contents": [["0" * 64, 3]]},
        {"contents": 7},
    ],
)
def test_an_index_that_breaks_a_rule_is_refused(changes: dict[str, object]) -> None:
    raw = canonical_bytes({"version": 1, "frames": [[9, 3]], "contents": [["0" * 64, 3, 0]]} | changes)
    with pytest.raises(StoreCorruptError):
        parse_pack_index(raw, pack_name(raw))


def test_any_damage_of_an_index_is_found_by_its_name() -> None:
    file = io.BytesIO()
    writer = PackWriter(file)
    writer.put(blake3(b"a").hexdigest(), 1, [b"a"])
    raw = pack_index_bytes(writer.finish())
    for at in range(len(raw)):
        for damaged in (raw[:at], raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]):
            with pytest.raises(StoreCorruptError):
                parse_pack_index(damaged, pack_name(raw))
