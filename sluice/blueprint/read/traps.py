"""Find the traps of YAML into which a line fell, and write the line as it should be.

A trap is something that YAML reads otherwise than its author meant, or not at all: ``destination: {{ DEST }}``, ``*.tmp``, a colon within
a text, a tab. Lines are looked at only if YAML refused them, so that nothing within a script or a quoted text is taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sluice.blueprint.read.line_traps import ENTRY, QUOTES, Found, find_in_line, sticking, template
from sluice.rules.wording import counted

ABOVE_MAX = 20
"""Lines above an error among which its cause is looked for."""
SHOWN_MAX = 120
"""Characters of a line that is shown whole."""
_KEY_BEFORE = re.compile(r"[\w.-]+:\s+$")
_TEXT_FOLLOWS = re.compile(r"(?P<head>\s*(?:-\s+)*)(?P<key>[\w.-]+):\s+[|>][+-]?\s*")
_OTHER_KEY = re.compile(r"\s*(-\s+)*[a-z_]+:(\s|$)")
_DASH = re.compile(r"(?P<head>\s*)-(?P<entry>[A-Za-z_][\w.-]*:\s.*)")
_JSON = ('"', "{", "[")


@dataclass(frozen=True, slots=True)
class Trap:
    """A line that YAML can't read, and the line as it should be."""

    line: int
    """Counted from 0."""
    what: str
    remedy: str
    lines: tuple[str, ...]
    """What should stand in the place of as many lines."""


def find_trap(lines: Sequence[str], places: Sequence[int], problem: str) -> Trap | None:
    """Find the trap behind an error of syntax.

    Args:
        places: Lines at which it may be, the likeliest first.
        problem: The parser's words.
    Returns:
        None if the error is none of the known ones.
    """
    for at in dict.fromkeys(place for place in places if place < len(lines)):
        if trap := _text_beside_its_key(lines, at) or _ended(lines, at, problem) or _no_comma(lines, at, problem):
            return trap
        if (found := find_in_line(lines[at], problem)) is not None:
            return _trap(at, lines[at], *found)
    for at in dict.fromkeys(place for place in places if place < len(lines)):
        for above in reversed(range(max(0, at - ABOVE_MAX), at)):
            found = _from_above(lines[above], lines[at]) or (_left_above(lines[above], lines[at]) if above == at - 1 else None)
            if found is not None:
                return _trap(above, lines[above], *found)
        if (found := _stray(lines, at, problem)) is not None:
            return _trap(at, lines[at], *found)
    return None


def _trap(at: int, line: str, what: str, remedy: str, mended: str) -> Trap:
    return Trap(at, what, f"{remedy}: {_shown(line, mended)}" if remedy.endswith(" it") else remedy, (mended,))


def _shown(line: str, mended: str) -> str:
    """Return the mended line, or of a long one the part that differs."""
    if len(mended.strip()) <= SHOWN_MAX:
        return mended.strip()
    first = next((i for i, (a, b) in enumerate(zip(line, mended, strict=False)) if a != b), 0)
    last = next((i for i, (a, b) in enumerate(zip(reversed(line), reversed(mended), strict=False)) if a != b), 0)
    key = _KEY_BEFORE.search(mended[:first])
    return mended[key.start() if key else first : len(mended) - last][:SHOWN_MAX]


def _above(lines: Sequence[str], at: int) -> int:
    """Return the nearest line above that isn't empty; -1 if there is none."""
    return next((above for above in reversed(range(at)) if lines[above].strip()), -1)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _text_beside_its_key(lines: Sequence[str], at: int) -> Trap | None:
    """Look for the text after ``run: |`` that isn't indented."""
    above, column = _above(lines, at), _indent(lines[at])
    while above >= 0 and at - above < ABOVE_MAX and _indent(lines[above]) >= column and not _OTHER_KEY.match(lines[above]):
        at, above = above, _above(lines, above)
    found = _TEXT_FOLLOWS.fullmatch(lines[above]) if above >= 0 and lines[at].strip() else None
    if found is None or _indent(lines[at]) > len(found["head"]) or _OTHER_KEY.match(lines[at]):
        return None
    end = at + 1
    while end < len(lines) and _indent(lines[end]) >= _indent(lines[at]) and lines[end].strip() and not _OTHER_KEY.match(lines[end]):
        end += 1
    more = " " * (len(found["head"]) - _indent(lines[at]) + 2)
    what, key = f"is the text of {found['key']}:, and isn't indented more than that", found["key"]
    return Trap(at, what, f"indent the text by more spaces than {key}:", tuple(more + line for line in lines[at:end]))


def _ended(lines: Sequence[str], at: int, problem: str) -> Trap | None:
    """Look for ``...``, after which no document begins without ``---``."""
    mark = next((above for above in reversed(range(at)) if lines[above].rstrip() == "..."), -1) if "<document start>" in problem else -1
    return Trap(mark, "ends the document, and the next one has no ---", "write --- in its place", ("---",)) if mark >= 0 else None


def _no_comma(lines: Sequence[str], at: int, problem: str) -> Trap | None:
    """Look for a missing comma between two lines of JSON."""
    above = _above(lines, at)
    if "expected ',' or" not in problem or above < 0 or lines[at].lstrip()[:1] not in _JSON or lines[above].rstrip()[-1] in ",{[:":
        return None
    return _trap(above, lines[above], "has no comma at its end", "write it", f"{lines[above].rstrip()},")


def _from_above(line: str, stopped_at: str) -> Found | None:
    """Look for the cause of an error below a line: its quote ends there, or what hangs on it isn't an entry of its list."""
    entry = ENTRY.fullmatch(line)
    quote = entry["value"][0] if entry is not None else ""
    if entry is not None and quote in QUOTES and entry["value"].count(quote) == 1 and quote in stopped_at:
        return f"has a {quote} without its second one", "close it", f"{entry['head']}{entry['value']}{quote}{entry['tail']}"
    if (found := _DASH.fullmatch(line)) is not None:
        return "has no space after its -", "write it", f"{found['head']}- {found['entry']}"
    return None


def _left_above(line: str, stopped_at: str) -> Found | None:
    """Look for a trap in the line just above an error: as it was typed it could go on."""
    if (found := sticking(line, "")) is not None:
        return found
    deeper = len(stopped_at) - len(stopped_at.lstrip()) > len(line) - len(line.lstrip())
    return template(line, "") if deeper else None


def _stray(lines: Sequence[str], at: int, problem: str) -> Found | None:
    """Compare a line's indentation with that of the line before it on which it can't hang."""
    if not any(words in problem for words in ("expected key", "<block end>", "mapping values", "'-' indicator")):
        return None
    above = [line for line in lines[:at] if line.strip() and not line.lstrip().startswith("#")]
    line = lines[at]
    if not above or not re.match(r"\s*(- )?[\w.-]+:(\s|$)|\s*- ", line):
        return None
    indent = len(line) - len(line.lstrip())
    of_entry = "'-' indicator" in problem and not line.lstrip().startswith("-")  # it belongs to an entry, not beside its dash
    kinds = (True,) if of_entry else (False, True)
    columns = {len(each) - len(each.lstrip(" -" if dashed else None)): each for dashed in kinds for each in above}
    nearest = min(columns, key=lambda column: (abs(column - indent), -column))
    if nearest == indent or columns[nearest].rstrip().endswith(":"):
        return None
    what = f"is indented by {counted(indent, 'space')}, the line to which it belongs by {nearest}"
    return what, "indent both alike", " " * nearest + line.lstrip()
