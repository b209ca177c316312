"""Deltas put together by hand, one frame of every kind, and what a reader makes of one that somebody has changed since."""

from __future__ import annotations

import io
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import hdiffpatch
from blake3 import blake3

from sluice.delta.apply import read_delta
from sluice.errors import TamperedError
from sluice.formats.manifest.delta import apply_manifest_delta, filled, manifest_delta
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.ted.file import MAGIC, TedWriter, cut_contents, needed_contents, trailer
from sluice.formats.ted.frame import Frame, FrameKind, Range
from sluice.formats.ted.index import parse_index
from sluice.formats.ted.recipe import Recipe, read_recipe, recipe_bytes, resolved_references
from sluice.formats.zstd import compress_frame, compress_wide
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber

BASE, NEW = RevisionNumber(1, 1), RevisionNumber(1, 2)
SIZE = 6000


@dataclass(frozen=True)
class Delta:
    """One delta in its parts, and what is there on both sides."""

    base: Manifest
    new: Manifest
    old: Mapping[str, bytes]
    """The base's contents by digest."""
    contents: Mapping[str, bytes]
    """The new revision's."""
    recipe: bytes
    """Not compressed."""
    frames: tuple[Frame, ...]
    data: tuple[bytes, ...]
    """Of each frame."""

    def ted(self) -> tuple[bytes, bytes]:
        """The whole file and its index: every digest in it fits, so that a signature over the index would."""
        out = io.BytesIO()
        writer = TedWriter(out.write, distribution="zone", revision=NEW, base=BASE)
        writer.recipe(compress_frame(self.recipe), len(self.recipe))
        for frame, data in zip(self.frames, self.data, strict=True):
            writer.delta_frame(frame, data)
        _, index = writer.finish()
        return out.getvalue(), index

    def signed(self) -> tuple[bytes, bytes]:
        """Index and payload of the same."""
        ted, index = self.ted()
        return index, ted[len(MAGIC) : len(ted) - len(trailer(index))]

    def with_frame(self, number: int, data: bytes) -> Delta:
        """Another payload of one frame, whose figure says so."""
        frames, pieces = list(self.frames), list(self.data)
        frames[number], pieces[number] = frames[number]._replace(length=len(data)), data
        return replace(self, frames=tuple(frames), data=tuple(pieces))


def rebuilt(delta: Delta, index_bytes: bytes, payload: bytes) -> dict[str, bytes]:
    """The new contents by digest, as a holder of the base makes them.

    Raises:
        StoreCorruptError: As the formats do.
        TamperedError: What came out isn't the manifest that was signed.
    """
    index = parse_index(index_bytes)
    stream = io.BytesIO(payload)
    recipe = read_recipe(stream.read, index)
    outline = apply_manifest_delta(delta.base, recipe.manifest)
    held = [delta.old[digest] for digest, _ in delta.base.contents()]

    def reference(ranges: Sequence[Range]) -> bytes:
        return b"".join(held[each.content][each.offset : each.offset + each.length] for each in ranges)

    ranges = resolved_references(recipe, index, delta.base, outline)
    plaintext = read_delta(stream.read, index.frames, ranges, reference)
    found = [b"".join(pieces) for _, _, pieces in cut_contents(plaintext, index, needed_contents(outline, delta.base))]
    digests = [blake3(data).hexdigest() for data in found]
    if manifest_bytes(filled(outline, digests)) != manifest_bytes(delta.new):
        raise TamperedError("another manifest than the one that was signed")
    return dict(zip(digests, found, strict=True))


def sample(seed: int = 7) -> Delta:
    """A delta with a frame of every kind: most of one content changed a little, one new, one renamed, one gone."""
    chance = Random(seed)
    texts = [b"".join(b"line %d of %d: %d\n" % (n, which, chance.randrange(100)) for n in range(250)) for which in range(4)]
    noise = chance.randbytes(SIZE)
    old = [*texts, noise, b"", b"moved"]
    new = [changed(text, chance) for text in texts]
    new += [noise[1000:3000] + noise[200:900], chance.randbytes(900), b"moved", noise]
    base = manifest(BASE, {f"{n}.txt": data for n, data in enumerate(old)})
    target = manifest(NEW, {f"{n}.txt": data for n, data in enumerate(new)} | {"ünter": b"", "other": noise})
    held = {blake3(data).hexdigest(): data for data in old}
    ordinals = {digest: n for n, (digest, _) in enumerate(base.contents())}
    where = {data: ordinals[blake3(data).hexdigest()] for data in old}
    parts: list[tuple[Frame, bytes, tuple[Range, ...]]] = []
    gone = [digest for digest, _ in base.contents() if digest not in {each for each, _ in target.contents()}]
    default = b"".join(held[digest] for digest in gone)
    parts.append(_patch(new[0], default, (), "zstd"))
    parts.append(_patch(new[1], texts[1], (Range(where[texts[1]], 0, 0),), "lzma"))
    prefix = compress_wide(new[2], level=9, prefix=texts[2])
    parts.append((Frame(len(prefix), len(new[2]), FrameKind.PREFIX, len(texts[2])), prefix, (Range(where[texts[2]], 0, len(texts[2])),)))
    parts.append(_patch(new[3], texts[3][500:] + texts[2], (Range(where[texts[3]], 500, 0), Range(where[texts[2]], 0, 0)), "zstd"))
    copied = (Range(where[noise], 1000, 2000), Range(where[noise], 200, 700))
    parts.append((Frame(0, 2700, FrameKind.COPY, 2700), b"", copied))
    plain = compress_frame(new[5])
    parts.append((Frame(len(plain), len(new[5])), plain, ()))
    recipe = Recipe(manifest_delta(base, target), tuple(ranges for frame, _, ranges in parts if frame.kind is not FrameKind.PLAIN))
    contents = {blake3(data).hexdigest(): data for data in [*new, b""]}
    frames, data = tuple(frame for frame, _, _ in parts), tuple(data for _, data, _ in parts)
    return Delta(base, target, held, contents, recipe_bytes(recipe), frames, data)


def manifest(revision: RevisionNumber, files: Mapping[str, bytes]) -> Manifest:
    """Of one directory with these files, a link and an empty directory."""
    entries = [Entry(EntryKind.DIRECTORY, "", 0o755, 1_600_000_000 * 10**9 + revision.number)]
    for name, data in files.items():
        digest = blake3(data).hexdigest()
        entries.append(Entry(EntryKind.FILE, name, 0o644, 1_600_000_000 * 10**9 + len(data), len(data), digest))
    entries.append(Entry(EntryKind.SYMLINK, "link", 0o777, 0, target=f"{revision.number}.txt"))
    entries.append(Entry(EntryKind.DIRECTORY, "empty", 0o750, 5))
    entries.sort(key=lambda each: each.path.encode())
    return Manifest("zone", revision, "file", (Destination("{{ DEST }}", True, tuple(entries)),))


def changed(text: bytes, chance: Random) -> bytes:
    """A few bytes of it are others, a line is gone, one is new."""
    found = bytearray(text)
    for _ in range(5):
        found[chance.randrange(len(found))] = 33 + chance.randrange(90)
    lines = bytes(found).splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    lines.insert(chance.randrange(len(lines)), b"a new line %d\n" % chance.randrange(1000))
    return b"".join(lines)


def _patch(plain: bytes, reference: bytes, ranges: tuple[Range, ...], codec: str) -> tuple[Frame, bytes, tuple[Range, ...]]:
    patch = hdiffpatch.diff(reference, plain)
    data = lzma.compress(patch, lzma.FORMAT_XZ) if codec == "lzma" else compress_wide(patch, level=19)
    return Frame(len(data), len(plain), FrameKind.HDIFF, len(reference), len(patch), codec), data, ranges
