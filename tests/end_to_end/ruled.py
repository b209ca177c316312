"""A Distribution from its source to a Subscriber's tree: real build, store, trust, ledger and agent.

The agent is forked from a process that has imported all of its own (tests/attacks/forked.py), so that a conversation costs milliseconds.
"""

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
from sluice.distributor.build.build import BuildResult
from sluice.distributor.build.record import build_recorded
from sluice.distributor.repair.revision import Mender
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distribution, DistributionType, FileSource, Site, Subscriber
from sluice.model.state import State
from sluice.sender.ted_choice import SMALL_MEMORY
from tests.agents.route import Crossed, Route
from tests.attacks.forked import Born, Nursery
from tests.distributor.context import context_of
from tests.end_to_end.scene import BornStream

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
        return build_recorded(self.context, "zone", rebaseline=rebaseline)

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
        return Mender(self.context)

    @property
    def context(self) -> Any:
        """Of the Distribution as it is now."""
        site = Site(str(self.source), {"hq": self.distributor}, {}, {}, {"zone": self.distribution})
        source = FilesSource(now_ns=lambda: time.time_ns() + LATER)
        return context_of(**vars(self.context_in("run-1")) | {"site": site, "source": source})

    def limit(self, max_revisions: int) -> None:
        self.distribution = replace(self.distribution, max_revisions=max_revisions)


class ForkedTransport:
    """The Transport to agents of a nursery; always ``close`` it."""

    def __init__(self) -> None:
        self._nursery = Nursery(2 * SMALL_MEMORY)
        self._born: list[Born] = []

    def connect(self, subscriber: Subscriber, *, timeout: float) -> BornStream:
        self._born.append(self._nursery.start(Path(subscriber.working_directory)))
        return BornStream(self._born[-1])

    def close(self) -> None:
        for born in self._born:
            born.kill()
        self._nursery.close()


@contextmanager
def ruled(directory: Path, agents: ForkedTransport, **options: Any) -> Iterator[Ruled]:
    """One, closed on leaving."""
    made = Ruled(directory, **options)
    made.transport = agents
    try:
        yield made
    finally:
        made.close()
