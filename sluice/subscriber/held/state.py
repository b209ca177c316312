"""The state of one Distribution on a Subscriber, read once per operation: its status, its manifests, and whatever can be used with them.

Each manifest is read, compared with its digest and parsed at most once. If the extracted one is damaged, the state says that nothing is
extracted: the tree is then compared anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from blake3 import blake3

from sluice.errors import NotFoundError, StoreCorruptError
from sluice.formats.manifest.document import parse_header, parse_manifest
from sluice.formats.ted.file import open_ted
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.ports import Filesystem
from sluice.subscriber.held.directory import TED, DistributionDirectory
from sluice.subscriber.held.stat_cache import EMPTY, StatCache, parse_stat_cache
from sluice.subscriber.held.ted import ReceivedTed
from sluice.subscriber.held.tree import ExtractedTree
from sluice.trust.roles import MANIFEST


class DistributionState:
    """The received revisions of a Distribution, and the extracted one. Raises StoreCorruptError if the status file is damaged."""

    def __init__(self, directory: DistributionDirectory) -> None:
        self.directory = directory
        self.status = directory.status()
        self.extracted_verifies = False
        """Whether the extracted revision has ``verify``."""
        self._extracted_bytes = b""
        if self.status.extracted is not None:
            try:
                self._extracted_bytes = self._read_extracted(self.status.extracted.manifest)
                self.extracted_verifies = parse_header(self._extracted_bytes.partition(b"\n")[0])[0].verify
            except StoreCorruptError as error:
                self.status = replace(self.status, extracted=None, reason=error.message)

    @cached_property
    def extracted(self) -> Manifest | None:
        """The manifest of the extracted revision."""
        if self.status.extracted is None:
            return None
        data, self._extracted_bytes = self._extracted_bytes, b""  # a hundred MB that nobody needs any more
        return parse_manifest(data)

    def is_extracted(self, revision: RevisionNumber) -> bool:
        """Whether this revision is extracted."""
        return self.status.extracted is not None and self.status.extracted.revision == str(revision)

    def is_installed(self, revision: RevisionNumber, destinations: Sequence[str]) -> bool:
        """Whether the status file says that a revision is extracted there; with ``verify`` the tree is compared all the same (C10)."""
        extracted = self.status.extracted
        if extracted is None or (str(revision), tuple(destinations)) != (extracted.revision, extracted.destinations):
            return False
        return bool(extracted.read_back) and not self.extracted_verifies

    def manifest_digest(self, revision: RevisionNumber) -> str:
        """BLAKE3 of the manifest of a revision that is received or extracted. Raises NotFoundError."""
        if (record := self.status.received.get(str(revision))) is not None:
            return record.manifest
        if self.status.extracted is not None and self.is_extracted(revision):
            return self.status.extracted.manifest
        raise NotFoundError(f"{self.directory.name} {revision} isn't held", remedy=f"run: sluice send {self.directory.name}")

    def manifest(self, revision: RevisionNumber) -> Manifest:
        """The manifest of a revision that is received or extracted. Raises StoreCorruptError, NotFoundError."""
        digest, name = self.manifest_digest(revision), f"the manifest of {self.directory.name} {revision}"
        extracted = self.extracted if self.status.extracted is not None and self.status.extracted.manifest == digest else None
        if str(revision) not in self.status.received and extracted is not None:
            return extracted
        try:
            data = (self.directory.revision(revision) / MANIFEST).read_bytes()
        except FileNotFoundError:
            if extracted is None:
                raise StoreCorruptError(f"{name} is gone", remedy=f"run: sluice send {self.directory.name}") from None
            return extracted
        if blake3(data).hexdigest() != digest:
            raise StoreCorruptError(f"{name} no longer has its digest", remedy=f"run: sluice send {self.directory.name}")
        return extracted or parse_manifest(data)

    def tree(self, filesystem: Filesystem) -> ExtractedTree:
        """The tree that was extracted, to be closed."""
        return ExtractedTree(filesystem, self.extracted, self.status.extracted.destinations if self.status.extracted else ())

    def stat_cache(self, tree: ExtractedTree) -> StatCache:
        """The stat cache of the extracted tree; EMPTY if there is none, or one about another manifest."""
        if self.status.extracted is None:
            return EMPTY
        try:
            data = self.directory.stat_cache_path.read_bytes()
        except OSError:
            return EMPTY
        return StatCache(parse_stat_cache(data, self.status.extracted.manifest), tree.tops())

    def usable_ted(self, manifest: Manifest) -> ReceivedTed | None:
        """The ``.ted`` of a revision if it is here and can be used with what is extracted. Raises StoreCorruptError."""
        record, path = self.status.received.get(str(manifest.revision)), self.directory.revision(manifest.revision) / TED
        if record is None or record.cleaned or not path.exists():
            return None
        index, data = open_ted(path)
        if blake3(data).hexdigest() != record.index:
            raise StoreCorruptError(f"the index of {path} no longer has its digest")
        if index.base is None:
            return ReceivedTed(path, index, manifest, None)
        if self.is_extracted(index.base):
            return ReceivedTed(path, index, manifest, self.extracted)
        base = self.directory.revision(index.base) / MANIFEST
        if index.recipe is None and base.exists():  # of plain frames: only what it leaves out has to be known
            return ReceivedTed(path, index, manifest, parse_manifest(base.read_bytes()))
        return None

    def _read_extracted(self, digest: str) -> bytes:
        try:
            data = self.directory.manifest_path.read_bytes()
        except FileNotFoundError:
            data = b""
        if blake3(data).hexdigest() != digest:
            raise StoreCorruptError(f"{self.directory.manifest_path} is damaged")
        return data
