"""Decide which paths the patterns of ``exclude:`` leave out: those that git would ignore with the same lines in a .gitignore. Pure.

Rules (gitignore(5)): the last pattern that matches decides, and one that begins with ``!`` includes again; nothing is included again
below an excluded directory. A pattern with ``/`` at its beginning or within is anchored at the source, any other matches a name at
every depth; ``/`` at the end means directories only. ``*``, ``?`` and ``[...]`` stay within one part of a path, ``**`` as a whole part is
any number of parts, and ``\\`` takes a character as it is. Spaces at the end don't count unless escaped.

Two things are not git's: a character is one of Unicode, where git takes bytes, and names and patterns are compared in NFC. Malformed
patterns, which git lets match nothing, are errors. Every star but the last matches as little as possible and is never tried again, so
that matching takes time in proportion to pattern times path.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

EXCLUDES_MAX = 1000
"""Most patterns of one source."""
PATTERN_MAX = 4096
"""Most characters of one pattern; no path is longer."""
CHARACTERS_MAX = 250_000
"""Most characters of all patterns of one Distribution: to compile them takes two seconds at most, also if nobody signed them."""

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r"\ \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": r"\ -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\ \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_NAMED = re.compile(r"\[:([^]]*):\]")


class ExcludeError(ValueError):
    """A pattern that can't match anything, with what is wrong with it and what to write."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what
        self.remedy = remedy


class Excludes:
    """The excludes of one source, in their order. Remembers which of them matched."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises ExcludeError."""
        self.patterns = tuple(patterns)
        self._parsed = [_Pattern(text) for text in patterns]
        self._last_first = self._parsed[::-1]
        self._unmatched = set(self._parsed)

    def match(self, path: str, *, is_directory: bool) -> bool:
        """Whether a path below the source is excluded, none of the directories above it being so."""
        if not path.isascii():
            path = unicodedata.normalize("NFC", path)
        name = path.rpartition("/")[2]
        for pattern in self._last_first:
            if pattern.matches(path, name, is_directory):
                if self._unmatched:
                    self._unmatched -= {each for each in self._unmatched if each.matches(path, name, is_directory)}
                return not pattern.is_negated
        return False

    def covers(self, path: str, *, is_directory: bool) -> bool:
        """Whether a path below the source is excluded, by itself or with a directory above it."""
        ends = (at for at, char in enumerate(path) if char == "/")
        return any(self.match(path[:end], is_directory=True) for end in ends) or self.match(path, is_directory=is_directory)

    def unmatched(self) -> tuple[str, ...]:
        """Return the patterns that matched none of the paths asked about."""
        return tuple(dict.fromkeys(each.text for each in self._parsed if each in self._unmatched))


class _Pattern:
    """One pattern, compiled."""

    __slots__ = ("_fullmatch", "_is_anchored", "_wants_directory", "is_negated", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        parts = pattern_parts(text)
        self.is_negated, self._is_anchored = text.startswith("!"), is_anchored(text)
        self._wants_directory = pattern_body(text).endswith("/")
        self._fullmatch = re.compile(_expression(parts), re.DOTALL).fullmatch

    def matches(self, path: str, name: str, is_directory: bool) -> bool:
        return (is_directory or not self._wants_directory) and self._fullmatch(path if self._is_anchored else name) is not None


def shown_pattern(pattern: str) -> str:
    """Return a pattern in quotes for a message, with its backslashes as they are."""
    return repr(pattern).replace("\\\\", "\\")


def is_anchored(pattern: str) -> bool:
    """Whether a pattern is about the path below the source, and not about a name at any depth."""
    return "/" in pattern_body(pattern)[:-1]


def pattern_parts(pattern: str) -> list[str]:
    """Split a pattern into the parts of the path that it matches, each as a regular expression; ``**`` stays. Raises ExcludeError."""
    if len(pattern) > PATTERN_MAX:
        begin = shown_pattern(f"{pattern[:40]}...")
        raise ExcludeError(f"{begin} has {len(pattern)} characters, more than any path", f"write at most {PATTERN_MAX}")
    body = pattern_body(pattern)
    inner = body.removeprefix("/").removesuffix("/")
    if pattern.startswith("#"):
        raise ExcludeError(f"{shown_pattern(pattern)} is a comment in a .gitignore", r"write \# for a name that begins with #")
    if not inner:
        raise ExcludeError(f"{shown_pattern(pattern)} matches nothing", "name a file or directory, or leave it out")
    if "" in (parts := inner.split("/")):
        raise ExcludeError(f"{shown_pattern(pattern)} has // in it", "write / once")
    anchored = is_anchored(pattern)
    return ["**" if anchored and len(part) > 1 and not part.strip("*") else _part(part, pattern) for part in parts]


def pattern_body(pattern: str) -> str:
    """Return a pattern in NFC, without ``!`` and without spaces at its end that aren't escaped."""
    body = unicodedata.normalize("NFC", pattern.removeprefix("!"))
    while body.endswith(" ") and (len(body) - len(body[:-1].rstrip("\\"))) % 2:
        body = body[:-1]
    return body


def _expression(parts: list[str]) -> str:
    """Join parts to one regular expression for ``fullmatch``."""
    runs = [""]
    for part in parts:
        if part != "**":
            runs[-1] += f"/{part}" if runs[-1] else part
        elif runs[-1] or len(runs) == 1:
            runs.append("")
    if len(runs) == 1:
        return runs[0]
    first, *between, last = runs
    found = f"{first}/" if first else ""
    found += "".join(f"(?>(?:[^/]+/)*?{each}/)" for each in between)
    return found + (f"(?:[^/]+/)*{last}" if last else ".+")


def _part(text: str, pattern: str) -> str:
    """Return one part of a pattern as a regular expression that never leaves a part of a path."""
    runs, at = [""], 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            if runs[-1] or len(runs) == 1:
                runs.append("")
            elif is_anchored(pattern):
                raise ExcludeError(f"{shown_pattern(pattern)} has ** within a part, which is no more than *", "write /**/, or *")
        elif char == "?":
            runs[-1] += "[^/]"
        elif char == "[":
            found, at = _bracket(text, at, pattern)
            runs[-1] += found
        else:
            if char == "\\":
                if at == len(text):
                    raise ExcludeError(f"{shown_pattern(pattern)} has a backslash with nothing behind it", r"write \\ for a backslash")
                char = text[at]
                at += 1
            runs[-1] += re.escape(char)
    if len(runs) == 1:
        return runs[0]
    first, *between, last = runs
    return first + "".join(f"(?>[^/]*?{each})" for each in between) + f"[^/]*{last}"


def _bracket(text: str, at: int, pattern: str) -> tuple[str, int]:
    """Read ``[...]`` from behind its ``[``; return its regular expression, and the index behind its ``]``."""
    negated = text[at : at + 1] in ("!", "^")
    at += negated
    items, begin = "", at
    while at < len(text) and (text[at] != "]" or at == begin):
        if (named := _NAMED.match(text, at)) is not None:
            if named[1] not in _CLASSES:
                raise ExcludeError(f"{shown_pattern(pattern)}: [:{named[1]}:] is no class", f"write one of {', '.join(_CLASSES)}")
            items, at = items + _CLASSES[named[1]], named.end()
            continue
        low, at = _char(text, at)
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("", "]"):
            high, at = _char(text, at + 1)
            if low > high:
                raise ExcludeError(f"{shown_pattern(pattern)}: the range {low}-{high} is empty", f"write {high}-{low}")
            items += f"{re.escape(low)}-{re.escape(high)}"
        else:
            items += re.escape(low)
    if at >= len(text):
        raise ExcludeError(f"{shown_pattern(pattern)} has a [ without its ]", r"close it, or write \[ for the character itself")
    return f"(?!/)[{'^' if negated else ''}{items}]", at + 1


def _char(text: str, at: int) -> tuple[str, int]:
    """Read one character in brackets, which may be escaped."""
    at += text[at] == "\\" and at + 1 < len(text)
    return text[at], at + 1
