"""The Distributor as victim: real store, keys, ledger and conversation code, and an agent or relay that lies to it.

In the beginning 1.1 is built and signed, and ``helsinki-1`` is said to hold it. The judge looks at the ledger, at every file of the working
directory, and at how much was read from the liar; then a genuine agent must be believed.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sluice.distributor.deliver.orders import ExtractResult
from sluice.errors import SluiceError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.manifest.document import read_back_digest
from sluice.formats.orders import parse_order, receipt_bytes
from sluice.formats.protocol import message_frame
from sluice.model.event import EventKind
from sluice.model.order import Outcome, Receipt
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.state import State
from sluice.sender.call import Call, call_agent
from sluice.trust.envelope import RECEIPT_WORD, Envelope, seal
from tests.attacks.case import SAID_MAX, Case
from tests.attacks.sandbox import changes, listing
from tests.distributor.distributor import Bench, subscriber_named
from tests.sender.agent_double import NOW, AgentDouble, Line, Way

FIRST = RevisionNumber(1, 1)
RECIPE = RenderedRecipe(("/opt/zone",))
READ_MAX = 64 * 1024 * 1024
"""Most bytes taken from one liar."""
GROWTH_MAX = 192 * 1024 * 1024
"""Most bytes by which one lie makes this process grow."""
HARMLESS = {EventKind.EXTRACT_STARTED, EventKind.RECEIPT_REFUSED, EventKind.RECEIPT_CONFLICT, EventKind.EXTRACT_FAILED}


class Liar(AgentDouble):
    """A genuine agent but for what a case replaces: bytes instead of its reply, by request."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        super().__init__(key=key)
        self.replies: dict[str, Callable[[LyingLine, dict[str, Any]], bytes]] = {}
        self.told = blake3()


class LyingLine(Line):
    """Says what the case says; what is read of it is counted."""

    agent: Liar

    def __init__(self, agent: Liar) -> None:
        super().__init__(agent)
        self.taken = 0
        self.endless = b""
        """What it says from now on, again and again."""

    def read(self, size: int) -> bytes:
        while self.endless and len(self.outgoing) < size:
            self.outgoing += self.endless
        data = super().read(size)
        self.taken += len(data)
        assert self.taken <= READ_MAX
        return data

    def readable(self) -> bool:
        return bool(self.endless) or super().readable()

    def _message(self, message: dict[str, Any]) -> None:
        lie = self.agent.replies.get(message["type"])
        if lie is None:
            super()._message(message)
            return
        self.put = None
        said = lie(self, message)
        self.agent.told.update(said)
        self.outgoing += said


class LyingWay(Way):
    """The way to the liar."""

    def connect(self, subscriber: Any, *, timeout: float) -> Line:
        agent = self.agents[subscriber.name]
        self.lines.append(LyingLine(agent) if isinstance(agent, Liar) else Line(agent))
        return self.lines[-1]


class Distributor:
    """The world of one case."""

    def __init__(self, directory: Path, key: Ed25519PrivateKey) -> None:
        self.directory = directory
        self.key = key
        self.liar = Liar(key)
        self.bench = Bench(directory, LyingWay(self.liar))
        self.bench.build("1.1", {"a": b"content"})
        self.liar.manifests["zone/1.1/manifest"] = self.bench.store.manifest_bytes("zone", FIRST)
        self.liar.held["zone"] = "1.1"

    # --- what builders use

    def call(self) -> Call:
        """Hello."""
        return call_agent(subscriber_named("helsinki-1"), "hq", transport=self.bench.way, timeout=5)

    def order(self, revision: RevisionNumber = FIRST) -> ExtractResult:
        """Have it extract."""
        call = self.call()
        try:
            return self.bench.orders(call, revision, RECIPE).give()
        finally:
            call.close()

    def send(self) -> None:
        """Send it 1.1."""
        sending = self.bench.sending(FIRST)
        try:
            sending.call()
            sending.transfer()
        finally:
            sending.close()

    def receipt(self, **changed: Any) -> Receipt:
        """What an honest Subscriber would swear after order 1."""
        digest = read_back_digest(self.bench.store.manifest("zone", FIRST))
        true = Receipt("hq", "helsinki-1", 1, "zone", FIRST, Outcome.INSTALLED, NOW, NOW, 1, 0, 7, digest)
        return replace(true, **changed)

    def sealed(self, receipt: Receipt, *, key: Ed25519PrivateKey | None = None, word: bytes = RECEIPT_WORD) -> Envelope:
        """Signed by the Subscriber, or by somebody else."""
        return seal(word, receipt_bytes(receipt), key="receipt", sign=(key or self.key).sign)

    def answers(self, kind: str, **message: Any) -> None:
        """The liar's reply to a request."""
        self.liar.replies[kind] = lambda _line, _message: message_frame(message)

    def sequence_of(self, message: dict[str, Any]) -> int:
        """Of the order in a message."""
        return parse_order(message["envelope"]["payload"].encode()).sequence

    # --- the judge

    def judge(self, case: Case[Distributor]) -> None:
        """Carry out a case and see that it came to nothing."""
        files = self._files()
        before = self.bench.ledger.state("helsinki-1", "zone")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer, message = self._answer(case)
        assert answer in case.answers, message
        assert len(message) <= SAID_MAX
        assert message.isprintable()
        if case.is_control:
            return
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown) * 1024 <= GROWTH_MAX
        state = self.bench.ledger.state("helsinki-1", "zone")
        assert (state.extracted, state.held, state.sequence) == (before.extracted, before.held, before.sequence)
        assert state.state is not State.INSTALLED
        events = [each.event for each in self.bench.ledger.events()]
        assert {event.kind for event in events} <= HARMLESS
        assert all(c.isprintable() for event in events for value in event.data.values() for c in str(value))
        assert self.bench.ledger.receipt("hq", "helsinki-1", 1) is None
        assert not changes(files, self._files())
        self.liar.replies.clear()
        self.liar.hello.clear()
        self.liar.receipts.clear()
        assert self.order().is_installed
        assert self.bench.ledger.state("helsinki-1", "zone").state is State.INSTALLED

    def _answer(self, case: Case[Distributor]) -> tuple[str, str]:
        try:
            return case.attack(self), ""
        except SluiceError as error:
            return error.code, str(error)

    def evidence(self) -> str:
        """Tells two attacks apart."""
        return str(blake3(self.liar.told.digest() + canonical_bytes(sorted(map(str, self.liar.requests)))).hexdigest())

    def _files(self) -> Any:
        return listing(self.directory, without=lambda path: path.startswith("ledger.db") or path.endswith("lock"))
