"""What metadata a Subscriber holds, by version. Imports nothing heavy: it answers ``hello``.

Versions here are claims, read without verifying; they only tell a sender what it need not send again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sluice.trust.roles import ROOT


def held_versions(directory: Path) -> dict[str, int]:
    """Versions of the metadata held below ``distributors/NAME``, by role; what can't be read counts as not held."""
    versions = versions_in(directory / "trust" / "metadata")
    try:
        versions[ROOT] = claimed_version((directory / "trust" / "root.json").read_bytes())
    except FileNotFoundError:
        versions.pop(ROOT, None)
    return {role: version for role, version in versions.items() if version}


def versions_in(metadata: Path) -> dict[str, int]:
    """Versions of the files in a directory of metadata, by role; 0 for those that can't be read."""
    try:
        found = [entry for entry in os.scandir(metadata) if entry.name.endswith(".json")]
    except FileNotFoundError:
        return {}
    return {entry.name.removesuffix(".json"): claimed_version(Path(entry.path).read_bytes()) for entry in found}


def claimed_version(data: bytes) -> int:
    """The version a metadata file claims; 0 if it claims none."""
    try:
        version = json.loads(data)["signed"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return version if isinstance(version, int) and 0 < version < 2**31 else 0
