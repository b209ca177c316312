"""Signed and hostile all the same: what somebody with a stolen online key can have believed stays within bounds.

Content that the key signs is believed; a name that leaves the destination, a size that lies and a place that is the agent's own are not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from blake3 import blake3

from sluice.formats.canonical import canonical_bytes
from sluice.formats.zstd import compress_frame
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from tests.attacks.case import Family
from tests.attacks.subscriber import Subscriber, hostile_manifest
from tests.subscriber.revisions import Made, made

NAMES = Family[Subscriber]("hostile names, signed")
SIZES = Family[Subscriber]("lying sizes, signed")
PLACES = Family[Subscriber]("hostile destinations, signed")

ROOT, DIGEST = '["d","",493,0]', blake3(b"x").hexdigest()
TARGET, TED = "zone/1.5/manifest", "zone/1.5/distfile.ted"


def file(path: str) -> str:
    """A file's line, its path as JSON."""
    return f'["f",{json.dumps(path, ensure_ascii=False)},420,0,1,"{DIGEST}"]'


def lines(*entries: str, **header: Any) -> Callable[[Subscriber], str]:
    """A manifest of these entries, signed, sent."""

    def attack(world: Subscriber) -> str:
        data = hostile_manifest(world, [ROOT, *entries], **header)
        return world.sign_also({TARGET: data}).put(TARGET, compress_frame(data))

    return attack


NAMES.accepts("a plain name", "stored", lines(file("a")))
NAMES.accepts("a name of a newline and an escape", "stored", lines(file("a\n\x1b[2J")))
DEEP = [f'["d","{"/".join(["d" * 200] * depth)}",493,0]' for depth in range(1, 21)]
for name, entries in {
    "up and out": [file("../bait/etc/passwd")],
    "two dots alone": [file("..")],
    "one dot": [file(".")],
    "absolute": [file("/etc/passwd")],
    "dots within": ['["d","a",493,0]', file("a/../b")],
    "an empty part": ['["d","a",493,0]', file("a//b")],
    "a slash at its end": [file("a/")],
    "NUL": ['["f","a\\u0000b",420,0,1,"' + DIGEST + '"]'],
    "a backslash": ['["f","a\\\\b",420,0,1,"' + DIGEST + '"]'],
    "half a surrogate": ['["f","a\\ud800",420,0,1,"' + DIGEST + '"]'],
    "another normal form": [file("e\u0301")],
    "a part of 256 bytes": [file("x" * 256)],
    "a path of 4,221 bytes": [*DEEP, file("/".join(["d" * 200] * 20 + ["f" * 200]))],
    "twice": [file("a"), file("a")],
    "out of order": [file("b"), file("a")],
    "below a file": [file("a"), file("a/b")],
    "below a link": ['["l","a","../bait",511]', file("a/passwd")],
    "in no directory": [file("a/b")],
    "the root twice": [ROOT],
    "an empty link": ['["l","a","",511]'],
    "a link of 4,097 bytes": [f'["l","a","{"x" * 4097}",511]'],
    "an unknown kind": ['["b","a",420,0]'],
    "a mode beyond all bits": [f'["f","a",4294967295,0,1,"{DIGEST}"]'],
    "an escape that needs none": [f'["f","\\u0061",420,0,1,"{DIGEST}"]'],
    "a space in a line": [f'["f", "a",420,0,1,"{DIGEST}"]'],
}.items():
    NAMES.refuses(name, "StoreCorruptError", lines(*entries))
NAMES.refuses("bytes that are no UTF-8", "StoreCorruptError", lines('["f","\udcff",420,0,1,"' + DIGEST + '"]'))
NAMES.refuses("another Distribution's name", "TamperedError", lines(file("a"), distribution="web"))
NAMES.refuses("a Distribution whose name is a path", "StoreCorruptError", lines(file("a"), distribution="../zone"))
NAMES.refuses("another revision's number", "TamperedError", lines(file("a"), revision="9.9"))


# --- sizes ------------------------------------------------------------------------------------------------------------


def indexed(
    change: Callable[[dict[str, Any]], None], *, payload: bytes | None = None, base: Callable[[Made], Made] = lambda m: m
) -> Callable[[Subscriber], str]:
    """An index in which something lies, signed; sent with its payload."""

    def attack(world: Subscriber) -> str:
        true = base(small())
        value = json.loads(true.index_bytes)
        change(value)
        data = canonical_bytes(value)
        talk = world.sign_also({TARGET: true.manifest_bytes, TED: data})
        assert talk.put(TARGET, compress_frame(true.manifest_bytes)) == "stored"
        body = true.payload if payload is None else payload
        return talk.put_ted(TED, data, body, payload=value["payload"] if isinstance(value["payload"], int) else len(body))

    return attack


def small(**changed: Any) -> Made:
    """A revision of one file."""
    entries = (Entry(EntryKind.DIRECTORY, "", 0o755, 0), Entry(EntryKind.FILE, "a", 0o644, 0, 1, DIGEST))
    manifest = Manifest("zone", RevisionNumber(1, 5), "file", (Destination("{{ DEST }}", True, entries),))
    return made(replace(manifest, **changed), {DIGEST: b"x"})


def frames(*frames: list[int]) -> Callable[[dict[str, Any]], None]:
    """Other frames, whose sums fit."""
    return lambda value: value.update(frames=list(frames), payload=sum(f[0] for f in frames), plain=sum(f[1] for f in frames))


SIZES.accepts("an index as it is", "stored", indexed(lambda value: None))
for name, change in {
    "more plaintext than its frames": lambda value: value.update(plain=2**40),
    "less payload than its frames": lambda value: value.update(payload=3),
    "a frame of 5 MiB of plaintext": frames([20, 5 * 1024 * 1024]),
    "a frame of nothing": frames([0, 0]),
    "a frame below zero": frames([-5, 10]),
    "a frame larger than zstd makes": frames([10**6, 10]),
    "no blocks": lambda value: value.update(blocks=[]),
    "a hundred thousand blocks": lambda value: value.update(blocks=value["blocks"] * 100_000),
    "a block's digest that is none": lambda value: value.update(blocks=["../../etc/passwd"]),
    "blocks of another size": lambda value: value.update(block=1),
    "an encryption": lambda value: value.update(encryption={"scheme": "none", "recipients": []}),
    "a version to come": lambda value: value.update(version=2),
    "a key more": lambda value: value.update(more=1),
    "a number of 4,000 digits": lambda value: value.update(payload=10**4000),
    "a number with a point": lambda value: value.update(payload=1.5),
}.items():
    SIZES.refuses(name, "StoreCorruptError|TamperedError", indexed(change))
SIZES.refuses("another file's index", "TamperedError", indexed(lambda value: value.update(revision="1.4")))
SIZES.refuses("two million entries and one", "StoreCorruptError", lines(file("a"), entries=2_000_001))
SIZES.refuses("fewer entries than there are", "StoreCorruptError", lines(file("a"), entries=1))
SIZES.refuses("one content of two sizes", "StoreCorruptError", lines(file("a"), f'["f","b",420,0,2,"{DIGEST}"]'))
SIZES.refuses("a size beyond all disks", "StoreCorruptError", lines(f'["f","a",420,0,9999999999999999999,"{DIGEST}"]'))


def extracted(
    true: Callable[[Subscriber], Made], *destinations: Callable[[Subscriber], str], **changed: Any
) -> Callable[[Subscriber], str]:
    """A signed revision, held, and a signed order to extract it somewhere."""

    def attack(world: Subscriber) -> str:
        made = true(world)
        talk = world.receive(made)
        return talk.order(world.order(made, destinations=tuple(each(world) for each in destinations), **changed))

    return attack


def lying_ted(frame: bytes, plain: int, size: int = 1) -> Callable[[Subscriber], Made]:
    """A ``.ted`` whose one frame is this; the index says that it has ``plain`` bytes."""

    def build(_: Subscriber) -> Made:
        true = small()
        entries = (*true.manifest.destinations[0].entries[:1], Entry(EntryKind.FILE, "a", 0o644, 0, size, DIGEST))
        manifest = replace(true.manifest, destinations=(Destination("{{ DEST }}", True, entries),))
        import io

        from sluice.formats.manifest.document import manifest_bytes
        from sluice.formats.ted.file import TedWriter

        out = io.BytesIO()
        writer = TedWriter(out.write, distribution="zone", revision=manifest.revision, base=None)
        writer.frame(frame, plain)
        index, data = writer.finish()
        return Made(manifest, manifest_bytes(manifest), out.getvalue(), index, data)

    return build


def at(path: str) -> Callable[[Subscriber], str]:
    """A place in the sandbox."""
    return lambda world: str(world.top / path)


ELSEWHERE = at("elsewhere-2")
MIB = 1024 * 1024
SIZES.refuses("content that isn't what the manifest says", "StoreCorruptError", extracted(lying_ted(compress_frame(b"y"), 1), ELSEWHERE))
SIZES.refuses("a frame of more than it declares", "StoreCorruptError", extracted(lying_ted(compress_frame(bytes(4 * MIB)), 1), ELSEWHERE))
SIZES.refuses(
    "a frame of less than the index says", "StoreCorruptError", extracted(lying_ted(compress_frame(b"x"), 4 * MIB, 4 * MIB), ELSEWHERE)
)
SIZES.refuses(
    "two frames where one is named", "StoreCorruptError", extracted(lying_ted(compress_frame(b"x") + compress_frame(b"x"), 1), ELSEWHERE)
)
SIZES.refuses("more plaintext than the manifest needs", "StoreCorruptError", extracted(lying_ted(compress_frame(b"xy"), 2), ELSEWHERE))
SIZES.refuses("no frame at all", "StoreCorruptError", extracted(lying_ted(b"garbage!", 1), ELSEWHERE))
SIZES.refuses(
    "a file larger than the disk", "StoreCorruptError|NoSpaceError", extracted(lying_ted(compress_frame(b"x"), 1, 2**62), ELSEWHERE)
)


# --- destinations -----------------------------------------------------------------------------------------------------


def text(value: str) -> Callable[[Subscriber], str]:
    """A destination as it is."""
    return lambda _: value


def one(_: Subscriber) -> Made:
    """A revision of one directory with one file in it."""
    return small()


PLACES.accepts("a new directory", "installed", extracted(one, ELSEWHERE))
PLACES.refuses("relative", "DestinationError", extracted(one, text("target")))
PLACES.refuses("empty", "DestinationError", extracted(one, text("")))
PLACES.refuses("with two dots", "DestinationError", extracted(one, lambda w: f"{w.top}/target/../bait"))
PLACES.refuses("with NUL", "TamperedError", extracted(one, text("/opt/a\0b")))
PLACES.refuses("of 5,000 characters", "TamperedError", extracted(one, text("/" + "x" * 5000)))
PLACES.refuses("of a part too long for any disk", "DestinationError", extracted(one, lambda w: f"{w.top}/{'x' * 300}/a"))
PLACES.refuses("more than the manifest has", "DestinationError", extracted(one, ELSEWHERE, at("bait")))
PLACES.refuses("none", "DestinationError", extracted(one))
PLACES.refuses("the agent's own directory", "DestinationError", extracted(one, at("subscriber")))
PLACES.refuses("the agent's keys", "DestinationError", extracted(one, at("subscriber/identity")))
PLACES.refuses("the trust of another Distributor", "DestinationError", extracted(one, at("subscriber/distributors/other/trust")))
PLACES.refuses("below a file", "DestinationError", extracted(one, at("bait/run.sh/a")))
PLACES.refuses("a file", "DestinationError", extracted(one, at("bait/run.sh")))
PLACES.refuses("a device", "DestinationError", extracted(one, text("/dev/null")))
PLACES.refuses("below a device", "DestinationError", extracted(one, text("/dev/null/a")))
PLACES.refuses("below /proc", "DestinationError|LockedTargetError|NoSpaceError", extracted(one, text("/proc/1/attacked")))
PLACES.refuses("through a descriptor", "DestinationError", extracted(one, text("/proc/self/fd/0")))
PLACES.refuses("through another root", "DestinationError", extracted(one, lambda w: f"/proc/self/root{w.top}/subscriber"))


def reaching_in(world: Subscriber) -> Made:
    """The parent of the working directory, with an entry that leads into it."""
    entries = [Entry(EntryKind.DIRECTORY, path, 0o755, 0) for path in ("", "subscriber", "subscriber/identity")]
    entries.append(Entry(EntryKind.FILE, "subscriber/identity/receipt.pem", 0o644, 0, 1, DIGEST))
    return small_with(tuple(entries))


def over_it(world: Subscriber) -> Made:
    """The parent of the working directory, with a link in its place."""
    return small_with((Entry(EntryKind.DIRECTORY, "", 0o755, 0), Entry(EntryKind.SYMLINK, "subscriber", 0o777, 0, target="bait")))


def small_with(entries: tuple[Entry, ...]) -> Made:
    """A revision of these entries."""
    return small(destinations=(Destination("{{ DEST }}", True, entries),))


def staging_name(_: Subscriber) -> Made:
    """An entry that is called as staging is."""
    return small_with((Entry(EntryKind.DIRECTORY, "", 0o755, 0), Entry(EntryKind.FILE, ".sluice-oslo.hq.zone", 0o644, 0, 1, DIGEST)))


PLACES.refuses("an entry that leads into the agent's directory", "DestinationError", extracted(reaching_in, at(".")))
PLACES.refuses("a link in the place of the agent's directory", "DestinationError", extracted(over_it, at(".")))
PLACES.refuses("an entry with the name of staging", "DestinationError", extracted(staging_name, ELSEWHERE))


def through_its_own_link(world: Subscriber) -> str:
    """A link to the agent's directory comes with one revision, and the next order goes through it."""
    link = Entry(EntryKind.SYMLINK, "in", 0o777, 0, target=str(world.bench.work))
    entries = (Entry(EntryKind.DIRECTORY, "", 0o755, 0), link)
    first = small(destinations=(Destination("{{ DEST }}", True, entries),), revision=RevisionNumber(1, 3))
    talk = world.receive(first)
    first_said = talk.order(world.order(first, destinations=(str(world.top / "linked"),)))
    assert first_said == "installed", first_said
    world.mark()
    return talk.order(world.order(first, destinations=(str(Path(world.top, "linked/in/identity")),)))


PLACES.refuses("through a link that came before", "DestinationError", through_its_own_link)
