"""Composing a ``.ted`` from packs: whole frames go over as they are, the rest is compressed anew; every content is verified on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from blake3 import blake3

from infra.store.contents import Contents
from infra.store.packs import REPAIR, Packs
from sluice.errors import StoreCorruptError
from sluice.formats.ted.file import TedWriter
from sluice.formats.ted.frame import FRAME_MAX
from sluice.formats.zstd import compress_frame

COPY_MIN = 1024 * 1024
"""Bytes of plaintext from which a frame is copied although that cuts the frame before it short."""


def compose(writer: TedWriter, contents: Contents, needed: Sequence[tuple[str, int]]) -> None:
    """Write the payload for ``needed`` contents, in their order.

    Raises:
        StoreCorruptError: A content isn't held or no longer has its digest; names it.
    """
    with ExitStack() as stack:
        packs = Packs(contents, stack)
        verifier = _Verifier(needed)
        pending = bytearray()
        for pack, first, end in _runs(contents, needed):
            at = first
            while at < end:
                number, start = contents.index(pack).frame_at(at)
                plain = contents.index(pack).frames[number][1]
                whole = at == start and end >= start + plain
                data = packs.plain(pack, number)
                if whole and (not pending or plain >= COPY_MIN):
                    _flush(writer, pending)
                    verifier.feed(data)
                    writer.frame(packs.frame(pack, number), plain)
                    at += plain
                    continue
                piece = memoryview(data)[at - start : min(plain, end - start)]
                verifier.feed(piece)
                at += len(piece)
                pending += piece
                while len(pending) >= FRAME_MAX:
                    writer.frame(compress_frame(pending[:FRAME_MAX]), FRAME_MAX)
                    del pending[:FRAME_MAX]
        _flush(writer, pending)
        verifier.end()


def _flush(writer: TedWriter, pending: bytearray) -> None:
    if pending:
        writer.frame(compress_frame(pending), len(pending))
        pending.clear()


def _runs(contents: Contents, needed: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    """Pack, first and end byte in its plaintext, with neighbours joined."""
    run: tuple[str, int, int] | None = None
    for digest, size in needed:
        place = contents.place(digest)
        if place is None or place[1] != size:
            raise StoreCorruptError(f"content {digest} of {size} bytes isn't in the store", remedy=REPAIR)
        pack, _, first = place
        if run is not None and run[0] == pack and run[2] == first:
            run = (pack, run[1], first + size)
            continue
        if run is not None:
            yield run
        run = (pack, first, first + size)
    if run is not None:
        yield run


class _Verifier:
    """Takes the plaintext of a ``.ted`` as it is composed and checks each content's digest at its end."""

    def __init__(self, needed: Sequence[tuple[str, int]]) -> None:
        self._needed = iter(needed)
        self._digest = ""
        self._left = 0
        self._hash = blake3()

    def feed(self, data: bytes | memoryview) -> None:
        """The next bytes of plaintext."""
        view = memoryview(data)
        while view:
            while not self._left:
                self._next()
            part = view[: self._left]
            self._hash.update(part)
            self._left -= len(part)
            view = view[len(part) :]

    def end(self) -> None:
        """All has come."""
        self._check()

    def _next(self) -> None:
        self._check()
        self._digest, self._left = next(self._needed)
        self._hash = blake3()

    def _check(self) -> None:
        if self._digest and self._hash.hexdigest() != self._digest:
            raise StoreCorruptError(f"content {self._digest} no longer has its digest in the store", remedy=REPAIR)
