"""The journal of an extraction under way (docs/formats.md section 8): everything that a start after a kill needs to finish or undo it.

Everything here is durable when its call returns, in the order of the calls. Data and files only: ``undo.py`` and ``ending.py`` act on it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sluice.durable import make_directory, replace_atomically, sync_directory, temporary, write_all
from sluice.durable import move_into_place as move_durably
from sluice.errors import StoreCorruptError, TrustError
from sluice.formats.canonical import canonical_bytes, parse_canonical
from sluice.model.order import ActionReport
from sluice.subscriber.actions.run import Session
from sluice.subscriber.extract.steps import NEW, Step, parse_step, step_line
from sluice.subscriber.held.directory import remove_directory

FILE_MAX = 1024 * 1024 * 1024
"""Most bytes of one file of a journal: a plan has a line for each step."""
FORMER = "former"
"""``DistributionDirectory.fingerprint`` of the former name, if something of it is taken over."""
_WRITE = 1024 * 1024


class JournalState(StrEnum):
    """The phase that an extraction has reached."""

    STAGING = "staging"
    ACTING = "acting"
    """Pre actions are run."""
    SWAPPING = "swapping"
    SWAPPED = "swapped"
    """Post actions and read back."""
    COMMITTED = "committed"
    """Its receipt is final; only clean-up remains."""
    UNDOING = "undoing"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class AreaRecord:
    """A staging area: its directory is on the file system that its steps change."""

    directory: str
    """Absolute, without links; the root that steps are relative to."""
    staging: str
    """The staging directory, relative to it."""
    mode: int = NEW
    """Of the directory around the staging directory, if the agent may set it."""
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Beginning:
    """The facts of an extraction that are known before anything is staged."""

    order: str
    """The order's payload."""
    started: str
    rollback: bool
    areas: tuple[AreaRecord, ...]


@dataclass(frozen=True, slots=True)
class StartedAction:
    """An action as ``journal/actions`` records it."""

    phase: str
    number: int
    token: str
    """In the environment of each of its processes."""
    session: Session | None
    """None: the agent ended before it was known."""
    report: ActionReport | None
    """None: it was running when the agent ended."""


class Journal:
    """``journal/`` of one Distribution; the caller holds the Distribution's lock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def begin(self, beginning: Beginning) -> None:
        """Create the journal, before the first staging directory is made."""
        self.remove()
        make_directory(self.directory)
        value = {
            "version": 1,
            "order": beginning.order,
            "started": beginning.started,
            "rollback": beginning.rollback,
            "places": [[area.directory, area.staging, area.mode, area.mtime_ns] for area in beginning.areas],
        }
        replace_atomically(self.directory / "begun", canonical_bytes(value))

    def beginning(self) -> Beginning | None:
        """The facts that ``begin`` recorded; None: no extraction is under way, and nothing was staged."""
        try:
            value = self._read("begun")
        except FileNotFoundError:
            return None
        try:
            areas = tuple(AreaRecord(*fields) for fields in value["places"])
            return Beginning(value["order"], value["started"], value["rollback"], areas)
        except (KeyError, TypeError) as error:
            raise self._damaged("begun") from error

    def state(self) -> JournalState:
        """The recorded phase; STAGING until one was recorded."""
        try:
            return JournalState((self.directory / "state").read_text())
        except FileNotFoundError:
            return JournalState.STAGING
        except ValueError as error:
            raise self._damaged("state") from error

    def enter(self, state: JournalState) -> None:
        """Record a phase, before anything of it is done."""
        replace_atomically(self.directory / "state", state.encode())

    def write_plan(self, steps: Iterable[Step]) -> None:
        """Record all steps, before the first is taken."""
        with temporary(self.directory) as (fd, temp):
            buffer = bytearray()
            for step in steps:
                buffer += step_line(step) + b"\n"
                if len(buffer) > _WRITE:
                    write_all(fd, bytes(buffer))
                    buffer.clear()
            write_all(fd, bytes(buffer))
            move_durably(temp, self.directory / "plan", fd)

    def plan(self) -> Sequence[Step]:
        """The steps in order; none if no plan was recorded yet."""
        try:
            lines = (self.directory / "plan").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        try:
            return [parse_step(line) for line in lines]
        except (ValueError, TypeError, KeyError) as error:
            raise self._damaged("plan") from error

    def record_action(
        self, phase: str, number: int, *, token: str = "", session: Session | None = None, report: ActionReport | None = None
    ) -> None:
        """Append to ``actions``: an action's token before it starts, its session, its report afterwards.

        Args:
            phase: ``pre``, ``post``, or those with ``undo `` before them.
            number: Its position in the order, from 0.
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
            if not found.endswith(b"\n"):  # half a line, of a full disk or a power cut: the next one must begin anew
                os.ftruncate(fd, found.rfind(b"\n") + 1)
            write_all(fd, canonical_bytes(value) + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        if is_new:
            sync_directory(self.directory)

    def actions(self) -> Sequence[StartedAction]:
        """Every action that was started, in order; an unfinished last line is ignored."""
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

    def write_former(self, fingerprint: bytes) -> None:
        """Record the directory of the former name as it is taken over, before anything is staged."""
        replace_atomically(self.directory / FORMER, fingerprint)

    def write_receipt(self, envelope: dict[str, Any]) -> None:
        """Record the signed receipt, before COMMITTED or UNDONE."""
        replace_atomically(self.directory / "receipt", canonical_bytes(envelope))

    def receipt(self) -> dict[str, Any] | None:
        """The signed receipt, once there is one."""
        try:
            found = self._read("receipt")
        except FileNotFoundError:
            return None
        return dict(found)

    def remove(self) -> None:
        """Remove the journal: the extraction is over, or never began."""
        remove_directory(self.directory)

    def _read(self, name: str) -> Any:
        try:
            return parse_canonical((self.directory / name).read_bytes(), limit=FILE_MAX, what=f"journal/{name}")
        except TrustError as error:
            raise self._damaged(name) from error

    def _damaged(self, name: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{self.directory / name} is damaged", remedy="look at the destinations, restore them by hand, then remove the journal"
        )


def _started(value: dict[str, Any]) -> StartedAction:
    report, session = value.get("report"), value.get("session")
    return StartedAction(value["phase"], value["number"], value["token"], session and Session(*session), report and ActionReport(**report))
