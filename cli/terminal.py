"""Know the terminal, as the only module that does: whether it can rewrite lines, its width, colours, characters, and a region of it.

Whatever a command prints is written here: without control characters, which names and messages from elsewhere may have, and without an
error if nobody reads it any more. Without a terminal everything is plain text in UTF-8. ``rich``, which takes a tenth of a second to
import, is for the region alone.
"""

from __future__ import annotations

import codecs
import errno
import locale
import os
import select
import shutil
import stat
import sys
import textwrap
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TextIO

import click

from sluice.rules.wording import printable

_ASCII = {"←": "<-", "→": "->", "…": "~"}
"""In the place of characters that a terminal lacks; others become ``?``."""

_HALF = "\0"
"""Counts for the second column of a wide character while a text is wrapped."""
WIDTH, HEIGHT = 80, 24
"""Of a terminal that doesn't say."""

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
    asked = os.environ.get("COLUMNS", "")
    return shutil.get_terminal_size().columns if (asked.isdecimal() and int(asked)) or sys.stdout.isatty() else None


def cells(text: str) -> int:
    """Return the columns that a text takes: two for each wide character, none for one that joins the one before it."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("F", "W") else 1


def cut(text: str, width: int) -> str:
    """Return as much of a text as so many columns hold, with an ellipsis if that isn't all."""
    if cells(text) <= width:
        return text
    kept = text[: max(0, width - 1)]
    while cells(kept) >= max(1, width):
        kept = kept[:-1]
    return f"{kept}…"


def wrapped(text: str, width: int, *, indent: str = "", hanging: str = "", breaks: bool = True) -> list[str]:
    """Break a text, one line of which it makes, into lines of so many columns.

    Args:
        hanging: The indent of all lines but the first.
        breaks: Words that are longer are broken too.
    """
    one = printable(" ".join(text.split()), replacement=" ")
    marked = one if one.isascii() else "".join(each + _HALF * (_cells(each) - 1) for each in one)
    room = width - (marked is not one)  # a wide character is never broken into its last column
    lines = textwrap.wrap(
        marked, max(1, room), initial_indent=indent, subsequent_indent=hanging, break_long_words=breaks, break_on_hyphens=False
    )
    return [line.replace(_HALF, "") for line in lines]


def write(stream: TextIO, lines: Sequence[Line]) -> None:
    """Write lines in their colours, if it has some; a text may be several lines. Above the region, if one is shown.

    If nobody reads it any more (``| head``, a terminal that was closed), it is dropped: what a command does, and its exit code, don't
    depend on that. Raises OSError if a file can't be written.
    """
    if _regions and stream.isatty():
        for line in lines:
            _regions[-1].say(line)
        return
    coloured = has_colours(stream)
    told = ("\n".join(printable(each, keep="\t") for each in text.split("\n")) for text, _ in lines)
    painted = [_paint(text, colour) if coloured else text for text, (_, colour) in zip(told, lines, strict=True)]
    _put(stream, "".join(f"{each}\n" for each in painted))


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        is_unread = _is_unread(stream, error)
        _drop(stream)
        if not is_unread:
            raise
        _unread.append(stream)


def _drop(stream: TextIO) -> None:
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def drop_unwritten() -> None:
    """Drop what stdout and stderr couldn't take and was told: Python would fail with it once more at its end, with exit code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _drop(stream)


def _is_unread(stream: TextIO, error: OSError) -> bool:
    return error.errno == errno.EPIPE or (error.errno == errno.EIO and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode))


def is_read(stream: TextIO) -> bool:
    """Whether somebody may still read what is written there."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return stream not in _unread and not any(found & (select.POLLERR | select.POLLHUP) for _, found in poll.poll(0))


def _paint(text: str, colour: str) -> str:
    if not colour:
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

        from infra.transports import ssh_secrets

        ssh_secrets.typing = _cleared
        system = "auto" if has_colours(stream) else None
        self._stream, self._lock = stream, threading.RLock()
        self._console = Console(file=stream, force_terminal=True, color_system=system, highlight=False, markup=False, emoji=False)  # type: ignore[arg-type]
        self._shown: Sequence[Line] = ()
        self._held: list[Line] = []
        self._drawn_at = self._seen = self._size()
        self._is_typed_into = False
        _regions.append(self)

    @property
    def room(self) -> tuple[int, int]:
        """Return the columns and lines that it may have: the last column stays free, as some terminals wrap there."""
        width, height = self._size()
        return max(1, width - 1), max(1, height - 1)

    def show(self, lines: Sequence[Line]) -> None:
        """Rewrite it; longer lines are cut."""
        with self._lock:
            if self not in _regions:
                return
            size, before = self._size(), self._seen
            self._seen = size
            if self._shown and size[0] < self._drawn_at[0]:
                if size != before:
                    return  # it is still being dragged
                self._shown = ()
            elif lines == self._shown and size == self._drawn_at and not self._held:
                return
            self._rewrite(lines)

    def say(self, line: Line) -> None:
        """Print a message above it, whole."""
        with self._lock:
            self._held.append(line)
            self._rewrite(self._shown)

    def clear(self) -> None:
        """Take it away."""
        with self._lock:
            self._rewrite(())
            self.leave()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Take it away and leave the terminal to somebody who types; what is said meanwhile is printed afterwards, and nobody waits."""
        with self._lock:
            self._rewrite(())
            self._is_typed_into = True
        try:
            yield
        finally:
            with self._lock:
                self._is_typed_into = False
                self._rewrite(())

    def leave(self) -> None:
        """Go on beneath it: it stays as it is, for good."""
        with self._lock:
            if self in _regions:
                _regions.remove(self)
                write(self._stream, self._held)

    def _size(self) -> tuple[int, int]:
        """Return the columns and lines of this very terminal: COLUMNS and LINES may be another one's."""
        with suppress(OSError):
            if all(found := os.get_terminal_size(self._stream.fileno())):
                return found.columns, found.lines
        return WIDTH, HEIGHT

    def _rewrite(self, lines: Sequence[Line]) -> None:
        from rich.control import Control
        from rich.segment import ControlType
        from rich.text import Text

        if self._is_typed_into:
            return
        width, height = self.room
        up = [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * len(self._shown)
        self._shown, self._drawn_at = list(lines[:height]), self._size()
        self._console.size = self._drawn_at
        with self._console.capture() as written:
            self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up))
            for text, style in self._held:
                self._console.print(Text(printable(text, keep="\n"), style), soft_wrap=True)
            for text, style in self._shown:
                line = Text(printable(text), style)
                line.truncate(width, overflow="ellipsis")
                self._console.print(line, no_wrap=True)
        self._held = []
        _put(self._stream, written.get())  # at once


def _cleared() -> AbstractContextManager[None]:
    return _regions[-1].cleared() if _regions else nullcontext()


_regions: list[Region] = []
"""Those that are shown."""
_unread: list[TextIO] = []
"""Streams that nobody reads any more."""
