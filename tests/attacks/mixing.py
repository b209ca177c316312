"""What is genuine each for itself, put together wrongly; and content that was swapped, cut, prolonged or changed on the way."""

from __future__ import annotations

from collections.abc import Callable

from sluice.formats.zstd import compress_frame
from sluice.trust.roles import manifest_target, ted_target
from tests.attacks.case import Family, said
from tests.attacks.subscriber import Subscriber
from tests.attacks.talk import Files

MIX = Family[Subscriber]("mix and match")
CONTENT = Family[Subscriber]("swapped or cut content")

MANIFEST, TED = "zone/1.3/manifest", "zone/1.3/distfile.ted"


def of(world: Subscriber, number: int, ending: str) -> bytes:
    """A file of one publishing."""
    return next(data for name, data in world.files[number].items() if name.endswith(ending))


def mixed(new: int, old: int, *endings: str) -> Callable[[Subscriber], str]:
    """One publishing with files of another under the names that the first has for them."""

    def attack(world: Subscriber) -> str:
        found = {
            name: next((of(world, old, ending) for ending in endings if name.endswith(ending)), data)
            for name, data in world.files[new].items()
        }
        return world.anew().push(found)

    return attack


def replaced(files_of: Callable[[Subscriber, Files], Files]) -> Callable[[Subscriber], str]:
    """The newest set with other bytes in it."""
    return lambda world: world.anew().push({**world.files[2], **files_of(world, world.files[2])})


MIX.accepts("one publishing", "accepted", mixed(2, 2))
MIX.refuses("an older Distribution's role", "TamperedError|ReplayedError", mixed(2, 1, "distribution.zone.json"))
MIX.refuses("an older snapshot", "TamperedError|ReplayedError", mixed(2, 1, "snapshot.json"))
MIX.refuses("an older timestamp", "ReplayedError", mixed(2, 0, "timestamp.json"))
MIX.refuses("an older snapshot and Distribution's role", "TamperedError|ReplayedError", mixed(2, 0, "snapshot.json", "zone.json"))
MIX.refuses("the newest Distribution's role under an older snapshot", "ReplayedError", mixed(0, 2, "distribution.zone.json"))
MIX.refuses("snapshot as timestamp", "TamperedError", replaced(lambda w, _: {"timestamp.json": of(w, 2, "snapshot.json")}))
MIX.refuses("timestamp as snapshot", "TamperedError", replaced(lambda w, _: {"3.snapshot.json": of(w, 2, "timestamp.json")}))
MIX.refuses("the Distribution's role as targets", "TamperedError", replaced(lambda w, _: {"1.targets.json": of(w, 2, "zone.json")}))
MIX.refuses(
    "targets as the Distribution's role",
    "TamperedError|ReplayedError",
    replaced(lambda w, _: {"3.distribution.zone.json": of(w, 2, "targets.json")}),
)
MIX.refuses(
    "a stranger's Distribution's role",
    "TamperedError|ReplayedError",
    replaced(lambda w, _: {"3.distribution.zone.json": w.stranger.files_for("zone", {})["1.distribution.zone.json"]}),
)
MIX.refuses("a set for a Distribution that it doesn't have", "TamperedError", lambda w: w.talk().push(w.files[2], distribution="web"))
MIX.refuses(
    "a manifest under another revision's name", "TamperedError", lambda w: w.talk().put(MANIFEST, compress_frame(w.made[1].manifest_bytes))
)
MIX.refuses(
    "an index under another revision's name", "TamperedError|TruncatedError", lambda w: whole(w, lambda i, p: (w.made[1].index_bytes, p))
)
MIX.refuses(
    "another revision's payload", "TamperedError", lambda w: whole(w, lambda i, p: (i, w.made[1].payload[: len(p)].ljust(len(p), b"\0")))
)
MIX.refuses("another Distributor's revision", "TruncatedError|TamperedError", lambda w: said_in_other(w))
MIX.refuses("a .ted before its manifest", "NotFoundError", lambda w: w.talk().put_ted(TED, w.made[2].index_bytes, w.made[2].payload))


def said_in_other(world: Subscriber) -> str:
    """``other`` signs the same revision, and a relay asks in its conversation to believe what ``hq`` signed."""
    return world.talk("other").send(world.made[2])


def whole(world: Subscriber, change: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> str:
    """1.3 with its manifest as it is, its index and payload changed."""
    talk = world.talk()
    assert talk.put(MANIFEST, compress_frame(world.made[2].manifest_bytes)) == "stored"
    index, payload = change(world.made[2].index_bytes, world.made[2].payload)
    return talk.put_ted(TED, index, payload)


def flipped(data: bytes, at: int) -> bytes:
    """One bit changed."""
    changed = bytearray(data)
    changed[at] ^= 4
    return bytes(changed)


def manifest(change: Callable[[bytes], bytes], *, packed: Callable[[bytes], bytes] = lambda data: data) -> Callable[[Subscriber], str]:
    """The manifest of 1.3 with other bytes, or packed otherwise."""
    return lambda world: world.talk().put(MANIFEST, packed(compress_frame(change(world.made[2].manifest_bytes))))


def ted(change: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> Callable[[Subscriber], str]:
    """Index and payload of 1.3, changed."""
    return lambda world: whole(world, change)


CONTENT.accepts("1.3 as it is", "stored", ted(lambda index, payload: (index, payload)))
CONTENT.refuses("a manifest with a bit changed", "TamperedError", manifest(lambda data: flipped(data, 300)))
CONTENT.refuses("a manifest without its last line", "TamperedError", manifest(lambda data: data[: data.rindex(b"\n", 0, -1) + 1]))
CONTENT.refuses("a manifest without its last byte", "TamperedError", manifest(lambda data: data[:-1]))
CONTENT.refuses("a manifest with a line more", "TamperedError", manifest(lambda data: data + b'["f","zz",420,0,0,"' + b"0" * 64 + b'"]\n'))
CONTENT.refuses("a manifest of the same length", "TamperedError", manifest(lambda data: data[::-1]))
CONTENT.refuses("an empty manifest", "TamperedError", manifest(lambda _: b""))
CONTENT.refuses("a frame without its end", "TamperedError", manifest(lambda data: data, packed=lambda frame: frame[:-4]))
CONTENT.refuses("a frame with a tail", "TamperedError", manifest(lambda data: data, packed=lambda frame: frame + b"tail"))
CONTENT.refuses("a frame and another", "TamperedError", manifest(lambda data: data, packed=lambda frame: frame + compress_frame(b"x")))
CONTENT.refuses(
    "a frame behind one to be skipped",
    "TamperedError",
    manifest(lambda data: data, packed=lambda frame: b"\x50\x2a\x4d\x18\4\0\0\0skip" + frame),
)
CONTENT.refuses("a manifest that isn't packed", "TamperedError", lambda w: w.talk().put(MANIFEST, w.made[2].manifest_bytes))
CONTENT.refuses("a manifest longer than announced", "TamperedError", lambda w: longer(w))
CONTENT.refuses("an index with a bit changed", "TamperedError", ted(lambda index, payload: (flipped(index, 20), payload)))
CONTENT.refuses("an index without its last byte", "TruncatedError", ted(lambda index, payload: (index[:-1], payload)))
CONTENT.refuses("an index with a byte more", "TamperedError", ted(lambda index, payload: (index + b" ", payload)))
CONTENT.refuses("an index with other blocks", "TamperedError", ted(lambda index, payload: (index[:20] + index[20:][::-1], payload)))
CONTENT.refuses("a payload with its first bit changed", "TamperedError", ted(lambda index, payload: (index, flipped(payload, 0))))
CONTENT.refuses("a payload with its last byte changed", "TamperedError", ted(lambda index, payload: (index, flipped(payload, -1))))
CONTENT.refuses("a payload of zeros", "TamperedError", ted(lambda index, payload: (index, bytes(len(payload)))))
CONTENT.refuses("a payload a byte shorter", "TamperedError", ted(lambda index, payload: (index, payload[:-1])))
CONTENT.refuses("a payload a byte longer", "TamperedError", ted(lambda index, payload: (index, payload + b"x")))
CONTENT.refuses("more payload than announced", "TamperedError", lambda w: more_payload(w))


def longer(world: Subscriber) -> str:
    """A byte more than announced."""
    frame, talk = compress_frame(world.made[2].manifest_bytes), world.talk()
    assert (
        talk.ask(type="put", target=manifest_target("zone", world.made[2].manifest.revision), length=len(frame), codec="zstd")["type"]
        == "ready"
    )
    talk.data(frame[:-1] + b"xx")
    return said(talk.reply())


def more_payload(world: Subscriber) -> str:
    """One frame that goes on behind the payload's end."""
    talk, made = world.talk(), world.made[2]
    assert talk.put(MANIFEST, compress_frame(made.manifest_bytes)) == "stored"
    talk.say(
        type="put", target=ted_target("zone", made.manifest.revision, made.file), index=len(made.index_bytes), payload=len(made.payload)
    )
    talk.data(made.index_bytes)
    assert talk.reply() == {"type": "ready", "offset": 0}
    talk.data(made.payload + b"x" * 100)
    return said(talk.reply())
