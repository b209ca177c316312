"""Manifest deltas (docs/formats.md section 4): one manifest from another, without the digests of contents that only the new one has.

The reader of a delta computes those digests while it makes the contents, fills them in, and compares the finished manifest's bytes with
what was signed: so an outline is never more than a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sluice.errors import StoreCorruptError
from sluice.formats.manifest import manifest_bytes, parse_manifest
from sluice.model.manifest import EntryKind, Manifest

PLACEHOLDER = "#"
"""What the digest of an unknown content begins with in an outline; its number follows, counted from 0 by first appearance."""


def manifest_delta(base: Manifest, new: Manifest) -> bytes:
    """What leads from ``base`` to ``new``, not compressed."""
    return manifest_bytes(new)


def apply_manifest_delta(base: Manifest, data: bytes) -> Manifest:
    """The outline of the new manifest: what ``base`` hasn't has a placeholder for its digest.

    Raises:
        StoreCorruptError: It is damaged, of another base, or breaks a rule of manifests.
    """
    return outline(base, parse_manifest(data))


def outline(base: Manifest, new: Manifest) -> Manifest:
    """What a holder of ``base`` knows of ``new`` before it has the contents."""
    held = {digest for digest, _ in base.contents()}
    names: dict[str, str] = {}
    for digest, _ in new.contents():
        names[digest] = digest if digest in held else f"{PLACEHOLDER}{len(names) - len(held & names.keys())}"
    return _renamed(new, names)


def filled(outline: Manifest, digests: Sequence[str]) -> Manifest:
    """The manifest with digests in place of its placeholders.

    Args:
        digests: Of the contents that lacked one, by number.
    Raises:
        StoreCorruptError: There are fewer or more than it has placeholders.
    """
    unknown = [digest for digest, _ in outline.contents() if digest.startswith(PLACEHOLDER)]
    if len(unknown) != len(digests):
        raise StoreCorruptError(
            f"the manifest of {outline.distribution} {outline.revision} has {len(unknown)} new contents, not {len(digests)}"
        )
    return _renamed(outline, dict(zip(unknown, digests, strict=True)))


def _renamed(manifest: Manifest, names: dict[str, str]) -> Manifest:
    destinations = []
    for destination in manifest.destinations:
        entries = tuple(
            replace(entry, digest=names[entry.digest]) if entry.kind is EntryKind.FILE and entry.digest in names else entry
            for entry in destination.entries
        )
        destinations.append(replace(destination, entries=entries))
    return replace(manifest, destinations=tuple(destinations))
