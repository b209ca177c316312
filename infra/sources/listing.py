"""List the paths of a walk source by source, and refuse what can't be distributed before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from infra.sources.walk import FIELDS, MTIME, START, Walk
from sluice.errors import NameImpossibleError, SourceError
from sluice.model.manifest import TIME_MAX
from sluice.model.site import Distribution
from sluice.rules.names_on_disk import LISTED, all_impossible, check_collisions, check_path_length, distributed_name, shown_path

YEAR_NS = 31_556_952_000_000_000
"""Nanoseconds of a mean year."""

_SPECIAL = {0o140000: "a socket", 0o010000: "a named pipe", 0o060000: "a block device", 0o020000: "a character device"}


@dataclass(slots=True)
class Listed:
    """One path that was found and isn't read yet."""

    path: str
    """Below the destination."""
    disk: str
    """Below the source, as the disk names it; for a single file its name."""
    at: int
    """Index of its stat in the walk."""


def listings(walk: Walk, distribution: Distribution) -> list[list[Listed]]:
    """List the paths of a walk, source by source, sorted; every name is checked before anything is read."""
    found: list[list[Listed]] = []
    strict = distribution.case_sensitive_only
    sources = iter(distribution.files)
    source, items = "", list[Listed]()
    disk_prefix = prefix = ""
    prefixes: dict[str, str] = {}
    refused, impossible = list[NameImpossibleError](), 0
    untimely: list[str] = []
    at = -FIELDS
    for name in walk.names:
        if name.endswith("/"):
            disk_prefix = "" if name == "/" else name
            prefix = prefixes[disk_prefix]
            continue
        at += FIELDS
        if name == START:
            source = str(next(sources).source)
            prefixes, items = {"": ""}, [Listed("", START, at)]
            found.append(items)
            disk = path = ""
        else:
            disk = disk_prefix + name
            path = prefix + name
            try:
                path = prefix + distributed_name(name, where=f"{source}/{disk_prefix}".rstrip("/"), case_sensitive_only=strict)
                check_path_length(path, where=source)
            except NameImpossibleError as error:
                impossible += 1
                refused += [error] if impossible <= LISTED else []
            items.append(Listed(path, disk, at))
        kind = S_IFMT(walk.stats[at])
        if kind == S_IFDIR:
            prefixes[disk + "/" if disk else ""] = path + "/" if path else ""
        elif kind not in (S_IFREG, S_IFLNK):
            what = shown_path(f"{source}/{disk}".rstrip("/"))
            raise SourceError(f"{what} is {_SPECIAL.get(kind, 'no file')}, which can't be distributed", remedy="remove or exclude it")
        if abs(walk.stats[at + MTIME]) > TIME_MAX and kind != S_IFLNK:
            untimely.append(f"{source}/{disk}".rstrip("/") + f" (the year {1970 + walk.stats[at + MTIME] // YEAR_NS})")
    if refused:
        raise all_impossible(refused, impossible)
    if untimely:
        raise _untimely(sorted(untimely))
    for given, items in zip(distribution.files, found, strict=True):
        check_collisions(((i.path, f"{given.source}/{i.disk}") for i in items), case_sensitive_only=strict)
        items.sort(key=lambda item: item.path)
    return found


def _untimely(found: list[str]) -> SourceError:
    listed = "; ".join(shown_path(each) for each in found[:LISTED])
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return SourceError(
        f"modified before 1677 or after 2262, which can't be distributed: {listed}{more}",
        remedy="give each of them a true time with touch, or exclude it",
    )
