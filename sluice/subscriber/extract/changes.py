"""The changes of a plan, for a dry run: which paths, and what becomes of what is there. Nothing here decides anything."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from sluice.model.change import Change, ChangeKind
from sluice.model.manifest import EntryKind
from sluice.ports import PathStat, Xattrs
from sluice.rules.wording import counted
from sluice.subscriber.extract.steps import MetadataStep

NAMED_MAX = 1000
"""Most paths of one kind that are remembered; all are counted."""
KIND_NAMES = {EntryKind.FILE: "a file", EntryKind.DIRECTORY: "a directory", EntryKind.SYMLINK: "a link"}


class ChangeLog:
    """Changes by kind."""

    def __init__(self) -> None:
        self.counts: Counter[ChangeKind] = Counter()
        self.others = 0
        """Links and directories to make or replace, and paths to set mode, owner, time or attributes of; not times of directories alone."""
        self._named: dict[ChangeKind, list[Change]] = {kind: [] for kind in ChangeKind}

    def add(self, kind: ChangeKind, path: str, detail: str = "") -> None:
        """Count a change of an absolute path."""
        self.counts[kind] += 1
        if len(self._named[kind]) < NAMED_MAX:
            self._named[kind].append(Change(kind, path, detail))

    def named(self) -> tuple[Change, ...]:
        """Return the remembered changes, those of foreign paths first, each kind in path order."""
        return tuple(chain.from_iterable(sorted(each, key=lambda change: change.path) for each in self._named.values()))


def kind_name(found: PathStat) -> str:
    """Return the kind of what is at a path, for a person."""
    return KIND_NAMES[found.kind] if found.kind else "a device, a socket or a pipe"


def worded(found: PathStat, xattrs: Xattrs = (), flags: str = "") -> str:
    """Return what is at a path, with everything about it that an extraction may take away."""
    words = [kind_name(found)]
    if found.kind is EntryKind.FILE:
        words.append(counted(found.size, "byte"))
    if found.kind is not EntryKind.SYMLINK:
        words.append(f"mode {found.mode:04o}")
    words.append(f"owner {found.owner[0]}:{found.owner[1]}")
    words += dict.fromkeys("an ACL" if name.startswith("system.posix_acl") else "attributes" for name, _ in xattrs)
    if flags:
        words.append(f"flags {flags} of chattr")
    if found.kind is EntryKind.FILE and found.links > 1:
        words.append(f"{counted(found.links - 1, 'other hard link')} not touched")
    return ", ".join(words)


def differences(step: MetadataStep) -> str:
    """Return what a step sets; empty if it only keeps everything as it is."""
    words = []
    if step.mode != step.mode_before:
        words.append(f"mode {step.mode_before:04o} -> {step.mode:04o}")
    if step.owner is not None and step.owner_before is not None:
        words.append(f"owner {step.owner_before[0]}:{step.owner_before[1]} -> {step.owner[0]}:{step.owner[1]}")
    if step.xattrs is not None and step.xattrs != step.xattrs_before:
        words.append("attributes")
    if step.mtime_ns != step.mtime_ns_before:
        words.append("time")
    return ", ".join(words)
