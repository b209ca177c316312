"""Contents that a Subscriber was lent because its tree lacks them (docs/adr/0014): received beside a revision, kept until it is extracted.

They come in a whole ``.ted`` whose index nobody signed: it is believed only as far as each content has the digest, and the size, that a
signed manifest names. So what a sender can have stored here is bounded by the manifests and by SUPPLEMENTS_MAX.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from sluice.errors import NotFoundError, StoreCorruptError, TrustError
from sluice.formats.canonical import Fields, parse_canonical
from sluice.formats.protocol import LACKS_MAX, MESSAGE_MAX
from sluice.formats.ted.file import PAYLOAD_OFFSET, Content, open_ted, read_contents
from sluice.formats.ted.index import TedIndex
from sluice.formats.zstd import decompress_frame
from sluice.model.revision import RevisionNumber
from sluice.subscriber.held.directory import LENT, TED, DistributionDirectory

SUPPLEMENTS_MAX = 16
"""Most files that are lent for one revision."""


def place_of(held: DistributionDirectory, revision: RevisionNumber) -> Path:
    """The directory of a revision that is held, extracted, or a delta that waits to be completed. Raises NotFoundError for any other."""
    arriving, status = held.receiving(revision), held.status()
    if (arriving / TED).exists():
        return arriving
    if str(revision) in status.received or (status.extracted and status.extracted.revision == str(revision)):
        return held.revision(revision)
    raise NotFoundError(f"{held.name} {revision} isn't here", remedy="send it first")


class SupplementContents:
    """Everything that was lent beside one revision, verified as it is opened; what is damaged is removed, as if never lent."""

    def __init__(self, place: Path) -> None:
        self._files: list[_SupplementFile] = []
        self._where: dict[str, tuple[_SupplementFile, int, int]] = {}
        for path in supplement_files(place):
            try:
                file = _SupplementFile(path)
            except (StoreCorruptError, TrustError, OSError):
                path.unlink()
                path.with_suffix(".json").unlink(missing_ok=True)
                continue
            self._files.append(file)
            start = 0
            for digest, size in file.contents:
                self._where.setdefault(digest, (file, start, size))
                start += size

    def __contains__(self, digest: object) -> bool:
        return digest in self._where

    def read(self, digest: str, offset: int, length: int) -> Iterator[bytes]:
        """A part of a content, which is here and has it, in pieces."""
        file, start, _ = self._where[digest]
        return file.read(start + offset, length)

    def contents(self, wanted: Collection[str]) -> Iterator[Content]:
        """Those that are here, verified once more as their bytes are taken."""
        given: set[str] = set()
        for file in self._files:
            for digest, size, pieces in file.all_contents():
                if digest in wanted and digest not in given:
                    given.add(digest)
                    yield digest, size, pieces

    def close(self) -> None:
        """Release the files; may be called twice."""
        for file in self._files:
            file.close()


class _SupplementFile:
    def __init__(self, path: Path) -> None:
        self.contents = _listed(path.with_suffix(".json"))
        self._name = str(path)
        self._index = verify_file(path, self.contents)
        self._payload = list(accumulate((frame.length for frame in self._index.frames), initial=PAYLOAD_OFFSET))
        self._plain = list(accumulate((frame.plain for frame in self._index.frames), initial=0))
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed with us
        self._last = (-1, b"")

    def read(self, at: int, length: int) -> Iterator[bytes]:
        while length:
            number = bisect_right(self._plain, at) - 1
            start = at - self._plain[number]
            piece = self._frame(number)[start : start + length]
            yield piece
            at += len(piece)
            length -= len(piece)

    def all_contents(self) -> Iterator[Content]:
        self._file.seek(PAYLOAD_OFFSET)
        return read_contents(self._file.read, self._index, self.contents)

    def close(self) -> None:
        self._file.close()

    def _frame(self, number: int) -> bytes:
        if self._last[0] != number:
            frame = self._index.frames[number]
            data = os.pread(self._file.fileno(), frame.length, self._payload[number])
            self._last = number, decompress_frame(data, frame.plain, what=self._name)
        return self._last[1]


def remove_supplements(place: Path) -> None:
    """Once the revision is extracted, or comes whole."""
    for path in place.glob(f"{LENT}*"):
        path.unlink()


def supplement_files(place: Path) -> list[Path]:
    return sorted(place.glob(f"{LENT}*.ted"))


def _listed(path: Path) -> Sequence[tuple[str, int]]:
    fields = Fields(parse_canonical(path.read_bytes(), limit=MESSAGE_MAX, what=str(path), values=4 * LACKS_MAX), what=str(path))
    fields.constant("version", 1)
    return [(str(digest), int(size)) for digest, size in fields.items("contents", limit=LACKS_MAX)]


def digests_in(path: Path) -> set[str]:
    """Of what a lent file has; none where that can't be read, since completing removes it then."""
    try:
        return {digest for digest, _ in _listed(path.with_suffix(".json"))}
    except (StoreCorruptError, TrustError, OSError):
        return set()


def verify_file(path: Path, contents: Sequence[tuple[str, int]]) -> TedIndex:
    """Read a file through and hash every content. Raises StoreCorruptError."""
    index, _ = open_ted(path)
    with open(path, "rb") as file:
        file.seek(PAYLOAD_OFFSET)
        for _, _, pieces in read_contents(file.read, index, contents):
            for _ in pieces:
                pass
    return index
