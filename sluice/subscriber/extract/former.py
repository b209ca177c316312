"""What a Distribution placed under its former name (docs/formats.md section 6): held and known while its heir is compared and extracted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from sluice.errors import DestinationError, StoreCorruptError
from sluice.model.manifest import Manifest
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.ending import recover
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.subscriber.held.state import DistributionState
from sluice.subscriber.held.tree import ExtractedTree


@dataclass(frozen=True, slots=True)
class Former:
    """A Distribution under its former name, and the tree that it extracted."""

    held: DistributionDirectory
    tree: ExtractedTree


@contextmanager
def hold_former(context: ExtractionContext, manifest: Manifest) -> Iterator[Former | None]:
    """Hold the lock of the manifest's former name, its killed extraction ended; None if nothing of it is here.

    Raises:
        StoreLockedError: It is being received or extracted now.
        UndoFailedError: An earlier extraction of it still couldn't be undone.
        DestinationError: It isn't known what it placed.
    """
    held = context.held.former(manifest.renamed_from)
    if held is None:
        yield None
        return
    with held.lock():
        recover(replace(context, held=held))
        with read_former(context, manifest) as former:
            yield former


@contextmanager
def read_former(context: ExtractionContext, manifest: Manifest) -> Iterator[Former | None]:
    """Read the same for a dry run, without its lock. Raises DestinationError."""
    held = context.held.former(manifest.renamed_from)
    if held is None:
        yield None
        return
    try:
        tree = DistributionState(held).tree(context.filesystem)
    except StoreCorruptError as error:  # of no revision that is extracted now: none may be set aside for it
        raise DestinationError(
            f"it isn't known what {held.name} placed: {error.message}", remedy=f"run: sluice release {held.name} --to {context.subscriber}"
        ) from error
    with closing(tree):
        yield Former(held, tree)
