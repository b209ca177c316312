"""Wording of messages: a count with its noun, and texts of other programs made fit for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sluice.rules.excludes import shown_pattern

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def counted(number: int, noun: str) -> str:
    """Return ``1 Subscriber``, ``2 Subscribers``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def pairs_done(done: int, pairs: Sequence[tuple[str, str]]) -> str:
    """Return how many pairs of Subscriber and Distribution are done.

    ``2 of 3 Subscribers done`` if there is one Distribution for each, else ``4 of 4 done: 2 Distributions on 2 Subscribers``.
    """
    hosts, distributions = len({host for host, _ in pairs}), len({distribution for _, distribution in pairs})
    if hosts == len(pairs):
        return f"{done} of {counted(hosts, 'Subscriber')} done"
    if hosts == 1:
        return f"{done} of {counted(distributions, 'Distribution')} done on {pairs[0][0]}"
    return f"{done} of {len(pairs)} done: {counted(distributions, 'Distribution')} on {counted(hosts, 'Subscriber')}"


def share(part: float) -> str:
    """Write ``14%``, ``1.25%``, ``< 0.01%``; name the whole beside it."""
    if part < 0.0001:
        return "< 0.01%"
    return f"{part:.2%}" if part < 0.1 else f"{part:.0%}"


SEE_WHY = "`sluice why` shows its output"
"""Remedy for a failed action, in receipts of agents; ``without_see_why`` leaves it out where that output follows."""


def without_see_why(text: str) -> str:
    """Return a text of ``sluice why`` without the advice to type ``sluice why``."""
    return text.replace(f": {SEE_WHY}", "").replace(f"; {SEE_WHY}", "")


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
