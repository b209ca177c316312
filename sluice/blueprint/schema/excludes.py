"""The patterns of ``exclude:``, refused if their author can't have meant them: what matches nothing would distribute a secret.

``sluice/rules/excludes.py`` says what a pattern means. Here is refused what other tools' users write and what means something else in
a .gitignore, or nothing. A file whose name looks like that can be written with a backslash before the character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Annotated

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.schema.values import filled, text_value
from sluice.rules.excludes import ExcludeError, is_anchored, pattern_body, pattern_parts, shown_pattern

_ESCAPED = re.compile(r"\\(.)")
_ESCAPABLE = frozenset("*?[]{}!#\\ ^-,;$%:'\"")
_SPECIAL = re.compile(r"[*?\[\\]")
_TEMPLATE = re.compile(r"\{\{|\{%")
_BRACES = re.compile(r"\{([^{}]*)\}")
_EVERYTHING = re.compile(r"/?(?:\*{2,}/)*(?:\*+(?:\?\**)?|\?\*+)")
"""Matches every name in the source itself, so that nothing is left below either."""


def _exclude(text: str) -> str:
    filled(text)
    plain = _ESCAPED.sub("", text)
    body = pattern_body(text)
    parts = body.split("/")
    if any(char not in _ESCAPABLE for char in _ESCAPED.findall(text)):
        raise AuthorError(
            f"{shown_pattern(text)} has a backslash before an ordinary character",
            r"write / between directories, \\ for a backslash",
        )
    if _TEMPLATE.search(plain):
        raise AuthorError(f"{shown_pattern(text)} has a template: a revision is the same for all Subscribers", "write the name out")
    if any("," in inner or ".." in inner for inner in _BRACES.findall(plain)):
        raise AuthorError(f"{shown_pattern(text)} has braces, which have no meaning here", r"write a pattern for each, or \{")
    if re.match(r"~|[A-Za-z]:", parts[0]) and len(parts) > 1:
        raise AuthorError(f"{shown_pattern(text)} is a path outside the source", "write the path below the source")
    if ".." in parts:
        raise AuthorError(f"{shown_pattern(text)} has .. in it, which leads out of the source", "write the path below the source")
    if "." in parts:
        below = "/".join(part for part in parts if part not in ("", ".")) or "*"
        raise AuthorError(f"{shown_pattern(text)} has . in it, which no path has", f"write {'!' * text.startswith('!')}/{below}")
    if text.startswith("!!"):
        raise AuthorError(f"{shown_pattern(text)} has ! twice", r"write ! once, or !\! for a name that begins with !")
    if hidden := next((char for char in text if char > "\x7f" and unicodedata.category(char) == "Cf"), ""):
        raise AuthorError(
            f"{shown_pattern(text)} has a character that is not to be seen: {unicodedata.name(hidden, 'unnamed')} (U+{ord(hidden):04X})",
            "leave it out, or write ? in its place if the name has it",
        )
    try:
        pattern_parts(text)
    except ExcludeError as error:
        raise AuthorError(error.what, error.remedy) from None
    return text


def misplaced(patterns: Sequence[str], *, source: str, written: str) -> Iterator[tuple[int, str, str]]:
    """Yield patterns that mean nothing together with the others or with their source: index, problem and remedy.

    Args:
        source: The source's absolute path.
        written: The same as the blueprint has it.
    """
    hidden, is_first = _excluded_names(patterns), True
    for index, text in enumerate(patterns):
        body = pattern_body(text)
        for prefix in (source.rstrip("/"), written.removeprefix("./").rstrip("/")):
            if prefix and body.rstrip("/").startswith(prefix) and body[len(prefix) :].startswith("/"):
                inner = "" if prefix.startswith("/") else f", or /{body} if the source itself has {prefix}"
                yield (
                    index,
                    f"{shown_pattern(text)} begins with the source's own path",
                    f"write {'!' * text.startswith('!')}{body[len(prefix) :]}{inner}",
                )
                break
        if text.startswith("!"):
            if is_first:
                yield index, f"{shown_pattern(text)} includes again what nothing before it excludes", "put it behind the pattern that does"
            elif (above := next((hidden[each] for each in _above(text) if each in hidden), "")) != "":
                inside = f"{above.rstrip('/')}/*" if is_anchored(above) else f"**/{above.rstrip('/')}/*"
                remedy = f"write {inside} instead of {above}, and ! for each directory between"
                yield index, f"{shown_pattern(text)} has no effect: {shown_pattern(above)} excludes a directory above it", remedy
        else:
            is_first = False
    if not any(text.startswith("!") for text in patterns):
        for index, text in enumerate(patterns):
            if _EVERYTHING.fullmatch(pattern_body(text)):
                yield index, f"{shown_pattern(text)} excludes everything", "leave out the entry of files:, or exclude less"


def _excluded_names(patterns: Sequence[str]) -> dict[str, str]:
    """Return patterns without wildcards by the ``name`` or ``/path`` that they exclude, unless a later one includes that again."""
    found: dict[str, str] = {}
    for text in patterns:
        body = pattern_body(text).rstrip("/")
        literal = None if _SPECIAL.search(body) else f"/{body.removeprefix('/')}" if is_anchored(text) else body
        if text.startswith("!"):
            above = set(_above(text))
            kept = found.keys() - {literal, body.rpartition("/")[2]} if literal else found.keys() & above
            found = {each: found[each] for each in found if each in kept}
        elif literal is not None:
            found[literal] = text
    return found


def _above(pattern: str) -> Iterator[str]:
    """Yield the directories that are certainly above what a pattern matches, as ``/path`` and as ``name``."""
    path = ""
    for part in pattern_body(pattern).strip("/").split("/")[:-1]:
        if _SPECIAL.search(part):
            return
        path += f"/{part}"
        yield path
        yield part


Exclude = Annotated[str, text_value(_exclude, "a pattern in quotes", "*.tmp", minLength=1)]
