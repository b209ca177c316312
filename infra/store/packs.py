"""Reading packs anywhere: frames as they lie there or decompressed, and contents as the delta engine wants them.

A content is verified by its digest before its first byte is given out, so that no delta is made of what was damaged on disk.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import ExitStack
from typing import BinaryIO

from blake3 import blake3

from infra.store.contents import Contents, translate_errors
from sluice.errors import StoreCorruptError
from sluice.formats.zstd import decompress_frame

FRAMES_HELD = 8
"""Frames kept decompressed, for contents that lie mixed over a few packs; 4 MiB each at most."""
PACKS_OPEN = 64

REPAIR = "run `sluice store verify --repair` while the sources are there"


class Packs:
    """Frames of packs, the last few kept decompressed. The caller holds the store's lock in common."""

    def __init__(self, contents: Contents, stack: ExitStack) -> None:
        self.contents = contents
        self._stack = stack
        self._files: dict[str, BinaryIO] = {}
        self._held: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def frame(self, pack: str, number: int) -> bytes:
        """A frame as it lies there."""
        path, index = self.contents.path(pack), self.contents.index(pack)
        with translate_errors(path):
            file = self._files.get(pack)
            if file is None:
                if len(self._files) == PACKS_OPEN:
                    self._files.pop(next(iter(self._files))).close()
                file = self._files[pack] = self._stack.enter_context(open(path, "rb", buffering=0))  # noqa: SIM115
            file.seek(index.frame_start(number))
            return file.read(index.frames[number][0])

    def plain(self, pack: str, number: int) -> bytes:
        """Its plaintext."""
        key = (pack, number)
        data = self._held.get(key)
        if data is None:
            what = f"pack {self.contents.path(pack)}, frame {number}"
            data = decompress_frame(self.frame(pack, number), self.contents.index(pack).frames[number][1], what=what)
            if len(self._held) == FRAMES_HELD:
                self._held.popitem(last=False)
            self._held[key] = data
        else:
            self._held.move_to_end(key)
        return data

    def read(self, pack: str, first: int, length: int) -> bytes:
        """Part of a pack's plaintext."""
        index, found, at = self.contents.index(pack), bytearray(), first
        while at < first + length:
            number, start = index.frame_at(at)
            found += memoryview(self.plain(pack, number))[at - start : first + length - start]
            at = first + len(found)
        return bytes(found)

    def blob(self, digest: str, size: int) -> PackBlob:
        """A content. Raises StoreCorruptError if it isn't held."""
        place = self.contents.place(digest)
        if place is None or place[1] != size:
            raise StoreCorruptError(f"content {digest} of {size} bytes isn't in the store", remedy=REPAIR)
        return PackBlob(self, digest, place[0], place[2], size)


class PackBlob:
    """One content in a pack. Implements ``sluice.delta.line.Blob``."""

    def __init__(self, packs: Packs, digest: str, pack: str, first: int, size: int) -> None:
        self._packs = packs
        self._digest = digest
        self._pack = pack
        self._first = first
        self._size = size
        self._verified = False

    @property
    def size(self) -> int:
        """In bytes."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """These bytes; as many as there are. Raises StoreCorruptError unless the content has its digest."""
        length = max(0, min(length, self._size - offset))
        if self._verified:
            return self._packs.read(self._pack, self._first + offset, length)
        if length == self._size:
            data = self._packs.read(self._pack, self._first, length)
            self._check(blake3(data).hexdigest())
            return data
        total, at, end = blake3(), self._first, self._first + self._size
        index = self._packs.contents.index(self._pack)
        while at < end:
            number, start = index.frame_at(at)
            piece = memoryview(self._packs.plain(self._pack, number))[at - start : end - start]
            total.update(piece)
            at += len(piece)
        self._check(total.hexdigest())
        return self._packs.read(self._pack, self._first + offset, length)

    def _check(self, digest: str) -> None:
        if digest != self._digest:
            raise StoreCorruptError(f"content {self._digest} no longer has its digest in the store", remedy=REPAIR)
        self._verified = True
