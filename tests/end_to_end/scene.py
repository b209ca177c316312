"""One Distributor and one Subscriber from the source on disk to the destination on disk: real build, store, keys, sender and agent.

The agent is a forked process (tests/attacks/forked.py) over pipes, so that an example costs milliseconds; nothing else is left out but SSH.
"""

from __future__ import annotations

import os
import select
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from agents.init import init, trust
from infra.sources.files import FilesSource
from infra.store.files import FileStore
from sluice.distributor.build.build import build
from sluice.distributor.build.sign import sign
from sluice.errors import ConnectionLostError
from sluice.model.assignment import Assignment
from sluice.model.order import Order, Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.site import Address, Distribution, DistributionType, FileSource, Subscriber
from sluice.sender.conversation import Conversation
from sluice.sender.transfer import Remedy, Sender, SendResult, Transfer
from sluice.trust.publish import Publisher
from tests.attacks.forked import Born, Nursery

DAY = timedelta(days=1)
LATER = 10**11
"""Nanoseconds by which a scan's clock is ahead, so that no file is too young to be believed unchanged."""


class BornStream:
    """The Stream to a forked agent."""

    def __init__(self, born: Born) -> None:
        self._born = born

    def write(self, data: bytes | memoryview) -> None:
        try:
            self._born.stdin.write(data)
            self._born.stdin.flush()
        except BrokenPipeError as error:
            raise ConnectionLostError("the agent is gone") from error

    def read(self, size: int) -> bytes:
        return os.read(self._born.stdout.fileno(), size)

    def readable(self) -> bool:
        return bool(select.select([self._born.stdout], [], [], 0)[0])

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self._born.stdin.close()


class Scene:
    """Distributor ``hq``, its Distribution ``zone``, and the Subscriber ``oslo`` with the target of it; all below ``top``."""

    def __init__(self, top: Path, nursery: Nursery) -> None:
        self.source, self.target, self.agent = top / "source", top / "target", top / "agent"
        self._nursery = nursery
        self.store = FileStore(top / "hq")
        self.publisher = Publisher(top / "hq", distributor="hq")
        self.publisher.ensure_keys(datetime.now(UTC))
        self.agent.mkdir(mode=0o700)
        self.publisher.keep_subscriber_key("oslo", init(self.agent, "oslo"))
        trust(self.agent, "hq", self.publisher.root())
        files = (FileSource(PurePosixPath(self.source), "{{ DEST }}"),)
        self.distribution = Distribution("zone", "hq", DistributionType.FILE, files=files, case_sensitive_only=True)
        self._sequence = 0
        self.born: list[Born] = []

    def asking(self, **changed: object) -> None:
        """The blueprint's one entry asks for more: ``synchronize``, ``owner``."""
        [entry] = self.distribution.files
        self.distribution = replace(self.distribution, files=(replace(entry, **changed),))  # type: ignore[arg-type]

    def build(self) -> RevisionNumber | None:
        """Of what the source has now, signed; None where nothing changed."""
        source = FilesSource(now_ns=lambda: time.time_ns() + LATER)
        made = build(self.distribution, store=self.store, source=source).revision
        self.sign("zone")
        return made

    def sign(self, distribution: str) -> None:
        """Publish what the store has."""
        sign([distribution], store=self.store, publisher=self.publisher, now=datetime.now(UTC), longest_interval=DAY)

    def connect(self, _subscriber: Subscriber, *, timeout: float) -> BornStream:
        """As a Transport."""
        self.born.append(self._nursery.start(self.agent))
        return BornStream(self.born[-1])

    def sending(self, revision: RevisionNumber, *, remedy: Remedy = Remedy.NONE) -> Transfer:
        """Nothing has happened yet."""
        sender = Sender("hq", self, self.store, self.publisher, self.sign, timeout=30)
        subscriber = Subscriber("oslo", Address("local", path=str(self.agent)), PurePosixPath(self.agent))
        return Transfer(sender, subscriber, Assignment("oslo", "zone", revision), remedy=remedy)

    def deliver(self, revision: RevisionNumber, *, remedy: Remedy = Remedy.NONE) -> tuple[SendResult, Receipt]:
        """Send and extract in one conversation."""
        sending = self.sending(revision, remedy=remedy)
        try:
            sending.call()
            sent = sending.transfer()
            return sent, self.order(sending.called.conversation, revision)
        finally:
            sending.close()
            for born in self.born:
                born.kill()
            self.born.clear()

    def order(self, conversation: Conversation, revision: RevisionNumber) -> Receipt:
        """Have it extracted over a conversation."""
        self._sequence += 1
        now = datetime.now(UTC)
        order = Order("hq", "oslo", self._sequence, now, now + DAY, "zone", revision, (str(self.target),), (), ())
        receipt = self.publisher.open_receipt(conversation.order(self.publisher.sign_order(order)), subscriber="oslo")
        conversation.acknowledge("zone", receipt.sequence)
        return receipt

    def install(self, revision: RevisionNumber) -> SendResult:
        """The same, which must go well."""
        sent, receipt = self.deliver(revision)
        assert receipt.outcome is Outcome.INSTALLED, receipt
        return sent

    def clear_source(self) -> None:
        """For the next tree."""
        if os.path.lexists(self.source):
            shutil.rmtree(self.source)
