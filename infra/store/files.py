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
from infra.store.contents import WholeWrites, translate_errors
from infra.store.draft import FileDraft
from infra.store.examine import examine
from infra.store.layout import MANIFEST, SCAN, StoreLayout, referenced_contents
from infra.store.mend import PackMending, mending, set_aside
from infra.store.scratch import scratch_file
from sluice.errors import NotFoundError
from sluice.formats.manifest.document import HEADER_MAX, parse_header
from sluice.formats.ted.file import TedWriter
from sluice.model.damage import Damage, Examination
from sluice.model.revision import RevisionNumber
from sluice.ports import DiskUse, Progress, TedFile

TED_WAIT = 600.0
"""Seconds ``ensure_ted`` waits for another holder of the Distribution's lock: many Subscribers may want one ``.ted`` at once."""


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
        """See ``sluice.ports.Store``. No lock is taken where it is there already.

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
        """See ``sluice.ports.Store``."""
        known = referenced_contents(self.manifest_bytes(distribution, revision))
        if base:
            with suppress(NotFoundError):
                known |= referenced_contents(self.manifest_bytes(distribution, base))
        with scratch_file(self.scratch_directory()) as path:
            with self.share_packs():
                needed = []
                for digest in digests:
                    place = self.contents.place(digest)
                    if place is None or digest not in known:
                        raise NotFoundError(f"content {digest} of {distribution} {revision} isn't kept", remedy="send it whole")
                    needed.append((digest, place[1]))
                self.check_space(f"Distribution {distribution}: what is lent of {revision}", sum(size for _, size in needed))
                with WholeWrites(path, "wb") as file:
                    writer = TedWriter(file.write, distribution=distribution, revision=revision, base=None)
                    compose(writer, self.contents, needed)
                    index, data = writer.finish()
            yield TedFile(revision, None, str(path), "", data, index.payload)

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
                        places = map(self.contents.place, self.references(name))
                        packs[name] = {place[0] for place in places if place is not None}
            users = Counter(pack for found in packs.values() for pack in found)
            sizes = {pack: _allocated(self.contents.path(pack)) for pack in users}
            return {name: self._disk_used(name, {p: (sizes[p], users[p]) for p in packs.get(name, ())}) for name in distributions}

    def _disk_used(self, distribution: str, packs: Mapping[str, tuple[int, int]]) -> DiskUse:
        directory = self.distribution_directory(distribution)
        files = sum(_allocated(os.path.join(place, name)) for place, _, names in os.walk(directory) for name in names)
        return DiskUse(files, sum(size for size, _ in packs.values()), sum(size for size, users in packs.values() if users == 1))

    def examine(self, distributions: Collection[str] = (), *, progress: Progress | None = None) -> Examination:
        """See ``sluice.ports.Store``."""
        return examine(self, distributions, progress)

    def mending(self, damages: Sequence[Damage]) -> AbstractContextManager[PackMending]:
        """See ``sluice.ports.Store``."""
        return mending(self, damages)

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
