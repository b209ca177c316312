"""Find the traps of YAML into which a line fell, and write the line as it should be.

A trap is something that YAML reads otherwise than its author meant, or not at all: ``destination: {{ DEST }}``, ``*.tmp``, a colon within
a text, a tab. Lines are looked at only if YAML refused them, so that nothing within a script or a quoted text is taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sluice.rules.wording import counted

ABOVE_MAX = 20
"""Lines above an error among which its cause is looked for."""
SHOWN_MAX = 120
"""Characters of a line that is shown whole."""

TYPOGRAPHIC = {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "\u2018": "'", "\u2019": "'", "\u201a": "'"}
"""Quotes of word processors and web pages, and what YAML takes for quotes."""
_INVISIBLE = re.compile("[\u00a0\u1680\u2000-\u200f\u202f\u205f\u2060\u3000\ufeff\u00ad]")
_TYPOGRAPHIC = re.compile(f"[{''.join(TYPOGRAPHIC)}]")

_ENTRY = re.compile(r"(?P<head>\s*(?:-\s+)*(?:[\w.-]+\s*:\s+)?)(?P<value>\S(?:.*?\S)??)(?P<tail>\s*|\s+#.*)")
"""A line with its dashes and key, its value, and its comment."""
_FLOW = re.compile(r"(?P<before>[\[{,]\s*+|:\s++)(?P<item>(?:(?!:\s)[^\[\]{},\"'])*+\{\{[^{}]*\}\}[^\[\]{},]*|[@`%*&!][^\[\]{},]*)")
"""An item within brackets that YAML can't read without quotes."""
_KEY_BEFORE = re.compile(r"[\w.-]+:\s+$")
_UNREADABLE = "@`%*&!,]}|>"
"""Characters that mean something to YAML at a value's begin."""
_BLOCK_TEXT = re.compile(r"[|>][+-]?[1-9]?[+-]?")
_STICKING = re.compile(r"(?P<head>\s*(?:-\s+)*[a-z_]+):(?P<value>[^\s:/].*)")
_OTHER_SIGN = re.compile(r"(?P<head>\s*(?:-\s+)*[a-z_]+)\s*(?P<sign>[=;])\s*(?P<value>\S.*)")
_MARKER = re.compile(r"(<{7}|\|{7}|={7}|>{7})(\s|$)")
_DASH = re.compile(r"(?P<head>\s*)-(?P<entry>[A-Za-z_][\w.-]*:\s.*)")
_QUOTES = "\"'"


@dataclass(frozen=True, slots=True)
class Trap:
    """A line that YAML can't read, and the line as it should be."""

    line: int
    """Counted from 0."""
    what: str
    remedy: str
    mended: str


_Found = tuple[str, str, str]
"""The problem; what to do, to which the shown text is added; the line as it should be."""


def find_trap(lines: Sequence[str], places: Sequence[int], problem: str) -> Trap | None:
    """Find the trap behind an error of syntax.

    Args:
        places: Lines at which it may be, the likeliest first.
        problem: The parser's words.
    Returns:
        None if the error is none of the known ones.
    """
    for at in dict.fromkeys(place for place in places if place < len(lines)):
        for look in _LOOKS:
            found = look(lines[at], problem)
            if found is not None and found[2] != lines[at]:
                return _trap(at, lines[at], *found)
    for at in dict.fromkeys(place for place in places if place < len(lines)):
        for above in reversed(range(max(0, at - ABOVE_MAX), at)):
            found = _from_above(lines[above], lines[at]) or (_left_above(lines[above], lines[at]) if above == at - 1 else None)
            if found is not None:
                return _trap(above, lines[above], *found)
        if (found := _stray(lines, at, problem)) is not None:
            return _trap(at, lines[at], *found)
    return None


def quoted(text: str) -> str:
    """Write a text in quotes."""
    return f'"{text}"' if '"' not in text and "\\" not in text else "'" + text.replace("'", "''") + "'"


def visible(text: str) -> str:
    """Write plain spaces and quotes instead of those of web pages and word processors."""
    return _TYPOGRAPHIC.sub(lambda match: TYPOGRAPHIC[match[0]], _INVISIBLE.sub(" ", text))


def odd_characters(text: str) -> str:
    """Say which characters of a key or an unquoted value were copied from a web page or word processor; empty if there are none."""
    if found := _INVISIBLE.search(text.strip(" ")):
        return f"has an invisible character (U+{ord(found[0]):04X}), which YAML takes for a letter"
    if text[:1] in TYPOGRAPHIC or text[-1:] in TYPOGRAPHIC:
        return "has typographic quotes, which YAML takes for letters"
    return ""


def _trap(at: int, line: str, what: str, remedy: str, mended: str) -> Trap:
    return Trap(at, what, f"{remedy}: {_shown(line, mended)}" if remedy.endswith(" it") else remedy, mended)


def _shown(line: str, mended: str) -> str:
    """Return the mended line, or of a long one the part that differs."""
    if len(mended.strip()) <= SHOWN_MAX:
        return mended.strip()
    first = next((i for i, (a, b) in enumerate(zip(line, mended, strict=False)) if a != b), 0)
    last = next((i for i, (a, b) in enumerate(zip(reversed(line), reversed(mended), strict=False)) if a != b), 0)
    key = _KEY_BEFORE.search(mended[:first])
    return mended[key.start() if key else first : len(mended) - last][:SHOWN_MAX]


def _copied(line: str, _problem: str) -> _Found | None:
    code = re.split(r"\s#", line)[0]
    if odd := _INVISIBLE.search(code):
        return f"has an invisible character (U+{ord(odd[0]):04X}), perhaps copied from a web page", "type it", visible(line)
    if _TYPOGRAPHIC.search(code):
        return "has typographic quotes, perhaps copied from a web page", "type it", visible(line)
    return None


def _tab(line: str, _problem: str) -> _Found | None:
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" not in indent:
        return None
    return "is indented by a tab", "indent by spaces, as the lines around it", line.replace(indent, indent.replace("\t", "  "), 1)


def _template(line: str, _problem: str) -> _Found | None:
    entry = _ENTRY.fullmatch(line)
    if entry is None or "{{" not in line:
        return None
    if entry["value"].startswith("{{") and "}}" in entry["value"]:
        return "begins with {{, which YAML reads as a mapping", "quote it", f"{entry['head']}{quoted(entry['value'])}{entry['tail']}"
    return _within_brackets(line, "has {{, which YAML reads as a mapping")


def _indicator(line: str, _problem: str) -> _Found | None:
    entry = _ENTRY.fullmatch(line)
    if entry is None or not entry["head"].strip():
        return None
    value = entry["value"]
    first = value[0]
    if first in _UNREADABLE and not (first in "|>" and _BLOCK_TEXT.fullmatch(value)):
        return f"begins with {first}, which YAML keeps for itself", "quote it", f"{entry['head']}{quoted(value)}{entry['tail']}"
    return _within_brackets(line, "has a value that begins with a character which YAML keeps for itself") if first in "[{" else None


def _within_brackets(line: str, what: str) -> _Found | None:
    mended = _FLOW.sub(lambda match: match["before"] + quoted(match["item"].rstrip()), line)
    return (what, "quote it", mended) if mended != line else None


def _colon(line: str, problem: str) -> _Found | None:
    entry = _ENTRY.fullmatch(line)
    if entry is None or "mapping values are not allowed" not in problem:
        return None
    value = entry["value"]
    if value[0] in "[{" + _QUOTES or not (": " in value or value.endswith(":")) or not entry["head"].strip(" -"):
        return None
    return 'has ": " in its value, which YAML reads as another key', "quote it", f"{entry['head']}{quoted(value)}{entry['tail']}"


def _half_quoted(line: str, problem: str) -> _Found | None:
    entry = _ENTRY.fullmatch(line)
    if entry is None or entry["value"][0] not in _QUOTES:
        return None
    value, quote = entry["value"], entry["value"][0]
    if quote == '"' and "escape" in problem:
        what = "has a backslash within double quotes, which YAML reads as an escape"
        return what, "use single quotes for it", f"{entry['head']}{quoted(value.strip(quote))}{entry['tail']}"
    if value.count(quote) == 1:
        return f"has a {quote} without its second one", "close it", f"{entry['head']}{value}{quote}{entry['tail']}"
    if value.endswith(quote) and quote == "'":
        return "has a ' within single quotes", "use double quotes for it", f'{entry["head"]}"{value[1:-1]}"{entry["tail"]}'
    if not value.endswith(quote):
        inner, _, rest = value[1:].partition(quote)
        whole = quoted(value) if rest.startswith(" ") else quoted(inner + rest)
        return "goes on after its closing quote", "quote it", f"{entry['head']}{whole}{entry['tail']}"
    return None


def _open_bracket(line: str, problem: str) -> _Found | None:
    entry = _ENTRY.fullmatch(line)
    if entry is None or entry["value"][0] not in "[{" or "flow" not in problem or not entry["head"].strip():
        return None
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", entry["value"])
    missing = ""
    for char in bare:
        if char in "[{":
            missing = ("]" if char == "[" else "}") + missing
        elif missing.startswith(char):
            missing = missing[1:]
    if not missing:
        return None
    return f"has no {missing[0]} for its {entry['value'][0]}", "close it", f"{entry['head']}{entry['value']}{missing}{entry['tail']}"


def _sticking(line: str, _problem: str) -> _Found | None:
    if (found := _STICKING.fullmatch(line)) is not None:
        return "has no space after its colon", "write it", f"{found['head']}: {found['value']}"
    if (found := _OTHER_SIGN.fullmatch(line)) is not None:
        return f"has {found['sign']} in the place of a colon", "write it", f"{found['head']}: {found['value']}"
    return None


def _bare_key(line: str, problem: str) -> _Found | None:
    if "expected ':'" not in problem or not re.fullmatch(r"\s*(?:-\s+)*[a-z_]+\s*", line):
        return None
    return "has no colon", "write it", f"{line.rstrip()}:"


def _conflict(line: str, _problem: str) -> _Found | None:
    if not _MARKER.match(line):
        return None
    return "is a mark of a conflict that git left", "choose one of the two versions, and remove the marks", ""


def _from_above(line: str, stopped_at: str) -> _Found | None:
    """Look for the cause of an error below a line: its quote ends there, or what hangs on it isn't an entry of its list."""
    entry = _ENTRY.fullmatch(line)
    quote = entry["value"][0] if entry is not None else ""
    if entry is not None and quote in _QUOTES and entry["value"].count(quote) == 1 and quote in stopped_at:
        return f"has a {quote} without its second one", "close it", f"{entry['head']}{entry['value']}{quote}{entry['tail']}"
    if (found := _DASH.fullmatch(line)) is not None:
        return "has no space after its -", "write it", f"{found['head']}- {found['entry']}"
    return None


def _left_above(line: str, stopped_at: str) -> _Found | None:
    """Look for a trap in the line just above an error: as it was typed it could go on."""
    if (found := _sticking(line, "")) is not None:
        return found
    deeper = len(stopped_at) - len(stopped_at.lstrip()) > len(line) - len(line.lstrip())
    return _template(line, "") if deeper else None


def _stray(lines: Sequence[str], at: int, problem: str) -> _Found | None:
    """Compare a line's indentation with that of the line before it on which it can't hang."""
    if not any(words in problem for words in ("expected key", "<block end>", "mapping values", "'-' indicator")):
        return None
    above = [line for line in lines[:at] if line.strip() and not line.lstrip().startswith("#")]
    line = lines[at]
    if not above or not re.match(r"\s*(- )?[\w.-]+:(\s|$)|\s*- ", line):
        return None
    indent = len(line) - len(line.lstrip())
    columns = {len(each) - len(each.lstrip(" -" if dashed else None)): each for dashed in (False, True) for each in above}
    nearest = min(columns, key=lambda column: (abs(column - indent), -column))
    if nearest == indent or columns[nearest].rstrip().endswith(":"):
        return None
    what = f"is indented by {counted(indent, 'space')}, the line to which it belongs by {nearest}"
    return what, "indent both alike", " " * nearest + line.lstrip()


_LOOKS: tuple[Callable[[str, str], _Found | None], ...] = (
    *(_conflict, _copied, _tab, _template, _half_quoted, _indicator, _colon, _open_bracket, _sticking, _bare_key),
)
