"""Tell what a run is at: a board with a step for each build and each assignment, the one source of progress.

Steps are written by tasks and their threads and read by anyone; a value that is read is at worst a moment old. A process that sends keeps
a copy of its board in a file, for ``sluice status`` in other processes. That file is no state: nothing depends on it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.rules.space import size
from sluice.rules.wording import duration

if TYPE_CHECKING:
    from sluice.model.agent_event import AgentEvent
    from sluice.model.assignment import Assignment

WAITING = "waiting"
DIRECTORY = "under-way"
"""Of the copies, in a Distributor's working directory."""
BELIEVED_SECONDS = 15.0
"""Age up to which a copy is believed; older ones are of processes that were killed."""
RATE_MARKS = 10
"""Seconds at least that the rate looks back."""
_ACTION = re.compile(r"(?:pre|post) action [0-9]+")
_WORDS = {
    "make": "making a delta",
    "complete": "checking",
    "begin": "ordering the extraction",
    "compare": "comparing",
    "stage": "extracting",
    "swap": "putting files in place",
    "read back": "checking",
    "clean up": "cleaning up",
}
"""What people are told of phases."""
_OF_BYTES = frozenset({"make", "complete", "stage", "read back"})


@dataclass(eq=False, slots=True)
class Step:
    """One build or one assignment under way."""

    distribution: str
    revision: str = ""
    subscriber: str = ""
    """Empty for a build."""
    doing: str | Callable[[], str] = WAITING
    done: int = 0
    total: int = 0
    """Bytes; 0 if what it is at has no measure."""
    end: str = ""
    """How it ended, in a word; empty while it is under way."""
    is_failed: bool = False
    failure: str = ""
    """Why its last try failed, as it was told."""
    clock: Callable[[], float] = time.monotonic
    _marks: tuple[tuple[float, int], ...] = ()
    """Replaced as a whole: other threads read it."""

    def now(self, doing: str | Callable[[], str], done: int = 0, total: int = 0) -> None:
        """Say what it is at; a function is asked whenever somebody looks. Bytes are (done, in all)."""
        at = self.clock()
        marks = self._marks if (doing, total) == (self.doing, self.total) else ()
        if not marks or at - marks[-1][0] >= 1:
            marks = (*marks, (at, done))[-RATE_MARKS:]
        self.doing, self.done, self.total, self._marks = doing, done, total, marks

    def at(self, doing: str | Callable[[], str]) -> Callable[[int, int], None]:
        """Return a ``Progress`` that says it is at this."""
        return lambda done, total: self.now(doing, done, total)

    def on_event(self, event: AgentEvent) -> None:
        """Take a phase that an agent, or a step that blocks, tells."""
        name = event.phase
        self.now(phase_text(event), *((event.done, event.total) if name in _OF_BYTES else ()))

    @property
    def label(self) -> str:
        """Its name for a person: ``oslo ← zone 1.2``, or the Distribution that is built."""
        return f"{self.subscriber} ← {self.distribution} {self.revision}" if self.subscriber else self.distribution

    @property
    def text(self) -> str:
        """What it is at, or how it ended."""
        return self.end or (self.doing if isinstance(self.doing, str) else self.doing())

    @property
    def is_waiting(self) -> bool:
        """Whether nothing happens there now."""
        return not self.end and self.text.startswith((WAITING, "paused", "retry", "begins"))

    @property
    def percent(self) -> int | None:
        """Whole percents, 100 only when all is done; None without a measure."""
        done, total = self.done, self.total  # once: other threads go on
        return None if self.end or not total else min(100, 100 * done // total)

    @property
    def rate(self) -> float | None:
        """Bytes a second of late; None if not known yet."""
        marks = self._marks
        if not self.total or not marks or self.end:
            return None
        at, done = marks[0]
        seconds = self.clock() - at
        return (self.done - done) / seconds if seconds >= 1 and self.done > done else None

    @property
    def figures(self) -> Sequence[str]:
        """Percent, time left at this rate, rate and bytes, as far as known, the most telling first."""
        percent, rate, done, total = self.percent, self.rate, self.done, self.total
        if percent is None:
            return ()
        found = [f"{percent:3} %"]
        if rate and done < total:
            found += [f"{duration(timedelta(seconds=max(1, round((total - done) / rate))))} left"]
        found += [f"{size(round(rate))}/s"] if rate else []
        return [*found, f"{size(done)} of {size(total)}"]


def phase_text(event: AgentEvent) -> str:
    """Describe a phase: ``running pre action 1 of 2: waits for NAME (PID 12) to end``; other phases without their counts."""
    if _ACTION.match(event.phase):
        return "running " + _ACTION.sub(lambda found: f"{found[0]} of {event.total}", event.phase, count=1)
    return _WORDS.get(event.phase, event.phase)


class Board:
    """The steps of one process, in the order in which they began."""

    def __init__(self) -> None:
        self._steps = dict[tuple[str, str], Step]()

    def begin(self, distribution: str, revision: str = "", subscriber: str = "") -> Step:
        """Begin a step; one of the same pair goes."""
        step = self._steps[subscriber, distribution] = Step(distribution, revision, subscriber)
        return step

    def of(self, assignment: Assignment) -> Step:
        """Return the step of an assignment, begun now if it wasn't."""
        return self._steps.get(assignment.pair) or self.begin(assignment.distribution, str(assignment.revision), assignment.subscriber)

    def steps(self) -> Sequence[Step]:
        """Return all, in their order."""
        return list(self._steps.values())

    def clear(self) -> None:
        """Forget all."""
        self._steps.clear()

    def write(self, path: Path) -> None:
        """Write a copy for other processes, whole or not at all; not durably, since nothing depends on it. Raises OSError."""
        shown = {"/".join(pair): [step.text, *step.figures] for pair, step in list(self._steps.items()) if pair[0] and not step.end}
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_name(f".tmp-{path.name}")
        temporary.write_text(json.dumps(shown), encoding="utf-8")
        os.replace(temporary, path)


BOARD = Board()
"""Of this process: one flow run at a time begins in it."""


def read_copies(working_directory: Path, *, now: float) -> Mapping[tuple[str, str], Sequence[str]]:
    """Return what live processes on this machine are at: words and figures, by Subscriber and Distribution; what can't be read isn't there.

    Args:
        now: Seconds since the epoch.
    """
    found: dict[tuple[str, str], Sequence[str]] = {}
    with suppress(OSError):
        for path in sorted((working_directory / DIRECTORY).iterdir()):
            with suppress(OSError, ValueError, TypeError, AttributeError):
                if abs(now - path.stat().st_mtime) <= BELIEVED_SECONDS:
                    for pair, told in json.loads(path.read_bytes()).items():
                        subscriber, _, distribution = pair.partition("/")
                        found[subscriber, distribution] = [str(each) for each in told]
    return found
