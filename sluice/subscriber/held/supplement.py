"""Supplements: contents missing from the extracted tree (docs/adr/0014), received beside a revision and kept until it is extracted.

They come in a full ``.ted`` whose index nobody signed: each content is believed only if it has the digest and the size that a signed
manifest names. So the amount that a sender can have stored here is bounded by the manifests and by SUPPLEMENTS_MAX.
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
from sluice.subscriber.held.directory import SUPPLEMENT_PREFIX, TED, DistributionDirectory

SUPPLEMENTS_MAX = 16
"""Most supplement files of one revision."""


def supplement_directory(held: DistributionDirectory, revision: RevisionNumber) -> Path:
    """Return the directory of a revision that is held, extracted, or a delta to be completed. Raises NotFoundError for any other."""
    arriving, status = held.receiving(revision), held.status()
    if (arriving / TED).exists():
        return arriving
    if str(revision) in status.received or (status.extracted and status.extracted.revision == str(revision)):
        return held.revision(revision)
    raise NotFoundError(f"{held.name} {revision} isn't held", remedy=f"run: sluice send {held.name}")


class SupplementContents:
    """The contents of all supplements of one revision, verified when opened; a damaged file is removed, as if it had never come."""

    def __init__(self, directory: Path) -> None:
        self._files: list[_SupplementFile] = []
        self._locations: dict[str, tuple[_SupplementFile, int]] = {}
        """File and offset of each content, by digest."""
        for path in supplement_files(directory):
            try:
                file = _SupplementFile(path)
            except (StoreCorruptError, TrustError, OSError):
                path.unlink()
                path.with_suffix(".json").unlink(missing_ok=True)
                continue
            self._files.append(file)
            start = 0
            for digest, size in file.contents:
                self._locations.setdefault(digest, (file, start))
                start += size

    def __contains__(self, digest: object) -> bool:
        return digest in self._locations

    def read(self, digest: str, offset: int, length: int) -> Iterator[bytes]:
        """Yield a part of a content that is here, in pieces."""
        file, start = self._locations[digest]
        return file.read(start + offset, length)

    def contents(self, wanted: Collection[str]) -> Iterator[Content]:
        """Yield those wanted contents that are here, verified once more as their bytes are taken."""
        yielded: set[str] = set()
        for file in self._files:
            for digest, size, pieces in file.all_contents():
                if digest in wanted and digest not in yielded:
                    yielded.add(digest)
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
        self._file_offsets = list(accumulate((frame.length for frame in self._index.frames), initial=PAYLOAD_OFFSET))
        self._plain_offsets = list(accumulate((frame.plain for frame in self._index.frames), initial=0))
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed with us
        self._last_frame = (-1, b"")

    def read(self, at: int, length: int) -> Iterator[bytes]:
        while length:
            number = bisect_right(self._plain_offsets, at) - 1
            start = at - self._plain_offsets[number]
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
        if self._last_frame[0] != number:
            frame = self._index.frames[number]
            data = os.pread(self._file.fileno(), frame.length, self._file_offsets[number])
            self._last_frame = number, decompress_frame(data, frame.plain, what=self._name)
        return self._last_frame[1]


def remove_supplements(directory: Path) -> None:
    """Remove all supplements of a revision, once it is extracted."""
    for path in directory.glob(f"{SUPPLEMENT_PREFIX}*"):
        path.unlink()


def supplement_files(directory: Path) -> list[Path]:
    """Return the ``.ted`` files of a revision's supplements, in name order."""
    return sorted(directory.glob(f"{SUPPLEMENT_PREFIX}*.ted"))


def _listed(path: Path) -> Sequence[tuple[str, int]]:
    fields = Fields(parse_canonical(path.read_bytes(), limit=MESSAGE_MAX, what=str(path), values=4 * LACKS_MAX), what=str(path))
    fields.constant("version", 1)
    return [(str(digest), int(size)) for digest, size in fields.items("contents", limit=LACKS_MAX)]


def digests_in(path: Path) -> set[str]:
    """Return the digests of a supplement's contents; none if its list can't be read: completing removes such a file."""
    try:
        return {digest for digest, _ in _listed(path.with_suffix(".json"))}
    except (StoreCorruptError, TrustError, OSError):
        return set()


def verify_file(path: Path, contents: Sequence[tuple[str, int]]) -> TedIndex:
    """Hash every content of a supplement file. Raises StoreCorruptError."""
    index, _ = open_ted(path)
    with open(path, "rb") as file:
        file.seek(PAYLOAD_OFFSET)
        for _, _, pieces in read_contents(file.read, index, contents):
            for _ in pieces:
                pass
    return index
