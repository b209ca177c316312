"""Wording of messages: a count with its noun, and texts of other programs made fit for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sluice.rules.excludes import shown_pattern

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def counted(number: int, noun: str) -> str:
    """Return ``1 Subscriber``, ``2 Subscribers``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def unmatched_text(unmatched: Sequence[tuple[str, str]]) -> str:
    """Return one sentence about excludes that matched nothing, each given with its source; empty without any."""
    return "; ".join(f"exclude {shown_pattern(pattern)} of {source} matches nothing" for source, pattern in unmatched)


def links_across_text(number: int) -> str:
    """Return one sentence about hard links that aren't kept; empty without any."""
    them = "is a hard link" if number == 1 else "are hard links"
    return f"{counted(number, 'file')} {them} to one in another destination, where it becomes a file of its own" if number else ""


def printable(text: str, *, replacement: str = "?", keep: str = "") -> str:
    """Replace characters that aren't printable: other machines' texts are shown in terminals, where control characters move the cursor.

    Args:
        keep: Characters that stay although they aren't printable.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() or c in keep else replacement for c in text)


def output_text(output: bytes) -> str:
    """Return the output of another program on one line, fit for a message."""
    return printable(output.decode(errors="replace"), replacement=" ").strip()


def ago(at: datetime, now: datetime) -> str:
    """Return the age of something in its largest unit: ``just now``, ``5 min ago``, ``3 d ago``."""
    seconds = (now - at).total_seconds()
    return next((f"{int(seconds // length)} {unit} ago" for unit, length in _UNITS if seconds >= length), "just now")


def duration(span: timedelta) -> str:
    """Write ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 days 4 h``: the two largest units."""
    seconds = span.total_seconds()
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    rest = round(seconds)
    found = []
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, rest = divmod(rest, length)
        if number:
            found.append(f"{number} {'day' if unit == 'days' and number == 1 else unit}")
        elif found:
            break
    return " ".join(found[:2])
