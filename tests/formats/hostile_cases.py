"""Hostile deltas by name, each with the error that it must meet: put together by hand, every digest in them right.

Of two files, ``a`` and ``sub/b``, the first comes in a plain frame and the second in one that is made from what it was. What comes of any
of them must still be the manifest that was signed.
"""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import hdiffpatch
from blake3 import blake3

from sluice.formats.canonical import canonical_bytes
from sluice.formats.manifest.delta import manifest_delta
from sluice.formats.ted.file import MAGIC, TedWriter, trailer
from sluice.formats.ted.frame import GROUP_MAX, PATCH_MAX, SMALL_GROUP_MAX, Frame, FrameKind, Range
from sluice.formats.ted.index import RECIPE_MAX
from sluice.formats.ted.recipe import Recipe, recipe_bytes
from sluice.formats.varint import put
from sluice.formats.zstd import compress_frame, compress_wide
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from tests.formats.damage import NUMBERS

REVISION, BASE = RevisionNumber(1, 5), RevisionNumber(1, 1)
NEW_B = bytes(range(250)) * 12
"""What ``sub/b`` becomes; in 1.1 it is 3,000 bytes of 1."""
MIB = 1024 * 1024


@dataclass(frozen=True)
class Parts:
    """A delta before it is put together. The second content, of ``sub/b``, is made by ``frame`` from ``ranges``; the first is plain."""

    base: Manifest
    new: Manifest
    manifest: bytes
    """The manifest delta."""
    frame: Frame
    data: bytes
    ranges: tuple[Range, ...]
    recipe: bytes | None = None
    """In place of the one made of these."""
    first: bytes = b"a of 5"
    of: RevisionNumber = BASE
    small: bool = False
    packed: bytes | None = None
    """In place of the recipe, compressed."""
    plain: int = 0
    """What the index then says of the recipe."""


def parts(base: Manifest) -> Parts:
    """A delta as it should be: of 1.5, in which both files differ from ``base``."""
    digests = {"a": blake3(b"a of 5").hexdigest(), "sub/b": blake3(NEW_B).hexdigest()}
    [destination] = base.destinations
    entries = tuple(
        replace(entry, digest=digests[entry.path], size=6 if entry.path == "a" else len(NEW_B)) if entry.path in digests else entry
        for entry in destination.entries
    )
    new = replace(base, revision=REVISION, destinations=(replace(destination, entries=entries),))
    old = bytes([1]) * 3000
    data = compress_wide(NEW_B, level=9, prefix=old)
    ordinal = [digest for digest, _ in base.contents()].index(blake3(old).hexdigest())
    ranges = (Range(ordinal, 0, 3000),)
    return Parts(base, new, manifest_delta(base, new), Frame(len(data), 3000, FrameKind.PREFIX, 3000), data, ranges)


def put_together(made: Parts) -> tuple[bytes, bytes]:
    """Index and payload."""
    out = io.BytesIO()
    writer = TedWriter(out.write, distribution="zone", revision=REVISION, base=made.of, small=made.small)
    recipe = recipe_bytes(Recipe(made.manifest, (made.ranges,))) if made.recipe is None else made.recipe
    packed = compress_frame(recipe) if made.packed is None else made.packed
    writer.recipe(packed, made.plain or len(recipe))
    first = compress_frame(made.first)
    writer.delta_frame(Frame(len(first), len(made.first)), first)
    writer.delta_frame(made.frame._replace(length=len(made.data)), made.data)
    _, index = writer.finish()
    return index, out.getvalue()[len(MAGIC) : -len(trailer(index))]


@dataclass(frozen=True)
class Sent:
    """What a sender then has."""

    made: Parts
    index: bytes
    payload: bytes
    announced: int = -1
    """Bytes of payload that it announces; below zero: as many as there are."""


Make = Callable[[Parts], Sent]


@dataclass(frozen=True)
class Hostile:
    """One case."""

    answers: frozenset[str]
    """Errors it may meet; none: it is a control, and completed."""
    make: Make


CASES: dict[str, Hostile] = {}


def refuses(name: str, answer: str, make: Make) -> None:
    """``answer`` is the error, or several with ``|`` between them."""
    assert name not in CASES, name
    CASES[name] = Hostile(frozenset(answer.split("|")), make)


def accepts(name: str, make: Make) -> None:
    """A control."""
    assert name not in CASES, name
    CASES[name] = Hostile(frozenset(), make)


def completed(change: Callable[[Parts], Parts] = lambda made: made) -> Make:
    """The delta with something else in it."""

    def make(true: Parts) -> Sent:
        made = change(true)
        return Sent(made, *put_together(made))

    return make


def another(**changed: Any) -> Callable[[Parts], Parts]:
    """These parts are others."""
    return lambda made: replace(made, **changed)


def frame(data: bytes, *figures: Any) -> Callable[[Parts], Parts]:
    """The second frame is this one."""
    return another(frame=Frame(len(data), *figures), data=data)


def patch(plain: bytes = NEW_B) -> bytes:
    """A patch that makes ``plain`` of the old content."""
    return bytes(hdiffpatch.diff(bytes([1]) * 3000, plain))


PATCH = patch()
HDIFF = (3000, FrameKind.HDIFF, 3000)

accepts("as it is", completed())
accepts("of HDiffPatch in zstd", completed(frame(compress_frame(PATCH), *HDIFF, len(PATCH), "zstd")))
accepts("of HDiffPatch in lzma", completed(frame(lzma.compress(PATCH), *HDIFF, len(PATCH), "lzma")))
for name, change in {
    "other content": another(first=b"a of 6"),
    "other content of the second": frame(compress_wide(NEW_B[::-1], level=9), 3000, FrameKind.PREFIX, 3000),
    "the reference itself": frame(b"", 3000, FrameKind.COPY, 3000),
    "a patch that makes other content": frame(compress_frame(patch(NEW_B[::-1])), *HDIFF, len(patch(NEW_B[::-1])), "zstd"),
}.items():
    refuses(name, "TamperedError", completed(change))
for name, change in {
    "noise": frame(b"noise", 3000, FrameKind.PREFIX, 3000),
    "noise as a patch": frame(compress_frame(b"noise"), *HDIFF, 5, "zstd"),
    "noise as lzma": frame(b"noise", *HDIFF, len(PATCH), "lzma"),
    "a patch cut short": frame(compress_frame(PATCH[:-1]), *HDIFF, len(PATCH) - 1, "zstd"),
    "a patch and more": frame(compress_frame(PATCH + b"x"), *HDIFF, len(PATCH) + 1, "zstd"),
    "a patch of another size than said": frame(compress_frame(PATCH), *HDIFF, len(PATCH) + 1, "zstd"),
    "a patch with compression inside": frame(
        compress_frame(PATCH.replace(b"HDIFF13&\0", b"HDIFF13&zlib\0")), *HDIFF, len(PATCH) + 4, "zstd"
    ),
    "a patch for more than is said": frame(compress_frame(patch(NEW_B + b"x")), *HDIFF, len(patch(NEW_B + b"x")), "zstd"),
    "a frame of more than it says": frame(compress_frame(bytes(64 * MIB)), 3000, FrameKind.PREFIX, 3000),
    "a patch of more than it says": frame(compress_frame(bytes(PATCH_MAX)), *HDIFF, len(PATCH), "zstd"),
    "lzma of more than it says": frame(lzma.compress(bytes(64 * MIB), preset=0), *HDIFF, len(PATCH), "lzma"),
    "lzma with a dictionary of 1 GiB": frame(
        lzma.compress(PATCH, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**30}]), *HDIFF, len(PATCH), "lzma"
    ),
    "lzma's older format": frame(lzma.compress(PATCH, lzma.FORMAT_ALONE), *HDIFF, len(PATCH), "lzma"),
    "two frames where one is named": frame(compress_frame(NEW_B) * 2, 3000, FrameKind.PREFIX, 3000),
    "less plaintext than said": frame(compress_frame(NEW_B[1:]), 3000, FrameKind.PREFIX, 3000),
}.items():
    refuses(name, "StoreCorruptError", completed(change))
for each in NUMBERS[:8]:
    head = b"HDIFF13&\0" + each * 11
    refuses(f"a patch's head of {each!r}", "StoreCorruptError", completed(frame(compress_frame(head), *HDIFF, len(head), "zstd")))


# --- recipes -----------------------------------------------------------------------------------------------------------


def ranges(*found: tuple[int, int, int]) -> Callable[[Parts], Parts]:
    """The reference is made of these instead; contents are counted from that of ``sub/b``."""
    return lambda made: replace(made, ranges=tuple(Range(made.ranges[0].content + n, offset, length) for n, offset, length in found))


def of_recipe(change: Callable[[bytes, bytes], bytes]) -> Callable[[Parts], Parts]:
    """The recipe's bytes, of a manifest delta and the rest of the recipe."""

    def changed(made: Parts) -> Parts:
        rest = recipe_bytes(Recipe(b"", (made.ranges,)))[1:]
        return replace(made, recipe=change(made.manifest, rest))

    return changed


def number(value: int) -> bytes:
    """As a varint."""
    out = bytearray()
    put(out, value)
    return bytes(out)


def whole(manifest: bytes, rest: bytes) -> bytes:
    """A recipe as it should be."""
    return number(len(manifest)) + manifest + rest


accepts("two halves", completed(ranges((0, 0, 1500), (0, 1500, 1500))))
accepts("put together by hand", completed(of_recipe(whole)))
for name, change in {
    "a content before the first": ranges((-1000, 0, 3000)),
    "a content behind the last": ranges((1000, 0, 3000)),
    "beyond a content's end": ranges((0, 1, 3000)),
    "an offset beyond all": ranges((0, 2**63 - 1, 1)),
    "a length beyond all": ranges((0, 0, 2**63 - 1)),
    "an offset at the end": ranges((0, 3000, 0)),
    "less than the index says": ranges((0, 0, 2999)),
    "more than the index says": ranges((0, 0, 3000), (0, 0, 1)),
    "of nothing": of_recipe(lambda manifest, rest: number(len(manifest)) + manifest),
    "a recipe with more behind it": of_recipe(lambda manifest, rest: whole(manifest, rest) + b"x"),
    "a manifest longer than the recipe": of_recipe(lambda manifest, rest: number(len(manifest) + 100) + manifest + rest),
    "a manifest of 2**63 bytes": of_recipe(lambda manifest, rest: number(2**63) + manifest + rest),
    "a hundred million ranges": of_recipe(lambda manifest, rest: number(len(manifest)) + manifest + number(10**8) + rest[1:]),
    "no manifest": of_recipe(lambda manifest, rest: b"\0" + rest),
    "a recipe of another size than said": another(plain=5000),
    "a recipe that is no zstd": another(packed=b"noise", plain=100),
    "64 MiB of zeros as recipe": another(packed=compress_frame(bytes(RECIPE_MAX)), plain=RECIPE_MAX),
    "a manifest of zeros": of_recipe(lambda manifest, rest: whole(bytes(len(manifest)), rest)),
    "a manifest cut short": of_recipe(lambda manifest, rest: whole(manifest[:-1], rest)),
    "a manifest and more": of_recipe(lambda manifest, rest: whole(manifest + b"\0", rest)),
    "a manifest twice": of_recipe(lambda manifest, rest: whole(manifest * 2, rest)),
}.items():
    refuses(name, "StoreCorruptError", completed(change))
for each in NUMBERS[:5]:
    refuses(
        f"{each!r} ranges",
        "StoreCorruptError",
        completed(of_recipe(lambda manifest, rest, n=each: number(len(manifest)) + manifest + n + rest[1:])),
    )


def manifested(**changed: Any) -> Callable[[Parts], Parts]:
    """The delta leads to another manifest than the signed one."""
    return lambda made: replace(made, manifest=manifest_delta(made.base, replace(made.new, **changed)))


def with_entry(entry: Entry) -> Callable[[Parts], Parts]:
    """The delta leads to one entry more, in the last place."""

    def changed(made: Parts) -> Parts:
        [destination] = made.new.destinations
        more = replace(destination, entries=(*destination.entries, entry))
        return replace(made, manifest=manifest_delta(made.base, replace(made.new, destinations=(more,))))

    return changed


for name, change in {
    "another revision's": manifested(revision=RevisionNumber(1, 6)),
    "another option": manifested(rollback=False),
    "a link more": with_entry(Entry(EntryKind.SYMLINK, "zz", 0o777, 0, target="../bait")),
}.items():
    refuses(f"a manifest of {name}", "TamperedError|StoreCorruptError", completed(change))
for path in ("zz/../../bait", "/etc/passwd", "zz/", "zz\0", "zz/a"):
    refuses(
        f"a manifest with {path!r}",
        "StoreCorruptError|TamperedError",
        completed(with_entry(Entry(EntryKind.SYMLINK, path, 0o777, 0, target="x"))),
    )


# --- figures -----------------------------------------------------------------------------------------------------------


def indexed(change: Callable[[dict[str, Any]], None]) -> Make:
    """The index says something else."""

    def make(true: Parts) -> Sent:
        index, payload = put_together(true)
        value = json.loads(index)
        change(value)
        announced = value["payload"] if isinstance(value["payload"], int) else len(payload)
        return Sent(true, canonical_bytes(value), payload, announced)

    return make


def framed(*figures: Any) -> Callable[[dict[str, Any]], None]:
    """The second frame's figures but its length, with a sum that fits."""

    def change(value: dict[str, Any]) -> None:
        value["frames"][1] = [value["frames"][1][0], *figures]
        value["plain"] = sum(each[1] for each in value["frames"] if isinstance(each[1], int))

    return change


def setting(**values: Any) -> Callable[[dict[str, Any]], None]:
    """These keys."""
    return lambda value: value.update(values)


accepts("an index as it is", indexed(lambda value: None))
for name, alter in {
    "a group of a byte too much": framed(GROUP_MAX + 1, "prefix", 3000),
    "a reference of a byte too much": framed(3000, "prefix", GROUP_MAX + 1),
    "a reference of nothing": framed(3000, "prefix", 0),
    "a reference below zero": framed(3000, "prefix", -1),
    "a group of 2**62 bytes": framed(2**62, "prefix", 3000),
    "a patch larger than it may be": framed(3000, "hdiff", 3000, 3000 + 375 + 64 * 1024 + 1, "zstd"),
    "a patch of 2**62 bytes": framed(GROUP_MAX, "hdiff", 3000, 2**62, "zstd"),
    "a patch of nothing": framed(3000, "hdiff", 3000, 0, "zstd"),
    "a codec to come": framed(3000, "hdiff", 3000, 100, "brotli"),
    "a codec that is a list": framed(3000, "hdiff", 3000, 100, ["zstd"]),
    "a kind to come": framed(3000, "bsdiff", 3000),
    "a kind that is a number": framed(3000, 7, 3000),
    "a copy with payload": framed(3000, "copy"),
    "a figure too few": framed(3000, "prefix"),
    "a figure too many": framed(3000, "prefix", 3000, 3000),
    "a figure with a point": framed(3000, "prefix", 3000.5),
    "a figure that is true": framed(3000, "prefix", True),
    "a figure of 4,000 digits": framed(3000, "prefix", 10**4000),
    "no frames": setting(frames=[]),
    "frames that are none": setting(frames=[[]]),
    "no base": setting(base=None),
    "itself as base": setting(base=str(REVISION)),
    "a base to come": setting(base="1.9"),
    "a recipe of nothing": setting(recipe=[0, 0]),
    "a recipe of 2**62 bytes": setting(recipe=[10, 2**62]),
    "a recipe of more than 64 MiB": setting(recipe=[1000, RECIPE_MAX + 1]),
    "a recipe of three figures": setting(recipe=[1, 2, 3]),
    "no recipe": lambda value: value.pop("recipe"),
    "a flag that is none": setting(small=1),
    "version 1 with a recipe": setting(version=1),
    "version 3": setting(version=3),
}.items():
    refuses(name, "StoreCorruptError|TamperedError", indexed(alter))
refuses("called small and isn't", "TamperedError", indexed(setting(small=True)))
SMALL_PATCH = another(small=True, frame=Frame(0, *HDIFF, len(PATCH), "zstd"), data=compress_frame(PATCH))
refuses("a small one with a patch", "StoreCorruptError", completed(SMALL_PATCH))
SMALL_LARGE = another(small=True, frame=Frame(0, SMALL_GROUP_MAX + 1, FrameKind.PREFIX, 3000), data=compress_frame(NEW_B))
refuses("a small one with a large group", "StoreCorruptError", completed(SMALL_LARGE))
refuses("from what isn't extracted", "BaseDiffersError", completed(another(of=RevisionNumber(1, 2))))
refuses("from what was never here", "BaseDiffersError", completed(another(of=RevisionNumber(1, 3))))
