"""Run a command in a pseudo-terminal and see what a person sees: for screenshots, and for tests.

The screen knows what our commands and the libraries beneath them write: text, colours, moving up, erasing. It doesn't reflow lines when
it is resized, like xterm; anything else raises, so that nothing is missed.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence

WAIT_SECONDS = 120.0
_ESCAPE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]")


class Screen:
    """The cells of a terminal, with the colours of each, and what has scrolled off above."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.scrolled: list[str] = []
        self._cells = [[(" ", "")] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._style = ""

    @property
    def row(self) -> int:
        """Return the line in which the cursor is."""
        return self._row

    @property
    def lines(self) -> list[str]:
        """Return the text of each line, without trailing spaces."""
        return ["".join(cell for cell, _ in row).rstrip() for row in self._cells]

    @property
    def text(self) -> str:
        """Return everything that was ever on it and not rewritten."""
        return "\n".join([*self.scrolled, *self.lines]).rstrip()

    @property
    def coloured(self) -> str:
        """Return the lines with the escape sequences of their colours."""
        lines = []
        for row in self._cells:
            pieces, before = [], ""
            for cell, style in row:
                pieces.append((f"\x1b[0;{style}m" if style else "\x1b[0m") + cell if style != before else cell)
                before = style
            lines.append("".join(pieces).rstrip() + "\x1b[0m")
        return "\n".join(lines[: max((n + 1 for n, line in enumerate(self.lines) if line), default=0)])

    def resize(self, columns: int, rows: int) -> None:
        """Cut or widen every line; the upper lines scroll off."""
        while len(self._cells) > rows and self._row > 0:
            self._scroll()
            self._row -= 1
        self._cells = [(row + [(" ", "")] * columns)[:columns] for row in self._cells]
        self._cells = (self._cells + [[(" ", "")] * columns for _ in range(rows)])[:rows]
        self.columns, self.rows = columns, rows
        self._row, self._column = min(self._row, rows - 1), min(self._column, columns)

    def feed(self, text: str) -> None:
        """Take what was written. Raises ValueError for what it doesn't know."""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = _ESCAPE.match(text, at)
                if found is None:
                    raise ValueError(f"unknown escape sequence {text[at : at + 10]!r}")
                self._control(found[1] or "", found[2] or "")
                at = found.end()
            else:
                self._put(text[at])
                at += 1

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._down()
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character.isprintable():
            if self._column == self.columns:  # the wrap waits for the next character
                self._column = 0
                self._down()
            self._cells[self._row][self._column] = (character, self._style)
            self._column += 1
        elif character != "\a":
            raise ValueError(f"unknown control character {character!r}")

    def _down(self) -> None:
        if self._row == self.rows - 1:
            self._scroll()
        else:
            self._row += 1

    def _scroll(self) -> None:
        self.scrolled.append(self.lines[0])
        self._cells = [*self._cells[1:], [(" ", "")] * self.columns]

    def _control(self, arguments: str, final: str) -> None:
        blank = [(" ", "")] * self.columns
        match final:
            case "m":
                self._style = "" if arguments in ("", "0") else ";".join(filter(None, (self._style, arguments.removeprefix("0;"))))
            case "A":
                self._row = max(0, self._row - int(arguments or 1))
            case "K" if arguments in ("", "0"):
                self._cells[self._row][self._column :] = blank[self._column :]
            case "K" if arguments == "2":
                self._cells[self._row] = blank
            case "" | "h" | "l":  # character sets and modes
                pass
            case _:
                raise ValueError(f"unknown escape sequence {arguments}{final}")


class Terminal:
    """A command in a pseudo-terminal of its own."""

    def __init__(self, command: Sequence[str], *, columns: int, rows: int, environment: Mapping[str, str], encoding: str = "utf-8") -> None:
        self.screen = Screen(columns, rows)
        self.written = b""
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:  # pragma: no cover - the child
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a script's background jobs pass it on as ignored
            os.execvpe(command[0], list(command), dict(environment))
        self.status: int | None = None

    def wait_for(self, seen: Callable[[Screen], bool], *, seconds: float = WAIT_SECONDS) -> Screen:
        """Return the screen once it is as asked. Raises TimeoutError with the screen, EOFError if the command ended without."""
        deadline = time.monotonic() + seconds
        while not seen(self.screen):
            if not self._read(deadline):
                raise (EOFError if self.status is not None else TimeoutError)(f"not seen:\n{self.screen.text}")
        return self.screen

    def close(self) -> None:
        """Close the window."""
        os.close(self._fd)
        self._fd = -1

    def end(self) -> int:
        """Wait for its end, and return its exit code, or that of a shell for a signal."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self._read(deadline):
            pass
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            raise TimeoutError(f"didn't end:\n{self.screen.text}")
        return self.status

    def type(self, keys: bytes) -> None:
        """Press keys; ``\\x03`` is Ctrl-C."""
        os.write(self._fd, keys)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window."""
        self.screen.resize(columns, rows)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, deadline: float) -> bool:
        """Take what it has written; False at its end, or at the deadline."""
        if self.status is None and self._fd == -1:
            return self._ended()
        if self.status is not None or not select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # its end
            data = b""
        if not data:
            os.close(self._fd)
            return self._ended()
        self.written += data
        self.screen.feed(self._decoder.decode(data))
        return True

    def _ended(self) -> bool:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.status = 128 - code if code < 0 else code
        return False
