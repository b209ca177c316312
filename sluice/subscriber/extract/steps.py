"""The steps of an extraction as its journal keeps them, a JSON list each: what is done, and what undoing it needs."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sluice.ports import Owner, Xattrs

TRIED_AGAIN = "nothing to do: the next extract tries again"
"""Remedy if somebody else changed a path during the extraction."""
NEW = -1
"""``mode_before`` of a directory that is new."""


@dataclass(frozen=True, slots=True)
class SwapStep:
    """Exchanges something staged with whatever is at its path."""

    area: int
    """Number of the staging area."""
    staged: str
    """Name in the staging directory."""
    path: str
    inode: int
    """Of the staged file or directory: tells done from not done."""
    kind_before: str
    """Expected at the path: ``f``, ``d``, ``l`` or empty for nothing."""


@dataclass(frozen=True, slots=True)
class RemoveStep:
    """Moves a path to staging; it is deleted there once all is committed."""

    area: int
    staged: str
    """Name in the staging directory."""
    path: str
    is_directory: bool
    mode: int
    """Before it was moved: a directory that its owner may not change is made writable for that."""
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class MetadataStep:
    """Sets mode and time of a file or directory that stays, and owner and extended attributes if they are given."""

    area: int
    path: str
    is_directory: bool
    mode: int
    mtime_ns: int
    mode_before: int
    """Or NEW."""
    mtime_ns_before: int
    owner: Owner | None = None
    owner_before: Owner | None = None
    xattrs: Xattrs | None = None
    xattrs_before: Xattrs | None = None


Step = SwapStep | RemoveStep | MetadataStep


def step_line(step: Step) -> bytes:
    """Encode a step, without a newline."""
    return json.dumps(_fields(step), separators=(",", ":")).encode()


def parse_step(line: bytes) -> Step:
    """Decode a step. Raises ValueError, TypeError or KeyError if it is damaged."""
    kind, *fields = json.loads(line)
    return _READERS[kind](*fields)


def _fields(step: Step) -> list[Any]:
    match step:
        case SwapStep():
            return ["swap", step.area, step.staged, step.path, step.inode, step.kind_before]
        case RemoveStep():
            return ["remove", step.area, step.staged, step.path, step.is_directory, step.mode, step.mtime_ns]
    before = [step.mode_before, step.mtime_ns_before]
    fields = ["metadata", step.area, step.path, step.is_directory, step.mode, step.mtime_ns, *before]
    if step.owner or step.xattrs is not None:
        fields += [step.owner, step.owner_before, _xattrs_to_json(step.xattrs), _xattrs_to_json(step.xattrs_before)]
    return fields


def _metadata_step(*fields: Any) -> MetadataStep:
    step = MetadataStep(*fields[:7])
    if len(fields) == 7:
        return step
    owner, owner_before, xattrs, xattrs_before = fields[7:]
    return replace(
        step,
        owner=owner and (int(owner[0]), int(owner[1])),
        owner_before=owner_before and (int(owner_before[0]), int(owner_before[1])),
        xattrs=_xattrs_from_json(xattrs),
        xattrs_before=_xattrs_from_json(xattrs_before),
    )


def _xattrs_to_json(xattrs: Xattrs | None) -> list[Any] | None:
    return None if xattrs is None else [[name, b64encode(value).decode()] for name, value in xattrs]


def _xattrs_from_json(value: list[Any] | None) -> Xattrs | None:
    return None if value is None else tuple((name, b64decode(text)) for name, text in value)


_READERS: Mapping[str, Callable[..., Step]] = {"swap": SwapStep, "remove": RemoveStep, "metadata": _metadata_step}
