"""A Distributor's whole path to one Subscriber: store, trust, ledger, send queue, and a real agent as a child process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from blake3 import blake3

from infra.ledger.sql import open_ledger
from infra.store.files import FileStore
from sluice.distributor.build.sign import sign
from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.model.assignment import Assignment
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.order import Demand
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.site import Address, Distributor, Subscriber
from sluice.model.ticket import Started
from sluice.ports import Transport
from sluice.sender.transfer import Remedy, Sender, Transfer
from tests.agents.workbench import ForkedAgents, Workbench
from tests.distributor.context import context_of

DAY = timedelta(days=1)
TREE = Path("/opt/zone")


class Clock:
    """The machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@dataclass
class Crossed:
    """What a delivery moved."""

    delivered: DeliveryResult
    bytes: int
    """Both ways."""
    sent: int
    received: int


class Route:
    """Distributor ``hq``, Subscriber ``oslo``; destinations are below ``tree``."""

    def __init__(self, directory: Path) -> None:
        self.bench = Workbench(directory)
        self.publisher = self.bench.publisher
        self.tree = directory / "tree"
        self.tree.mkdir()
        self.store = FileStore(directory / "hq")
        self.ledger = open_ledger(directory / "ledger.db")
        self.distributor = Distributor("hq", PurePosixPath(directory / "hq"))
        self.subscriber = Subscriber("oslo", Address("local", path=str(self.bench.work)), PurePosixPath(self.bench.work))
        self.clock = Clock()
        self.transport: Transport = ForkedAgents()
        self._watch = QueueWatch("hq", None, ledger=self.ledger, clock=self.clock)

    def close(self) -> None:
        self.ledger.close()

    def build(self, name: str, revision: str, files: Mapping[str, bytes], *, verify: bool = False) -> RevisionNumber:
        """Build and sign it, with its delta from the one before, as a build does."""
        number = RevisionNumber.parse(revision)
        entries = [Entry(EntryKind.DIRECTORY, "", 0o755, 10**18)]
        with self.store.lock(name) as draft:
            for path, data in sorted(files.items()):
                digest = blake3(data).hexdigest()
                if not draft.holds(digest):
                    draft.put(digest, len(data), iter([data]))
                entries.append(Entry(EntryKind.FILE, path, 0o644, 10**18, len(data), digest))
            destinations = (Destination("{{ TREE }}", True, tuple(entries)),)
            draft.add_revision(Manifest(name, number, "file", destinations, verify=verify), [None])
        self.sign(name)
        return number

    def sign(self, name: str) -> object:
        return sign([name], store=self.store, publisher=self.publisher, now=datetime.now(UTC), longest_interval=DAY)

    @property
    def sender(self) -> Sender:
        return Sender("hq", self.transport, self.store, self.publisher, self.sign, timeout=60)

    def context_in(self, flow_run: str) -> Any:
        """Of the Distributor, in a flow run."""
        known = {"distributor": self.distributor, "store": self.store, "publisher": self.publisher, "ledger": self.ledger}
        return context_of(**known, clock=self.clock, flow_run=flow_run)

    def recipe(self, name: str) -> RenderedRecipe:
        return RenderedRecipe((str(self.tree / name),))

    def deliver(self, name: str, revision: RevisionNumber, *, extract: bool = True, demand: Demand = Demand.DUE) -> Crossed:
        """Send and extract as a flow run does, over as many conversations as it takes."""
        assignment = Assignment("oslo", name, revision)
        sendings: list[Transfer] = []

        def sending(remedy: Remedy) -> Transfer:
            sendings.append(Transfer(self.sender, self.subscriber, assignment, remedy=remedy))
            return sendings[-1]

        context = self.context_in(f"run-{os.urandom(4).hex()}")
        recipe = self.recipe(name) if extract else None
        delivery = Delivery(context, self._watch, assignment, sending, recipe, check=demand is not Demand.DUE, demand=demand)
        delivery.offer()
        done = None
        try:
            for _ in range(4):
                assert delivery.enter() is None
                if delivery.call():
                    turn = delivery.ask(lambda: None)
                    self._watch.look()
                    assert isinstance(turn.decision, Started)
                    assert delivery.transfer() is None
                if not delivery.is_claimed:
                    assert delivery.enter() is None or not extract
                done = delivery.extract()
                delivery.end()
                if done is not None:
                    break
        finally:
            delivery.end()
        assert done is not None
        talks = [each.called.conversation for each in sendings]
        sent, received = sum(talk.sent for talk in talks), sum(talk.received for talk in talks)
        return Crossed(replace(done), sent + received, sent, received)
