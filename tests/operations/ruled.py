"""A Distribution from its source to a Subscriber's tree: real build, store, trust, ledger and agent, over the local transport."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from infra.sources.files import FilesSource
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distribution, DistributionType, FileSource, Site
from sluice.model.state import State
from sluice.operations.build import BuildResult
from sluice.operations.mend_revision import Mender
from sluice.operations.record_build import build_recorded
from tests.agents.route import Crossed, Route

BLOB = random.Random(3).randbytes(400_000)
LATER = 10**11
"""Nanoseconds by which a scan's clock is ahead, so that no file is too young to be believed unchanged."""


class Ruled(Route):
    """``zone``, of a blob that nothing can compress and a small file that changes."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory)
        self.source = directory / "source"
        self.source.mkdir()
        (self.source / "blob").write_bytes(BLOB)
        files = (FileSource(PurePosixPath(self.source), "{{ TREE }}"),)
        self.distribution = Distribution("zone", "hq", DistributionType.FILE, files=files, **options)
        self._changes = 0

    def revise(self, *, change: bool = True, rebaseline: bool = False) -> RevisionNumber:
        """Another revision, built and signed."""
        if change:
            self._changes += 1
            (self.source / "small").write_text(f"{self._changes}\n" * 20)
            os.utime(self.source / "small", ns=(10**18, 10**18 + self._changes))
        result = self.built(rebaseline=rebaseline)
        self.sign("zone")
        assert result.revision is not None
        return result.revision

    def built(self, *, rebaseline: bool) -> BuildResult:
        return build_recorded(
            self.distribution,
            store=self.store,
            source=FilesSource(now_ns=lambda: time.time_ns() + LATER),
            ledger=self.ledger,
            clock=self.clock,
            flow_run="run-1",
            rebaseline=rebaseline,
        )

    def arrives(self, revision: RevisionNumber) -> Crossed:
        """Sent and extracted: the tree is the source's then."""
        crossed = self.deliver("zone", revision)
        assert crossed.delivered.state is State.INSTALLED, crossed
        found = self.tree / "zone"
        assert {path.name: path.read_bytes() for path in found.iterdir()} == {
            path.name: path.read_bytes() for path in self.source.iterdir()
        }
        return crossed

    def kept(self) -> list[str]:
        """Revisions in the Distributor's working directory."""
        return [str(revision) for revision in self.store.revisions("zone")]

    def held(self) -> list[str]:
        """Revisions in the Subscriber's."""
        return sorted(path.name for path in (self.bench.held / "revisions").iterdir())

    @property
    def mender(self) -> Mender:
        """As a flow run makes it."""
        site = Site(str(self.source), {"hq": self.distributor}, {}, {}, {"zone": self.distribution})
        return Mender(
            site,
            "hq",
            store=self.store,
            source=FilesSource(),
            publisher=self.publisher,
            ledger=self.ledger,
            clock=self.clock,
            flow_run="run-1",
            rebuild=lambda _: self.built(rebaseline=True),
            sign=self.sign,
        )

    def limit(self, max_revisions: int) -> None:
        self.distribution = replace(self.distribution, max_revisions=max_revisions)


@contextmanager
def ruled(directory: Path, **options: Any) -> Iterator[Ruled]:
    """One, closed on leaving."""
    made = Ruled(directory, **options)
    try:
        yield made
    finally:
        made.close()
