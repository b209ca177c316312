"""Write one Distribution in the store: what may be done while its lock is held.

Order of writes, so that a kill at any point loses nothing and the next holder of the lock can finish: marker ``unfinished``, packs, the
revision by one rename, old revisions away by one rename each, packs that no revision needs, the marker. While the marker stands, packs
without a revision may exist, and the next successful holder prunes them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from infra.store.compose import compose
from infra.store.contents import PackSink, WholeWrites, open_private, translate_errors
from infra.store.deltas import write_delta
from infra.store.layout import MANIFEST, SCAN, UNFINISHED, StoreLayout, ted_name
from sluice.durable import TEMP_PREFIX, move_into_place, replace_atomically, sync_directory, temporary, write_all
from sluice.errors import BaseDiffersError, NotFoundError, StoreCorruptError
from sluice.formats.manifest.document import manifest_bytes, parse_manifest
from sluice.formats.ted.file import TedWriter, needed_contents
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.ports import Progress, TedFile


class FileDraft:
    """Implements ``sluice.ports.Draft``. ``FileStore.lock`` makes it."""

    def __init__(self, store: StoreLayout, distribution: str) -> None:
        self._store = store
        self._distribution = distribution
        self._directory = store.distribution_directory(distribution)
        self._stack = ExitStack()
        self._sink: PackSink | None = None
        self._marker = self._directory / UNFINISHED
        self._must_prune = self._marker.exists()

    def expect(self, size: int) -> None:
        """See ``sluice.ports.ContentSink``. Pack and ``.ted`` together take about the plaintext's size if it compresses to half."""
        if size:
            self._store.check_space(f"Distribution {self._distribution}: new content", size)

    def holds(self, digest: str) -> bool:
        """See ``sluice.ports.ContentSink``."""
        return self._packs().holds(digest)

    def put(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        """See ``sluice.ports.ContentSink``."""
        self._mark()
        self._packs().put(digest, size, pieces)

    def remember(self, memory: bytes) -> None:
        """See ``sluice.ports.Draft``."""
        with translate_errors(self._directory):
            replace_atomically(self._directory / SCAN, memory)

    def add_revision(
        self, manifest: Manifest, bases: Sequence[RevisionNumber | None], *, progress: Progress | None = None
    ) -> Sequence[TedFile]:
        """See ``sluice.ports.Draft``."""
        self._mark()
        self._packs().finish()
        revisions = self._directory / "revisions"
        final = revisions / str(manifest.revision)
        if final.exists():
            raise StoreCorruptError(f"{final} exists already", remedy="see which other program writes into this working directory")
        data = manifest_bytes(manifest)
        parse_manifest(data)  # one that readers would refuse isn't kept
        temp = revisions / f"{TEMP_PREFIX}{os.getpid()}-{time.monotonic_ns()}"
        with translate_errors(final):
            temp.mkdir(0o700)
            try:
                with open(temp / MANIFEST, "xb", buffering=0, opener=open_private) as file:
                    write_all(file.fileno(), data)
                    os.fsync(file.fileno())
                teds: list[TedFile] = []
                for base, small in self._variants(bases):
                    name = ted_name(base, small)
                    try:
                        with WholeWrites(temp / name, "xb", opener=open_private) as file:
                            teds.append(write_ted(self._store, file, manifest, base, final / name, small=small, progress=progress))
                            os.fsync(file.fileno())
                    except BaseDiffersError:  # Subscribers that have this base are sent everything
                        (temp / name).unlink()
                sync_directory(temp)
                temp.rename(final)
            except BaseException:
                shutil.rmtree(temp, ignore_errors=True)
                raise
            sync_directory(revisions)
        if not self._must_prune:
            with translate_errors(self._marker):
                self._marker.unlink()
        return teds

    def ensure_ted(
        self, revision: RevisionNumber, base: RevisionNumber | None, *, small: bool = False, progress: Progress | None = None
    ) -> TedFile:
        """See ``sluice.ports.Draft``."""
        found = self._store.find_ted(self._distribution, revision, base, small=small)
        if found is not None:
            return found
        name = ted_name(base, small)
        manifest = self._store.manifest(self._distribution, revision)
        check_ted_space(self._store, manifest, base, f"{name} of {revision}")
        path = self._store.revision_directory(self._distribution, revision) / name
        self._packs()
        with translate_errors(path), temporary(path.parent) as (fd, temp):
            with WholeWrites(temp, "wb") as file:
                ted = write_ted(self._store, file, manifest, base, path, small=small, progress=progress)
            move_into_place(temp, path, fd)
        return ted

    def remove(self, revisions: Sequence[RevisionNumber]) -> None:
        """See ``sluice.ports.Draft``."""
        directory = self._directory / "revisions"
        for revision in revisions:
            path = directory / str(revision)
            if not path.is_dir():
                raise NotFoundError(f"{self._distribution} has no revision {revision}")
            self._mark()
            self._must_prune = True
            removed = directory / f"{TEMP_PREFIX}{os.getpid()}-{time.monotonic_ns()}"
            with translate_errors(path):
                path.rename(removed)
                sync_directory(directory)
                shutil.rmtree(removed)

    def finish(self) -> None:
        """End well: prune packs that no revision refers to any more. If others are building now, the next holder of the lock does it."""
        self.close()
        if self._marker.exists() and self._store.prune():
            with translate_errors(self._marker):
                self._marker.unlink()
                sync_directory(self._directory)

    def close(self) -> None:
        """Release everything but the Distribution's lock."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        self._stack.close()

    def _packs(self) -> PackSink:
        if self._sink is None:
            self._stack.enter_context(self._store.share_packs())
            self._sink = PackSink(self._store.contents)
        return self._sink

    @staticmethod
    def _variants(bases: Sequence[RevisionNumber | None]) -> Iterator[tuple[RevisionNumber | None, bool]]:
        """Yield what to make for a new revision: for a base that is about to go the small delta too, which can't be made afterwards."""
        for base in bases:
            yield base, False
            if base is not None and None in bases:
                yield base, True

    def _mark(self) -> None:
        if not self._marker.exists():
            with translate_errors(self._marker):
                replace_atomically(self._marker, b"")


def check_ted_space(store: StoreLayout, manifest: Manifest, base: RevisionNumber | None, what: str) -> None:
    """See that there is room for a ``.ted``. Raises NoSpaceError."""
    needed = needed_contents(manifest, None if base is None else store.manifest(manifest.distribution, base))
    if total := sum(size for _, size in needed):  # hardly exceeded by contents that can't be compressed
        store.check_space(f"Distribution {manifest.distribution}: {what}", total)


def write_ted(
    store: StoreLayout,
    file: WholeWrites,
    manifest: Manifest,
    base: RevisionNumber | None,
    path: Path,
    *,
    small: bool,
    progress: Progress | None = None,
) -> TedFile:
    """Write the ``.ted`` of a revision, which is to be found at ``path``, while the lock of the packs is shared."""
    writer = TedWriter(file.write, distribution=manifest.distribution, revision=manifest.revision, base=base, small=small)
    if base is None:
        compose(writer, store.contents, needed_contents(manifest))
    else:
        old, effort = store.manifest(manifest.distribution, base), store.effort(manifest.distribution)
        write_delta(writer, store.contents, old, manifest, effort=effort, small=small, directory=store.root, progress=progress)
    index, data = writer.finish()
    return TedFile(manifest.revision, base, str(path), ted_name(base, small), data, index.payload, small)
