"""Versions of the metadata that a Subscriber holds. Imports nothing heavy: it answers ``hello``.

Versions here are claims, read without verifying; a sender uses them only to leave out files that the Subscriber has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from sluice.trust.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, distribution_role


def held_versions(directory: Path, about: Collection[str] | None = None) -> dict[str, int]:
    """Return the versions of the metadata below ``distributors/NAME`` by role; unreadable files count as not held.

    Args:
        about: Only the roles of these Distributions, besides the top roles.
    """
    roles = None if about is None else {TIMESTAMP, SNAPSHOT, TARGETS, *map(distribution_role, about)}
    versions = versions_in(directory / "trust" / "metadata", roles)
    try:
        versions[ROOT] = claimed_version((directory / "trust" / "root.json").read_bytes())
    except FileNotFoundError:
        versions.pop(ROOT, None)
    return {role: version for role, version in versions.items() if version}


def versions_in(metadata: Path, roles: Collection[str] | None = None) -> dict[str, int]:
    """Return the versions of all files in a directory of metadata, or of some, by role; 0 if one can't be read."""
    try:
        found = [entry for entry in os.scandir(metadata) if entry.name.endswith(".json")]
    except FileNotFoundError:
        return {}
    named = {entry.name.removesuffix(".json"): entry.path for entry in found}
    return {role: claimed_version(Path(path).read_bytes()) for role, path in named.items() if roles is None or role in roles}


def claimed_version(data: bytes) -> int:
    """Return the version that a metadata file claims; 0 if it claims none."""
    try:
        version = json.loads(data)["signed"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return version if isinstance(version, int) and 0 < version < 2**31 else 0
