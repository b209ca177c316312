"""The ``.ted`` file: contents go in and come out; sizes bound everything; damage is refused, never decompressed without end."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import StoreCorruptError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.ted.file import PAYLOAD_OFFSET, TedWriter, needed_contents, open_ted, read_contents, verify_payload
from sluice.formats.ted.frame import FRAME_MAX, Frame
from sluice.formats.ted.index import BLOCK, TedIndex, index_bytes, parse_index
from sluice.formats.zstd import compress_frame, zstd
from sluice.model.revision import RevisionNumber
from tests.formats.trees import Tree, trees

FIRST, SECOND = RevisionNumber(1, 1), RevisionNumber(1, 2)


def written(plain: bytes, *, frame: int = FRAME_MAX, base: RevisionNumber | None = None) -> tuple[bytes, TedIndex]:
    file = io.BytesIO()
    writer = TedWriter(file.write, distribution="zone", revision=SECOND, base=base)
    for at in range(0, len(plain), frame):
        piece = plain[at : at + frame]
        writer.frame(compress_frame(piece), len(piece))
    index, _ = writer.finish()
    return file.getvalue(), index


def payload(data: bytes) -> io.BytesIO:
    file = io.BytesIO(data)
    file.seek(PAYLOAD_OFFSET)
    return file


def named(*contents: bytes) -> list[tuple[str, int]]:
    return [(blake3(content).hexdigest(), len(content)) for content in contents]


@given(trees(), trees(revision=SECOND), st.integers(1, 5000))
def test_a_ted_holds_what_the_base_lacks(old: Tree, new: Tree, frame: int) -> None:
    needed = needed_contents(new.manifest, old.manifest)
    assert {d for d, _ in needed} == new.contents.keys() - old.contents.keys()
    data, index = written(b"".join(new.contents[d] for d, _ in needed), frame=frame, base=FIRST)
    found = {digest: b"".join(pieces) for digest, _, pieces in read_contents(payload(data).read, index, needed)}
    assert found == {d: new.contents[d] for d, _ in needed}
    assert parse_index(index_bytes(index)) == index


def test_contents_may_be_skipped_and_are_verified_nevertheless() -> None:
    contents = [random.Random(1).randbytes(size) for size in (0, 1, 5 * BLOCK, 0, 7)]
    data, index = written(b"".join(contents))
    assert [size for _, size, _ in read_contents(payload(data).read, index, named(*contents))] == [0, 1, 5 * BLOCK, 0, 7]
    wrong = named(*contents)
    wrong[2] = ("0" * 64, wrong[2][1])
    with pytest.raises(StoreCorruptError, match="0" * 64):
        list(read_contents(payload(data).read, index, wrong))


def test_a_content_that_does_not_fit_is_named_when_its_bytes_end() -> None:
    data, index = written(b"abc")
    _, _, pieces = next(read_contents(payload(data).read, index, [("1" * 64, 3)]))
    with pytest.raises(StoreCorruptError, match="1" * 64):
        list(pieces)


def test_the_file_is_as_the_format_says(tmp_path: Path) -> None:
    data, index = written(random.Random(2).randbytes(3 * BLOCK + 5))
    path = tmp_path / "distfile.ted"
    path.write_bytes(data)
    assert open_ted(path) == (index, index_bytes(index))
    assert verify_payload(path) == index
    assert data[:8] == b"SLUICET1"
    assert data[-8:] == b"TEDINDEX"
    length = int.from_bytes(data[-12:-8], "big")
    assert json.loads(data[-12 - length : -12])["payload"] == index.payload == len(data) - 8 - length - 12
    assert index.blocks == tuple(
        blake3(data[8 + at : 8 + min(at + BLOCK, index.payload)]).hexdigest() for at in range(0, index.payload, BLOCK)
    )
    assert sum(index.block_length(n) for n in range(len(index.blocks))) == index.payload


def test_a_ted_without_contents_has_no_payload(tmp_path: Path) -> None:
    data, index = written(b"", base=FIRST)
    assert (index.payload, index.plain, index.blocks, index.frames) == (0, 0, (), ())
    (tmp_path / "ted").write_bytes(data)
    assert verify_payload(tmp_path / "ted") == index
    assert list(read_contents(payload(data).read, index, [])) == []


def test_a_flipped_byte_is_found_in_its_block(tmp_path: Path) -> None:
    data, index = written(random.Random(3).randbytes(2 * BLOCK))
    at = PAYLOAD_OFFSET + BLOCK + 17
    path = tmp_path / "distfile.ted"
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert open_ted(path)[0] == index
    with pytest.raises(StoreCorruptError, match="block 1"):
        verify_payload(path)


def _changed(**changes: Any) -> bytes:
    _, index = written(random.Random(4).randbytes(BLOCK + 9), frame=BLOCK)
    return canonical_bytes(json.loads(index_bytes(index)) | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"zzz": 1},
        {"distribution": "../zone"},
        {"revision": "1"},
        {"base": "0.1"},
        {"base": 7},
        {"block": 1024},
        {"payload": 1},
        {"payload": -1},
        {"payload": 2**70},
        {"plain": 1},
        {"plain": True},
        {"blocks": []},
        {"blocks": ["0" * 64]},
        {"blocks": ["0" * 64] * 3},
        {"blocks": ["x" * 64, "0" * 64]},
        {"blocks": [1, 2]},
        {"frames": []},
        {"frames": [[1, 1]]},
        {"frames": "all"},
        {"frames": [[1, 1, "hdiff", []]]},
        {"frames": [[0, 5]], "payload": 0, "plain": 5, "blocks": []},
        {"frames": [[5, 0]], "payload": 5, "plain": 0, "blocks": ["0" * 64]},
        {"frames": [[5, FRAME_MAX + 1]], "payload": 5, "plain": FRAME_MAX + 1, "blocks": ["0" * 64]},
        {"frames": [[9000, 5]], "payload": 9000, "plain": 5, "blocks": ["0" * 64]},
        {"frames": [[-5, 5], [10, 5]], "payload": 5, "plain": 10, "blocks": ["0" * 64]},
        {"frames": [[5.0, 5]], "payload": 5, "plain": 5, "blocks": ["0" * 64]},
        {"frames": [[True, 5]], "payload": 1, "plain": 5, "blocks": ["0" * 64]},
        {"encryption": {"scheme": "age", "recipients": []}},
    ],
)
def test_an_index_that_breaks_a_rule_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreCorruptError):
        parse_index(_changed(**changes))


def test_an_index_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(StoreCorruptError):
        parse_index(_changed().replace(b":", b": ", 1))


def _one_frame(frame: bytes, plain: int) -> TedIndex:
    blocks = tuple("0" * 64 for _ in range(-(-len(frame) // BLOCK)))
    return TedIndex("zone", SECOND, None, len(frame), plain, blocks, (Frame(len(frame), plain),))


def _with_window(log: int) -> bytes:
    options = {zstd.CompressionParameter.window_log: log, zstd.CompressionParameter.content_size_flag: 1}
    coder = zstd.ZstdCompressor(options=options)
    return coder.compress(bytes(100)) + coder.flush()


BOMB = zstd.compress(bytes(64 * 1024 * 1024), 1)


@pytest.mark.parametrize(
    ("frame", "plain"),
    [
        pytest.param(BOMB, 4096, id="a bomb"),
        pytest.param(BOMB, FRAME_MAX, id="a bomb with the largest size"),
        pytest.param(compress_frame(b"x" * 100) + compress_frame(b"y" * 100), 200, id="two frames"),
        pytest.param(compress_frame(b"x" * 100) + b"more", 100, id="bytes behind the frame"),
        pytest.param(compress_frame(b"x" * 100)[:-1], 100, id="a cut frame"),
        pytest.param(compress_frame(b"x" * 100), 99, id="more than announced"),
        pytest.param(compress_frame(b"x" * 100), 101, id="less than announced"),
        pytest.param(b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd", 100, id="a skippable frame"),
        pytest.param(_with_window(27), 100, id="a frame that doesn't declare its size and wants 128 MiB"),
        pytest.param(b"no frame", 8, id="no frame"),
        pytest.param(b"", 1, id="nothing"),
    ],
)
def test_a_frame_that_is_not_what_the_index_says_is_refused_in_bounded_memory(frame: bytes, plain: int) -> None:
    tracemalloc.start()
    with pytest.raises(StoreCorruptError):
        list(read_contents(io.BytesIO(frame).read, _one_frame(frame, plain), [("0" * 64, plain)]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * FRAME_MAX


def test_sizes_that_differ_from_the_manifest_are_refused_before_a_frame_is_read() -> None:
    _, index = written(b"abc")
    with pytest.raises(StoreCorruptError, match="holds 3 bytes, but its manifest needs 4"):
        next(read_contents(lambda size: pytest.fail("read"), index, [("0" * 64, 4)]))


def test_a_payload_that_ends_early_is_refused() -> None:
    data, index = written(b"abc" * 1000)
    with pytest.raises(StoreCorruptError, match="ends within a frame"):
        list(read_contents(payload(data[: PAYLOAD_OFFSET + 5]).read, index, named(b"abc" * 1000)))


def _read_whole(path: Path, contents: list[bytes]) -> None:
    index = verify_payload(path)
    if (index.distribution, index.revision, index.base) != ("zone", SECOND, None):  # the store compares them
        raise StoreCorruptError("another's")
    with open(path, "rb") as file:
        file.seek(PAYLOAD_OFFSET)
        assert [b"".join(pieces) for _, _, pieces in read_contents(file.read, index, named(*contents))] == contents


def test_every_damaged_file_is_refused(tmp_path: Path) -> None:
    contents = [b"one" * 900, b"two" * 700, b"", random.Random(5).randbytes(3000)]
    data, _ = written(b"".join(contents), frame=2000)
    chance, path = random.Random(6), tmp_path / "distfile.ted"
    path.write_bytes(data)
    _read_whole(path, contents)
    for number in range(400):
        damaged = bytearray(data)
        if number % 4 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            damaged[chance.randrange(len(damaged))] ^= chance.randint(1, 255)
        path.write_bytes(damaged)
        with pytest.raises(StoreCorruptError):
            _read_whole(path, contents)
