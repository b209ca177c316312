"""Names of roles, targets and files of a Distributor's TUF repository (docs/formats.md section 5). Their only home."""

from __future__ import annotations

from sluice.model.names import name_is_valid
from sluice.model.revision import RevisionNumber

ROOT, TIMESTAMP, SNAPSHOT, TARGETS = "root", "timestamp", "snapshot", "targets"
TOP_ROLES = (ROOT, TIMESTAMP, SNAPSHOT, TARGETS)
"""Roles that every Distribution needs."""
ORDERS = "orders"
"""The delegated role whose key signs orders; it lists nothing."""
MANIFEST = "manifest"
DISTFILE = "distfile.ted"


def distribution_role(distribution: str) -> str:
    """Return the delegated role of a Distribution; the period keeps it apart from every other role (A9)."""
    return f"distribution.{distribution}"


def manifest_target(distribution: str, revision: RevisionNumber) -> str:
    """Return the target path of a manifest."""
    return f"{distribution}/{revision}/{MANIFEST}"


def ted_target(distribution: str, revision: RevisionNumber, name: str) -> str:
    """Return the target path of a ``.ted``, by its file name."""
    return f"{distribution}/{revision}/{name}"


def delta_name(base: RevisionNumber, small: bool = False) -> str:
    """Return the file name of the ``.ted`` for Subscribers that have extracted ``base``; ``small``: and have little memory."""
    return f"from-{base}.small.ted" if small else f"from-{base}.ted"


def metadata_file(role: str, version: int | None) -> str:
    """Return a metadata file's name in the repository; only the timestamp has no version."""
    return f"{role}.json" if version is None else f"{version}.{role}.json"


def split_metadata_file(name: str) -> tuple[str, int | None] | None:
    """Split a metadata file's name into (role, version); None if it isn't such a name."""
    stem, dot, ending = name.rpartition(".")
    if not dot or ending != "json":
        return None
    version, dot, role = stem.partition(".")
    if dot and version.isascii() and version.isdigit() and len(version) < 10:
        return (role, int(version)) if role_is_known(role) else None
    return (stem, None) if stem == TIMESTAMP else None


def role_is_known(role: str) -> bool:
    """Whether a role of this name can exist here."""
    if role in (ROOT, TIMESTAMP, SNAPSHOT, TARGETS):
        return True
    prefix, dot, distribution = role.partition(".")
    return prefix == "distribution" and dot == "." and name_is_valid(distribution)
