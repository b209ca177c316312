"""Pre and post actions (F3 to F9): what runs on a Subscriber before and after the files are placed, in the author's order.

Each has an ``undo``: a script text that takes its effect back when a later step fails, or the word ``none``, the author's
acknowledgement that nothing can or need be undone (F9). A script's undo is of its own type, that of the others is shell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

ACTION_TIMEOUT = 600
"""Seconds a waited-for action may take, with all of its process group (TED: 10 minutes)."""
ACTIONS_MAX = 100
"""Most pre or post actions of a Distribution."""
ARGUMENTS_MAX = 1000
"""Most arguments of a process."""


class ScriptType(StrEnum):
    """What interprets a script (F7)."""

    SHELL = "shell"
    PYTHON = "python"
    PERL = "perl"


@dataclass(frozen=True, slots=True)
class Script:
    """Run a script: ``run`` is its text, ``path`` a file on the Subscriber; exactly one is set."""

    type: ScriptType
    undo: str
    run: str = ""
    path: str = ""

    @property
    def label(self) -> str:
        """What a person reads in a run: type and path. Never of the text, whose variables may be secrets."""
        return f"script ({self.type}): {self.path[:60]}" if self.path else f"script ({self.type})"


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Start a program (F4). It fails where that program runs already.

    Without ``wait`` it is left running, and ended again when a later step fails; with it, it must end well within ACTION_TIMEOUT.
    """

    path: str
    """Absolute."""
    arguments: tuple[str, ...] = ()
    wait: bool = False
    undo: str = "none"

    @property
    def label(self) -> str:
        """Never of the arguments, which may hold secrets."""
        return f"start process {self.path[-60:]}"


@dataclass(frozen=True, slots=True)
class StopProcess:
    """Ask every process of exactly that name to end (F5).

    With ``wait`` they must be gone within ACTION_TIMEOUT, else it fails and names those that stayed; ``kill`` ends them by force.
    """

    name: str
    """Without a directory."""
    wait: bool = False
    kill: bool = False
    undo: str = "none"

    @property
    def label(self) -> str:
        """As a person reads it."""
        return f"stop process {self.name[:60]}"


Action = Script | StartProcess | StopProcess


def file_of(action: Action) -> PurePosixPath | None:
    """The file on the Subscriber that an action runs, which may come with the revision itself."""
    match action:
        case Script(path="") | StopProcess():
            return None
        case Script(path=path) | StartProcess(path=path):
            return PurePosixPath(path)


@dataclass(frozen=True, slots=True)
class Met:
    """What one action would meet on a Subscriber now: a dry run's answer, changed by the next process that starts."""

    pids: tuple[int, ...]
    """Of what would be stopped, or runs already: the first ones."""
    count: int
    """Of all of those."""
    problem: str
    """Why it would fail; empty where nothing is known against it."""
