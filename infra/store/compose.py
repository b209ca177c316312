"""Compose a ``.ted`` from packs: whole frames are copied as they are, the rest is compressed anew; every content is verified on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from blake3 import blake3

from infra.store.contents import REPAIR, Contents, Location
from infra.store.packs import Packs
from sluice.errors import StoreCorruptError
from sluice.formats.ted.file import TedWriter
from sluice.formats.ted.frame import FRAME_MAX
from sluice.formats.zstd import compress_frame

COPY_MIN = 1024 * 1024
"""Bytes of plaintext from which a frame is copied although that cuts the frame before it short."""


def compose(writer: TedWriter, contents: Contents, needed: Sequence[tuple[str, int]]) -> None:
    """Write the payload for the ``needed`` contents, in their order.

    Raises:
        StoreCorruptError: A content isn't in the store or no longer has its digest; names it.
    """
    with ExitStack() as stack:
        packs = Packs(contents, stack)
        verifier = _Verifier(needed)
        pending = bytearray()
        for pack, size, first in _runs(contents, needed):
            for number, start, end in contents.index(pack).spans(first, size):
                data = packs.plain(pack, number)
                if end - start == len(data) and (not pending or len(data) >= COPY_MIN):
                    _flush(writer, pending)
                    verifier.feed(data)
                    writer.frame(packs.frame(pack, number), len(data))
                    continue
                piece = memoryview(data)[start:end]
                verifier.feed(piece)
                pending += piece
                while len(pending) >= FRAME_MAX:
                    writer.frame(compress_frame(pending[:FRAME_MAX]), FRAME_MAX)
                    del pending[:FRAME_MAX]
        _flush(writer, pending)
        verifier.finish()


def _flush(writer: TedWriter, pending: bytearray) -> None:
    if pending:
        writer.frame(compress_frame(pending), len(pending))
        pending.clear()


def _runs(contents: Contents, needed: Sequence[tuple[str, int]]) -> Iterator[Location]:
    """Yield the locations of the contents, with neighbours joined."""
    run: Location | None = None
    for digest, size in needed:
        location = contents.locate(digest, size)
        if run is not None and (run.pack, run.first + run.size) == (location.pack, location.first):
            run = run._replace(size=run.size + size)
            continue
        if run is not None:
            yield run
        run = location
    if run is not None:
        yield run


class _Verifier:
    """Takes the plaintext of a ``.ted`` while it is composed and checks each content's digest at its end."""

    def __init__(self, needed: Sequence[tuple[str, int]]) -> None:
        self._needed = iter(needed)
        self._digest = ""
        self._remaining = 0
        self._hash = blake3()

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of plaintext."""
        view = memoryview(data)
        while view:
            while not self._remaining:
                self.finish()
                self._digest, self._remaining = next(self._needed)
                self._hash = blake3()
            part = view[: self._remaining]
            self._hash.update(part)
            self._remaining -= len(part)
            view = view[len(part) :]

    def finish(self) -> None:
        """Check the content that has just ended."""
        if self._digest and self._hash.hexdigest() != self._digest:
            raise StoreCorruptError(f"content {self._digest} no longer has its digest in the store", remedy=REPAIR)
