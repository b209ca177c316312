"""A ``.ted`` at the Distributor read as a Subscriber reads it that has the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blake3 import blake3

from sluice.delta.apply import read_delta
from sluice.formats.manifest.delta import apply_manifest_delta, filled
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.ted.file import PAYLOAD_OFFSET, cut_contents, needed_contents, open_ted, read_contents, verify_payload
from sluice.formats.ted.frame import Range
from sluice.formats.ted.recipe import read_recipe, resolved_references
from sluice.model.manifest import Manifest
from sluice.ports import TedFile


def decoded(ted: TedFile, manifest: Manifest, base: Manifest | None = None, held: Mapping[str, bytes] | None = None) -> list[bytes]:
    """The contents in it, in order, and of a delta also that the signed manifest comes out.

    Args:
        held: The base's contents by digest; a delta whose frames need one that isn't there fails.
    """
    index, raw = open_ted(ted.path)
    assert raw == ted.index
    assert (index.payload, index.small, index.base) == (ted.payload, ted.small, ted.base)
    verify_payload(ted.path)
    with open(ted.path, "rb") as file:
        file.seek(PAYLOAD_OFFSET)
        if base is None:
            return [b"".join(pieces) for _, _, pieces in read_contents(file.read, index, needed_contents(manifest))]
        recipe = read_recipe(file.read, index)
        outline = apply_manifest_delta(base, recipe.manifest)
        order = [digest for digest, _ in base.contents()]

        def reference(ranges: Sequence[Range]) -> bytes:
            return b"".join((held or {})[order[each.content]][each.offset : each.offset + each.length] for each in ranges)

        ranges = resolved_references(recipe, index, base, outline)
        plaintext = read_delta(file.read, index.frames, ranges, reference, small=index.small)
        found = [b"".join(pieces) for _, _, pieces in cut_contents(plaintext, index, needed_contents(outline, base))]
        assert file.tell() == PAYLOAD_OFFSET + index.payload
    digests = [blake3(data).hexdigest() for data in found]
    assert manifest_bytes(filled(outline, digests)) == manifest_bytes(manifest)
    return found
