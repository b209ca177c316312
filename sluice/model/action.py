"""Pre and post actions (F3 to F9): what runs on a Subscriber before and after the files are placed, in the author's order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ACTION_TIMEOUT = 600
"""Seconds a waited-for action may take, with all of its process group (TED: 10 minutes)."""


class ScriptType(StrEnum):
    """What interprets a script (F7)."""

    SHELL = "shell"
    PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Script:
    """Run a script: ``run`` is its text, ``path`` a file on the Subscriber; exactly one is set.

    ``undo`` is a script text of the same type that takes the effect back when a later step fails; the word ``none`` is the
    author's acknowledgement that nothing can or need be undone (F9).
    """

    type: ScriptType
    undo: str
    run: str = ""
    path: str = ""

    @property
    def label(self) -> str:
        """What a person reads in a run: type and path. Never of the text, whose variables may be secrets."""
        return f"script ({self.type}): {self.path[:60]}" if self.path else f"script ({self.type})"


Action = Script
"""Grows to a union as start process, stop process, services and Java classes arrive."""
