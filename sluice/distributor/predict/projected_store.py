"""A store with the deltas that it doesn't have yet, for predictions: made elsewhere, or only guessed. Nothing in it is changed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from sluice.formats.ted.file import PAYLOAD_OFFSET, needed_contents
from sluice.formats.ted.index import BLOCK
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.ports import Progress, TedFile, TedStore
from sluice.trust.roles import DISTFILE, delta_name

INDEX_BYTES = 400
"""Assumed size of an index without its blocks and frames, if its ``.ted`` isn't made yet."""
BLOCK_BYTES = 90
"""Assumed size of such an index for each block: its digest and about a frame."""

Making = Callable[[str, RevisionNumber, RevisionNumber, bool], AbstractContextManager[TedFile]]
"""Makes a delta outside of the store: Distribution, revision, base, small."""


class ProjectedStore:
    """A ``TedStore`` as it is, with deltas that it doesn't have yet."""

    def __init__(self, store: TedStore, stack: ExitStack, making: Making | None) -> None:
        self._store, self._stack, self._making = store, stack, making
        self._made: dict[tuple[str, RevisionNumber, RevisionNumber | None, bool], TedFile] = {}
        self.estimated: set[tuple[str, RevisionNumber, RevisionNumber | None, bool]] = set()
        """Those whose size is a guess: Distribution, revision, base, small."""

    def revisions(self, distribution: str) -> Sequence[RevisionNumber]:
        return self._store.revisions(distribution)

    def manifest(self, distribution: str, revision: RevisionNumber) -> Manifest:
        return self._store.manifest(distribution, revision)

    def manifest_bytes(self, distribution: str, revision: RevisionNumber) -> bytes:
        return self._store.manifest_bytes(distribution, revision)

    def bases(self, distribution: str, revision: RevisionNumber, *, small: bool = False) -> Sequence[RevisionNumber]:
        return self._store.bases(distribution, revision, small=small)

    def supplement(
        self, distribution: str, revision: RevisionNumber, base: RevisionNumber | None, digests: Sequence[str]
    ) -> AbstractContextManager[TedFile]:
        return self._store.supplement(distribution, revision, base, digests)

    def teds(self, distribution: str, revision: RevisionNumber) -> Sequence[TedFile]:
        """List those that are there, and those that would be."""
        made = [ted for (name, number, _, _), ted in self._made.items() if (name, number) == (distribution, revision)]
        return [*self._store.teds(distribution, revision), *made]

    def ensure_ted(
        self,
        distribution: str,
        revision: RevisionNumber,
        base: RevisionNumber | None,
        *,
        small: bool = False,
        progress: Progress | None = None,
    ) -> TedFile:
        for ted in self.teds(distribution, revision):
            if (ted.base, ted.small) == (base, small):
                return ted
        key = distribution, revision, base, small
        if base is None or self._making is None:  # of full ones, only a baseline's first is there before somebody needs another
            self.estimated.add(key)
            self._made[key] = self._estimate(distribution, revision, base, small)
        else:
            self._made[key] = self._stack.enter_context(self._making(distribution, revision, base, small))
        return self._made[key]

    def _estimate(self, distribution: str, revision: RevisionNumber, base: RevisionNumber | None, small: bool) -> TedFile:
        """Estimate it as large as its new contents would be, sent by themselves: a delta is seldom larger."""
        new = self._store.manifest(distribution, revision)
        plain = sum(size for _, size in needed_contents(new, self._store.manifest(distribution, base) if base else None))
        whole, everything = self._compressed(distribution)
        payload = INDEX_BYTES + (plain * whole // everything if everything else plain)
        file = self._stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 - the stack closes it
        file.truncate(PAYLOAD_OFFSET + payload)
        index = bytes(INDEX_BYTES + BLOCK_BYTES * -(-payload // BLOCK))
        return TedFile(revision, base, file.name, delta_name(base, small) if base else DISTFILE, index, payload, small)

    def _compressed(self, distribution: str) -> tuple[int, int]:
        """Find the payload of the newest revision whose full ``.ted`` is there, and the bytes it makes; zeros if there is none."""
        for number in reversed(self._store.revisions(distribution)):
            for ted in self._store.teds(distribution, number):
                if ted.base is None:
                    return ted.payload, sum(size for _, size in self._store.manifest(distribution, number).contents())
        return 0, 0
