"""The payload of a ``.ted`` as it arrives, block by block, into a file beside which its index stands (D8).

Each block is verified before it is kept. Killed or cut at any point, the next receive verifies what has arrived and goes on from there.
Memory is bounded by a block.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from blake3 import blake3

from sluice.durable import EARLY, write_all, write_early
from sluice.errors import NoSpaceError, TamperedError
from sluice.formats.ted.file import BLOCK, MAGIC, PAYLOAD_OFFSET, trailer
from sluice.formats.ted.index import TedIndex
from sluice.rules.space import check_space

AGAIN_MAX = 8
"""Blocks of one put that may come damaged."""
RESERVE = 16 * 1024 * 1024
"""Bytes that stay free on the working directory's file system, for the journal and the status, where ``min_free`` is less."""


class BlockReceiver:
    """One payload on its way. ``what`` names it in errors."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._index: TedIndex
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
        """Verify what arrived in earlier tries; ``offset`` says where the sender goes on."""
        self._index = index
        self._fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._block = self._verified_blocks()
        os.ftruncate(self._fd, PAYLOAD_OFFSET + self.offset)
        os.lseek(self._fd, PAYLOAD_OFFSET + self.offset, os.SEEK_SET)

    def feed(self, data: bytes) -> bool:
        """Take payload bytes; False where a block doesn't fit: it and all after it must come again, from ``offset``.

        Raises:
            TamperedError: Damaged more than AGAIN_MAX times, or more bytes than the index says.
            NoSpaceError.
        """
        view = memoryview(data)
        while view:
            if self.is_complete:
                raise TamperedError(f"{self._what} has more bytes than its index says")
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
                        f"{self._what}: block {self._block} came damaged; {AGAIN_MAX} were asked for again already",
                        remedy="check the link and the Distributor's copy, then send again",
                    )
                return False
            self._write(whole)
            self._block += 1
            if self.offset % EARLY == 0:
                write_early(self._fd, PAYLOAD_OFFSET + self.offset - EARLY, EARLY)
        return True

    def seal(self, index: bytes) -> None:
        """All is here: what is around the payload, and all of it durable."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._write(MAGIC)
        os.lseek(self._fd, PAYLOAD_OFFSET + self._index.payload, os.SEEK_SET)
        self._write(trailer(index))
        os.fsync(self._fd)

    def close(self) -> None:
        """The put is over; what arrived stays for the next."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._pending.clear()

    def _write(self, data: bytes | memoryview) -> None:
        try:
            write_all(self._fd, data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoSpaceError(f"no space left for {self._what}", remedy="free some, then send again") from error

    def _verified_blocks(self) -> int:
        os.lseek(self._fd, PAYLOAD_OFFSET, os.SEEK_SET)
        for number, digest in enumerate(self._index.blocks):
            if blake3(os.read(self._fd, self._index.block_length(number))).hexdigest() != digest:
                return number
        return len(self._index.blocks)


def check_room(directory: Path, needed: int, what: str, *, min_free: int = 0) -> None:
    """Whether so many bytes may come into the working directory. Raises NoSpaceError with the figures."""
    found = os.statvfs(directory)
    free, kept = found.f_bavail * found.f_frsize, max(RESERVE, min_free)
    check_space(what, needed=needed, free=free, kept=kept, where=str(directory), remedy="free space there, then send again")
