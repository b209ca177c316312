"""Know the terminal, as the only module that does: whether it can rewrite lines, its width, colours, characters, and a region of it.

Without a terminal everything is plain text in UTF-8. ``rich``, which takes a tenth of a second to import, is for the region alone.
"""

from __future__ import annotations

import codecs
import locale
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

_ASCII = {"←": "<-", "→": "->", "…": "~"}
"""In the place of characters that a terminal lacks; others become ``?``."""

Line = tuple[str, str]
"""Text and colour, or ``bold``; empty: none."""


def is_live(stream: TextIO) -> bool:
    """Whether lines can be rewritten there, and somebody looks at them."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown") and not os.environ.get("CI")


def has_colours(stream: TextIO) -> bool:
    """Whether colours are seen and wanted there: not with NO_COLOR, which ``--no-color`` sets."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown") and not os.environ.get("NO_COLOR")


def columns() -> int | None:
    """Return the width of stdout: COLUMNS, else that of the terminal; None if it is neither, where lines may be of any length."""
    return shutil.get_terminal_size().columns if os.environ.get("COLUMNS") or sys.stdout.isatty() else None


def paint(text: str, colour: str) -> str:
    """Colour a text for stdout, if colours are seen and wanted there."""
    if not colour or not has_colours(sys.stdout):
        return text
    return click.style(text, bold=True) if colour == "bold" else click.style(text, fg=colour)


def settle() -> None:
    """Have what a terminal's character set lacks written in ASCII. Python writes UTF-8 in every locale, as files and pipes get it."""
    found = codecs.lookup(locale.getencoding()).name
    codecs.register_error("sluice", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if found != "utf-8" and stream.isatty():
            stream.reconfigure(encoding=found, errors="sluice")  # type: ignore[union-attr]


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - nothing is decoded with it
    return "".join(_ASCII.get(each, "?") for each in error.object[error.start : error.end]), error.end


class Region:
    """Lines at the bottom of a live terminal that are rewritten in place, while messages scroll above; safe for threads.

    The cursor stays visible below them: whatever ends this process leaves the terminal as it was. Lines that a narrower window has
    wrapped aren't touched again, since terminals differ in how; the region then goes on beneath them.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        system = "auto" if has_colours(stream) else None
        self._console = Console(file=stream, force_terminal=True, color_system=system, highlight=False, markup=False, emoji=False)  # type: ignore[arg-type]
        self._lock = threading.RLock()
        self._shown: Sequence[Line] = ()
        self._drawn_at = self._seen = self._console.size

    @property
    def room(self) -> tuple[int, int]:
        """Return the columns and lines that it may have: the last column stays free, as some terminals wrap there."""
        size = self._console.size
        return max(1, size.width - 1), max(1, size.height - 1)

    def show(self, lines: Sequence[Line]) -> None:
        """Rewrite it; longer lines are cut."""
        with self._lock:
            size, before = self._console.size, self._seen
            self._seen = size
            if self._shown and size.width < self._drawn_at.width:
                if size != before:
                    return  # it is still being dragged
                self._shown = ()
            elif lines == self._shown and size == self._drawn_at:
                return
            self._rewrite(lines)

    def say(self, line: Line) -> None:
        """Print a message above it, whole."""
        with self._lock:
            self._rewrite(self._shown, above=line)

    def clear(self) -> None:
        """Take it away."""
        with self.cleared():
            pass

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Take it away and leave the terminal to somebody who types; who would show or say something waits."""
        with self._lock:
            self._rewrite(())
            yield

    def _rewrite(self, lines: Sequence[Line], *, above: Line | None = None) -> None:
        from rich.control import Control
        from rich.segment import ControlType
        from rich.text import Text

        width, height = self.room
        up = [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * len(self._shown)
        with self._console as console:  # one write
            console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up))
            if above is not None:
                console.print(Text(above[0], above[1]), soft_wrap=True)
            self._shown, self._drawn_at = list(lines[:height]), console.size
            for text, style in self._shown:
                line = Text(text, style)
                line.truncate(width, overflow="ellipsis")
                console.print(line, no_wrap=True)
