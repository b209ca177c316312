"""The Distributor's store in its working directory (docs/formats.md sections 1 to 4). Adapter of ``sluice.ports.Store``.

Everything here may be killed at any point and repeated.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from infra.store.compose import compose
from infra.store.contents import WHOLE_INSTEAD, WholeWrites, translate_errors
from infra.store.draft import FileDraft, check_ted_space, write_ted
from infra.store.examine import examine
from infra.store.layout import MANIFEST, SCAN, TED_WAIT, StoreLayout, referenced_contents, ted_name
from infra.store.repair import FilePackRepair, repair_packs, set_aside
from infra.store.scratch import scratch_file
from sluice.errors import NotFoundError
from sluice.formats.manifest.document import HEADER_MAX, parse_header
from sluice.formats.ted.file import TedWriter
from sluice.model.damage import Damage, Examination
from sluice.model.revision import RevisionNumber
from sluice.ports import DiskUse, Progress, TedFile


class FileStore(StoreLayout):
    """Revisions of all Distributions of one Distributor."""

    @contextmanager
    def lock(self, distribution: str, *, wait: float = 0.0) -> Iterator[FileDraft]:
        """See ``sluice.ports.Store``; ``wait`` is how many seconds to wait for another holder."""
        with self.lock_distribution(distribution, wait=wait):
            draft = FileDraft(self, distribution)
            try:
                yield draft
                draft.finish()
            finally:
                draft.close()

    def ensure_ted(
        self,
        distribution: str,
        revision: RevisionNumber,
        base: RevisionNumber | None,
        *,
        small: bool = False,
        progress: Progress | None = None,
    ) -> TedFile:
        """See ``sluice.ports.TedStore``. No lock is taken if it was made already.

        Raises:
            NotFoundError: The revision or the base isn't kept.
            StoreCorruptError: A content is missing or damaged.
        """
        if revision not in self.revisions(distribution):
            raise self.no_revision(distribution, revision)
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
        """See ``sluice.ports.TedStore``."""
        known = referenced_contents(self.manifest_bytes(distribution, revision))
        if base:
            with suppress(NotFoundError):
                known |= referenced_contents(self.manifest_bytes(distribution, base))
        with scratch_file(self.scratch_directory()) as path:
            with self.share_packs():
                needed = []
                for digest in digests:
                    location = self.contents.find(digest)
                    if location is None or digest not in known:
                        raise NotFoundError(f"content {digest} of {distribution} {revision} isn't kept", remedy=WHOLE_INSTEAD)
                    needed.append((digest, location.size))
                total = sum(size for _, size in needed)
                self.check_space(f"Distribution {distribution}: the supplement of missing contents of {revision}", total)
                with WholeWrites(path, "wb") as file:
                    writer = TedWriter(file.write, distribution=distribution, revision=revision, base=None)
                    compose(writer, self.contents, needed)
                    index, data = writer.finish()
            yield TedFile(revision, None, str(path), "", data, index.payload)

    @contextmanager
    def projected_delta(self, distribution: str, revision: RevisionNumber, base: RevisionNumber, small: bool) -> Iterator[TedFile]:
        """Make the delta that ``ensure_ted`` would make, for a prediction: nobody else sees it, and it is gone afterwards.

        It is made on the store's own file system: a directory for temporary files may be memory.

        Raises:
            NotFoundError: The revision or the base isn't kept.
            StoreCorruptError: A content is missing or damaged.
            NoSpaceError: It may not be made either.
        """
        manifest, name = self.manifest(distribution, revision), ted_name(base, small)
        with scratch_file(self.scratch_directory()) as path:
            check_ted_space(self, manifest, base, f"{name} of {revision}, made for a prediction")
            with self.share_packs(), WholeWrites(path, "wb") as file:
                ted = write_ted(self, file, manifest, base, path, small=small)
            yield ted

    def scan_memory(self, distribution: str) -> bytes:
        """See ``sluice.ports.Store``."""
        path = self.distribution_directory(distribution) / SCAN
        try:
            with translate_errors(path, pass_missing=True):
                return path.read_bytes()
        except FileNotFoundError:
            return b""

    def disk_used(self, distributions: Collection[str]) -> Mapping[str, DiskUse]:
        """See ``sluice.ports.Store``."""
        packs: dict[str, set[str]] = {}
        with translate_errors(self.root):
            if self.contents.directory.is_dir():
                with self.share_packs():
                    for name in self.distributions():
                        locations = map(self.contents.find, self.references(name))
                        packs[name] = {location.pack for location in locations if location is not None}
            users = Counter(pack for found in packs.values() for pack in found)
            sizes = {pack: _allocated(self.contents.path(pack)) for pack in users}
            return {name: self._disk_used(name, {p: (sizes[p], users[p]) for p in packs.get(name, ())}) for name in distributions}

    def _disk_used(self, distribution: str, packs: Mapping[str, tuple[int, int]]) -> DiskUse:
        directory = self.distribution_directory(distribution)
        files = sum(_allocated(os.path.join(parent, name)) for parent, _, names in os.walk(directory) for name in names)
        return DiskUse(files, sum(size for size, _ in packs.values()), sum(size for size, users in packs.values() if users == 1))

    def examine(self, distributions: Collection[str] = (), *, progress: Progress | None = None) -> Examination:
        """See ``sluice.ports.Store``."""
        return examine(self, distributions, progress)

    def repair_packs(self, damages: Sequence[Damage]) -> AbstractContextManager[FilePackRepair]:
        """See ``sluice.ports.Store``."""
        return repair_packs(self, damages)

    def set_aside(self, distribution: str, revision: RevisionNumber, name: str) -> str | None:
        """See ``sluice.ports.Store``."""
        return set_aside(self, distribution, revision, name)

    def _always_whole(self, distribution: str, revision: RevisionNumber) -> bool:
        path = self.revision_directory(distribution, revision) / MANIFEST
        try:
            with translate_errors(path, pass_missing=True), open(path, "rb") as file:
                header, _ = parse_header(file.readline(HEADER_MAX).rstrip(b"\n"))
        except FileNotFoundError:
            raise self.no_revision(distribution, revision) from None
        return header.max_revisions == 1


def _allocated(path: str | Path) -> int:
    try:
        return os.stat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
