"""The Distributor's store in its working directory (docs/formats.md sections 1 to 4). Adapter of ``sluice.ports.Store``.

Everything here may be killed at any point and repeated. Readers need no lock: revisions and ``.ted`` files appear whole and never change.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from infra.store.compose import compose
from infra.store.contents import Contents, WholeWrites, translated
from infra.store.draft import MANIFEST, SCAN, FileDraft, ted_name
from infra.store.examine import examine, kept_distributions
from infra.store.locks import alone, shared
from infra.store.mend import PackMending, mending, set_aside
from infra.store.scratch import scratch_file
from sluice.durable import TEMP_PREFIX, locked, make_directory, sweep
from sluice.errors import NotFoundError, StoreCorruptError, StoreError
from sluice.formats.manifest.document import HEADER_MAX, parse_header, parse_manifest
from sluice.formats.ted.file import TedWriter, open_ted
from sluice.model.damage import Damage, Examined
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.model.site import Effort
from sluice.ports import DiskUse, Progress, TedFile
from sluice.rules.space import check_space

TED_WAIT = 600.0
"""Seconds ``ensure_ted`` waits for another holder of the Distribution's lock: many Subscribers may want one ``.ted`` at once."""

_TED = re.compile(r"distfile\.ted|from-([1-9][0-9]{0,8}\.[1-9][0-9]{0,8})(\.small)?\.ted")
_REFERENCE = re.compile(rb'[0-9],"([0-9a-f]{64})"[],]')
"""The digest in a file's line in a manifest: finds at least all that are referred to, far faster than reading it whole."""


class FileStore:
    """Revisions of all Distributions of one Distributor.

    Args:
        working_directory: The Distributor's; ``store/`` is made below it when something is first written.
        min_free: Bytes that builds, deltas and what is lent must leave free on its file system (C13).
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
        self.lock_path = self.root / "lock"
        self.contents = Contents(self.root / "contents")
        self._last: tuple[str, Manifest] | None = None

    def distribution_directory(self, distribution: str) -> Path:
        """Where a Distribution's own files are."""
        return self.root / "distributions" / distribution

    def revision_directory(self, distribution: str, revision: RevisionNumber) -> Path:
        """Where a revision's files are."""
        return self.distribution_directory(distribution) / "revisions" / str(revision)

    @contextmanager
    def lock(self, distribution: str, *, wait: float = 0.0) -> Iterator[FileDraft]:
        """See ``sluice.ports.Store``; ``wait`` is how many seconds to wait for another holder."""
        directory = self.distribution_directory(distribution)
        with translated(directory):
            make_directory(directory / "revisions")
            make_directory(self.contents.directory)
        with locked(directory / "lock", what=f"Distribution {distribution}", wait=wait):
            with translated(directory):
                _sweep(directory)
            draft = FileDraft(self, distribution)
            try:
                yield draft
                draft.finish()
            finally:
                draft.close()

    def revisions(self, distribution: str) -> Sequence[RevisionNumber]:
        """See ``sluice.ports.Store``."""
        found = []
        with suppress(FileNotFoundError), translated_reading(self.distribution_directory(distribution)) as directory:
            for name in os.listdir(directory / "revisions"):
                with suppress(NotFoundError):
                    found.append(RevisionNumber.parse(name))
        return sorted(found)

    def manifest(self, distribution: str, revision: RevisionNumber) -> Manifest:
        """See ``sluice.ports.Store``."""
        data = self.manifest_bytes(distribution, revision)
        digest, last = blake3(data).hexdigest(), self._last
        remedy = f"run `sluice build {distribution} --rebaseline`: a manifest can't be made again, a new baseline takes its place"
        try:
            manifest = last[1] if last is not None and last[0] == digest else parse_manifest(data)
        except StoreCorruptError as error:
            raise StoreCorruptError(f"the manifest of {distribution} {revision} is damaged: {error.message}", remedy=remedy) from error
        self._last = digest, manifest  # a build wants the same one twice, and large ones take a while
        if (of := (manifest.distribution, manifest.revision)) != (distribution, revision):
            raise StoreCorruptError(f"the manifest of {distribution} {revision} is another's: {of[0]} {of[1]}", remedy=remedy)
        return manifest

    def manifest_bytes(self, distribution: str, revision: RevisionNumber) -> bytes:
        """See ``sluice.ports.Store``."""
        path = self.revision_directory(distribution, revision) / MANIFEST
        try:
            with translated_reading(path):
                return path.read_bytes()
        except FileNotFoundError:
            raise self._no_revision(distribution, revision) from None

    def teds(self, distribution: str, revision: RevisionNumber) -> Sequence[TedFile]:
        """See ``sluice.ports.Store``; for everybody first, then by base."""
        directory = self.revision_directory(distribution, revision)
        found = []
        try:
            with translated_reading(directory):
                for name in os.listdir(directory):
                    match = _TED.fullmatch(name)
                    if match is not None:
                        with suppress(StoreCorruptError, FileNotFoundError):  # set aside meanwhile, or going with its revision
                            base = RevisionNumber.parse(match[1]) if match[1] else None
                            found.append(self._ted(directory / name, distribution, revision, base, match[2] is not None))
        except FileNotFoundError:
            raise self._no_revision(distribution, revision) from None
        return sorted(found, key=lambda ted: (ted.base is not None, ted.base or revision, ted.small))

    def find_ted(self, distribution: str, revision: RevisionNumber, base: RevisionNumber | None, *, small: bool = False) -> TedFile | None:
        """The ``.ted`` if it was made and its layout is whole."""
        path = self.revision_directory(distribution, revision) / ted_name(base, small)
        try:
            with translated_reading(path):
                return self._ted(path, distribution, revision, base, small)
        except (FileNotFoundError, StoreCorruptError):
            return None

    def ensure_ted(
        self,
        distribution: str,
        revision: RevisionNumber,
        base: RevisionNumber | None,
        *,
        small: bool = False,
        progress: Progress | None = None,
    ) -> TedFile:
        """See ``sluice.ports.Store``. No lock is taken where it is there already.

        Raises:
            NotFoundError: The revision or the base isn't kept.
            StoreCorruptError: A content is missing or damaged.
        """
        if revision not in self.revisions(distribution):
            raise self._no_revision(distribution, revision)
        found = self.find_ted(distribution, revision, base, small=small)
        if found is not None:
            return found
        with self.lock(distribution, wait=TED_WAIT) as draft:
            return draft.ensure_ted(revision, base, small=small, progress=progress)

    def bases(self, distribution: str, revision: RevisionNumber, *, small: bool = False) -> Sequence[RevisionNumber]:
        """See ``sluice.ports.Store``."""
        if self._always_whole(distribution, revision):
            return ()
        made = (ted.base for ted in self.teds(distribution, revision) if ted.base is not None and ted.small == small)
        return sorted({*made, *(kept for kept in self.revisions(distribution) if kept < revision)})

    @contextmanager
    def supplement(
        self, distribution: str, revision: RevisionNumber, base: RevisionNumber | None, digests: Sequence[str]
    ) -> Iterator[TedFile]:
        """See ``sluice.ports.Store``."""
        known = set(_REFERENCE.findall(self.manifest_bytes(distribution, revision)))
        with suppress(NotFoundError):
            known |= set(_REFERENCE.findall(self.manifest_bytes(distribution, base))) if base else set()
        with scratch_file(self.root / "lent") as path:
            with translated(self.lock_path), shared(self.lock_path):
                self.contents.refresh()
                needed = []
                for digest in digests:
                    place = self.contents.place(digest)
                    if place is None or digest.encode() not in known:
                        raise NotFoundError(f"content {digest} of {distribution} {revision} isn't kept", remedy="send it whole")
                    needed.append((digest, place[1]))
                self.check_space(f"Distribution {distribution}: what is lent of {revision}", sum(size for _, size in needed))
                with WholeWrites(path, "wb") as file:
                    writer = TedWriter(file.write, distribution=distribution, revision=revision, base=None)
                    compose(writer, self.contents, needed)
                    index, data = writer.finish()
            yield TedFile(revision, None, str(path), "", data, index.payload)

    def check_space(self, what: str, needed: int) -> None:
        """See that this many bytes more leave ``min_free``. Raises NoSpaceError (C13)."""
        with translated(self.root):
            found = os.statvfs(self.root)
        check_space(
            what,
            needed=needed,
            free=found.f_bavail * found.f_frsize,
            kept=self.min_free,
            where=str(self.root),
            remedy="free some, lower max_revisions or min_free, or move the working directory",
        )

    def scan_memory(self, distribution: str) -> bytes:
        """See ``sluice.ports.Store``."""
        path = self.distribution_directory(distribution) / SCAN
        try:
            with translated_reading(path):
                return path.read_bytes()
        except FileNotFoundError:
            return b""

    def disk_used(self, distributions: Collection[str]) -> Mapping[str, DiskUse]:
        """See ``sluice.ports.Store``."""
        packs: dict[str, set[str]] = {}
        with translated(self.root):
            if self.contents.directory.is_dir():
                with shared(self.lock_path):
                    self.contents.refresh()
                    for name in kept_distributions(self):
                        places = map(self.contents.place, self._referenced([name]))
                        packs[name] = {place[0] for place in places if place is not None}
            users = Counter(pack for found in packs.values() for pack in found)
            sizes = {pack: _allocated(self.contents.path(pack)) for pack in users}
            return {name: self._disk_used(name, {p: (sizes[p], users[p]) for p in packs.get(name, ())}) for name in distributions}

    def _disk_used(self, distribution: str, packs: Mapping[str, tuple[int, int]]) -> DiskUse:
        directory = self.distribution_directory(distribution)
        files = sum(_allocated(os.path.join(place, name)) for place, _, names in os.walk(directory) for name in names)
        return DiskUse(files, sum(size for size, _ in packs.values()), sum(size for size, users in packs.values() if users == 1))

    def examine(self, distributions: Collection[str] = (), *, progress: Progress | None = None) -> Examined:
        """See ``sluice.ports.Store``."""
        return examine(self, distributions, progress)

    def mending(self, damages: Sequence[Damage]) -> AbstractContextManager[PackMending]:
        """See ``sluice.ports.Store``."""
        return mending(self, damages)

    def set_aside(self, distribution: str, revision: RevisionNumber, name: str) -> str | None:
        """See ``sluice.ports.Store``."""
        return set_aside(self, distribution, revision, name)

    def prune(self) -> bool:
        """Delete packs that no kept revision refers to.

        Returns:
            False where nothing was deleted, because somebody builds or a manifest can't be read: try again another time.
        """
        with translated(self.root), alone(self.lock_path) as held:
            if not held:
                return False
            try:
                referenced = self._referenced(os.listdir(self.root / "distributions"))
            except StoreError:
                return False
            self.contents.prune(referenced)
        return True

    def _referenced(self, distributions: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for distribution in distributions:
            for revision in self.revisions(distribution):
                with suppress(NotFoundError):
                    found.update(d.decode() for d in _REFERENCE.findall(self.manifest_bytes(distribution, revision)))
        return found

    def _always_whole(self, distribution: str, revision: RevisionNumber) -> bool:
        path = self.revision_directory(distribution, revision) / MANIFEST
        try:
            with translated_reading(path), open(path, "rb") as file:
                header, _ = parse_header(file.readline(HEADER_MAX).rstrip(b"\n"))
        except FileNotFoundError:
            raise self._no_revision(distribution, revision) from None
        return header.max_revisions == 1

    def _ted(self, path: Path, distribution: str, revision: RevisionNumber, base: RevisionNumber | None, small: bool) -> TedFile:
        index, data = open_ted(path)
        if (index.distribution, index.revision, index.base, index.small) != (distribution, revision, base, small):
            raise StoreCorruptError(
                f"{path} is of {index.distribution} {index.revision} from {index.base}", remedy="delete it: it is made again when needed"
            )
        if base is not None and index.recipe is None:
            raise StoreCorruptError(f"{path} is from before there were deltas", remedy="nothing: it is made again when needed")
        return TedFile(revision, base, str(path), path.name, data, index.payload, small)

    def _no_revision(self, distribution: str, revision: RevisionNumber) -> NotFoundError:
        kept = ", ".join(map(str, self.revisions(distribution))) or "none"
        return NotFoundError(f"{distribution} has no revision {revision}", remedy=f"kept are: {kept}")


@contextmanager
def translated_reading(path: Path) -> Iterator[Path]:
    """As ``translated``, but what is missing stays a FileNotFoundError for the caller to name."""
    with translated(path):
        missing: FileNotFoundError | None = None
        try:
            yield path
        except FileNotFoundError as error:
            missing = error
    if missing is not None:
        raise missing


def _sweep(directory: Path) -> None:
    """Remove what killed processes left of a Distribution; its lock is held."""
    sweep(directory)
    with os.scandir(directory / "revisions") as found:
        for item in found:
            if item.name.startswith(TEMP_PREFIX):
                shutil.rmtree(item.path)
            else:
                sweep(Path(item.path))


def _allocated(path: str | Path) -> int:
    try:
        return os.stat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
