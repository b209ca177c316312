"""Contents in packs: the part of the store that all Distributions of a Distributor share (docs/formats.md section 3)."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from sluice.durable import TEMP_PREFIX, move_into_place, no_space, replace_atomically, sweep, sync_directory
from sluice.errors import StoreCorruptError, StoreError
from sluice.formats.pack import PACK_PLAIN, PackIndex, PackWriter, pack_index_bytes, pack_name, parse_pack_index

PACK = ".pack"
INDEX = ".idx"

REPAIR = "run `sluice store verify --repair` while the sources are there"
WHOLE_INSTEAD = "nothing to do: Sluice sends everything instead"


class Location(NamedTuple):
    """Where a content lies."""

    pack: str
    size: int
    first: int
    """Its first byte in the pack's plaintext."""


@contextmanager
def translate_errors(path: Path, *, pass_missing: bool = False) -> Iterator[None]:
    """The store's seam: operating system errors become StoreError, or NoSpaceError.

    Args:
        pass_missing: Let a FileNotFoundError through, for the caller to name what is missing.
    """
    try:
        yield
    except OSError as error:
        if pass_missing and isinstance(error, FileNotFoundError):
            raise
        if full := no_space(error, path):
            raise full from error
        raise StoreError(f"{path}: {error.strerror}", remedy="see that this account may read and write there") from error


class WholeWrites(io.FileIO):
    """An unbuffered file that writes everything or raises StoreError, so that its errors aren't taken for errors of the file being read."""

    def write(self, data: Any, /) -> int:
        """Write all of ``data``."""
        view = memoryview(data)
        with translate_errors(Path(str(self.name))):
            done = 0
            while done < len(view):
                done += super().write(view[done:])
        return done


def open_private(name: str, flags: int) -> int:
    """Open a file that only this account may read; for ``open(opener=)``."""
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


class Contents:
    """The packs of one store, as they are while their lock is shared (``refresh`` after taking it)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._indexes: dict[str, PackIndex] = {}
        self._locations: dict[str, Location] = {}

    def refresh(self) -> None:
        """Learn what other processes added or deleted; a damaged index is as good as none."""
        with translate_errors(self.directory):
            files = os.listdir(self.directory) if self.directory.is_dir() else ()
        names = {name.removesuffix(INDEX) for name in files if name.endswith(INDEX) and not name.startswith(TEMP_PREFIX)}
        if self._indexes.keys() - names:
            indexes, locations = {name: index for name, index in self._indexes.items() if name in names}, dict[str, Location]()
            for name, index in indexes.items():
                _add_locations(locations, name, index)
            self._indexes, self._locations = indexes, locations  # at once: other threads may be reading
        for name in sorted(names - self._indexes.keys()):
            with suppress(StoreCorruptError):
                self._add(name, self._read_index(name))

    def find(self, digest: str) -> Location | None:
        """Return where a content lies; None if no pack has it."""
        return self._locations.get(digest)

    def locate(self, digest: str, size: int) -> Location:
        """Return where a content lies. Raises StoreCorruptError if no pack has it."""
        location = self._locations.get(digest)
        if location is None or location.size != size:
            raise StoreCorruptError(f"content {digest} of {size} bytes isn't in the store", remedy=REPAIR)
        return location

    def packs(self) -> set[str]:
        """Return the packs whose index is sound."""
        return set(self._indexes)

    def index(self, pack: str) -> PackIndex:
        """Return the index of a pack that is sound."""
        return self._indexes[pack]

    def path(self, pack: str) -> Path:
        """Return the file of a pack."""
        return self.directory / f"{pack}{PACK}"

    def packs_with(self, digests: Collection[str]) -> set[str]:
        """Return the packs that have any of these contents."""
        return {name for name, index in self._indexes.items() if any(content[0] in digests for content in index.contents)}

    def add_pack(self, temp: Path, file: int, index: PackIndex) -> None:
        """Give a finished pack its name, durably; the index follows, so that one without is a leftover."""
        data = pack_index_bytes(index)
        name = pack_name(data)
        with translate_errors(self.directory):
            move_into_place(temp, self.path(name), file)
            replace_atomically(self.directory / f"{name}{INDEX}", data)
        self._add(name, index)

    def prune(self, referenced: Collection[str]) -> int:
        """Delete every pack without a referenced content, and leftovers. The caller holds the lock of the packs exclusively.

        Returns:
            Bytes freed.
        """
        with translate_errors(self.directory):
            freed = 0
            sweep(self.directory)
            self.refresh()
            found = sorted(os.listdir(self.directory))  # .idx before its .pack: either without the other is a leftover
            indexes, packs = ({n.removesuffix(end) for n in found if n.endswith(end)} for end in (INDEX, PACK))
            damaged = (indexes & packs) - self._indexes.keys()
            keep = self.packs_with(referenced) | damaged  # a pack that can't be read may be needed: repairing is for others
            for file in found:
                pack, suffix = os.path.splitext(file)
                if suffix in (PACK, INDEX) and pack not in keep:
                    freed += (self.directory / file).stat().st_size
                    (self.directory / file).unlink()
            sync_directory(self.directory)
            self.refresh()
        return freed

    def _read_index(self, name: str) -> PackIndex:
        path = self.path(name)
        with translate_errors(path):
            index = read_pack_index(path)
            if not path.exists() or path.stat().st_size != index.length:
                raise StoreCorruptError(f"{path} is missing or hasn't the length its index says")
        return index

    def _add(self, name: str, index: PackIndex) -> None:
        self._indexes[name] = index
        _add_locations(self._locations, name, index)


def read_pack_index(pack: Path) -> PackIndex:
    """Read the index beside a pack's file. Raises StoreCorruptError, OSError."""
    return parse_pack_index(pack.with_suffix(INDEX).read_bytes(), pack.stem)


def _add_locations(locations: dict[str, Location], pack: str, index: PackIndex) -> None:
    for digest, size, first in index.contents:
        locations.setdefault(digest, Location(pack, size, first))


class PackSink:
    """Puts new contents into new packs. Nothing that it wrote is relied on before ``finish``; killed earlier, it leaves ``.tmp-`` files."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._pending: set[str] = set()
        self._writer: PackWriter | None = None
        self._file: WholeWrites | None = None

    def holds(self, digest: str) -> bool:
        """Whether the content is in a pack, or in the one being written."""
        return digest in self._pending or self._contents.find(digest) is not None

    def put(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        """See ``sluice.ports.ContentSink``."""
        if self._writer is not None and self._writer.plain + size > PACK_PLAIN and self._writer.plain:
            self.finish()
        if self._writer is None:
            path = self._contents.directory / f"{TEMP_PREFIX}{os.getpid()}-{time.monotonic_ns()}"
            with translate_errors(path):
                self._file = WholeWrites(path, "xb", opener=open_private)
            self._writer = PackWriter(cast("BinaryIO", self._file))
        self._writer.put(digest, size, pieces)
        self._pending.add(digest)

    def finish(self) -> None:
        """Make the contents that were put durable and findable."""
        if self._writer is None or self._file is None:
            return
        index = self._writer.finish()
        if index.contents:
            self._contents.add_pack(Path(str(self._file.name)), self._file.fileno(), index)
        self.close()

    def close(self) -> None:
        """Discard the unfinished pack."""
        if self._file is not None:
            self._file.close()
            with translate_errors(Path(str(self._file.name))), suppress(FileNotFoundError):
                os.unlink(str(self._file.name))
            self._writer = self._file = None
            self._pending.clear()
