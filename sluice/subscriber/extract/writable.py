"""Whether an extraction can write in the agent's working directory: looked at before it begins, and by a dry run."""

from __future__ import annotations

import os
from contextlib import closing

from sluice.errors import StoreError
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.locked import locked_error, locked_paths


def check_working_directory(context: ExtractionContext) -> None:
    """Raise LockedTargetError or StoreError if a directory in which an extraction writes is immutable, append-only or read-only."""
    held = context.held
    for directory in (held.directory.parent.parent, held.directory, held.receipts, held.journal):
        existing = next(each for each in (directory, *directory.parents) if each.is_dir())
        if os.statvfs(existing).f_flag & os.ST_RDONLY:
            raise StoreError(
                f"{existing}, in the agent's working directory: Read-only file system",
                remedy="mount it writable, or look into the kernel's log if it was; then repeat",
            )
        with closing(context.filesystem.open_root(str(existing))) as root:
            if found := list(locked_paths(root, [""], replaced=False)):
                raise locked_error(found)
