"""A Distributor with real store, keys and ledger in a temporary directory, for tests of what it does with Subscribers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

from blake3 import blake3

from infra.ledger.sql import SqlLedger, open_ledger
from infra.store.files import FileStore
from sluice.distributor.build.sign import sign
from sluice.distributor.deliver.orders import Orders
from sluice.model.assignment import Assignment
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.site import Address, Subscriber
from sluice.sender.call import Call
from sluice.sender.transfer import Remedy, Sender, Transfer
from sluice.trust.publish import Publisher
from tests.distributor.context import context_of
from tests.sender.agent_double import NOW, AgentDouble, Way


@dataclass
class Bench:
    """One Distributor ``hq`` and its Distribution ``zone``."""

    directory: Path
    way: Way
    signed: list[str] = field(default_factory=list)
    """Distributions that were signed, in order."""

    def __post_init__(self) -> None:
        self.store = FileStore(self.directory)
        self.publisher = Publisher(self.directory, distributor="hq")
        self.publisher.ensure_keys(NOW)
        self.ledger: SqlLedger = open_ledger(self.directory / "ledger.db")
        for agent in self.way.agents.values():
            self.publisher.keep_subscriber_key(agent.name, agent.public)

    def build(self, revision: str, files: Mapping[str, bytes]) -> RevisionNumber:
        number = RevisionNumber.parse(revision)
        entries = [Entry(EntryKind.DIRECTORY, "", 0o755, 0)]
        with self.store.lock("zone") as draft:
            for name, data in sorted(files.items()):
                digest = blake3(data).hexdigest()
                if not draft.holds(digest):
                    draft.put(digest, len(data), iter([data]))
                entries.append(Entry(EntryKind.FILE, name, 0o644, 0, len(data), digest))
            manifest = Manifest("zone", number, "file", (Destination("/opt/zone", True, tuple(entries)),))
            draft.add_revision(manifest, [None])
        self.sign("zone")
        return number

    def sign(self, distribution: str) -> None:
        self.signed.append(distribution)
        sign([distribution], store=self.store, publisher=self.publisher, now=NOW, longest_interval=timedelta(days=1))

    def sending(
        self,
        revision: RevisionNumber,
        *,
        subscriber: str = "helsinki-1",
        remedy: Remedy = Remedy.NONE,
        needs: frozenset[str] = frozenset(),
    ) -> Transfer:
        sender = Sender("hq", self.way, self.store, self.publisher, self.sign, timeout=5)
        return Transfer(sender, subscriber_named(subscriber), Assignment(subscriber, "zone", revision), needs, remedy)

    def context(self, now: datetime = NOW) -> Any:
        clock = SimpleNamespace(now=lambda: now)
        return context_of(store=self.store, publisher=self.publisher, ledger=self.ledger, clock=clock, flow_run="run-1")

    def orders(self, call: Call, revision: RevisionNumber, recipe: RenderedRecipe, now: datetime = NOW) -> Orders:
        return Orders(self.context(now), call, Assignment(call.hello.subscriber, "zone", revision), recipe)


def subscriber_named(name: str) -> Subscriber:
    return Subscriber(name, Address("ssh", "192.0.2.7", 22, "sluice"), PurePosixPath("/var/lib/sluice"))


def bench(directory: Path, *agents: AgentDouble) -> Bench:
    return Bench(directory, Way(*agents))
