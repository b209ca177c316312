"""Frames of deltas read by somebody who trusts nothing but signed figures: what doesn't fit is refused, in bounded memory."""

from __future__ import annotations

import io
import lzma
import random
import subprocess
import sys
import tracemalloc
import zlib

import hdiffpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.delta.apply import apply_frame, read_delta
from sluice.errors import StoreCorruptError
from sluice.formats.ted.frame import FRAME_MAX, GROUP_MAX, PATCH_MAX, SMALL_GROUP_MAX, Frame, FrameKind, check_frame
from sluice.formats.zstd import compress_frame, compress_wide
from tests.conftest import some

OLD = random.Random(7).randbytes(20_000)
NEW = OLD[:9000] + b"between" + OLD[8000:15_000] + bytes(byte ^ 1 for byte in OLD[15_000:16_000]) + OLD[16_000:]


def hdiff(codec: str = "zstd") -> tuple[Frame, bytes]:
    patch = hdiffpatch.diff(OLD, NEW, validate=False)
    data = compress_wide(patch, level=3) if codec == "zstd" else lzma.compress(patch)
    return Frame(len(data), len(NEW), FrameKind.HDIFF, len(OLD), len(patch), codec), data


def prefixed() -> tuple[Frame, bytes]:
    data = compress_wide(NEW, level=3, prefix=OLD)
    return Frame(len(data), len(NEW), FrameKind.PREFIX, len(OLD)), data


def plain() -> tuple[Frame, bytes]:
    data = compress_frame(NEW)
    return Frame(len(data), len(NEW)), data


FRAMES = {"hdiff, zstd": hdiff(), "hdiff, lzma": hdiff("lzma"), "prefix": prefixed(), "plain": plain()}


def reference_of(frame: Frame) -> bytes:
    return OLD if frame.reference else b""


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_gives_its_plaintext(name: str) -> None:
    frame, data = FRAMES[name]
    assert apply_frame(frame, data, reference_of(frame)) == NEW


def test_a_copy_gives_its_reference() -> None:
    assert apply_frame(Frame(0, len(OLD), FrameKind.COPY, len(OLD)), b"", OLD) == OLD


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("field", ["length", "plain", "reference", "patch"])
@pytest.mark.parametrize("by", [-1, 1, 1 << 20])
def test_a_wrong_figure_is_refused(name: str, field: str, by: int) -> None:
    frame, data = FRAMES[name]
    with pytest.raises(StoreCorruptError):
        apply_frame(frame._replace(**{field: getattr(frame, field) + by}), data, reference_of(frame))


@pytest.mark.parametrize(
    "frame",
    [
        Frame(10, FRAME_MAX + 1),
        Frame(10, -1),
        Frame(10, 10, FrameKind.PLAIN, 1),
        Frame(10, GROUP_MAX + 1, FrameKind.PREFIX, 10),
        Frame(10, 10, FrameKind.PREFIX, GROUP_MAX + 1),
        Frame(10, 10, FrameKind.PREFIX, 0),
        Frame(10, 10, FrameKind.PREFIX, 10, 5),
        Frame(1 << 20, 10, FrameKind.PREFIX, 10),
        Frame(1, 10, FrameKind.COPY, 10),
        Frame(0, 10, FrameKind.COPY, 11),
        Frame(10, GROUP_MAX, FrameKind.HDIFF, 10, PATCH_MAX + 1, "zstd"),
        Frame(10, 10, FrameKind.HDIFF, 10, 1 << 20, "zstd"),
        Frame(10, 10, FrameKind.HDIFF, 10, 10, "bzip2"),
        Frame(10, 10, FrameKind.HDIFF, 10, 10),
        Frame(10, 10, FrameKind.HDIFF, 10, 0, "zstd"),
    ],
)
def test_figures_out_of_bounds_are_refused_before_anything_is_read(frame: Frame) -> None:
    with pytest.raises(StoreCorruptError, match="out of bounds"):
        check_frame(frame, small=False, what="a delta")


@pytest.mark.parametrize(
    "frame", [Frame(10, SMALL_GROUP_MAX + 1, FrameKind.PREFIX, 9), Frame(10, 10, FrameKind.HDIFF, 10, 10, "zstd")], ids=["large", "hdiff"]
)
def test_a_small_delta_has_small_groups_and_no_patches(frame: Frame) -> None:
    check_frame(frame, small=False, what="a delta")
    with pytest.raises(StoreCorruptError):
        check_frame(frame, small=True, what="a delta")


@settings(max_examples=some(150), deadline=None)
@given(
    name=st.sampled_from([name for name in FRAMES if name != "hdiff, lzma"]),
    at=st.integers(0, 10_000),
    byte=st.integers(1, 255),
    cut=st.booleans(),
)
def test_a_damaged_frame_is_refused_or_gives_as_many_bytes(name: str, at: int, byte: int, cut: bool) -> None:
    frame, data = FRAMES[name]
    at %= len(data)
    damaged = data[:at] if cut else data[:at] + bytes([data[at] ^ byte]) + data[at + 1 :]
    frame = frame._replace(length=len(damaged))
    try:
        found = apply_frame(frame, damaged, reference_of(frame))
    except StoreCorruptError:
        return
    assert len(found) == frame.plain  # zstd without a checksum: the digests of the manifest find it


@pytest.mark.parametrize("kind", ["plain", "prefix", "patch by zstd", "patch by lzma"])
def test_a_bomb_is_refused_in_little_memory(kind: str) -> None:
    zeros = bytes(16 << 20)
    bombs = {
        "plain": (Frame(0, 1000), compress_frame(zeros)),
        "prefix": (Frame(0, 1000, FrameKind.PREFIX, len(OLD)), compress_wide(zeros, level=1, prefix=OLD)),
        "patch by zstd": (Frame(0, 1000, FrameKind.HDIFF, len(OLD), 500, "zstd"), compress_wide(zeros, level=1)),
        "patch by lzma": (Frame(0, 1000, FrameKind.HDIFF, len(OLD), 500, "lzma"), lzma.compress(zeros, preset=0)),
    }
    frame, data = bombs[kind]
    del zeros
    tracemalloc.start()
    try:
        with pytest.raises(StoreCorruptError):
            apply_frame(frame._replace(length=len(data)), data, reference_of(frame))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_dictionary_of_lzma_that_no_patch_needs_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 512 << 20, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 16}]
    small = lzma.compress(b"HDIFF13&", filters=[{**filters[0], "dict_size": 1 << 20}])
    # The encoder would take 5 GB to say 512 MiB itself: its byte in the block header, and that header's CRC32, are written by hand.
    header = bytearray(small[12:24])
    assert header[4] == 0x10  # 1 MiB, in the notation of the xz format
    header[4] = 0x22  # 512 MiB
    header[8:12] = zlib.crc32(bytes(header[:8])).to_bytes(4, "little")
    data = small[:12] + bytes(header) + small[24:]
    with pytest.raises(StoreCorruptError, match="Memory"):
        apply_frame(Frame(len(data), 100, FrameKind.HDIFF, len(OLD), 8, "lzma"), data, OLD)


def test_a_patch_that_says_more_than_was_signed_never_reaches_the_library() -> None:
    for plain, reference in ((len(NEW) + 1, len(OLD)), (len(NEW), len(OLD) - 1)):
        frame, data = hdiff()
        with pytest.raises(StoreCorruptError, match="head of a patch"):
            apply_frame(frame._replace(plain=plain, reference=reference), data, OLD[:reference])


def test_a_patch_of_another_format_never_reaches_the_library() -> None:
    patch = hdiffpatch.diff_lite(OLD, NEW, validate=False)
    data = compress_wide(patch, level=3)
    with pytest.raises(StoreCorruptError, match="no head"):
        apply_frame(Frame(len(data), len(NEW), FrameKind.HDIFF, len(OLD), len(patch), "zstd"), data, OLD)


def test_a_patch_compressed_inside_never_reaches_the_library() -> None:
    patch = hdiffpatch.diff(OLD, NEW, "zlib", validate=False)
    data = compress_wide(patch, level=3)
    with pytest.raises(StoreCorruptError, match="no head"):
        apply_frame(Frame(len(data), len(NEW), FrameKind.HDIFF, len(OLD), len(patch), "zstd"), data, OLD)


_DAMAGE = """
import random, sys
from tests.delta.test_apply import NEW, OLD, hdiff
import hdiffpatch
from sluice.delta.apply import apply_frame
from sluice.errors import StoreCorruptError
from sluice.formats.zstd import compress_frame
patch, damage, refused = hdiffpatch.diff(OLD, NEW, validate=False), random.Random(1), 0
for _ in range(2000):
    other = bytearray(patch)
    for _ in range(damage.randrange(1, 4)):
        other[damage.randrange(9, damage.choice([60, len(other)]))] = damage.randrange(256)
    data = compress_frame(bytes(other), level=1)
    frame = hdiff()[0]._replace(length=len(data))
    try:
        assert len(apply_frame(frame, data, OLD)) == len(NEW)
    except StoreCorruptError:
        refused += 1
print(refused)
"""


@pytest.mark.slow
def test_thousands_of_damaged_patches_are_refused_by_a_process_that_lives_on() -> None:
    done = subprocess.run([sys.executable, "-c", _DAMAGE], capture_output=True, text=True, timeout=200, check=True)
    assert 500 < int(done.stdout) < 2000


def test_without_hdiffpatch_a_patch_is_refused_and_the_rest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdiffpatch", None)
    frame, data = FRAMES["prefix"]
    assert apply_frame(frame, data, OLD) == NEW
    frame, data = FRAMES["hdiff, zstd"]
    with pytest.raises(StoreCorruptError, match="isn't installed"):
        apply_frame(frame, data, OLD)


def test_applying_imports_neither_the_maker_nor_hdiffpatch() -> None:
    late = ("sluice.delta.make", "sluice.delta.candidates", "hdiffpatch")
    code = f"import sys, sluice.delta.apply; print([name for name in {late} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[]\n"


def test_references_are_asked_for_one_frame_at_a_time_and_their_number_must_fit() -> None:
    frames = [FRAMES["prefix"], FRAMES["plain"], FRAMES["hdiff, zstd"]]
    payload = b"".join(data for _, data in frames)
    figures = [frame for frame, _ in frames]
    found = list(read_delta(io.BytesIO(payload).read, figures, [(), ()], lambda _: OLD))
    assert b"".join(found) == 3 * NEW
    for number in (1, 3):
        with pytest.raises(StoreCorruptError, match=f"references of {number}"):
            list(read_delta(io.BytesIO(payload).read, figures, [()] * number, lambda _: OLD))
    with pytest.raises(StoreCorruptError, match="ends within"):
        list(read_delta(io.BytesIO(payload[:-1]).read, figures, [(), ()], lambda _: OLD))
    with pytest.raises(StoreCorruptError):
        list(read_delta(io.BytesIO(payload).read, figures, [(), ()], lambda _: OLD[:-1]))
