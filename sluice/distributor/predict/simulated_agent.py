"""A simulated agent, for predictions: it answers a sender as a real one in the given state would, and keeps nothing.

The sender's own code talks to it, so that the bytes that would be sent are the bytes that are counted. Of a payload only the last block is
read: the others are counted. It works fast, and so reports no progress but that of a put.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sluice.formats.protocol import HEADER, Message, message_frame, read_frame
from sluice.formats.ted.index import BLOCK
from sluice.model.feature import Feature
from sluice.model.site import Subscriber
from sluice.model.state import CurrentState
from sluice.model.version import VERSION
from sluice.ports import Stream
from sluice.trust.envelope import Envelope
from sluice.trust.roles import ROOT, TOP_ROLES, distribution_role

PROGRESS = 8 * 1024 * 1024
"""Bytes of payload between two reports (docs/formats.md section 7)."""


@dataclass(frozen=True, slots=True)
class SimulatedState:
    """The state of the Subscriber that is simulated."""

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


class SimulatedAgent(Stream):
    """One conversation with it."""

    def __init__(self, simulated: SimulatedState) -> None:
        self._is = simulated
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._take: Callable[[bytes], None] = lambda _: None
        self.skipped_sent = 0
        """Bytes that would be sent to it beside those that were written."""
        self.skipped_received = 0
        """The same for its answers."""

    def connect(self, subscriber: Subscriber, *, timeout: float) -> SimulatedAgent:
        """Connect, as a Transport: there is one conversation."""
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes and answer each request."""
        self._incoming += data
        while len(self._incoming) >= HEADER.size:
            length = HEADER.unpack(self._incoming[: HEADER.size])[0] + HEADER.size - 1
            if len(self._incoming) < length:
                return
            whole = bytes(self._incoming[:length])
            del self._incoming[:length]
            frame = read_frame(io.BytesIO(whole).read)
            if isinstance(frame, bytes):
                self._take(frame)
            elif frame is not None:
                getattr(self, f"_on_{frame['type']}")(frame)

    def read(self, size: int) -> bytes:
        """Read its answers."""
        data = bytes(self._outgoing[:size])
        del self._outgoing[:size]
        return data

    def readable(self) -> bool:
        """Whether there is an answer."""
        return bool(self._outgoing)

    def close(self) -> None:
        """Do nothing: nothing remains of it."""

    def _say(self, **message: Any) -> None:
        self._outgoing += message_frame(message)

    def _await(self, length: int, then: Callable[[], None]) -> None:
        remaining = length

        def take(frame: bytes) -> None:
            nonlocal remaining
            remaining -= len(frame)
            if not remaining:
                then()

        self._take = take
        if not length:
            then()

    def _on_hello(self, _: Message) -> None:
        it, state = self._is, self._is.state
        held, extracted = (None if each is None else str(each) for each in (state.held, state.extracted))
        self._say(
            type="hello",
            protocol=1,
            agent=VERSION,
            subscriber=it.subscriber.name,
            platform=it.subscriber.platform or "debian-12",
            python="3.11.2",
            codecs=["zstd"] if it.small else ["zstd", "hdiff", "lzma"],
            memory=8 << 30,
            free=100 << 30,
            features=sorted(feature.value for feature in Feature),
            trust=dict(it.trust) or {ROOT: 1},
            distributions={state.distribution: {"held": held, "extracted": extracted, "sequence": state.sequence}}
            if held or extracted
            else {},
            sequence=state.sequence,
        )

    def _on_metadata(self, _: Message) -> None:
        roles = (*TOP_ROLES, distribution_role(self._is.state.distribution))
        trust = {role: version for role, version in self._is.newest.items() if role in roles}
        self._take = lambda _: self._say(type="accepted", trust=trust)

    def _on_put(self, put: Message) -> None:
        if "codec" in put:
            self._say(type="ready", offset=0)
            self._await(put["length"], self._stored)
        else:
            self._await(put["index"], lambda: self._begin(put["payload"]))

    def _begin(self, payload: int) -> None:
        skipped = max(0, payload - 1) // BLOCK * BLOCK
        self.skipped_sent += skipped + skipped // BLOCK * HEADER.size
        for offset in range(PROGRESS, payload + 1, PROGRESS):
            self.skipped_received += len(message_frame({"type": "progress", "offset": offset}))
        self._say(type="ready", offset=skipped)
        self._await(payload - skipped, self._stored)

    def _stored(self) -> None:
        self._say(type="stored")

    def _on_complete(self, _: Message) -> None:
        self._say(type="completed", lacks=[])

    def _on_receipts(self, _: Message) -> None:
        self._say(type="receipts", envelopes=[])

    def _on_order(self, message: Message) -> None:
        self._say(type="receipt", envelope=self._is.receipt(message["envelope"]))

    def _on_acknowledge(self, _: Message) -> None:
        self._say(type="done")

    def _on_bye(self, _: Message) -> None:
        """Do nothing: the conversation is over."""
