"""A delta made for a prediction, where nobody but its maker sees it: the store stays as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.store.contents import WholeWrites, translated
from infra.store.deltas import write_delta
from infra.store.draft import ted_name
from infra.store.files import FileStore
from infra.store.locks import shared
from sluice.formats.ted import TedWriter
from sluice.model.revision import RevisionNumber
from sluice.ports import TedFile


@contextmanager
def foreseen_delta(store: FileStore, distribution: str, revision: RevisionNumber, base: RevisionNumber, small: bool) -> Iterator[TedFile]:
    """What ``FileStore.ensure_ted`` would make, in a directory for temporary files; gone afterwards.

    Raises:
        NotFoundError: The revision or the base isn't kept.
        StoreCorruptError: A content is missing or damaged.
        NoSpaceError.
    """
    old, new = store.manifest(distribution, base), store.manifest(distribution, revision)
    with tempfile.TemporaryDirectory(prefix="sluice-") as place:
        path = Path(place) / ted_name(base, small)
        with translated(store.lock_path), shared(store.lock_path):
            store.contents.refresh()
            with WholeWrites(path, "wb") as file:
                writer = TedWriter(file.write, distribution=distribution, revision=revision, base=base, small=small)
                effort = store.effort(distribution)
                write_delta(writer, store.contents, old, new, effort=effort, small=small, directory=Path(place))
                index, data = writer.finish()
        yield TedFile(revision, base, str(path), path.name, data, index.payload, small)
