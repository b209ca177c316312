"""Receive the payload of a ``.ted`` block by block, into a file beside its index (D8).

Each block is verified before it is kept. After a kill or a broken link at any point, the next receive verifies the blocks that arrived and
goes on from there. Memory is bounded by a block.
"""

from __future__ import annotations

import os
from pathlib import Path

from blake3 import blake3

from sluice.durable import EARLY, no_space, write_all, write_early
from sluice.errors import TamperedError
from sluice.formats.ted.file import MAGIC, PAYLOAD_OFFSET, trailer
from sluice.formats.ted.index import BLOCK, TedIndex
from sluice.rules.space import check_space

AGAIN_MAX = 8
"""Blocks of one put that may come damaged."""
RESERVE = 16 * 1024 * 1024
"""Bytes that stay free on the working directory's file system, for the journal and the status, if ``min_free`` is less."""


class BlockReceiver:
    """One payload on its way; errors call it ``name``. Close it: the blocks that arrived are kept for the next put."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._index: TedIndex
        self._part = Path()
        self._fd = -1
        self._block = 0
        self._pending = bytearray()
        self._again = 0

    @property
    def offset(self) -> int:
        """Bytes of payload that are here and verified."""
        return min(self._block * BLOCK, self._index.payload)

    @property
    def is_complete(self) -> bool:
        """Whether every block is here."""
        return self._block == len(self._index.blocks)

    def open(self, part: Path, index: TedIndex) -> None:
        """Verify the blocks that arrived in earlier tries; the sender goes on at ``offset``."""
        self._index, self._part = index, part
        self._fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._block = self._verified_blocks()
        os.ftruncate(self._fd, PAYLOAD_OFFSET + self.offset)
        os.lseek(self._fd, PAYLOAD_OFFSET + self.offset, os.SEEK_SET)

    def feed(self, data: bytes) -> bool:
        """Take payload bytes; False if a block is damaged: it and all after it must come again, from ``offset``.

        Raises:
            TamperedError: Blocks came damaged more than AGAIN_MAX times, or there are more bytes than the index says.
            NoSpaceError.
        """
        view = memoryview(data)
        while view:
            if self.is_complete:
                raise TamperedError(f"{self._name} has more bytes than its index says")
            length = self._index.block_length(self._block)
            taken = min(length - len(self._pending), len(view))
            whole = view[:taken] if taken == length else None
            if whole is None:
                self._pending += view[:taken]
                if len(self._pending) == length:
                    whole = memoryview(bytes(self._pending))
            view = view[taken:]
            if whole is None:
                continue
            self._pending.clear()
            if blake3(whole).hexdigest() != self._index.blocks[self._block]:
                self._again += 1
                if self._again > AGAIN_MAX:
                    raise TamperedError(
                        f"{self._name}: block {self._block} came damaged; {AGAIN_MAX} were requested again already",
                        remedy="check the link, run `sluice store verify`, then send again",
                    )
                return False
            self._write(whole)
            self._block += 1
            if self.offset % EARLY == 0:
                write_early(self._fd, PAYLOAD_OFFSET + self.offset - EARLY, EARLY)
        return True

    def seal(self, index: bytes) -> None:
        """Complete the file once every block is here, and make it durable."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._write(MAGIC)
        os.lseek(self._fd, PAYLOAD_OFFSET + self._index.payload, os.SEEK_SET)
        self._write(trailer(index))
        os.fsync(self._fd)

    def close(self) -> None:
        """End the put; blocks that arrived are kept for the next one."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._pending.clear()

    def _write(self, data: bytes | memoryview) -> None:
        try:
            write_all(self._fd, data)
        except OSError as error:
            if full := no_space(error, self._part, self._name):
                raise full from error
            raise

    def _verified_blocks(self) -> int:
        os.lseek(self._fd, PAYLOAD_OFFSET, os.SEEK_SET)
        for number, digest in enumerate(self._index.blocks):
            if blake3(os.read(self._fd, self._index.block_length(number))).hexdigest() != digest:
                return number
        return len(self._index.blocks)


def check_free_space(directory: Path, needed: int, name: str, *, min_free: int = 0) -> None:
    """Check that so many bytes may come into the working directory. Raises NoSpaceError with the figures."""
    found = os.statvfs(directory)
    free, kept = (found.f_bavail * found.f_frsize, max(RESERVE, min_free)) if found.f_blocks else (None, min_free)
    check_space(name, needed=needed, free=free, kept=kept, where=str(directory), remedy="free space there, then send again")
