"""Find the trap of YAML into which one line fell, and write the line as it should be (``traps.py`` looks at the lines around it too)."""

from __future__ import annotations

import re
from collections.abc import Callable

TYPOGRAPHIC = {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "\u2018": "'", "\u2019": "'", "\u201a": "'"}
"""Quotes of word processors and web pages, and what YAML takes for quotes."""
_INVISIBLE = re.compile("[\u00a0\u1680\u2000-\u200f\u202f\u205f\u2060\u3000\ufeff\u00ad]")
_TYPOGRAPHIC = re.compile(f"[{''.join(TYPOGRAPHIC)}]")

ENTRY = re.compile(r"(?P<head>\s*(?:-\s+)*(?:[\w.-]+\s*:\s+)?)(?P<value>\S(?:.*?\S)??)(?P<tail>\s*|\s+#.*)")
"""A line with its dashes and key, its value, and its comment."""
_FLOW = re.compile(r"(?P<before>[\[{,]\s*+|:\s++)(?P<item>(?:(?!:\s)[^\[\]{},\"'])*+\{\{[^{}]*\}\}[^\[\]{},]*|[@`%*&!][^\[\]{},]*)")
"""An item within brackets that YAML can't read without quotes."""
_UNREADABLE = "@`%*&!,]}|>"
"""Characters that mean something to YAML at a value's begin."""
_BLOCK_TEXT = re.compile(r"[|>][+-]?[1-9]?[+-]?")
_STICKING = re.compile(r"(?P<head>\s*(?:-\s+)*[a-z_]+):(?P<value>[^\s:/].*)")
_OTHER_SIGN = re.compile(r"(?P<head>\s*(?:-\s+)*[a-z_]+)\s*(?P<sign>[=;])\s*(?P<value>\S.*)")
_STATEMENT = re.compile(r"\s*(\{%.*%\}|\{\{-?\s*(if|else|end|range|with|include|define|template)\b.*\}\})\s*")
_SEPARATOR = re.compile(r"(-{2}|-{4,}|={3,}|\*{3,}|_{3,})\s*")
_ALMOST_DASH = re.compile(r"(?P<head>\s*)(?P<dash>[-\u2010-\u2015\u2022])(?:(?<=-)|\s*)(?P<entry>\w.*)")
_MARKER = re.compile(r"(<{7}|\|{7}|={7}|>{7})(\s|$)")
_SCHEME = re.compile(r"^((?:local|ssh):)\s+(?=/)")
_AFTER_BRACKET = re.compile(r"[\[{][^\[\]{}]*[\]}]\s*[^\s,].*")
QUOTES = "\"'"

Found = tuple[str, str, str]
"""The problem; what to do, to which the shown text is added; the line as it should be."""


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


def _copied(line: str, _problem: str) -> Found | None:
    code = re.split(r"\s#", line)[0]
    if odd := _INVISIBLE.search(code):
        return f"has an invisible character (U+{ord(odd[0]):04X}), perhaps copied from a web page", "type it", visible(line)
    if _TYPOGRAPHIC.search(code):
        return "has typographic quotes, perhaps copied from a web page", "type it", visible(line)
    return None


def _tab(line: str, _problem: str) -> Found | None:
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" not in indent:
        return None
    return "is indented by a tab", "indent by spaces, as the lines around it", line.replace(indent, indent.replace("\t", "  "), 1)


def template(line: str, _problem: str) -> Found | None:
    entry = ENTRY.fullmatch(line)
    if _STATEMENT.fullmatch(line):
        return "is a line for a template engine, and none runs over a blueprint", "remove it, and write out what it would make", ""
    if entry is None or "{{" not in line:
        return None
    if entry["value"].startswith("{{") and "}}" in entry["value"]:
        return "begins with {{, which YAML reads as a mapping", "quote it", f"{entry['head']}{quoted(entry['value'])}{entry['tail']}"
    return _within_brackets(line, "has {{, which YAML reads as a mapping")


def _indicator(line: str, _problem: str) -> Found | None:
    entry = ENTRY.fullmatch(line)
    if entry is None or not entry["head"].strip():
        return None
    value = entry["value"]
    first = value[0]
    if first in _UNREADABLE and not (first in "|>" and _BLOCK_TEXT.fullmatch(value)):
        return f"begins with {first}, which YAML keeps for itself", "quote it", f"{entry['head']}{quoted(value)}{entry['tail']}"
    return _within_brackets(line, "has a value that begins with a character which YAML keeps for itself") if first in "[{" else None


def _within_brackets(line: str, what: str) -> Found | None:
    mended = _FLOW.sub(lambda match: match["before"] + quoted(match["item"].rstrip()), line)
    return (what, "quote it", mended) if mended != line else None


def _colon(line: str, problem: str) -> Found | None:
    entry = ENTRY.fullmatch(line)
    if entry is None or "mapping values are not allowed" not in problem:
        return None
    value = entry["value"]
    if (joined := _SCHEME.sub(r"\1", value)) != value:
        return f"has a space after {joined.partition(':')[0]}", "write it", f"{entry['head']}{joined}{entry['tail']}"
    if value[0] in "[{" + QUOTES or not (": " in value or value.endswith(":")) or not entry["head"].strip(" -"):
        return None
    return 'has ": " in its value, which YAML reads as another key', "quote it", f"{entry['head']}{quoted(value)}{entry['tail']}"


def _half_quoted(line: str, problem: str) -> Found | None:
    entry = ENTRY.fullmatch(line)
    if entry is None or entry["value"][0] not in QUOTES:
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


def _open_bracket(line: str, problem: str) -> Found | None:
    entry = ENTRY.fullmatch(line)
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


def _after_bracket(line: str, _problem: str) -> Found | None:
    entry = ENTRY.fullmatch(line)
    if entry is None or not entry["head"].strip() or not _AFTER_BRACKET.fullmatch(entry["value"]):
        return None
    return "goes on after its closing bracket", "quote it", f"{entry['head']}{quoted(entry['value'])}{entry['tail']}"


def sticking(line: str, _problem: str) -> Found | None:
    if (found := _STICKING.fullmatch(line)) is not None:
        return "has no space after its colon", "write it", f"{found['head']}: {found['value']}"
    if (found := _OTHER_SIGN.fullmatch(line)) is not None:
        return f"has {found['sign']} in the place of a colon", "write it", f"{found['head']}: {found['value']}"
    return None


def _almost(line: str, problem: str) -> Found | None:
    """Look for a dash or a line between documents that isn't quite one."""
    if "simple key" not in problem:
        return None
    if _SEPARATOR.fullmatch(line):
        return "isn't the line between two documents", "write --- in its place", "---"
    if (found := _ALMOST_DASH.fullmatch(line)) is not None:
        what = "has no space after its -" if found["dash"] == "-" else f"has {found['dash']} in the place of -"
        return what, "write it", f"{found['head']}- {found['entry']}"
    return None


def _bare_key(line: str, problem: str) -> Found | None:
    if "expected ':'" not in problem or not re.fullmatch(r"\s*(?:-\s+)*[a-z_]+\s*", line):
        return None
    return "has no colon", "write it", f"{line.rstrip()}:"


def _conflict(line: str, _problem: str) -> Found | None:
    if not _MARKER.match(line):
        return None
    return "is a mark of a conflict that git left", "choose one of the two versions, and remove the marks", ""


_LOOKS: tuple[Callable[[str, str], Found | None], ...] = (
    *(_conflict, _copied, _tab, template, _half_quoted, _indicator, _after_bracket, _colon, _open_bracket, sticking, _almost, _bare_key),
)


def find_in_line(line: str, problem: str) -> Found | None:
    """Find the trap of a line that YAML refused with such words; None if it is none of the known ones, or the line is as it should be."""
    return next((found for look in _LOOKS if (found := look(line, problem)) is not None and found[2] != line), None)
