"""The journal of an extraction under way (docs/formats.md section 8): what a start after a kill needs to finish or undo it.

Everything here is durable when its call returns, in the order of the calls. Data and files only: ``extract_undo.py`` acts on it.
"""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from sluice.durable import make_directory, replace_atomically, sync_directory, temporary, write_all
from sluice.durable import move_into_place as move_durably
from sluice.errors import StoreCorruptError, TrustError
from sluice.formats.canonical import canonical_bytes, parse_canonical
from sluice.model.order import ActionReport
from sluice.ports import Owner, Xattrs
from sluice.subscriber.actions.run import Session

FILE_MAX = 1024 * 1024 * 1024
"""Most bytes of one file of a journal: a plan has a line for each step."""
_WRITE = 1024 * 1024


class JournalState(StrEnum):
    """How far an extraction came."""

    STAGING = "staging"
    ACTING = "acting"
    """Pre actions run."""
    SWAPPING = "swapping"
    SWAPPED = "swapped"
    """Post actions and read back."""
    COMMITTED = "committed"
    """Its receipt stands; what is left is clean-up."""
    UNDOING = "undoing"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class StagingPlace:
    """A staging directory: on the file system of what is staged in it."""

    directory: str
    """Absolute, without links; the root that steps are relative to."""
    staging: str
    """Relative to it."""
    mode: int = -1
    """Of the directory that staging stands in, where that is a destination's own (a mount point); else -1."""
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Begun:
    """What is known before anything is staged."""

    order: str
    """The order's payload."""
    started: str
    rollback: bool
    places: tuple[StagingPlace, ...]


@dataclass(frozen=True, slots=True)
class SwapStep:
    """Something staged takes its place; what stood there takes its place in staging."""

    place: int
    staged: str
    """Name in the staging directory."""
    path: str
    inode: int
    """Of what was staged: tells done from not done."""
    before: str
    """Kind of what is expected to stand there: ``f``, ``d``, ``l`` or empty for nothing."""


@dataclass(frozen=True, slots=True)
class RemoveStep:
    """What stands at a path leaves it for staging, and is deleted there once all is committed."""

    place: int
    staged: str
    """Name in the staging directory."""
    path: str
    is_directory: bool
    mode: int
    """As it was: a directory that its owner may not change is opened up to be moved."""
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class MetadataStep:
    """A file or directory that stays gets another mode and time, and owner and extended attributes where those are given."""

    place: int
    path: str
    is_directory: bool
    mode: int
    mtime_ns: int
    mode_before: int
    """-1: it didn't stand before."""
    mtime_ns_before: int
    owner: Owner | None = None
    owner_before: Owner | None = None
    xattrs: Xattrs | None = None
    xattrs_before: Xattrs | None = None


Step = SwapStep | RemoveStep | MetadataStep


@dataclass(frozen=True, slots=True)
class StartedAction:
    """An action as ``journal/actions`` tells."""

    phase: str
    number: int
    token: str
    """In the environment of every process of it."""
    session: Session | None
    """None: the agent ended before it was known."""
    report: ActionReport | None
    """None: it was running when the agent ended."""


class Journal:
    """``journal/`` of one Distribution; the caller holds the Distribution's lock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def begin(self, begun: Begun) -> None:
        """Before the first staging directory is made."""
        self.remove()
        make_directory(self.directory)
        value = {
            "version": 1,
            "order": begun.order,
            "started": begun.started,
            "rollback": begun.rollback,
            "places": [[p.directory, p.staging, p.mode, p.mtime_ns] for p in begun.places],
        }
        replace_atomically(self.directory / "begun", canonical_bytes(value))

    def begun(self) -> Begun | None:
        """None: no extraction is under way, and nothing was staged."""
        try:
            value = self._read("begun")
        except FileNotFoundError:
            return None
        try:
            places = tuple(StagingPlace(*fields) for fields in value["places"])
            return Begun(value["order"], value["started"], value["rollback"], places)
        except (KeyError, TypeError) as error:
            raise self._damaged("begun") from error

    def state(self) -> JournalState:
        """The word; STAGING while none was written."""
        try:
            return JournalState((self.directory / "state").read_text())
        except FileNotFoundError:
            return JournalState.STAGING
        except ValueError as error:
            raise self._damaged("state") from error

    def enter(self, state: JournalState) -> None:
        """Saved before acting on it."""
        replace_atomically(self.directory / "state", state.encode())

    def write_plan(self, steps: Iterable[Step]) -> None:
        """All steps, before the first is taken."""
        with temporary(self.directory) as (fd, temp):
            buffer = bytearray()
            for step in steps:
                buffer += json.dumps(_fields(step), separators=(",", ":")).encode() + b"\n"
                if len(buffer) > _WRITE:
                    write_all(fd, bytes(buffer))
                    buffer.clear()
            write_all(fd, bytes(buffer))
            move_durably(temp, self.directory / "plan", fd)

    def plan(self) -> Sequence[Step]:
        """The steps in order; none where no plan was written yet."""
        try:
            lines = (self.directory / "plan").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        steps: list[Step] = []
        try:
            for line in lines:
                kind, *fields = json.loads(line)
                steps.append(_READERS[kind](*fields))
        except (ValueError, TypeError, KeyError) as error:
            raise self._damaged("plan") from error
        return steps

    def note_action(
        self, phase: str, number: int, *, token: str = "", session: Session | None = None, report: ActionReport | None = None
    ) -> None:
        """Append to ``actions``: the token before it starts, its session, its report afterwards.

        Args:
            phase: ``pre``, ``post``, or those with ``undo `` before them.
            number: Its place in the order, from 0.
        """
        value: dict[str, Any] = {"phase": phase, "number": number}
        if token:
            value["token"] = token
        if session is not None:
            value["session"] = [session.leader, session.boot, session.start]
        if report is not None:
            value["report"] = asdict(report)
        path = self.directory / "actions"
        is_new = not path.exists()
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            found = path.read_bytes()
            if not found.endswith(b"\n"):  # half a line, of a full disk or a power cut: what follows must begin its own
                os.ftruncate(fd, found.rfind(b"\n") + 1)
            write_all(fd, canonical_bytes(value) + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        if is_new:
            sync_directory(self.directory)

    def actions(self) -> Sequence[StartedAction]:
        """Every action that was started, in order; the half of a last line is passed over."""
        try:
            lines = (self.directory / "actions").read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        found: dict[tuple[str, int], dict[str, Any]] = {}
        try:
            for line in lines:
                value = json.loads(line)
                found.setdefault((value["phase"], value["number"]), {}).update(value)
            return [_started(value) for value in found.values()]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged("actions") from error

    def write_receipt(self, envelope: dict[str, Any]) -> None:
        """Before COMMITTED or UNDONE."""
        replace_atomically(self.directory / "receipt", canonical_bytes(envelope))

    def receipt(self) -> dict[str, Any] | None:
        """The signed receipt, once there is one."""
        try:
            found = self._read("receipt")
        except FileNotFoundError:
            return None
        return dict(found)

    def remove(self) -> None:
        """The extraction is over, or never began."""
        gone = self.directory.with_name(f".tmp-journal-{os.getpid()}")
        try:
            self.directory.rename(gone)
        except FileNotFoundError:
            return
        sync_directory(self.directory.parent)
        shutil.rmtree(gone)

    def _read(self, name: str) -> Any:
        try:
            return parse_canonical((self.directory / name).read_bytes(), limit=FILE_MAX, what=f"journal/{name}")
        except TrustError as error:
            raise self._damaged(name) from error

    def _damaged(self, name: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{self.directory / name} is damaged", remedy="look at the destinations, restore them by hand, then remove the journal"
        )


def _fields(step: Step) -> list[Any]:
    match step:
        case SwapStep():
            return ["swap", step.place, step.staged, step.path, step.inode, step.before]
        case RemoveStep():
            return ["remove", step.place, step.staged, step.path, step.is_directory, step.mode, step.mtime_ns]
    before = [step.mode_before, step.mtime_ns_before]
    fields = ["metadata", step.place, step.path, step.is_directory, step.mode, step.mtime_ns, *before]
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


def _started(value: dict[str, Any]) -> StartedAction:
    report, session = value.get("report"), value.get("session")
    return StartedAction(value["phase"], value["number"], value["token"], session and Session(*session), report and ActionReport(**report))
