"""Turn the globs of ``exclude:`` into one regular expression over paths below a source.

A glob without ``/`` matches a name at any depth; one with ``/`` matches the whole path below the source, in which ``*`` and ``?`` stay
within a part and ``**`` crosses parts; one that ends in ``/`` matches directories only. An excluded directory is excluded with everything
in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sluice.errors import SourceError


def exclude_pattern(globs: Sequence[str]) -> re.Pattern[str] | None:
    """Return a pattern to ``match`` paths with, those of directories with a ``/`` at the end; None without globs. Raises SourceError."""
    patterns = [f"(?:{_pattern(glob)})" for glob in globs]
    for glob, pattern in zip(globs, patterns, strict=True):
        try:
            re.compile(pattern)
        except re.error as error:
            raise SourceError(f"exclude: {glob!r} isn't a glob ({error.msg})", remedy="correct it in the blueprint") from error
    return re.compile("|".join(patterns), re.DOTALL) if globs else None


def _pattern(glob: str) -> str:
    body, end = (glob[:-1], "(?<!/)/") if glob.endswith("/") else (glob, "(?<!/)/?")
    anchored = "/" in body
    body = body.removeprefix("/")
    return ("" if anchored else "(?:.*/)?") + "".join(_expression(body)) + end + r"\Z"


def _expression(glob: str) -> list[str]:
    found, at = [], 0
    while at < len(glob):
        char = glob[at]
        if glob.startswith("**/", at):
            found.append("(?:.*/)?")
            at += 3
            continue
        if glob.startswith("**", at):
            found.append(".*")
            at += 2
            continue
        close = glob.find("]", at + 2) if char == "[" else -1
        if close > 0:
            inside = (
                glob[at + 1 : close].replace("\\", r"\\").replace("[", r"\[").replace("&", r"\&").replace("~", r"\~").replace("|", r"\|")
            )
            found.append("[^/" + inside[1:] + "]" if inside[0] in "!^" else f"[{inside}]")
            at = close + 1
            continue
        found.append({"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)))
        at += 1
    return found
