"""The layout of a store on disk (docs/formats.md section 1): its paths and locks, and reading what it keeps.

Everything else in this package takes a ``StoreLayout``; ``FileStore`` adds what the port promises beyond reading. Readers need no lock:
revisions and ``.ted`` files appear whole and never change.

The lock of the packs separates builders and readers of packs from deleters: builders share it for as long as they
rely on a content that no revision refers to yet; a pruner has it exclusively, or doesn't prune. Leaves out how a revision, a ``.ted`` or a
pack is made.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from infra.store.contents import Contents, translate_errors
from sluice.durable import TEMP_PREFIX, locked, make_directory, sweep
from sluice.errors import NotFoundError, StoreCorruptError, StoreError, StoreLockedError
from sluice.formats.manifest.document import parse_manifest
from sluice.formats.ted.file import open_ted
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.model.site import Effort
from sluice.ports import TedFile
from sluice.rules.space import check_space
from sluice.trust.roles import DISTFILE, delta_name

UNFINISHED = "unfinished"
MANIFEST = "manifest"
SCAN = "scan"
TED_WAIT = 600.0
"""Seconds to wait for another holder of a Distribution's lock: many Subscribers may want one ``.ted`` at once."""

_TED = re.compile(r"distfile\.ted|from-([1-9][0-9]{0,8}\.[1-9][0-9]{0,8})(\.small)?\.ted")
_REFERENCE = re.compile(rb'[0-9],"([0-9a-f]{64})"[],]')
"""The digest in a file's line in a manifest: finds at least all that are referred to, far faster than parsing the manifest."""


class StoreLayout:
    """The files of one Distributor's store.

    Args:
        working_directory: The Distributor's; ``store/`` is made below it when something is first written.
        min_free: Bytes that builds, deltas and supplements must leave free on its file system (C13).
        effort: How much CPU the deltas of a Distribution may cost, by its name.
    """

    def __init__(
        self,
        working_directory: str | os.PathLike[str],
        *,
        min_free: int = 0,
        effort: Callable[[str], Effort] = lambda _: Effort.DEFAULT,
    ) -> None:
        self.root = Path(working_directory) / "store"
        self.min_free = min_free
        self.effort = effort
        self.contents = Contents(self.root / "contents")
        self._lock_path = self.root / "lock"
        self._last: tuple[str, Manifest] | None = None
        """Digest and manifest that were read last, without its bytes: they may be 100 MB, and a store lives as long as a run."""

    def distribution_directory(self, distribution: str) -> Path:
        """Return the directory of a Distribution's own files."""
        return self.root / "distributions" / distribution

    def revision_directory(self, distribution: str, revision: RevisionNumber) -> Path:
        """Return the directory of a revision's files."""
        return self.distribution_directory(distribution) / "revisions" / str(revision)

    def scratch_directory(self) -> Path:
        """Return the directory of scratch files: on the store's own file system, whose ``min_free`` holds for them too."""
        return self.root / "lent"

    @contextmanager
    def lock_distribution(self, distribution: str, *, wait: float = 0.0) -> Iterator[None]:
        """Hold the Distribution's lock and clear up after killed processes; ``wait`` is how many seconds to wait for another holder."""
        directory = self.distribution_directory(distribution)
        with translate_errors(directory):
            make_directory(directory / "revisions")
            make_directory(self.contents.directory)
        with locked(directory / "lock", what=f"Distribution {distribution}", wait=wait):
            with translate_errors(directory):
                _sweep(directory)
            yield

    @contextmanager
    def share_packs(self) -> Iterator[None]:
        """Keep packs from being deleted, and learn which there are. Builders and readers share this; it waits for a pruner."""
        with translate_errors(self._lock_path):
            file = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_SH)
                self.contents.refresh()
                yield
            finally:
                os.close(file)

    def lock_packs(self, *, wait: float = 0.0) -> AbstractContextManager[None]:
        """Hold the lock of the packs alone, to delete some. Raises StoreLockedError if others share it for longer than ``wait``."""
        return locked(self._lock_path, what=str(self.root), wait=wait)

    def distributions(self) -> Sequence[str]:
        """Return the Distributions that have anything in the store, in name order."""
        with suppress(FileNotFoundError), translate_errors(self.root, pass_missing=True):
            return sorted(os.listdir(self.root / "distributions"))
        return ()

    def revisions(self, distribution: str) -> Sequence[RevisionNumber]:
        """See ``sluice.ports.RevisionReader``."""
        found = []
        directory = self.distribution_directory(distribution)
        with suppress(FileNotFoundError), translate_errors(directory, pass_missing=True):
            for name in os.listdir(directory / "revisions"):
                with suppress(NotFoundError):
                    found.append(RevisionNumber.parse(name))
        return sorted(found)

    def manifest(self, distribution: str, revision: RevisionNumber) -> Manifest:
        """See ``sluice.ports.RevisionReader``."""
        data, last = self.manifest_bytes(distribution, revision), self._last
        digest = blake3(data).hexdigest()
        remedy = f"run `sluice build {distribution} --rebaseline`: a manifest can't be made again, a new baseline takes its place"
        try:
            manifest = last[1] if last is not None and last[0] == digest else parse_manifest(data)
        except StoreCorruptError as error:
            raise StoreCorruptError(f"the manifest of {distribution} {revision} is damaged: {error.message}", remedy=remedy) from error
        self._last = digest, manifest  # a build wants the same one twice, and large ones take a while
        own = (manifest.distribution, manifest.revision)
        if own != (distribution, revision):
            raise StoreCorruptError(f"the manifest of {distribution} {revision} is another's: {own[0]} {own[1]}", remedy=remedy)
        return manifest

    def manifest_bytes(self, distribution: str, revision: RevisionNumber) -> bytes:
        """See ``sluice.ports.RevisionReader``."""
        path = self.revision_directory(distribution, revision) / MANIFEST
        try:
            with translate_errors(path, pass_missing=True):
                return path.read_bytes()
        except FileNotFoundError:
            raise self.no_revision(distribution, revision) from None

    def teds(self, distribution: str, revision: RevisionNumber) -> Sequence[TedFile]:
        """See ``sluice.ports.RevisionReader``; for everybody first, then by base."""
        directory = self.revision_directory(distribution, revision)
        found = []
        try:
            with translate_errors(directory, pass_missing=True):
                for name in os.listdir(directory):
                    match = _TED.fullmatch(name)
                    if match is not None:
                        with suppress(StoreCorruptError, FileNotFoundError):  # set aside meanwhile, or going with its revision
                            base = RevisionNumber.parse(match[1]) if match[1] else None
                            found.append(_open_ted(directory / name, distribution, revision, base, match[2] is not None))
        except FileNotFoundError:
            raise self.no_revision(distribution, revision) from None
        return sorted(found, key=lambda ted: (ted.base is not None, ted.base or revision, ted.small))

    def find_ted(self, distribution: str, revision: RevisionNumber, base: RevisionNumber | None, *, small: bool = False) -> TedFile | None:
        """Return the ``.ted`` if it was made and its layout is whole."""
        path = self.revision_directory(distribution, revision) / ted_name(base, small)
        try:
            with translate_errors(path, pass_missing=True):
                return _open_ted(path, distribution, revision, base, small)
        except (FileNotFoundError, StoreCorruptError):
            return None

    def references(self, distribution: str) -> set[str]:
        """Return the contents that the kept revisions of a Distribution refer to."""
        found: set[str] = set()
        for revision in self.revisions(distribution):
            with suppress(NotFoundError):  # superseded meanwhile
                found |= referenced_contents(self.manifest_bytes(distribution, revision))
        return found

    def check_space(self, what: str, needed: int) -> None:
        """See that this many bytes more leave ``min_free``. Raises NoSpaceError (C13)."""
        with translate_errors(self.root):
            found = os.statvfs(self.root)
        check_space(
            what,
            needed=needed,
            free=found.f_bavail * found.f_frsize,
            kept=self.min_free,
            where=str(self.root),
            remedy="free some, lower max_revisions or min_free, or move the working directory",
        )

    def prune(self) -> bool:
        """Delete packs that no kept revision refers to.

        Returns:
            False if nothing was deleted, because a build is under way or a manifest can't be read: try again another time.
        """
        try:
            with self.lock_packs(), translate_errors(self.root):
                distributions = os.listdir(self.root / "distributions")
                try:
                    referenced = set[str]().union(*map(self.references, distributions))
                except StoreError:
                    return False
                self.contents.prune(referenced)
        except StoreLockedError:
            return False
        return True

    def no_revision(self, distribution: str, revision: RevisionNumber) -> NotFoundError:
        """Return the error that names a revision that isn't kept, and those that are."""
        kept = ", ".join(map(str, self.revisions(distribution))) or "none"
        return NotFoundError(f"{distribution} has no revision {revision}", remedy=f"kept are: {kept}")


def referenced_contents(manifest: bytes) -> set[str]:
    """Return the contents that a manifest refers to, or a few more; it isn't parsed for that."""
    return {digest.decode() for digest in _REFERENCE.findall(manifest)}


def ted_name(base: RevisionNumber | None, small: bool = False) -> str:
    """Return the file name of a ``.ted``, the last part of its TUF target."""
    return DISTFILE if base is None else delta_name(base, small)


def _open_ted(path: Path, distribution: str, revision: RevisionNumber, base: RevisionNumber | None, small: bool) -> TedFile:
    index, data = open_ted(path)
    if (index.distribution, index.revision, index.base, index.small) != (distribution, revision, base, small):
        raise StoreCorruptError(
            f"{path} is of {index.distribution} {index.revision} from {index.base}", remedy="delete it: it is made again when needed"
        )
    if base is not None and index.recipe is None:
        raise StoreCorruptError(f"{path} was made before there were deltas", remedy="nothing to do: it is made again when needed")
    return TedFile(revision, base, str(path), path.name, data, index.payload, small)


def _sweep(directory: Path) -> None:
    """Remove leftovers of killed processes from a Distribution, whose lock is held."""
    sweep(directory)
    with os.scandir(directory / "revisions") as found:
        for item in found:
            if item.name.startswith(TEMP_PREFIX):
                shutil.rmtree(item.path)
            else:
                sweep(Path(item.path))
