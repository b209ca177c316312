"""What metadata a Subscriber holds, by version. Imports nothing heavy: it answers ``hello``.

Versions here are claims, read without verifying; they only tell a sender what it need not send again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from sluice.trust.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, distribution_role


def held_versions(directory: Path, about: Collection[str] | None = None) -> dict[str, int]:
    """Versions of the metadata held below ``distributors/NAME``, by role; what can't be read counts as not held.

    Args:
        about: Of the Distributions' roles only these.
    """
    roles = None if about is None else {TIMESTAMP, SNAPSHOT, TARGETS, *map(distribution_role, about)}
    versions = versions_in(directory / "trust" / "metadata", roles)
    try:
        versions[ROOT] = claimed_version((directory / "trust" / "root.json").read_bytes())
    except FileNotFoundError:
        versions.pop(ROOT, None)
    return {role: version for role, version in versions.items() if version}


def versions_in(metadata: Path, roles: Collection[str] | None = None) -> dict[str, int]:
    """Versions of the files in a directory of metadata, or of some, by role; 0 for those that can't be read."""
    try:
        found = [entry for entry in os.scandir(metadata) if entry.name.endswith(".json")]
    except FileNotFoundError:
        return {}
    named = {entry.name.removesuffix(".json"): entry.path for entry in found}
    return {role: claimed_version(Path(path).read_bytes()) for role, path in named.items() if roles is None or role in roles}


def claimed_version(data: bytes) -> int:
    """The version a metadata file claims; 0 if it claims none."""
    try:
        version = json.loads(data)["signed"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return version if isinstance(version, int) and 0 < version < 2**31 else 0
