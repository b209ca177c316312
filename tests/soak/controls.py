"""Negative controls: broken on purpose, each operation must be found out, or the harness sees nothing.

For power cuts, calls that make something durable say that they did and don't: all of them, or those of directories alone. For kills, the
one function that gives a file its final name writes it in place; SQLite goes without its journal. What is broken is the process
under fault, never the product. An extraction without syncs of directories isn't among them: on ext4 a sync of any file takes all names
along, and an extraction always syncs one later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from sluice import durable
from tests.soak.matrix import Prepared, Tally, Trial
from tests.soak.running import Violation

FILES = ("fsync", "fdatasync", "sync", "sync_file_range", "syncfs")
DIRECTORIES = ("fsync-dir", "fdatasync-dir", "syncfs-dir")
RUNS = 20
"""Runs with power cuts within which a control must be caught."""
KILLS = 300
"""The same for kills."""


@dataclass(frozen=True, slots=True)
class Control:
    """``case``, broken by ``what``."""

    case: str
    what: str
    skipped: tuple[str, ...] = ()
    """Calls that do nothing, under power cuts; empty: kills of a process that ``broken`` was called in."""
    broken: Callable[[], None] = lambda: None

    def __str__(self) -> str:
        return f"{self.case} with {self.what}"


def written_in_place() -> None:
    """Files get their names before they are whole."""
    rename = durable.move_into_place

    def in_place(temp: Path, path: Path, fd: int) -> None:
        data = temp.read_bytes()
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        durable.write_all(target, data)
        os.close(target)

    for module in list(sys.modules.values()):
        if getattr(module, "move_into_place", None) is rename:
            module.move_into_place = in_place  # type: ignore[attr-defined]


def without_journal() -> None:
    """SQLite writes pages with nothing to take them back by."""

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def off(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> tuple[str, Any]:
        return statement.replace("journal_mode=PERSIST", "journal_mode=OFF"), parameters


CONTROLS = (
    *(
        Control(case, "nothing synced", (*FILES, *DIRECTORIES))
        for case in ("build/delta", "sign/revision", "receive/delta", "receive/lent", "extract/delta", "extract/mirror", "ledger/send")
    ),
    *(
        Control(case, "no file synced", FILES)
        for case in ("build/delta", "sign/revision", "receive/delta", "extract/delta", "extract/lent", "ledger/send")
    ),
    *(Control(case, "no directory synced", DIRECTORIES) for case in ("build/ted", "build/delta-of-two", "sign/revision", "receive/delta")),
    *(
        Control(case, "files written in place", broken=written_in_place)
        for case in ("build/ted", "build/delta-small", "sign/revision", "receive/delta", "extract/delta")
    ),
    Control("ledger/send", "no journal", broken=without_journal),
)


def caught_after(control: Control, prepared: Prepared, chance: Random) -> int | None:
    """How many trials it took to find it out; None where it wasn't."""
    tally = Tally()
    prepared.runner.in_child = control.broken
    if control.skipped:
        trials = [Trial("cut", control.case, str(chance.randrange(10**9))) for _ in range(RUNS)]
    else:
        prepared.measure()
        trials = [trial for trial in prepared.trials() if trial.kind in ("kill", "half")]
        trials = chance.sample(trials, min(len(trials), KILLS))
    try:
        for number, trial in enumerate(trials, 1):
            try:
                prepared.run(trial, tally, skipped=control.skipped)
            except Violation:
                return tally.cuts.total() if control.skipped else number
    finally:
        prepared.runner.in_child = lambda: None
    return None
