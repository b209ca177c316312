"""Secrets of logins: from the environment by name (``secret:NAME`` is ``SLUICE_SECRET_NAME``), else asked once in a process on a terminal.

A secret is kept in memory alone; nothing here puts one into a message.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import Lock, main_thread

from sluice.errors import AuthenticationError
from sluice.rules.wording import printable

VARIABLE = "SLUICE_SECRET_"
_RUN_OF_A_WORKER = "PREFECT__FLOW_RUN_ID"
"""A variable that Prefect sets for each: one that somebody started on a terminal has that terminal, and is still never asked."""
_CTRL_C = b"\x03"
_TYPED_MAX = 4096
"""Bytes of a line that a terminal gives at once."""
typing: Callable[[], AbstractContextManager[object]] = nullcontext
"""Entered while somebody types: a display that rewrites lines of the terminal stands back then."""
_asked: dict[str, str | None] = {}
_lock = Lock()


def secret(name: str, what: str, peer: str) -> str:
    """Return a secret by its name, without a newline at its end. Raises AuthenticationError: this process has none of that name."""
    found = os.environ.get(VARIABLE + name, "").rstrip("\r\n")
    if not found:
        raise AuthenticationError(
            f"{peer}: {what} is secret:{name}, which this process doesn't have",
            remedy=f"set {VARIABLE}{name} in the environment of this command, or of the workers (docs/ssh.md)",
        )
    return found


def asked(prompt: str) -> str | None:
    """Return what was typed on this prompt, once for all threads.

    Returns:
        None without a terminal, in a run of a worker, and after Ctrl-C, which ends the command.
    """
    with _lock:
        if _RUN_OF_A_WORKER in os.environ or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        if prompt not in _asked and None not in _asked.values():
            with typing():
                _asked[prompt] = _line_typed(prompt)
            if _asked[prompt] is None:
                signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)
        return _asked.get(prompt)


def typed(prompt: str) -> str | None:
    """Return what was typed on this prompt before, without asking."""
    return _asked.get(prompt)


def _line_typed(prompt: str) -> str | None:
    """Read a line that isn't shown; None: Ctrl-C. That is read like a letter: the main thread, which gets signals, waits for this one."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    inputs, outputs, controls, local, *speeds, characters = before
    local = (local | termios.ICANON) & ~(termios.ECHO | termios.ISIG)
    characters = [*characters]
    characters[termios.VEOL] = _CTRL_C  # ends a line too
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, [inputs, outputs, controls, local, *speeds, characters])
        sys.stderr.write(printable(prompt))
        sys.stderr.flush()
        line = os.read(terminal, _TYPED_MAX)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        sys.stderr.write("\n")
        sys.stderr.flush()
    return None if line.endswith(_CTRL_C) else line.decode(errors="surrogateescape").rstrip("\r\n")
