"""Make a delta ``.ted``: contents from packs through the engine, the recipe before its frames (docs/formats.md section 4)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from infra.store.contents import WHOLE_INSTEAD, Contents, translate_errors
from infra.store.packs import Packs
from sluice.delta.line import Blob
from sluice.delta.make import default_reference, make_frames
from sluice.errors import BaseDiffersError, StoreCorruptError
from sluice.formats.manifest.delta import manifest_delta
from sluice.formats.ted.file import TedWriter, needed_contents
from sluice.formats.ted.frame import Frame, Range
from sluice.formats.ted.index import RECIPE_MAX, delta_fits
from sluice.formats.ted.recipe import RANGES_MAX, Recipe, gone_contents, recipe_bytes
from sluice.formats.zstd import compress_frame
from sluice.model.manifest import Manifest
from sluice.model.site import Effort
from sluice.ports import Progress

RECIPE_LEVEL = 19
"""Of zstd: a recipe is small, and most of what travels if little changed."""
LARGE_RECIPE, LARGE_RECIPE_LEVEL = 4 * 1024 * 1024, 9
"""Bytes from which that level takes too long for what it saves, and the level then."""
SPOOL_MEMORY = 8 * 1024 * 1024
"""Bytes of frames kept in memory until the recipe is known; more are in a file without a name."""


def write_delta(
    writer: TedWriter,
    contents: Contents,
    base: Manifest,
    new: Manifest,
    *,
    effort: Effort,
    small: bool,
    directory: Path,
    progress: Progress | None = None,
) -> None:
    """Write recipe and frames of the delta from ``base`` to ``new``. Every content is verified by its digest.

    An old content that is missing or damaged doesn't stop the delta: then nothing is made from old contents.

    Args:
        directory: For the frames until the recipe is written; nothing remains there, however this ends.
        progress: Called with (done, total) of the bytes of new contents.
    Raises:
        StoreCorruptError: A new content isn't in the store or no longer has its digest; names it.
        BaseDiffersError: The difference of the manifests is beyond the format's limits: only a full ``.ted`` will do.
    """
    difference = manifest_delta(base, new)
    if len(difference) > RECIPE_MAX:  # before hours are spent on frames, again at each request
        raise _too_different(base, new)
    with ExitStack() as stack:
        packs = Packs(contents, stack)
        added = [packs.blob(*content) for content in needed_contents(new, base)]
        spool: IO[bytes] = stack.enter_context(tempfile.SpooledTemporaryFile(SPOOL_MEMORY, dir=str(directory)))
        maker = _FrameMaker(added, spool, directory, effort, small, progress)
        old, gone = list(base.contents()), gone_contents(base, new) if added else []
        order = gone + sorted(set(range(len(old))) - set(gone)) if added else []
        try:
            maker.make([_OldContent(packs, *old[ordinal]) for ordinal in order], len(gone), order)
        except _OldContentError:
            maker.make([], 0, [])
        recipe = recipe_bytes(Recipe(difference, tuple(maker.references)))
        fits = delta_fits(maker.frames, len(recipe) + sum(frame.length for frame in maker.frames))
        if len(recipe) > RECIPE_MAX or sum(map(len, maker.references)) > RANGES_MAX or not fits:
            raise _too_different(base, new)
        writer.recipe(compress_frame(recipe, level=RECIPE_LEVEL if len(recipe) < LARGE_RECIPE else LARGE_RECIPE_LEVEL), len(recipe))
        with translate_errors(directory):
            spool.seek(0)
        for frame in maker.frames:
            with translate_errors(directory):
                data = spool.read(frame.length)
            writer.delta_frame(frame, data)


def _too_different(base: Manifest, new: Manifest) -> BaseDiffersError:
    return BaseDiffersError(
        f"{new.distribution} {new.revision} has too little in common with {base.revision}",
        remedy=WHOLE_INSTEAD,
    )


class _OldContentError(StoreCorruptError):
    """Damage of a content that the delta is made from, not of one that it is to hold."""


class _OldContent:
    """A content of the base."""

    def __init__(self, packs: Packs, digest: str, size: int) -> None:
        self._packs = packs
        self._digest = digest
        self._blob: Blob | None = None
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Read as ``PackBlob`` does; a content that is missing or damaged raises _OldContentError."""
        try:
            if self._blob is None:
                self._blob = self._packs.blob(self._digest, self.size)
            return self._blob.read(offset, length)
        except StoreCorruptError as error:
            raise _OldContentError(error.message, remedy=error.remedy) from error


class _FrameMaker:
    """Has the engine make the frames of a delta, and keeps them in the spool."""

    def __init__(
        self, new: Sequence[Blob], spool: IO[bytes], directory: Path, effort: Effort, small: bool, progress: Progress | None
    ) -> None:
        self._new = new
        self._spool = spool
        self._directory = directory
        self._options: dict[str, Any] = {"effort": effort, "small": small}
        if progress is not None:
            total = sum(blob.size for blob in new)
            progress(0, total)
            self._options["progress"] = lambda done: progress(done, total)
        self.frames: list[Frame] = []
        self.references: list[tuple[Range, ...]] = []

    def make(self, old: Sequence[Blob], gone: int, ordinals: Sequence[int]) -> None:
        """Make all frames; a repeated call begins anew."""
        self.frames.clear()
        self.references.clear()
        with translate_errors(self._directory):
            self._spool.seek(0)
            self._spool.truncate()
        default = default_reference(gone)
        for made in make_frames(old, gone, self._new, **self._options):
            with translate_errors(self._directory):
                self._spool.write(made.data)
            self.frames.append(made.frame)
            if made.frame.reference:
                ranges = () if made.reference == default else made.reference
                self.references.append(tuple(Range(ordinals[each.content], each.offset, each.length) for each in ranges))
