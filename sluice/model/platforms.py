"""Platforms (B20): a version belongs to a product, a product to a family, and the name of a family stands for all its products.

A platform is written ``family``, ``product`` or ``product-version``: ``linux``, ``debian``, ``debian-12``. Its lineage are its own name
and the wider ones. Left out: finding out which platform a host has; the agent reports that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

FAMILY_OF = {
    "linux": "linux",
    "debian": "linux",
    "ubuntu": "linux",
    "raspbian": "linux",
    "rhel": "linux",
    "centos": "linux",
    "rocky": "linux",
    "alma": "linux",
    "fedora": "linux",
    "oracle": "linux",
    "amazon": "linux",
    "sles": "linux",
    "opensuse": "linux",
    "alpine": "linux",
    "arch": "linux",
    "gentoo": "linux",
    "freebsd": "freebsd",
    "windows": "windows",
    "macos": "macos",
}
"""Each known product and its family; a family is a product of itself."""

CASE_SENSITIVE_FAMILIES = frozenset({"linux", "freebsd"})
"""Families whose file systems tell ``A`` from ``a`` (B4)."""

_PLATFORM = re.compile(r"([a-z]+)(-[a-z0-9][a-z0-9._-]{0,30})?")


def lineage(platform: str) -> tuple[str, ...]:
    """Return its names from narrow to wide: ``debian-12``, ``debian``, ``linux``. Empty if the platform isn't known."""
    match = _PLATFORM.fullmatch(platform)
    if match is None or match[1] not in FAMILY_OF:
        return ()
    return tuple(dict.fromkeys((platform, match[1], FAMILY_OF[match[1]])))


def platform_matches(platform: str, restriction: Iterable[str]) -> bool:
    """Whether a host of this platform is among those a Distribution is restricted to; no restriction means all (B20).

    A host whose platform isn't known matches only if there is no restriction.
    """
    wanted = tuple(restriction)
    return not wanted or any(p in wanted for p in lineage(platform))


def is_case_sensitive(platform: str) -> bool:
    """Whether every host of this platform tells names apart by case."""
    return bool(line := lineage(platform)) and line[-1] in CASE_SENSITIVE_FAMILIES
