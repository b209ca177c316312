"""Pre and post actions (F3 to F9): programs that run on a Subscriber before and after its files are replaced, in the author's order.

Each has an ``undo``: a script text that reverts its effect if a later step fails, or the word ``none``, by which the author
acknowledges that nothing can or need be undone (F9). A script's undo has the script's own type; the others' is a shell script.
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
PROGRAM_MAX = 255
"""Most characters of a program's name."""


class ScriptType(StrEnum):
    """The interpreter of a script (F7)."""

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
        """Type and path, as a run shows them. Nothing of the text, whose variables may be secrets."""
        return f"script ({self.type}): {self.path[:60]}" if self.path else f"script ({self.type})"


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Start a program (F4). It fails if that program runs already.

    Without ``wait`` it keeps running, and is ended again if a later step fails; with it, it must exit with 0 within ACTION_TIMEOUT.
    """

    path: str
    """Absolute."""
    arguments: tuple[str, ...] = ()
    wait: bool = False
    undo: str = "none"

    @property
    def label(self) -> str:
        """The end of its path, as a run shows it. Nothing of the arguments, which may be secrets."""
        return f"start process {self.path[-60:]}"


@dataclass(frozen=True, slots=True)
class StopProcess:
    """Ask every process of exactly that name to end (F5).

    With ``wait`` they must have ended within ACTION_TIMEOUT, else it fails and names those that still run; ``kill`` ends them by force.
    """

    name: str
    """Without a directory."""
    wait: bool = False
    kill: bool = False
    undo: str = "none"

    @property
    def label(self) -> str:
        """The name, as a run shows it."""
        return f"stop process {self.name[:60]}"


Action = Script | StartProcess | StopProcess


def is_no_name(name: str) -> bool:
    """Whether a text can't be the name of a program to stop."""
    return not name.strip() or "/" in name or len(name) > PROGRAM_MAX


def file_of(action: Action) -> PurePosixPath | None:
    """Return the file on the Subscriber that an action runs; it may come with the revision itself."""
    match action:
        case Script(path="") | StopProcess():
            return None
        case Script(path=path) | StartProcess(path=path):
            return PurePosixPath(path)


@dataclass(frozen=True, slots=True)
class ActionRehearsal:
    """The answer to a dry run of one action on a Subscriber; the next process that starts or ends may change it."""

    pids: tuple[int, ...]
    """The first processes that it would stop, or that keep it from starting."""
    count: int
    """Number of all such processes."""
    problem: str
    """Why it would fail; empty if no reason is known."""
