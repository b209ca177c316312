"""The ``.ted`` of a revision that a Subscriber holds, as far as it can be used with what is extracted there now.

A whole one always can; a difference where its base is what is extracted. One that can't is as good as none: all its contents are looked for
in the tree and in what was lent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from sluice.delta.apply import read_delta
from sluice.errors import BaseDiffersError, NotFoundError, SluiceError, StoreCorruptError
from sluice.formats.manifest.document import parse_manifest
from sluice.formats.ted.file import PAYLOAD_OFFSET, Content, cut_contents, needed_contents, open_ted, read_contents, verify_payload
from sluice.formats.ted.index import TedIndex, name_of
from sluice.formats.ted.recipe import read_recipe, resolved_references
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.subscriber.held.directory import TED, DistributionDirectory, Status
from sluice.subscriber.held.local_contents import LocalContents
from sluice.subscriber.held.stat_cache import EMPTY, StatCache, parse_stat_cache
from sluice.subscriber.held.tree import ExtractedTree
from sluice.trust.roles import MANIFEST


@dataclass(frozen=True, slots=True)
class ReceivedTed:
    """One that can be used."""

    path: Path
    index: TedIndex
    manifest: Manifest
    base: Manifest | None

    def gives(self) -> Mapping[str, int]:
        """The contents that come out of it, with their sizes, in its order."""
        return dict(needed_contents(self.manifest, self.base))

    def needs(self) -> set[str]:
        """The contents of the base that it is a delta of."""
        if self.base is None or self.index.recipe is None:
            return set()
        digests = [digest for digest, _ in self.base.contents()]
        with open(self.path, "rb") as file:
            file.seek(PAYLOAD_OFFSET)
            ranges = resolved_references(read_recipe(file.read, self.index), self.index, self.base, self.manifest)
        return {digests[each.content] for reference in ranges for each in reference}

    def contents(self, local: LocalContents) -> Iterator[Content]:
        """All that it gives. A StoreCorruptError, also of a content's bytes, means what ``explained`` makes of it.

        Args:
            local: Where nothing of what it ``needs`` is lacking.
        """
        needed = list(self.gives().items())
        with open(self.path, "rb") as file:
            file.seek(PAYLOAD_OFFSET)
            if self.base is None or self.index.recipe is None:
                yield from read_contents(file.read, self.index, needed)
                return
            ranges = resolved_references(read_recipe(file.read, self.index), self.index, self.base, self.manifest)
            reference, what = local.reference(self.base), f"the .ted of {name_of(self.index)}"
            plaintext = read_delta(file.read, self.index.frames, ranges, reference, small=self.index.small, what=what)
            yield from cut_contents(plaintext, self.index, needed)

    def explained(self, error: StoreCorruptError) -> SluiceError:
        """Whether the file is damaged, or what it was applied to had changed since it was found right."""
        if self.index.recipe is None:
            return error
        try:
            verify_payload(self.path)
        except StoreCorruptError as damaged:
            return damaged
        return BaseDiffersError(
            f"what {name_of(self.index)} was made from changed while it was read: {error.message}", remedy="the next send brings what lacks"
        )


def usable_ted(held: DistributionDirectory, status: Status, manifest: Manifest, extracted: Manifest | None) -> ReceivedTed | None:
    """The ``.ted`` of a revision, where it is here and can be used. Raises StoreCorruptError."""
    record, path = status.received.get(str(manifest.revision)), held.revision(manifest.revision) / TED
    if record is None or record.cleaned or not path.exists():
        return None
    index, data = open_ted(path)
    if blake3(data).hexdigest() != record.index:
        raise StoreCorruptError(f"the index of {path} no longer has its digest")
    if index.base is None:
        return ReceivedTed(path, index, manifest, None)
    if extracted is not None and extracted.revision == index.base:
        return ReceivedTed(path, index, manifest, extracted)
    base = held.revision(index.base) / MANIFEST
    if index.recipe is None and base.exists():  # of plain frames: only what it leaves out has to be known
        return ReceivedTed(path, index, manifest, parse_manifest(base.read_bytes()))
    return None


def extracted_bytes(held: DistributionDirectory, status: Status) -> bytes:
    """The manifest of what is extracted; empty where nothing is. Raises StoreCorruptError."""
    if status.extracted is None:
        return b""
    try:
        data = held.manifest_path.read_bytes()
    except FileNotFoundError:
        data = b""
    if blake3(data).hexdigest() != status.extracted.manifest:
        raise StoreCorruptError(f"{held.manifest_path} is damaged")
    return data


def held_manifest(held: DistributionDirectory, status: Status, revision: RevisionNumber, extracted: bytes) -> Manifest:
    """The manifest of a revision that is received or extracted. Raises StoreCorruptError, NotFoundError.

    Args:
        extracted: See ``extracted_bytes``.
    """
    record, standing = status.received.get(str(revision)), status.extracted
    is_extracted = standing is not None and standing.revision == str(revision)
    if record is None and not is_extracted:
        raise NotFoundError(f"{held.name} {revision} isn't held", remedy="send it first")
    try:
        data = (held.revision(revision) / MANIFEST).read_bytes() if record is not None else extracted
    except FileNotFoundError:
        if not is_extracted:
            raise StoreCorruptError(f"the manifest of {held.name} {revision} is gone", remedy="send it again") from None
        data = extracted
    if record is not None and blake3(data).hexdigest() != record.manifest:
        raise StoreCorruptError(f"the manifest of {held.name} {revision} no longer has its digest", remedy="send it again")
    return parse_manifest(data)


def stat_cache_of(held: DistributionDirectory, status: Status, tree: ExtractedTree) -> StatCache:
    """What was noted of the extracted tree; of nothing where it isn't there, or about another."""
    if status.extracted is None:
        return EMPTY
    try:
        data = held.stat_cache_path.read_bytes()
    except OSError:
        return EMPTY
    return StatCache(parse_stat_cache(data, status.extracted.manifest), tree.tops())
