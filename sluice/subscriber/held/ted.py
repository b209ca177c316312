"""The ``.ted`` of a revision that a Subscriber holds, if it can be used with what is extracted there now.

A full one always can; a delta only if its base is extracted. One that can't be used counts as none: all contents are then looked for in
the extracted tree and in supplements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sluice.delta.apply import read_delta
from sluice.errors import BaseDiffersError, SluiceError, StoreCorruptError
from sluice.formats.ted.file import PAYLOAD_OFFSET, Content, cut_contents, needed_contents, read_contents, verify_payload
from sluice.formats.ted.index import TedIndex, name_of
from sluice.formats.ted.recipe import read_recipe, resolved_references
from sluice.model.manifest import Manifest
from sluice.subscriber.held.local_contents import LocalContents
from sluice.subscriber.held.tree import NEXT_SEND


@dataclass(frozen=True, slots=True)
class ReceivedTed:
    """A ``.ted`` that can be used."""

    path: Path
    index: TedIndex
    manifest: Manifest
    base: Manifest | None

    def new_contents(self) -> Mapping[str, int]:
        """The contents that come out of it, with their sizes, in its order."""
        return dict(needed_contents(self.manifest, self.base))

    def references(self) -> set[str]:
        """The contents of its base that it is applied to; none unless it is a delta."""
        if self.base is None or self.index.recipe is None:
            return set()
        digests = [digest for digest, _ in self.base.contents()]
        with open(self.path, "rb") as file:
            file.seek(PAYLOAD_OFFSET)
            ranges = resolved_references(read_recipe(file.read, self.index), self.index, self.base, self.manifest)
        return {digests[each.content] for reference in ranges for each in reference}

    def contents(self, local: LocalContents) -> Iterator[Content]:
        """Yield its new contents. ``diagnose`` a StoreCorruptError, also one raised while a content's bytes are taken.

        Args:
            local: Has all ``references``.
        """
        needed = list(self.new_contents().items())
        with open(self.path, "rb") as file:
            file.seek(PAYLOAD_OFFSET)
            if self.base is None or self.index.recipe is None:
                yield from read_contents(file.read, self.index, needed)
                return
            ranges = resolved_references(read_recipe(file.read, self.index), self.index, self.base, self.manifest)
            reference, what = local.reference_reader(self.base), f"the .ted of {name_of(self.index)}"
            plaintext = read_delta(file.read, self.index.frames, ranges, reference, small=self.index.small, what=what)
            yield from cut_contents(plaintext, self.index, needed)

    def diagnose(self, error: StoreCorruptError) -> SluiceError:
        """Tell a damaged file from references that changed since they were verified."""
        if self.index.recipe is None:
            return error
        try:
            verify_payload(self.path)
        except StoreCorruptError as damaged:
            return damaged
        return BaseDiffersError(
            f"files that {name_of(self.index)} builds on changed while they were read: {error.message}",
            remedy=NEXT_SEND,
        )
