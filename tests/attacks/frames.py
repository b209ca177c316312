"""The protocol itself: bytes that are no frame, frames out of turn, conversations that never end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sluice.formats.protocol import HEADER, data_header, message_frame
from sluice.formats.zstd import compress_frame
from tests.attacks.case import Family, said
from tests.attacks.subscriber import Subscriber
from tests.attacks.talk import Talk

FRAMES = Family[Subscriber]("frames")

MANIFEST, TED = "zone/1.3/manifest", "zone/1.3/distfile.ted"


def raw(*pieces: bytes, greeted: bool = True) -> Callable[[Subscriber], str]:
    """Bytes as they are."""

    def attack(world: Subscriber) -> str:
        talk = world.talk() if greeted else world.silent()
        for piece in pieces:
            talk.raw(piece)
        return said(talk.reply())

    return attack


def asked(**message: Any) -> Callable[[Subscriber], str]:
    """One request."""
    return lambda world: said(world.talk().ask(**message))


def within(act: Callable[[Subscriber, Talk], None]) -> Callable[[Subscriber], str]:
    """Something that happens after half a payload, whose manifest is there."""

    def attack(world: Subscriber) -> str:
        talk, made = world.talk(), world.made[2]
        assert talk.put(MANIFEST, compress_frame(made.manifest_bytes)) == "stored"
        talk.say(type="put", target=TED, index=len(made.index_bytes), payload=len(made.payload))
        talk.data(made.index_bytes)
        assert talk.reply()["type"] == "ready"
        talk.data(made.payload[:10])
        act(world, talk)
        return said(talk.reply())

    return attack


FRAMES.accepts("the rest of the payload", "stored", within(lambda world, talk: talk.data(world.made[2].payload[10:])))
FRAMES.refuses("a banner", "ProtocolError", raw(b"Welcome to oslo!\r\n", greeted=False))
FRAMES.refuses("HTTP", "ProtocolError", raw(b"GET / HTTP/1.1\r\nHost: oslo\r\n\r\n", greeted=False))
FRAMES.refuses("a length of 0", "ProtocolError", raw(HEADER.pack(0, ord("J"))))
FRAMES.refuses("a length of 1", "ProtocolError", raw(HEADER.pack(1, ord("J"))))
FRAMES.refuses("a length of 2**32 - 1", "ProtocolError", raw(HEADER.pack(2**32 - 1, ord("J"))))
FRAMES.refuses("data of 2**32 - 1 bytes", "ProtocolError", raw(HEADER.pack(2**32 - 1, ord("D"))))
FRAMES.refuses("data of a byte too much", "ProtocolError", raw(HEADER.pack(1024 * 1024 + 2, ord("D"))))
FRAMES.refuses("an unknown type", "ProtocolError", raw(HEADER.pack(5, ord("X")) + b"abcd"))
FRAMES.refuses("type 0", "ProtocolError", raw(HEADER.pack(5, 0) + b"abcd"))
FRAMES.refuses("data out of turn", "ProtocolError", raw(data_header(4) + b"data"))
FRAMES.refuses("data before hello", "ProtocolError", raw(data_header(4) + b"data", greeted=False))
FRAMES.refuses("a request before hello", "ProtocolError", raw(message_frame({"type": "receipts", "distribution": "zone"}), greeted=False))
FRAMES.refuses("an order before hello", "ProtocolError", lambda w: w.silent().order(w.order(w.made[1])))
FRAMES.refuses("a list as message", "ProtocolError", raw(HEADER.pack(3, ord("J")) + b"[]"))
FRAMES.refuses("a message without a type", "ProtocolError", raw(HEADER.pack(3, ord("J")) + b"{}"))
FRAMES.refuses("a type that is no text", "ProtocolError", raw(message_frame({"type": ["order"]})))
FRAMES.refuses("an unknown request", "ProtocolError", asked(type="__class__"))
FRAMES.refuses("what the agent says itself", "ProtocolError", asked(type="receipt", envelope={}))
FRAMES.refuses("a request wrapped for a child", "ProtocolError", asked(type="forward", to="child", request={"type": "bye"}))
FRAMES.refuses("from outside of a put", "ProtocolError", asked(type="from", offset=0))
FRAMES.refuses(
    "hello within a put", "ProtocolError", within(lambda _, talk: talk.say(type="hello", protocol=[1], distributor="hq", sender="0"))
)
FRAMES.refuses(
    "another Distributor within a put",
    "ProtocolError",
    within(lambda _, talk: talk.say(type="hello", protocol=[1], distributor="other", sender="0")),
)
FRAMES.refuses("bye within a put", "ProtocolError", within(lambda _, talk: talk.say(type="bye")))
FRAMES.refuses(
    "an order within a put", "ProtocolError", within(lambda world, talk: talk.say(type="order", envelope=world.order(world.made[1])))
)
FRAMES.refuses("from within a good block", "ProtocolError", within(lambda _, talk: talk.say(type="from", offset=0)))
FRAMES.refuses(
    "another put within a put", "ProtocolError", within(lambda _, talk: talk.say(type="put", target=MANIFEST, length=5, codec="zstd"))
)
FRAMES.refuses(
    "no protocol in common",
    "AgentVersionError",
    lambda w: said(w.silent().ask(type="hello", protocol=[0, 2], distributor="hq", sender="0")),
)
FRAMES.refuses(
    "protocols that are no numbers",
    "AgentVersionError",
    lambda w: said(w.silent().ask(type="hello", protocol=["1", [1], None], distributor="hq", sender="0")),
)
for each in ("", "..", ".", "../other", "hq/../other", "hq\n", "h q", "\u202ehq", "x" * 65):
    FRAMES.refuses(
        f"hello to {each[:12]!r}",
        "TamperedError",
        lambda w, name=each: said(w.silent().ask(type="hello", protocol=[1], distributor=name, sender="0")),
    )
for each in (
    "zone",
    "/zone/1.3/manifest",
    "zone/1.3/../1.1/manifest",
    "zone/01.3/manifest",
    "zone/1.3/root.json",
    "zone/1.3/from-1.3.ted/x",
    "zone/1.3/manifest\n",
    "../zone/1.3/manifest",
):
    FRAMES.refuses(f"a put to {each!r}", "TamperedError", asked(type="put", target=each, length=5, codec="zstd"))
FRAMES.refuses("a put of fewer than no bytes", "TamperedError", asked(type="put", target=MANIFEST, length=-1, codec="zstd"))
FRAMES.refuses("a put of 2**62 bytes", "TamperedError", asked(type="put", target=MANIFEST, length=2**62, codec="zstd"))
FRAMES.refuses("an index of 2**62 bytes", "TamperedError", asked(type="put", target=TED, index=2**62, payload=1))
FRAMES.refuses("a payload of 2**64 bytes", "TamperedError", asked(type="put", target=TED, index=1, payload=2**64))
FRAMES.refuses("another codec", "TamperedError", asked(type="put", target=MANIFEST, length=5, codec="none"))
for like in (["../../identity/receipt"], ["1.root"], [7], [["targets"]], ["targets"] * 4, ["root\0"], "targets"):
    FRAMES.refuses(
        f"metadata compressed against {like!r:.40}",
        "TamperedError|TruncatedError",
        lambda w, roles=like: w.talk().push(w.files[2], prefix=roles),  # type: ignore[misc]
    )
FRAMES.refuses("receipts of a path", "TamperedError", asked(type="receipts", distribution="../../other/distributions/zone"))
FRAMES.refuses("an acknowledgement of a path", "TamperedError", asked(type="acknowledge", distribution="zone", sequence="../../status"))
FRAMES.refuses("an acknowledgement below zero", "TamperedError", asked(type="acknowledge", distribution="zone", sequence=-1))


def other_in_between(world: Subscriber) -> str:
    """``other`` is greeted, then what ``hq`` has signed is put: views of one Distributor aren't another's."""
    talk = world.talk()
    assert talk.put(MANIFEST, compress_frame(world.made[2].manifest_bytes)) == "stored"
    world.mark()
    assert talk.hello("other")["type"] == "hello"
    return talk.put_ted(TED, world.made[2].index_bytes, world.made[2].payload)


FRAMES.refuses("another Distributor's name midway", "TruncatedError", other_in_between)


def gone(after: Callable[[Subscriber, Talk], None]) -> Callable[[Subscriber], str]:
    """The line is cut, and the agent ends."""

    def attack(world: Subscriber) -> str:
        talk = world.silent()
        after(world, talk)
        talk.stdin.close()
        rest = talk.stdout.read()
        return "ProtocolError" if b"ProtocolError" in rest else "silence"

    return attack


FRAMES.refuses("cut within a header", "ProtocolError", gone(lambda _, talk: talk.raw(b"\0\0")))
FRAMES.refuses("cut within a message", "ProtocolError", gone(lambda _, talk: talk.raw(HEADER.pack(1000, ord("J")) + b"{")))
FRAMES.refuses("cut at once", "silence", gone(lambda _, __: None))
