"""A hostile agent, or a relay in its place: lies in hello, replies without end, and receipts that nobody swore or that swear to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sluice.formats.protocol import HEADER, message_frame
from sluice.model.order import ActionReport, Failure, Outcome
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.trust.envelope import ORDER_WORD
from tests.attacks.case import Family
from tests.attacks.distributor import FIRST, Distributor

HELLO = Family[Distributor]("hostile hello")
REPLIES = Family[Distributor]("hostile replies")
RECEIPTS = Family[Distributor]("forged receipts")

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def greeted(**said: Any) -> Callable[[Distributor], str]:
    """Hello with something else in it."""

    def attack(world: Distributor) -> str:
        world.liar.hello |= said
        world.liar.told.update(repr(said).encode())
        call = world.call()
        call.close()
        return "greeted"

    return attack


def zone(**said: Any) -> dict[str, Any]:
    """What is said of one Distribution."""
    return {"zone": {"held": "1.1", "extracted": None, "sequence": 0, **said}}


HELLO.accepts("an honest one", "greeted", greeted())
for name, said in {
    "a name with an escape": {"subscriber": ESCAPE},
    "an agent's version with an escape": {"agent": ESCAPE},
    "a platform with an escape": {"platform": ESCAPE},
    "a Python with a newline": {"python": "3.11\nroot"},
    "a feature with an escape": {"features": [ESCAPE]},
    "another Subscriber's name": {"subscriber": "bergen"},
    "a name that is a path": {"subscriber": "../hq"},
    "no codec": {"codecs": []},
    "codecs that are numbers": {"codecs": [1]},
    "a million codecs": {"codecs": ["zstd"] * 1_000_000},
    "memory below zero": {"memory": -1},
    "memory of 2**64": {"memory": 2**64},
    "features of 65 characters": {"features": ["x" * 65]},
    "trust in an unknown role": {"trust": {"../root": 1}},
    "trust in a version below zero": {"trust": {"root": -1}},
    "trust in a version that is a text": {"trust": {"root": "1"}},
    "trust that is a list": {"trust": [1]},
    "a Distribution that is a path": {"distributions": {"../zone": {"held": None, "extracted": None, "sequence": 0}}},
    "10,001 Distributions": {"distributions": {f"d{n}": {"held": None, "extracted": None, "sequence": 0} for n in range(10_001)}},
    "a revision that is none": {"distributions": zone(held="1.1; rm -rf /")},
    "revision 0.0": {"distributions": zone(extracted="0.0")},
    "a sequence below zero": {"distributions": zone(sequence=-1)},
    "sequence 2**63": {"distributions": zone(sequence=2**63)},
    "a sequence that is true": {"distributions": zone(sequence=True)},
    "protocol 2": {"protocol": 2},
    "protocol with an escape": {"protocol": ESCAPE},
    "a key more": {"admin": True},
    "no trust": {"trust": None},
}.items():
    HELLO.refuses(name, "ProtocolError|AgentVersionError|UnknownDistributorError|AgentMissingError", greeted(**said))


def used_up(sequence: int) -> Callable[[Distributor], str]:
    """A claim that would use the orders' numbers up: the next order is given all the same, by a small number."""

    def attack(world: Distributor) -> str:
        world.liar.hello["distributions"] = zone(sequence=sequence)
        world.liar.told.update(str(sequence).encode())
        seen: list[int] = []
        world.liar.replies["order"] = lambda _line, message: (seen.append(world.sequence_of(message)), message_frame({"type": "bye"}))[1]
        try:
            world.order()
        except Exception:
            assert seen
            assert seen[0] < 2**62 + 2
            raise
        return "ordered"

    return attack


HELLO.refuses("sequence 2**62", "ProtocolError", used_up(2**62))
HELLO.refuses("sequence 2**63 - 1", "ProtocolError", used_up(2**63 - 1))


# --- replies ----------------------------------------------------------------------------------------------------------


def replied(kind: str, data: bytes | Callable[[dict[str, Any]], bytes], *, to: str = "order") -> Callable[[Distributor], str]:
    """Bytes in the place of one reply, within an order or a send."""

    def attack(world: Distributor) -> str:
        world.liar.replies[kind] = lambda _line, message: data if isinstance(data, bytes) else data(message)
        if to == "send":
            return sent_anew(world)
        return "installed" if world.order().is_installed else "failed"

    return attack


def sent_anew(world: Distributor) -> str:
    """A send to an agent that says it holds nothing."""
    liar = world.liar
    held, manifests = dict(liar.held), dict(liar.manifests)
    liar.held.clear()
    liar.manifests.clear()
    try:
        world.send()
    finally:
        liar.held, liar.manifests = held, manifests
    return "sent"


def endless(kind: str, frame: bytes) -> Callable[[Distributor], str]:
    """One frame again and again."""

    def attack(world: Distributor) -> str:
        def begin(line: Any, _message: dict[str, Any]) -> bytes:
            line.endless = frame
            return frame

        world.liar.replies[kind] = begin
        world.order()
        return "installed"

    return attack


def of_a_thousand(attack: Callable[[Distributor], str]) -> Callable[[Distributor], str]:
    """Where a thousand events count as too many, not a million: what ends them is the same."""

    def carried_out(world: Distributor) -> str:
        with patch("sluice.sender.conversation.EVENTS_MAX", 1000):
            return attack(world)

    return carried_out


def message(**fields: Any) -> bytes:
    """A message's frame."""
    return message_frame(fields)


def error(code: str, text: str = "x") -> bytes:
    """An error's frame."""
    return message(type="error", code=code, message=text, remedy=text, retryable=True)


REPLIES.accepts("an honest extraction", "installed", lambda world: "installed" if world.order().is_installed else "failed")
REPLIES.refuses("a banner", "ProtocolError", replied("hello", b"Last login: today\r\n"))
REPLIES.refuses("a frame of 2**32 - 1 bytes", "ProtocolError", replied("hello", HEADER.pack(2**32 - 1, ord("J"))))
REPLIES.refuses("a frame of nothing", "ProtocolError", replied("hello", HEADER.pack(0, ord("J"))))
REPLIES.refuses("data for hello", "ProtocolError", replied("hello", HEADER.pack(2, ord("D")) + b"x"))
REPLIES.refuses("silence", "TransportTimeoutError", replied("hello", b""))
REPLIES.refuses("half a frame", "TransportTimeoutError", replied("hello", HEADER.pack(100, ord("J")) + b"{"))
LISTS = b'{"type":"hello","x":[' + b"[]," * 5_000_000 + b"[]]}"
REPLIES.refuses("16 MiB of empty lists", "ProtocolError", replied("hello", HEADER.pack(len(LISTS) + 1, ord("J")) + LISTS))
REPLIES.refuses("a receipt for hello", "ProtocolError", replied("hello", message(type="receipt", envelope={})))
REPLIES.refuses("an unknown error with escapes", "SluiceError", replied("order", error(ESCAPE, ESCAPE * 1000)))
REPLIES.refuses("an error of blueprints", "SluiceError", replied("order", error("BlueprintError", "x")))
REPLIES.refuses("an error of the tree's own machinery", "SluiceError", replied("order", error("__class__", "x")))
REPLIES.refuses("events without a receipt", "ProtocolError", replied("order", message(type="event", phase="x", done=-1, total=0)))
REPLIES.refuses("an event with an escape", "ProtocolError", replied("order", message(type="event", phase=ESCAPE, done=0, total=0)))
REPLIES.refuses("an event of 65 characters", "ProtocolError", replied("order", message(type="event", phase="x" * 65, done=0, total=0)))
REPLIES.refuses("events without end", "ProtocolError", of_a_thousand(endless("order", message(type="event", phase="x", done=0, total=0))))
REPLIES.refuses("stored without a put", "ProtocolError", replied("order", message(type="stored")))
REPLIES.refuses("1,001 receipts", "ProtocolError", replied("receipts", message(type="receipts", envelopes=[{}] * 1001)))
REPLIES.refuses("receipts that are texts", "ProtocolError", replied("receipts", message(type="receipts", envelopes=["x"])))
REPLIES.refuses("a receipt without an envelope", "ProtocolError", replied("order", message(type="receipt")))
REPLIES.refuses(
    "metadata accepted in an unknown role", "ProtocolError", replied("metadata", message(type="accepted", trust={"x": 1}), to="send")
)
REPLIES.refuses("a manifest that was stored before it was asked for", "ProtocolError", replied("put", message(type="stored"), to="send"))
REPLIES.refuses("again without end", "ProtocolError", replied("put", message(type="again", offset=0), to="send"))


# --- receipts ---------------------------------------------------------------------------------------------------------

Forge = Callable[[Distributor], Any]


def sworn(forge: Forge) -> Callable[[Distributor], str]:
    """The answer to order 1."""

    def attack(world: Distributor) -> str:
        envelope = forge(world)
        world.answers("order", type="receipt", envelope=envelope)
        result = world.order()
        return "installed" if result.is_installed else type(result.error).__name__

    return attack


def waiting(forge: Forge) -> Callable[[Distributor], str]:
    """What waits there when the Distributor asks for receipts; it is never acknowledged if it isn't believed."""

    def attack(world: Distributor) -> str:
        world.answers("receipts", type="receipts", envelopes=[forge(world)])
        call = world.call()
        try:
            kept = world.bench.orders(call, FIRST, RenderedRecipe(("/opt/zone",)), world.receipt().started).fetch_receipts()
        finally:
            call.close()
        assert "acknowledge" not in world.liar.requests or kept
        return "kept" if kept else "refused"

    return attack


def with_(**changed: Any) -> Forge:
    """A receipt of the Subscriber's own, with something else in it."""
    return lambda world: world.sealed(world.receipt(**changed))


def tampered(old: str, new: str) -> Forge:
    """A text changed under the signature."""

    def forge(world: Distributor) -> Any:
        envelope = world.sealed(world.receipt())
        assert old in envelope["payload"]
        return {**envelope, "payload": envelope["payload"].replace(old, new)}

    return forge


OTHER_DIGEST = "0" * 64
FORGERIES: dict[str, tuple[str, Forge]] = {
    "by a stranger's key": ("TamperedError", lambda world: world.sealed(world.receipt(), key=STRANGER)),
    "signed as an order": ("TamperedError", lambda world: world.sealed(world.receipt(), word=ORDER_WORD)),
    "signed without a word": ("TamperedError", lambda world: world.sealed(world.receipt(), word=b"")),
    "of another Subscriber": ("TamperedError", with_(subscriber="bergen")),
    "for another Distributor": ("TamperedError", with_(distributor="other")),
    "that read something else back": ("ReadBackError", with_(read_back=OTHER_DIGEST)),
    "that read nothing back": ("ReadBackError", with_(read_back="")),
    "already installed, and read nothing back": ("ReadBackError", with_(outcome=Outcome.ALREADY_INSTALLED, read_back="")),
    "of a revision that was never built": ("TamperedError", with_(revision=RevisionNumber(999_999_999, 1))),
    "of a revision built next": ("TamperedError", with_(revision=RevisionNumber(1, 2))),
    "whose outcome was changed": ("TamperedError", tampered('"installed"', '"already installed"')),
    "whose sequence was changed": ("TamperedError", tampered('"sequence":1', '"sequence":2')),
    "of a key twice": ("TamperedError", tampered('"version":1', '"version":1,"version":1')),
}
RECEIPTS.accepts("a genuine one", "installed", sworn(with_()))
RECEIPTS.accepts("a genuine one that waited", "kept", waiting(with_()))
for name, (code, forge) in FORGERIES.items():
    RECEIPTS.refuses(name, code, sworn(forge))
    RECEIPTS.refuses(f"{name}, waiting", "refused", waiting(forge))
RECEIPTS.refuses("of a later order", "TamperedError", sworn(with_(sequence=2)))
RECEIPTS.refuses("of another Distribution", "TamperedError", sworn(with_(distribution="web", outcome=Outcome.FAILED)))
RECEIPTS.refuses("another Distribution's, waiting", "refused", waiting(with_(distribution="web", outcome=Outcome.FAILED)))
RECEIPTS.refuses("of 2 MiB", "TamperedError", sworn(lambda world: {**world.sealed(world.receipt()), "payload": "x" * 2_000_000}))
RECEIPTS.refuses("with 301 reports", "TamperedError", sworn(with_(actions=(ActionReport("pre", "x", 0.0, 0, ""),) * 301)))
RECEIPTS.refuses(
    "with an output of 9,000 characters", "TamperedError", sworn(with_(actions=(ActionReport("pre", "x", 0.0, 0, "x" * 9000),)))
)
RECEIPTS.refuses("with files below zero", "TamperedError", sworn(with_(files_written=-1)))
RECEIPTS.refuses("with 2**63 files", "TamperedError", sworn(with_(files_written=2**63)))
RECEIPTS.refuses("with endless seconds", "TamperedError", sworn(with_(actions=(ActionReport("pre", "x", 1e300, 0, ""),))))
RECEIPTS.refuses("an empty envelope", "TamperedError", sworn(lambda _: {}))
RECEIPTS.refuses("an order of ours", "TamperedError", sworn(lambda world: given_back(world)))


def given_back(world: Distributor) -> Any:
    """What we signed ourselves comes back as a receipt."""
    from datetime import timedelta

    from sluice.model.order import Order

    now = world.receipt().started
    return world.bench.publisher.sign_order(
        Order("hq", "helsinki-1", 1, now, now + timedelta(days=1), "zone", FIRST, ("/opt/zone",), (), ())
    )


def failed_with_escapes(world: Distributor) -> str:
    """A failure that the Subscriber swears, with a terminal's commands in its texts: believed, and shown harmlessly."""
    failure = Failure("ActionFailedError", ESCAPE, ESCAPE, False)
    world.liar.outcome, world.liar.failure = Outcome.FAILED, failure
    error = world.order().error
    assert error is not None
    assert str(error).isprintable(), str(error)
    return type(error).__name__


RECEIPTS.accepts("a failure in a terminal's commands", "ActionFailedError", failed_with_escapes)
