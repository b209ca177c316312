"""Files with long runs of zeros, on file systems that have holes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.filesystem.local import LocalFilesystem
from sluice.ports import Root

KIB = 1024
SEED = 7


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    opened = LocalFilesystem().open_root(str(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def write(root: Root, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Writes a file in these pieces and gives the bytes that it takes on disk; its content must be theirs."""

    def written(*pieces: bytes | memoryview, durable: bool = False) -> int:
        root.write_file("file", pieces, mode=0o644, mtime_ns=0, durable=durable)
        found = tmp_path / "file"
        assert found.read_bytes() == b"".join(pieces)
        taken = found.stat().st_blocks * 512
        found.unlink()
        return taken

    return written


@pytest.mark.parametrize("durable", [False, True])
def test_a_sparse_file_takes_what_its_data_takes(root: Root, tmp_path: Path, durable: bool) -> None:
    gibibyte = [bytes(4096 * KIB)] * 256
    root.write_file("image", [b"head", *gibibyte, b"tail"], mode=0o600, mtime_ns=0, durable=durable)
    status = (tmp_path / "image").stat()
    assert status.st_size == 1024 * KIB * KIB + 8
    assert status.st_blocks * 512 <= 64 * KIB
    with open(tmp_path / "image", "rb") as file:
        assert file.read(5) == b"head\0"
        file.seek(-5, os.SEEK_END)
        assert file.read() == b"\0tail"


@pytest.mark.parametrize("before", [0, 1, 4095, 4096, 40_000])
@pytest.mark.parametrize("after", [0, 1, 5000])
def test_a_run_of_64_kib_in_whole_blocks_is_a_hole(write, before: int, after: int) -> None:  # type: ignore[no-untyped-def]
    zeros = bytes(-before % 4096 + 64 * KIB)
    assert write(b"x" * before + zeros + b"x" * after) <= before + after + 2 * 4096


def test_shorter_runs_are_written(write) -> None:  # type: ignore[no-untyped-def]
    assert write(b"x" * 4096 + bytes(60 * KIB) + b"x") >= 64 * KIB
    assert write(bytes(60 * KIB)) >= 60 * KIB


def test_a_run_over_several_pieces_is_one_hole(write) -> None:  # type: ignore[no-untyped-def]
    assert write(b"x" * 5000, bytes(64 * KIB), memoryview(bytes(64 * KIB)), b"x") <= 4 * 4096


def test_any_content_in_any_pieces_is_what_was_written(write) -> None:  # type: ignore[no-untyped-def]
    chance = random.Random(SEED)
    for _ in range(60):
        data = b"".join(
            bytes(chance.choice([1, 4096, 30_000, 65_536, 70_000, 200_000]))
            if chance.random() < 0.5
            else chance.randbytes(chance.randrange(1, 60_000))
            for _ in range(chance.randrange(20))
        )
        pieces, at = list[bytes | memoryview](), 0
        while at < len(data):
            length = chance.choice([1, 1000, 32_768, 65_536, 1 << 20])
            pieces.append(chance.choice([bytes, memoryview])(data[at : at + length]))
            at += length
        write(*pieces)
