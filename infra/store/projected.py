"""A delta made for a prediction, where nobody but its maker sees it: what the store keeps stays as it is.

It stands where what is lent does: on the store's own file system, whose ``min_free`` holds for it too, and what a killed one left goes with
the next. A directory for temporary files may be memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.store.contents import WholeWrites
from infra.store.deltas import write_delta
from infra.store.layout import StoreLayout, ted_name
from infra.store.scratch import scratch_file
from sluice.formats.ted.file import TedWriter, needed_contents
from sluice.model.revision import RevisionNumber
from sluice.ports import TedFile


@contextmanager
def projected_delta(
    store: StoreLayout, distribution: str, revision: RevisionNumber, base: RevisionNumber, small: bool
) -> Iterator[TedFile]:
    """What ``FileStore.ensure_ted`` would make; gone afterwards.

    Raises:
        NotFoundError: The revision or the base isn't kept.
        StoreCorruptError: A content is missing or damaged.
        NoSpaceError: It may not be made either.
    """
    old, new = store.manifest(distribution, base), store.manifest(distribution, revision)
    name = ted_name(base, small)
    with scratch_file(store.scratch_directory()) as path:
        if total := sum(size for _, size in needed_contents(new, old)):
            store.check_space(f"Distribution {distribution}: {name} of {revision}, made for a prediction", total)
        with store.share_packs(), WholeWrites(path, "wb") as file:
            writer = TedWriter(file.write, distribution=distribution, revision=revision, base=base, small=small)
            effort = store.effort(distribution)
            write_delta(writer, store.contents, old, new, effort=effort, small=small, directory=path.parent)
            index, data = writer.finish()
        yield TedFile(revision, base, str(path), name, data, index.payload, small)
