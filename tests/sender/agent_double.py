"""An agent in memory: what a Distributor's operations talk to in tests, with faults where a test asks for them.

It keeps to docs/formats.md section 7, holds what it verified over conversations (``AgentDouble``), and is reached by ``Way``, a Transport.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sluice.errors import ConnectionLostError, SluiceError, TransportTimeoutError, TruncatedError, UnreachableError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.manifest.document import parse_manifest, read_back_digest
from sluice.formats.orders import parse_order, receipt_bytes
from sluice.formats.protocol import HEADER, error_message, message_frame
from sluice.formats.ted.index import BLOCK, parse_index
from sluice.formats.zstd import decompress_wide, zstd
from sluice.model.order import Failure, Outcome, Receipt
from sluice.model.site import Subscriber
from sluice.trust.envelope import RECEIPT_WORD, Envelope, seal
from sluice.trust.keys import public_pem
from sluice.trust.roles import split_metadata_file

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class AgentDouble:
    """What one Subscriber holds, and how its agent misbehaves."""

    name: str = "helsinki-1"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    trust: dict[str, int] | None = field(default_factory=dict)
    metadata: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, bytearray] = field(default_factory=dict)
    """Payload blocks that arrived, by target."""
    held: dict[str, str] = field(default_factory=dict)
    extracted: dict[str, str] = field(default_factory=dict)
    sequence: int = 0
    receipts: list[tuple[str, int, Envelope]] = field(default_factory=list)
    features: list[str] = field(default_factory=lambda: ["script"])
    hello: dict[str, Any] = field(default_factory=dict)
    """Overrides of its hello."""
    cut_after: int | None = None
    """The line breaks once this many bytes arrived; counted over a conversation."""
    damage: Callable[[int], bool] = lambda _: False
    """Whether the block at this offset arrives damaged, asked each time it arrives."""
    refuse: dict[str, SluiceError] = field(default_factory=dict)
    """Errors it answers, by request type."""
    refuse_prefix: bool = False
    """What it holds isn't what the sender takes it for."""
    outcome: Outcome = Outcome.INSTALLED
    failure: Failure | None = None
    read_back: str | None = None
    """What it claims instead of the truth."""
    lose_receipt: bool = False
    """The line breaks after the extraction, before the receipt is said."""
    requests: list[str] = field(default_factory=list)
    conversations: int = 0
    lacks: Iterator[list[str]] = field(default_factory=lambda: iter(()))
    """What it says it lacks, each time it completes; nothing once these are told."""
    lent: list[list[str]] = field(default_factory=list)
    """Contents it was lent, put by put."""

    @property
    def public(self) -> bytes:
        return public_pem(self.key)

    def sign(self, receipt: Receipt) -> Envelope:
        return seal(RECEIPT_WORD, receipt_bytes(receipt), key="receipt", sign=self.key.sign)


class Line:
    """A Stream into an AgentDouble. Nothing runs beside the caller: writing makes it answer."""

    def __init__(self, agent: AgentDouble) -> None:
        self.agent = agent
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.arrived = 0
        self.broken = False
        self.closed = False
        self.put: dict[str, Any] | None = None
        self.expected: list[str] = []
        agent.conversations += 1

    def write(self, data: bytes | memoryview) -> None:
        if self.broken or self.closed:
            raise ConnectionLostError("the line is cut")
        limit = self.agent.cut_after
        if limit is not None and self.arrived + len(data) > limit:
            data = data[: max(0, limit - self.arrived)]
            self.broken = True
        self.arrived += len(data)
        self.incoming += data
        self._take()
        if self.broken:
            raise ConnectionLostError("the line is cut")

    def read(self, size: int) -> bytes:
        if not self.outgoing:
            if self.broken:
                raise ConnectionLostError("the line is cut")
            raise TransportTimeoutError("nobody says anything")
        data = bytes(self.outgoing[:size])
        del self.outgoing[:size]
        return data

    def readable(self) -> bool:
        return bool(self.outgoing) or self.broken

    def close(self) -> None:
        self.closed = True

    def say(self, message: dict[str, Any]) -> None:
        self.outgoing += message_frame(message)

    def _take(self) -> None:
        while len(self.incoming) >= HEADER.size:
            length, kind = HEADER.unpack(self.incoming[: HEADER.size])
            if len(self.incoming) < HEADER.size + length - 1:
                return
            body = bytes(self.incoming[HEADER.size : HEADER.size + length - 1])
            del self.incoming[: HEADER.size + length - 1]
            if kind == ord("D"):
                self._data(body)
            else:
                self._message(json.loads(body))

    def _message(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        self.agent.requests.append(kind)
        if kind == "from":
            assert self.put is not None
            assert message["offset"] == len(self.agent.parts[self.put["target"]])
            self.put["deaf"] = False
            return
        self.put = None
        if (error := self.agent.refuse.get(kind)) is not None:
            self.say(error_message(error))
            return
        getattr(self, f"_on_{kind}")(message)

    def _on_hello(self, message: dict[str, Any]) -> None:
        agent = self.agent
        states = {
            name: {"held": agent.held.get(name), "extracted": agent.extracted.get(name), "sequence": agent.sequence}
            for name in {*agent.held, *agent.extracted}
        }
        self.say(
            {
                "type": "hello",
                "protocol": 1,
                "agent": "0.1.0",
                "subscriber": agent.name,
                "platform": "debian-12",
                "python": "3.11.7",
                "codecs": ["zstd"],
                "memory": 1 << 30,
                "free": 1 << 40,
                "features": agent.features,
                "trust": agent.trust,
                "distributions": states,
            }
            | agent.hello
        )

    def _on_metadata(self, message: dict[str, Any]) -> None:
        self.put = {**message, "data": b""}

    def _on_put(self, message: dict[str, Any]) -> None:
        self.put = {**message, "data": b"", "deaf": False}
        if "codec" in message:
            if message["target"] in self.agent.manifests:
                self.say({"type": "held"})
                self.put = None
            else:
                self.say({"type": "ready", "offset": 0})

    def _on_complete(self, message: dict[str, Any]) -> None:
        agent, (distribution, revision) = self.agent, message["target"].split("/")
        lacks = next(agent.lacks, [])
        self.say({"type": "event", "phase": "complete", "done": 0, "total": 1})
        if not lacks and f"{message['target']}/from-{agent.extracted.get(distribution)}" in {
            target.removesuffix(".ted").removesuffix(".small") for target in agent.parts
        }:
            agent.held[distribution] = revision
        self.say({"type": "completed", "lacks": lacks})

    def _on_order(self, message: dict[str, Any]) -> None:
        agent = self.agent
        order = parse_order(message["envelope"]["payload"].encode())
        agent.sequence = order.sequence
        manifest = parse_manifest(agent.manifests[f"{order.distribution}/{order.revision}/manifest"])
        installed = agent.outcome in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)
        true = read_back_digest(manifest) if installed else ""
        receipt = Receipt(
            distributor=order.distributor,
            subscriber=agent.name,
            sequence=order.sequence,
            distribution=order.distribution,
            revision=order.revision,
            outcome=agent.outcome,
            started=NOW,
            finished=NOW,
            files_written=1,
            files_unchanged=0,
            bytes_written=1,
            read_back=true if agent.read_back is None else agent.read_back,
            failure=agent.failure,
            files_read=None if order.verify is None else 1,
        )
        if installed:
            agent.extracted[order.distribution] = str(order.revision)
        envelope = agent.sign(receipt)
        agent.receipts.append((order.distribution, order.sequence, envelope))
        if agent.lose_receipt:
            self.broken = True
            return
        self.say({"type": "event", "phase": "stage", "done": 1, "total": 2})
        self.say({"type": "receipt", "envelope": envelope})

    def _on_receipts(self, message: dict[str, Any]) -> None:
        self.say({"type": "receipts", "envelopes": [e for d, _, e in self.agent.receipts if d == message["distribution"]]})

    def _on_acknowledge(self, message: dict[str, Any]) -> None:
        key = (message["distribution"], message["sequence"])
        self.agent.receipts = [each for each in self.agent.receipts if each[:2] != key]
        self.say({"type": "done"})

    def _on_bye(self, message: dict[str, Any]) -> None:
        pass

    def _data(self, body: bytes) -> None:
        put = self.put
        if put is None:
            return  # thrown away, as after an error
        if put["type"] == "metadata":
            if "prefix" in put and self.agent.refuse_prefix:
                self.put = None
                self.say(error_message(TruncatedError("what came is no JSON")))
                return
            like = b"".join(self.agent.metadata[name] for role in put.get("prefix", []) for name in self._files_of(role))
            plain = b"".join(decompress_wide(body, put["plain"], what="metadata", prefix=like))
            for name, length in put["files"]:
                self.agent.metadata[name], plain = plain[:length], plain[length:]
            read = [(split_metadata_file(name), json.loads(data)) for name, data in self.agent.metadata.items()]
            self.agent.trust = {parts[0]: data["signed"]["version"] for parts, data in read if parts}
            self.put = None
            self.say({"type": "accepted", "trust": self.agent.trust})
        elif "codec" in put:
            put["data"] += body
            if len(put["data"]) == put["length"]:
                self.agent.manifests[put["target"]] = zstd.decompress(put["data"])
                self.put = None
                self.say({"type": "stored"})
        elif len(put["data"]) < put["index"]:
            put["data"] += body
            if len(put["data"]) == put["index"]:
                self._begin(put)
        else:
            self._block(put, body)

    def _files_of(self, role: str) -> list[str]:
        """The newest file of a role."""
        found = [name for name in self.agent.metadata if name.endswith(f".{role}.json")]
        return sorted(found, key=lambda name: int(name.partition(".")[0]))[-1:]

    def _begin(self, put: dict[str, Any]) -> None:
        distribution, revision, _ = put["target"].split("/")
        if self.agent.held.get(distribution) == revision and "contents" not in put:
            self.put = None
            self.say({"type": "held"})
            return
        put["parsed"] = parse_index(put["data"])
        part = self.agent.parts.setdefault(put["target"], bytearray())
        if "contents" in put:
            part.clear()  # each time another
        self.say({"type": "ready", "offset": len(part)})
        self._end_if_whole(put, part)

    def _block(self, put: dict[str, Any], body: bytes) -> None:
        if put["deaf"]:
            return
        part = self.agent.parts[put["target"]]
        number = len(part) // BLOCK
        if self.agent.damage(len(part)) or blake3(body).hexdigest() != put["parsed"].blocks[number]:
            put["deaf"] = True
            self.say({"type": "again", "offset": len(part)})
            return
        part += body
        if len(part) % (8 * 1024 * 1024) == 0:
            self.say({"type": "progress", "offset": len(part)})
        self._end_if_whole(put, part)

    def _end_if_whole(self, put: dict[str, Any], part: bytearray) -> None:
        if len(part) == put["payload"]:
            distribution, revision, file = put["target"].split("/")
            if file == "distfile.ted":
                self.agent.held[distribution] = revision  # a delta is held once it is completed
            if file == "lent":
                self.agent.lent.append(put["contents"])
            self.put = None
            self.say({"type": "stored"})


class Way:
    """A Transport to AgentDoubles by their Subscriber's name; a name without one is unreachable."""

    def __init__(self, *agents: AgentDouble) -> None:
        self.agents = {agent.name: agent for agent in agents}
        self.lines: list[Line] = []

    def connect(self, subscriber: Subscriber, *, timeout: float) -> Line:
        if subscriber.name not in self.agents:
            raise UnreachableError(f"nothing answers for {subscriber.name}")
        self.lines.append(Line(self.agents[subscriber.name]))
        return self.lines[-1]


def receipts_as_text(agent: AgentDouble) -> list[str]:
    return [canonical_bytes(envelope).decode() for _, _, envelope in agent.receipts]
