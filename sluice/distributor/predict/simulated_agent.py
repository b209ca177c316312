"""A simulated agent, for predictions: it answers a sender as a real one in the given state would, and keeps nothing.

The sender's own code talks to it, so that the bytes that would be sent are the bytes that are counted. A payload isn't read: it is
counted, and to the sender it seems to have arrived before. It works fast, and so reports no progress but that of a put, and
its milestones.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sluice.errors import ProtocolError
from sluice.formats.agent_events import event_to_json
from sluice.formats.protocol import HEADER, Message, message_frame, read_frame
from sluice.formats.ted.index import BLOCK
from sluice.model.agent_event import AgentEvent
from sluice.model.feature import Feature
from sluice.model.site import Subscriber
from sluice.model.state import CurrentState
from sluice.model.version import VERSION
from sluice.ports import Stream
from sluice.trust.envelope import Envelope
from sluice.trust.roles import ROOT, TOP_ROLES, distribution_role

PROGRESS = 8 * 1024 * 1024
"""Bytes of payload between two reports (docs/formats.md section 7)."""


@dataclass
class SimulatedAgent(Stream):
    """One conversation with the agent of a Subscriber in a given state."""

    subscriber: Subscriber
    state: CurrentState
    """As the ledger has it."""
    trust: Mapping[str, int]
    """Metadata versions by role."""
    newest: Mapping[str, int]
    """The same once it has received the published metadata."""
    small: bool = False
    """It gets small deltas."""
    receipt: Callable[[Envelope], Envelope] = field(default=lambda envelope: envelope)
    """Its answer to an order."""
    milestones: Sequence[AgentEvent] = ()
    """What it tells before that."""
    moved: int = field(default=0, init=False)
    """Bytes both ways so far, those of payloads included."""
    _asked: Message = field(default_factory=dict, init=False)
    _outgoing: bytes = field(default=b"", init=False)

    def connect(self, subscriber: Subscriber, *, timeout: float) -> SimulatedAgent:
        """Connect, as a Transport: there is one conversation."""
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Take a message, or data, which are only counted."""
        self.moved += len(data)
        with suppress(ProtocolError):  # the sender writes a message at once: bytes that are none by themselves are data
            if isinstance(frame := read_frame(io.BytesIO(data).read), dict):
                self._asked = frame

    def read(self, size: int) -> bytes:
        """Read its answers to the last message, which are made as they are read."""
        if not self._outgoing:
            answer = self._answer()
            told = self.milestones if answer["type"] == "receipt" else ()
            self._outgoing = b"".join(map(message_frame, (*map(event_to_json, told), answer)))
        data, self._outgoing = self._outgoing[:size], self._outgoing[size:]
        self.moved += len(data)
        return data

    def readable(self) -> bool:
        """Say that nothing arrives before it is waited for."""
        return False

    def close(self) -> None:
        """Do nothing: nothing remains of it."""

    def _answer(self) -> Message:
        asked = self._asked
        match asked["type"]:
            case "hello":
                return self._hello()
            case "metadata":
                roles = (*TOP_ROLES, distribution_role(self.state.distribution))
                return {"type": "accepted", "trust": {role: version for role, version in self.newest.items() if role in roles}}
            case "put":
                self._asked = {"type": "payload"}
                return {"type": "ready", "offset": self._count(asked.get("payload", 0))}
            case "payload":
                return {"type": "stored"}
            case "complete":
                return {"type": "completed", "lacks": []}
            case "receipts":
                return {"type": "receipts", "envelopes": []}
            case "order":
                return {"type": "receipt", "envelope": self.receipt(asked["envelope"])}
        return {"type": "done"}

    def _hello(self) -> Message:
        state = self.state
        held, extracted = (None if each is None else str(each) for each in (state.held, state.extracted))
        about = {state.distribution: {"held": held, "extracted": extracted, "sequence": state.sequence}} if held or extracted else {}
        return {
            "type": "hello",
            "protocol": 1,
            "agent": VERSION,
            "subscriber": self.subscriber.name,
            "platform": self.subscriber.platform or "debian-12",
            "python": "3.11.2",
            "codecs": ["zstd"] if self.small else ["zstd", "hdiff", "lzma"],
            "memory": 8 << 30,
            "free": 100 << 30,
            "first": len(Feature),
            "trust": dict(self.trust) or {ROOT: 1},
            "distributions": about,
            "sequence": state.sequence,
            "identity": {"key": "0" * 32, "directory": str(self.subscriber.working_directory), "host": "host", "instance": "0" * 32},
        }

    def _count(self, payload: int) -> int:
        """Count a payload, its frames and the reports about it; return where the sender is to go on: at its end."""
        self.moved += payload + -(-payload // BLOCK) * HEADER.size
        self.moved += sum(len(message_frame({"type": "progress", "offset": at})) for at in range(PROGRESS, payload + 1, PROGRESS))
        return payload
