"""Lent contents and the request to complete: what a sender may store with them is what signed manifests name, and nothing else.

A delta of 1.5 waits, one content of its base isn't in the tree any more; only what lacks is lent.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from blake3 import blake3

from agents.requests import COMPLETIONS_MAX
from sluice.formats.canonical import canonical_bytes
from sluice.formats.protocol import LACKS_MAX
from sluice.formats.ted.file import MAGIC, TedWriter, trailer
from sluice.formats.zstd import compress_frame
from sluice.model.revision import RevisionNumber
from tests.attacks.case import Family, said
from tests.attacks.deltas import sent, true_parts
from tests.attacks.subscriber import Subscriber
from tests.attacks.talk import Talk
from tests.formats.hostile_cases import MIB, REVISION, Sent, put_together

LENT = Family[Subscriber]("what is lent")
COMPLETE = Family[Subscriber]("completing")

OLD_B = bytes([1]) * 3000
DIGEST = blake3(OLD_B).hexdigest()
TARGET = f"zone/{REVISION}"


def genuine(world: Subscriber) -> Sent:
    """A delta as it should be."""
    made = true_parts(world)
    return Sent(made, *put_together(made))


def waiting(world: Subscriber) -> Talk:
    """The delta is there and lacks a content."""
    (world.target / "sub/b").write_bytes(b"changed by somebody")
    talk, answer = sent(world, genuine(world))
    assert answer == "stored", answer
    assert talk.complete(TARGET) == "lacks"
    world.mark()
    return talk


def ted_of(*contents: bytes) -> tuple[bytes, bytes]:
    """Index and payload of a whole ``.ted`` with these, as a store lends them."""
    out = io.BytesIO()
    writer = TedWriter(out.write, distribution="zone", revision=REVISION, base=None)
    for each in contents:
        writer.frame(compress_frame(each), len(each))
    _, index = writer.finish()
    return index, out.getvalue()[len(MAGIC) : -len(trailer(index))]


def lend(talk: Talk, digests: object, index_bytes: bytes, body: bytes, **changed: Any) -> str:
    """One put of lent contents; what was said."""
    message = {"target": f"{TARGET}/lent", "contents": digests, "index": len(index_bytes), "payload": len(body), **changed}
    talk.say(type="put", **message)
    with suppress(BrokenPipeError):
        talk.data(index_bytes)
    reply = talk.reply()
    while reply["type"] in ("ready", "again"):
        if reply["type"] == "again":
            talk.say(type="from", offset=reply["offset"])
        talk.data(body[reply["offset"] :])
        reply = talk.reply()
    return said(reply)


def lent(
    digests: Sequence[object] = (DIGEST,), contents: Sequence[bytes] = (OLD_B,), *, completes: bool = False, **changed: Any
) -> Callable[[Subscriber], str]:
    """These contents under these digests."""

    def attack(world: Subscriber) -> str:
        talk = waiting(world)
        answer = lend(talk, list(digests), *ted_of(*contents), **changed)
        return talk.complete(TARGET) if completes and answer == "stored" else answer

    return attack


def indexed(change: Callable[[dict[str, Any]], None]) -> Callable[[Subscriber], str]:
    """The index of what is lent says something else; nobody signs it."""

    def attack(world: Subscriber) -> str:
        index, payload = ted_of(OLD_B)
        value = json.loads(index)
        change(value)
        announced = value["payload"] if isinstance(value["payload"], int) else len(payload)
        return lend(waiting(world), [DIGEST], canonical_bytes(value), payload, payload=announced)

    return attack


def bits(index: bytes, payload: bytes) -> Callable[[Subscriber], str]:
    """Any bytes as index and payload."""
    return lambda world: lend(waiting(world), [DIGEST], index, payload)


UNKNOWN = blake3(b"unknown").hexdigest()
REFUSED = "TamperedError|NotFoundError|StoreCorruptError"

LENT.accepts("what lacks", "completed", lent(completes=True))
for name, attack in {
    "what no manifest names": lent((UNKNOWN,), (b"unknown",)),
    "other content": lent(contents=(b"\2" * 3000,)),
    "the same twice": lent((DIGEST, DIGEST), (OLD_B, OLD_B)),
    "a path as digest": lent(("../../../bait/etc/passwd",)),
    "more digests than may lack": lent((DIGEST,) * (LACKS_MAX + 1)),
    "digests that are no list": lambda world: lend(waiting(world), DIGEST, *ted_of(OLD_B)),
    "of a revision that isn't here": lent(target="zone/1.9/lent"),
    "an index of 2**62 bytes": lent(index=2**62),
    "a payload of 2**64 bytes": lent(payload=2**64),
    "an index that is a delta's": lambda world: lend(waiting(world), [DIGEST], *put_together(true_parts(world))),
    "noise as payload": lambda world: lend(waiting(world), [DIGEST], ted_of(OLD_B)[0], bytes(len(ted_of(OLD_B)[1]))),
    "a bomb": lambda world: lend(waiting(world), [DIGEST], *ted_of(bytes(4 * MIB))),
}.items():
    LENT.refuses(name, f"{REFUSED}|ProtocolError", attack)


def again_and_again(world: Subscriber) -> str:
    """The same, until there is no room for more."""
    talk = waiting(world)
    answer = "stored"
    for _ in range(40):
        answer = lend(talk, [DIGEST], *ted_of(OLD_B))
        if answer != "stored":
            return answer
    return answer


LENT.refuses("the same again and again", REFUSED, again_and_again)


def before_hello(world: Subscriber) -> str:
    """Without a greeting."""
    return lend(world.silent(), [DIGEST], *ted_of(OLD_B))


def before_the_delta(world: Subscriber) -> str:
    """What nothing waits for."""
    talk = world.talk()
    world.mark()
    return lend(talk, [DIGEST], *ted_of(OLD_B))


LENT.refuses("before hello", "ProtocolError", before_hello)
LENT.refuses("before the delta", f"{REFUSED}|BaseDiffersError", before_the_delta)


# --- completing ---------------------------------------------------------------------------------------------------------


def asked(target: object, **changed: Any) -> Callable[[Subscriber], str]:
    """One request, with nothing waiting."""
    return lambda world: said(world.talk().ask(type="complete", target=target, **changed))


COMPLETE.accepts("what is held", "completed", asked("zone/1.2"))
COMPLETE.accepts("what is extracted", "completed", asked("zone/1.1"))
for target in ("../zone/1.2", "zone/1.2/lent", "zone/1.2\n"):
    COMPLETE.refuses(f"{target!r}", "TamperedError|NotFoundError", asked(target))
COMPLETE.refuses("a key more", "TamperedError|ProtocolError", asked("zone/1.2", more=1))
COMPLETE.refuses("what isn't here", "NotFoundError|TamperedError", asked("zone/1.3"))
COMPLETE.refuses("a Distribution that isn't here", "NotFoundError|TamperedError|TruncatedError", asked("web/1.1"))
COMPLETE.refuses("before hello", "ProtocolError", lambda world: said(world.silent().ask(type="complete", target="zone/1.2")))


def over_and_over(world: Subscriber) -> str:
    """The whole tree is read each time; a second greeting doesn't begin the count anew."""
    talk = world.talk()
    for _ in range(COMPLETIONS_MAX):
        assert talk.complete("zone/1.2") == "completed"
        assert talk.hello("hq")["type"] == "hello"
    return talk.complete("zone/1.1")


COMPLETE.refuses("over and over", "ProtocolError", over_and_over)


def within_a_put(world: Subscriber) -> str:
    """While a delta is on its way."""
    made = true_parts(world)
    index, payload = put_together(made)
    name = f"{TARGET}/from-{made.of}.ted"
    talk = world.sign_also({name: index})
    talk.say(type="put", target=name, index=len(index), payload=len(payload))
    talk.data(index)
    assert talk.reply()["type"] == "ready"
    talk.data(payload[:10])
    return talk.complete(TARGET)


def without_the_manifest(world: Subscriber) -> str:
    """The delta is signed, and what it leads to isn't."""
    made = true_parts(world)
    index, payload = put_together(made)
    name = f"{TARGET}/from-{made.of}.ted"
    talk = world.sign_also({name: index})
    answer = talk.put_ted(name, index, payload)
    return talk.complete(TARGET) if answer == "stored" else answer


def damaged_at_rest(world: Subscriber) -> str:
    """What arrived was changed on the Subscriber's disk, beside the agent."""
    talk, answer = sent(world, genuine(world))
    assert answer == "stored"
    path = world.bench.held / f"receiving/{REVISION}/distfile.ted"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    return talk.complete(TARGET)


def signed_anew(world: Subscriber) -> str:
    """Another delta is signed meanwhile; the one that waits isn't any more."""
    _, answer = sent(world, genuine(world))
    assert answer == "stored"
    other, _ = put_together(replace(true_parts(world), first=b"a of 7"))
    return world.sign_also({f"{TARGET}/from-1.1.ted": other}).complete(TARGET)


def of_another_base(world: Subscriber) -> str:
    """1.2 is extracted while a delta from 1.1 waits."""
    talk, answer = sent(world, genuine(world))
    assert answer == "stored"
    world.sequence = 1
    assert talk.order(world.order(world.made[1])) == "installed"
    world.mark()
    return talk.complete(TARGET)


COMPLETE.refuses("within a put", "ProtocolError", within_a_put)
COMPLETE.refuses("a delta whose manifest nobody signed", "TamperedError|NotFoundError", without_the_manifest)
COMPLETE.refuses("a delta that was changed beside the agent", "StoreCorruptError|TamperedError", damaged_at_rest)
COMPLETE.refuses("a delta that isn't the signed one any more", "StoreCorruptError|TamperedError", signed_anew)
COMPLETE.refuses("a delta whose base is gone", "BaseDiffersError|NotFoundError", of_another_base)


def in_place(make: Callable[[Subscriber], object]) -> Callable[[Subscriber], str]:
    """Something else stands where a content of the base was: it lacks, and nothing is followed, read or waited for."""

    def attack(world: Subscriber) -> str:
        (world.target / "sub/b").unlink()
        make(world)
        talk, answer = sent(world, genuine(world))
        assert answer == "stored", answer
        answer = talk.complete(TARGET)
        assert [str(path) for path in (world.bench.held / "revisions").glob(f"{RevisionNumber(1, 5)}*")] == []
        return answer

    return attack


def fifo(world: Subscriber) -> None:
    """One that nobody writes to."""
    import os

    os.mkfifo(world.target / "sub/b")


def link(to: Callable[[Subscriber], str]) -> Callable[[Subscriber], object]:
    """A link there."""
    return lambda world: (world.target / "sub/b").symlink_to(to(world))


def elsewhere(world: Subscriber) -> str:
    """A file outside with the very content."""
    path = world.top / "home/same"
    path.write_bytes(OLD_B)
    return str(path)


def directory_link(world: Subscriber) -> None:
    """The directory is a link to one outside that has it all."""
    (world.top / "home/sub").mkdir()
    (world.top / "home/sub/b").write_bytes(OLD_B)
    (world.target / "sub").rmdir()
    (world.target / "sub").symlink_to(world.top / "home/sub")


for name, make in {
    "a fifo": fifo,
    "a link to the same content": link(elsewhere),
    "a link to a device": link(lambda _: "/dev/zero"),
    "a directory that is a link": directory_link,
    "nothing": lambda world: None,
}.items():
    COMPLETE.refuses(f"{name} in a content's place", "lacks|BaseDiffersError|DestinationError", in_place(make))
