"""Compare a script's ``#!`` line with the type that its author gave it (F7). Pure: text in, a name out.

The type decides which interpreter runs a script, its ``#!`` line doesn't; a line that names another language shows that type or text is
wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sluice.model.action import ScriptType

LINE_MAX = 256
"""Characters of a first line that are read, as by the kernel."""

_FITTING: Mapping[ScriptType, re.Pattern[str]] = {
    ScriptType.SHELL: re.compile(r"(sh|ash|dash|bash|ksh|mksh|zsh|busybox)"),
    ScriptType.PYTHON: re.compile(r"python[0-9.]*"),
    ScriptType.PERL: re.compile(r"perl[0-9.]*"),
}


def interpreter(text: str) -> str:
    """Return the program that a text's ``#!`` line names, without its directory; empty if there is no such line."""
    line = text[:LINE_MAX].partition("\n")[0]
    if not line.startswith("#!"):
        return ""
    words = line[2:].split()
    name = words[0].rpartition("/")[2] if words else ""
    if name == "env":  # the first word that is neither an option nor a variable
        name = next((word.rpartition("/")[2] for word in words[1:] if not word.startswith("-") and "=" not in word), "")
    return name


def foreign_interpreter(type_: ScriptType, text: str) -> str:
    """Return the interpreter that a text names if it isn't one of its type's; empty if it is, or if the text names none."""
    name = interpreter(text)
    return "" if not name or _FITTING[type_].fullmatch(name) else name
