"""Completing a revision on a Subscriber (docs/adr/0014): a delta becomes held once it is known that an extraction will find everything.

Its manifest is rebuilt from the extracted one and the delta's recipe, its new contents are made once for their digests, and what comes out
must be the manifest that the Distributor signed. Where contents are lacking they are named, to be lent; asked of a revision that is held
or extracted already, those that its extraction would lack now. Nothing outside the working directory is written. Killed anywhere, it is
repeated from its start. Memory is bounded by the manifests and the delta's largest group. The caller trusts what ``signed`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

from blake3 import blake3

from sluice.delta.apply import read_delta
from sluice.durable import replace_atomically
from sluice.errors import BaseDiffersError, NotFoundError, StoreCorruptError, TamperedError
from sluice.formats.manifest.delta import apply_manifest_delta, filled
from sluice.formats.manifest.document import manifest_bytes, parse_manifest
from sluice.formats.orders import time_to_json
from sluice.formats.protocol import LACKS_MAX
from sluice.formats.ted.file import PAYLOAD_OFFSET, cut_contents, needed_contents, open_ted
from sluice.formats.ted.index import TedIndex, name_of
from sluice.formats.ted.recipe import read_recipe, resolved_references
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.ports import Progress
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.ending import recover
from sluice.subscriber.held.directory import TED, DistributionDirectory, Received
from sluice.subscriber.held.local_contents import LocalContents
from sluice.subscriber.held.supplement import SupplementContents, place_of
from sluice.subscriber.held.ted import extracted_bytes, held_manifest, stat_cache_of, usable_ted
from sluice.subscriber.held.tree import ExtractedTree
from sluice.trust.roles import MANIFEST, delta_name
from sluice.trust.targets import Target

PHASE = "complete"


def complete(context: ExtractionContext, revision: RevisionNumber, signed: Callable[[str], Target]) -> list[str]:
    """Complete a delta that arrived, or look for what the extraction of a held revision lacks.

    Args:
        signed: The target of a file of the revision, as its Distributor signed it; raises TamperedError for none.
    Returns:
        Digests of contents that are nowhere here; none: the revision is held, or extracted, and nothing lacks.
    Raises:
        NotFoundError: Neither a delta nor the revision is here.
        BaseDiffersError: What the delta builds on isn't extracted, or more is lacking than can be said.
        TamperedError: What came out isn't what was signed.
        StoreCorruptError: What arrived was damaged since: it must be put again.
        StoreLockedError, UndoFailedError.
    """
    held = context.held
    with held.lock():
        recover(context)
        context.event(PHASE, 0, 0)
        completion = _Completion(context, revision)
        try:
            lacks = completion.of_delta(signed) if (held.receiving(revision) / TED).exists() else completion.of_held()
        finally:
            completion.close()
    if len(lacks) > LACKS_MAX:
        raise BaseDiffersError(f"{len(lacks)} contents of {held.name} {revision} are lacking", remedy="send it whole")
    return lacks


def supplement_contents(held: DistributionDirectory, revision: RevisionNumber, digests: Sequence[object]) -> list[tuple[str, int]]:
    """Contents that may be lent for a revision, with their sizes: of what is extracted, and of the revision where it is held.

    Raises:
        NotFoundError: Nothing of the revision is here.
        TamperedError: One is of neither, or stands there twice.
    """
    place_of(held, revision)  # before anything is made for a Distribution that was only named
    status = held.status()
    extracted = extracted_bytes(held, status)
    sizes = dict(parse_manifest(extracted).contents()) if extracted else {}
    if str(revision) in status.received:
        sizes |= dict(held_manifest(held, status, revision, extracted).contents())
    contents = [(digest, sizes[digest]) for digest in digests if isinstance(digest, str) and digest in sizes]
    if len(contents) != len(digests) or len(dict(contents)) != len(digests):
        raise TamperedError(f"what is lent of {held.name} {revision} is of no manifest here", remedy="send the revision whole")
    return contents


class _Completion:
    def __init__(self, context: ExtractionContext, revision: RevisionNumber) -> None:
        self._context = context
        self._held = context.held
        self._revision = revision
        self._name = f"{self._held.name} {revision}"
        self._place = self._held.receiving(revision)
        self._status = self._held.status()
        self._extracted_bytes = b""
        try:
            self._extracted_bytes = extracted_bytes(self._held, self._status)
        except StoreCorruptError as error:  # as if nothing were extracted, as an extraction takes it
            self._status = replace(self._status, extracted=None, reason=error.message)
        self._extracted = extracted = parse_manifest(self._extracted_bytes) if self._extracted_bytes else None
        destinations = self._status.extracted.destinations if self._status.extracted else ()
        # Not by way of self: in a cycle, manifests of a hundred MB would outlive the request into the extraction that follows.
        self._tree = ExtractedTree(context.filesystem, lambda: extracted, destinations)
        place = self._place if (self._place / TED).exists() else self._held.revision(revision)
        self._local = LocalContents(self._tree, SupplementContents(place))

    def close(self) -> None:
        self._local.close()

    def of_held(self) -> list[str]:
        """Everything is read: it is asked where something was found wrong, or is to be verified."""
        manifest = held_manifest(self._held, self._status, self._revision, self._extracted_bytes)
        ted = usable_ted(self._held, self._status, manifest, self._extracted)
        wanted = dict.fromkeys(digest for digest, _ in manifest.contents())
        if ted is not None:
            wanted = dict.fromkeys([*ted.needs(), *(digest for digest in wanted if digest not in ted.gives())])
        return self._local.lacking(wanted, look=self._look)

    def of_delta(self, signed: Callable[[str], Target]) -> list[str]:
        path = self._place / TED
        index, index_data = open_ted(path)
        base = self._extracted
        if index.recipe is None or index.base is None:
            raise NotFoundError(f"no delta of {self._name} arrived", remedy="send it again")
        if not signed(delta_name(index.base, index.small)).fits(index_data):
            raise StoreCorruptError(f"the delta of {self._name} isn't the one that is signed now", remedy="send it again")
        if base is None or base.revision != index.base:
            raise BaseDiffersError(f"{self._name} builds on {index.base}, which isn't what is extracted", remedy="send it whole")
        with open(path, "rb") as file:
            file.seek(PAYLOAD_OFFSET)
            delta = _Delta(file, index, base)
            if lacks := self._lacking(delta):
                return lacks
            manifest = filled(delta.outline, list(delta.digests(self._local, self._progress)))
            data = manifest_bytes(manifest)
            if not signed(MANIFEST).fits(data):
                if lacks := self._lacking(delta):  # what it was made from changed while it was read
                    return lacks
                raise TamperedError(f"what the delta of {self._name} makes isn't what its Distributor signed", remedy="send it whole")
        parse_manifest(data)
        replace_atomically(self._place / MANIFEST, data)
        record = Received(blake3(data).hexdigest(), blake3(index_data).hexdigest(), str(index.base), time_to_json(self._context.now()))
        self._held.hold(self._revision, record)
        return []

    def _lacking(self, delta: _Delta) -> list[str]:
        """What is needed to apply it is read; of what only stays, what nobody touched since it was read back isn't."""
        lacks = self._local.lacking(delta.references, look=self._look)
        seen = None if delta.outline.verify else stat_cache_of(self._held, self._status, self._tree)
        return lacks + self._local.lacking(delta.kept - delta.references.keys(), seen=seen, look=self._look)

    def _look(self) -> None:
        self._context.event(PHASE, 0, 0)

    def _progress(self, done: int, total: int) -> None:
        self._context.event(PHASE, done, total)


class _Delta:
    """A delta that arrived, its file open at the beginning of its payload."""

    def __init__(self, file: BinaryIO, index: TedIndex, base: Manifest) -> None:
        recipe = read_recipe(file.read, index)
        self._file, self._frames = file, file.tell()
        self._index = index
        self._base = base
        self.outline = apply_manifest_delta(base, recipe.manifest)
        self._ranges = resolved_references(recipe, index, base, self.outline)
        digests = [digest for digest, _ in base.contents()]
        self.references = dict.fromkeys(digests[each.content] for ranges in self._ranges for each in ranges)
        """The contents that it is applied to."""
        self.kept = {digest for digest, _ in self.outline.contents()}.intersection(digests)
        """The contents that the new revision has from its base."""

    def digests(self, local: LocalContents, progress: Progress) -> Iterator[str]:
        """Of the new contents, in their order, each made once."""
        self._file.seek(self._frames)
        index, reference, what = self._index, local.reference(self._base), f"the .ted of {name_of(self._index)}"
        plaintext = read_delta(self._file.read, index.frames, self._ranges, reference, small=index.small, what=what)
        done = 0
        for _, size, pieces in cut_contents(plaintext, index, needed_contents(self.outline, self._base)):
            total = blake3()
            for piece in pieces:
                total.update(piece)
                progress(done, index.plain)
            done += size
            yield total.hexdigest()
