"""Completing a revision on a Subscriber (docs/adr/0014): a delta becomes held once an extraction is known to find every content.

The delta's manifest is rebuilt from the extracted one and the delta's recipe. Its new contents are made once for their digests, and the
result must be the manifest that the Distributor signed. Missing contents are named, so that a supplement brings them; for a revision that
is held or extracted already, those are named that its extraction would miss now. Nothing outside the working directory is written. If it
was killed, completing is repeated from its start. Memory is bounded by the manifests and the delta's largest group. The caller vouches for
``signed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from blake3 import blake3

from sluice.delta.apply import read_delta
from sluice.durable import replace_atomically
from sluice.errors import BaseDiffersError, NotFoundError, StoreCorruptError, TamperedError
from sluice.formats.manifest.delta import apply_manifest_delta, filled
from sluice.formats.manifest.document import encode, parse_manifest
from sluice.formats.orders import time_to_json
from sluice.formats.protocol import LACKS_MAX
from sluice.formats.ted.file import PAYLOAD_OFFSET, cut_contents, needed_contents, open_ted
from sluice.formats.ted.index import TedIndex, name_of
from sluice.formats.ted.recipe import read_recipe, resolved_references
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.ports import Progress
from sluice.rules.wording import counted
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.ending import recover
from sluice.subscriber.held.directory import SENDER_BROKEN, SENT_WHOLE, TED, DistributionDirectory, Received
from sluice.subscriber.held.local_contents import LocalContents
from sluice.subscriber.held.state import DistributionState
from sluice.subscriber.held.supplement import SupplementContents, supplement_directory
from sluice.trust.roles import MANIFEST, delta_name
from sluice.trust.targets import Target

PHASE = "complete"


def complete(context: ExtractionContext, revision: RevisionNumber, signed: Callable[[str], Target]) -> list[str]:
    """Complete a delta that arrived, or find the contents that the extraction of a held revision would miss.

    Args:
        signed: Returns the target of a file of the revision, as its Distributor signed it; raises TamperedError if there is none.
    Returns:
        Digests of missing contents; none: the revision is held, or extracted, and nothing is missing.
    Raises:
        NotFoundError: Neither a delta nor the revision is here.
        BaseDiffersError: The delta's base isn't extracted, or more contents are missing than a message can name.
        TamperedError: The result isn't the signed manifest.
        StoreCorruptError: The delta was damaged after it arrived: it must be put again.
        StoreLockedError, UndoFailedError.
    """
    held = context.held
    with held.lock():
        recover(context)
        context.event(PHASE, 0, 0)
        completion = _Completion(context, revision)
        try:
            missing = completion.of_delta(signed) if (held.receiving(revision) / TED).exists() else completion.of_held()
        finally:
            completion.close()
    if len(missing) > LACKS_MAX:
        raise BaseDiffersError(f"of {held.name} {revision} {counted(len(missing), 'content')} can't be found", remedy=SENT_WHOLE)
    return missing


def supplement_contents(held: DistributionDirectory, revision: RevisionNumber, digests: Sequence[object]) -> list[tuple[str, int]]:
    """Return the contents that a supplement of a revision may bring, with their sizes.

    They are those of the extracted manifest, and of the revision's if it is held.

    Raises:
        NotFoundError: Nothing of the revision is here.
        TamperedError: One is of neither, or is named twice.
    """
    supplement_directory(held, revision)  # before anything is made for a Distribution that was only named
    state = DistributionState(held)
    sizes = dict(state.extracted.contents()) if state.extracted else {}
    if str(revision) in state.status.received:
        sizes |= dict(state.manifest(revision).contents())
    contents = [(digest, sizes[digest]) for digest in digests if isinstance(digest, str) and digest in sizes]
    if len(contents) != len(digests) or len(dict(contents)) != len(digests):
        raise TamperedError(f"the supplement of {held.name} {revision} names contents of no manifest here", remedy=SENDER_BROKEN)
    return contents


class _Completion:
    def __init__(self, context: ExtractionContext, revision: RevisionNumber) -> None:
        self._context = context
        self._held = context.held
        self._revision = revision
        self._name = f"{self._held.name} {revision}"
        self._directory = self._held.receiving(revision)
        # Nothing here refers back to us: in a cycle, manifests of a hundred MB would outlive completing into the extraction that follows.
        self._state = DistributionState(self._held)
        self._tree = self._state.tree(context.filesystem)
        directory = self._directory if (self._directory / TED).exists() else self._held.revision(revision)
        self._local = LocalContents(self._tree, SupplementContents(directory))

    def close(self) -> None:
        self._local.close()

    def of_held(self) -> list[str]:
        """Read every file: this is asked after something was found wrong, or if everything is to be verified."""
        manifest = self._state.manifest(self._revision)
        ted = self._state.usable_ted(manifest)
        wanted = dict.fromkeys(digest for digest, _ in manifest.contents())
        if ted is not None:
            new = ted.new_contents()
            wanted = dict.fromkeys([*ted.references(), *(digest for digest in wanted if digest not in new)])
        return self._local.missing(wanted, before_read=self._show_life)

    def of_delta(self, signed: Callable[[str], Target]) -> list[str]:
        path = self._directory / TED
        index, index_data = open_ted(path)
        base = self._state.extracted
        if index.recipe is None or index.base is None:
            raise NotFoundError(f"no delta of {self._name} arrived", remedy=f"run: sluice send {self._held.name}")
        if not signed(delta_name(index.base, index.small)).fits(index_data):
            raise StoreCorruptError(
                f"the delta of {self._name} isn't the one that is signed now", remedy=f"run: sluice send {self._held.name}"
            )
        if base is None or base.revision != index.base:
            raise BaseDiffersError(f"{self._name} builds on {index.base}, which isn't extracted", remedy=SENT_WHOLE)
        with open(path, "rb") as file:
            file.seek(PAYLOAD_OFFSET)
            delta = _Delta(file, index, base)
            if missing := self._missing(delta):
                return missing
            made = encode(filled(delta.outline, list(delta.digests(self._local, self._progress))))
            if not signed(MANIFEST).fits(made.data):
                if missing := self._missing(delta):  # the files that it is applied to changed while they were read
                    return missing
                raise TamperedError(f"the delta of {self._name} doesn't make the manifest that its Distributor signed", remedy=SENT_WHOLE)
        parse_manifest(made.data)
        replace_atomically(self._directory / MANIFEST, made.data)
        record = Received(made.digest, blake3(index_data).hexdigest(), str(index.base), time_to_json(self._context.now()))
        self._held.hold(self._revision, record)
        return []

    def _missing(self, delta: _Delta) -> list[str]:
        """Find missing contents: references are read; of the other contents, files untouched since they were read back aren't."""
        missing = self._local.missing(delta.references, before_read=self._show_life)
        cache = None if delta.outline.verify else self._state.stat_cache(self._tree)
        return missing + self._local.missing(delta.kept - delta.references.keys(), cache=cache, before_read=self._show_life)

    def _show_life(self) -> None:
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
        """Contents of the base that it is applied to."""
        self.kept = {digest for digest, _ in self.outline.contents()}.intersection(digests)
        """Contents that the new revision has in common with its base."""

    def digests(self, local: LocalContents, progress: Progress) -> Iterator[str]:
        """Make each new content once, in their order, and yield its digest."""
        self._file.seek(self._frames)
        index, reference, name = self._index, local.reference_reader(self._base), f"the .ted of {name_of(self._index)}"
        plaintext = read_delta(self._file.read, index.frames, self._ranges, reference, small=index.small, what=name)
        done = 0
        for _, size, pieces in cut_contents(plaintext, index, needed_contents(self.outline, self._base)):
            total = blake3()
            for piece in pieces:
                total.update(piece)
                progress(done, index.plain)
            done += size
            yield total.hexdigest()
