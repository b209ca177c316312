"""Show what the flows of this process are at, on stderr: lines rewritten in place on a live terminal, plain lines with times elsewhere.

What it shows is the board's (``under_way.py``) and the log of our own flows and tasks; it computes nothing but the layout.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cli.tables import one_line
from cli.terminal import Line, Region, cells, cut, is_live, write

if TYPE_CHECKING:
    from sluice.distributor.deliver.under_way import Step

REDRAW_SECONDS = 0.25
LOOK_SECONDS = 1.0
"""Between two looks without a live terminal."""
MARK_SECONDS = 10.0
"""Least time between two plain lines of one step that only tell how far it is."""


@contextmanager
def shown() -> Iterator[set[tuple[str, str]]]:
    """Show progress until the context ends; gives the pairs of Subscriber and Distribution whose failure was told."""
    from sluice.distributor.deliver.under_way import BOARD

    BOARD.clear()
    shower = _Shower()
    loggers = [logging.getLogger(name) for name in ("prefect.flow_runs", "prefect.task_runs")]
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(LOOK_SECONDS if shower.region is None else REDRAW_SECONDS):
            shower.look(BOARD.steps())

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    for logger in loggers:
        logger.addHandler(shower)
    thread.start()
    try:
        yield shower.told
    finally:
        over.set()
        for logger in loggers:
            logger.removeHandler(shower)
        try:
            thread.join()
        finally:  # Ctrl-C may come again
            if shower.region is not None:
                shower.region.clear()


class _Shower(logging.Handler):
    """Takes the log of our own flows and tasks, without that of Prefect's engine, and looks at the steps now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.region = Region(sys.stderr) if is_live(sys.stderr) else None
        self.told: set[tuple[str, str]] = set()
        self._failures: dict[tuple[str, str], str] = {}
        self._marks: dict[Step, tuple[str, int, float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        return Path(record.pathname).parent.name in ("flows", "tasks")

    def emit(self, record: logging.LogRecord) -> None:
        text, step, failure = record.getMessage(), getattr(record, "step", None), getattr(record, "failure", "")
        if step is not None:
            pair, is_known = (step.subscriber, step.distribution), False
            if failure:
                self.told.add(pair)
                is_known = self._failures.get(pair) == failure
                self._failures[pair] = failure
                text = text.replace(failure, "as before") if is_known else text
            if self.region is not None and (is_known or not failure):
                return  # its own line shows it
        self._print(text, "red" if record.levelno >= logging.ERROR else "yellow" if record.levelno >= logging.WARNING else "")

    def look(self, steps: Sequence[Step]) -> None:
        """Rewrite the region; without one, print a line for each step that passed another quarter."""
        if self.region is not None:
            self.region.show(lines_of(steps, *self.region.room))
            return
        now = time.monotonic()
        for step in steps:
            quarter = (step.percent or 0) // 25
            doing, passed, at = self._marks.setdefault(step, (step.text, quarter, now))
            if doing != step.text:
                self._marks[step] = (step.text, quarter, now)
            elif passed < quarter < 4 and now - at >= MARK_SECONDS:
                self._marks[step] = (doing, quarter, now)
                self._print(f"{step.label}: {doing}, {', '.join(each.strip() for each in step.figures)}", "")

    def _print(self, text: str, colour: str) -> None:
        write(sys.stderr, [(f"{datetime.now(UTC):%H:%M:%S} {one_line(text)}", colour if self.region is not None else "")])


def lines_of(steps: Sequence[Step], columns: int, rows: int) -> Sequence[Line]:
    """Lay out a line for each step, and one for all if they are several; if there are more than rows, those under way come first."""
    if len(steps) + 1 > rows:
        chosen = sorted(steps, key=lambda step: (bool(step.end), step.is_waiting))[: rows - 1]
    else:
        chosen = list(steps)
    several = len({step.distribution for step in steps if step.subscriber}) > 1
    names = [" ".join(filter(None, (step.subscriber, step.distribution if several or not step.subscriber else ""))) for step in chosen]
    width = min(max(map(len, names), default=0), columns // 3)
    act = max((cells(one_line(step.text)) for step in chosen if step.percent is not None), default=0)
    lines = [_line(step, cut(name, width).ljust(width), act, columns) for step, name in zip(chosen, names, strict=True)]
    return [*lines, (cut(_summary(steps), columns), "bold")] if len(steps) > 1 else lines


def _line(step: Step, name: str, act: int, columns: int) -> Line:
    text = f"{name}  {one_line(step.text)}"
    if step.percent is not None:
        text += " " * (len(name) + 2 + act - cells(text))
        for figure in step.figures:
            if cells(text) + 2 + len(figure) > columns:
                break
            text += f"  {figure}"
    colour = "red" if step.is_failed else "green" if step.end else "yellow" if step.failure else "dim" if step.is_waiting else ""
    return cut(text.rstrip(), columns), colour


def _summary(steps: Sequence[Step]) -> str:
    hosts = [step for step in steps if step.subscriber] or steps
    failed = [step.subscriber or step.distribution for step in hosts if step.is_failed]
    over, waiting = sum(bool(step.end) for step in hosts), sum(step.is_waiting for step in hosts)
    counts = [f"{over} of {len(hosts)} done"]
    counts += [f"{len(failed)} of them failed: {', '.join(dict.fromkeys(failed))}"] if failed else []
    counts += [f"{number} {what}" for number, what in ((len(hosts) - over - waiting, "under way"), (waiting, "waiting")) if number]
    return ", ".join(counts)
