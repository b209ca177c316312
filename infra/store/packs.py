"""Read any range of any pack: frames as they are on disk or decompressed, and contents as the delta engine wants them.

A content is verified by its digest before its first byte is given out, so that no delta is made from damaged bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import BinaryIO

from blake3 import blake3

from infra.store.contents import REPAIR, Contents, Location, translate_errors
from sluice.errors import StoreCorruptError
from sluice.formats.zstd import decompress_frame

FRAMES_CACHED = 8
"""Frames kept decompressed, for contents that are spread over a few packs; 4 MiB each at most."""
PACKS_OPEN = 64


class Packs:
    """Frames of packs, the last few kept decompressed. The caller shares the lock of the packs."""

    def __init__(self, contents: Contents, stack: ExitStack) -> None:
        self.contents = contents
        self._stack = stack
        self._files: dict[str, BinaryIO] = {}
        self._cache: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def frame(self, pack: str, number: int) -> bytes:
        """Return a frame as it is on disk."""
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
        """Return a frame's plaintext."""
        key = (pack, number)
        data = self._cache.get(key)
        if data is None:
            what = f"pack {self.contents.path(pack)}, frame {number}"
            data = decompress_frame(self.frame(pack, number), self.contents.index(pack).frames[number][1], what=what)
            if len(self._cache) == FRAMES_CACHED:
                self._cache.popitem(last=False)
            self._cache[key] = data
        else:
            self._cache.move_to_end(key)
        return data

    def pieces(self, pack: str, first: int, length: int) -> Iterator[memoryview]:
        """Yield a range of a pack's plaintext, frame by frame."""
        for number, start, end in self.contents.index(pack).spans(first, length):
            yield memoryview(self.plain(pack, number))[start:end]

    def blob(self, digest: str, size: int) -> PackBlob:
        """Return a content for reading. Raises StoreCorruptError if no pack has it."""
        return PackBlob(self, digest, self.contents.locate(digest, size))


class PackBlob:
    """One content in a pack. Implements ``sluice.delta.line.Blob``."""

    def __init__(self, packs: Packs, digest: str, location: Location) -> None:
        self._packs = packs
        self._digest = digest
        self._location = location
        self._verified = False

    @property
    def size(self) -> int:
        """Return its size in bytes."""
        return self._location.size

    def read(self, offset: int, length: int) -> bytes:
        """Return these bytes, as many as there are. Raises StoreCorruptError unless the content has its digest."""
        pack, size, first = self._location
        length = max(0, min(length, size - offset))
        if not self._verified and length < size:
            self._verify(self._packs.pieces(pack, first, size))
        data = b"".join(self._packs.pieces(pack, first + offset, length))
        if not self._verified:
            self._verify([data])
        return data

    def _verify(self, pieces: Iterable[bytes | memoryview]) -> None:
        hasher = blake3()
        for piece in pieces:
            hasher.update(piece)
        if hasher.hexdigest() != self._digest:
            raise StoreCorruptError(f"content {self._digest} no longer has its digest in the store", remedy=REPAIR)
        self._verified = True
