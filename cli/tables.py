"""Lay out plain text for people: tables, sizes, times. No colours; output to a pipe is the same as to a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from sluice.rules.space import size as size
from sluice.rules.wording import printable

WIDE = 80
"""Characters of the widest cell that a column makes room for: an error's message may be a paragraph."""
LINES_MAX = 4096
"""Bytes shown of a text of several lines: the last ones."""


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()) -> str:
    """Lay out columns as wide as their widest cell, two spaces apart, under capital headers; no trailing spaces.

    A cell beyond ``WIDE`` pushes the rest of its own line only.

    Args:
        right: Headers of columns that are set flush right: numbers.
    """
    cells = [[header.upper() for header in headers], *([_one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells if len(row[column]) <= WIDE) for column in range(len(headers))]
    flush = [header in right for header in headers]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width) for cell, width, is_right in zip(row, widths, flush, strict=True)
        ).rstrip()
        for row in cells
    )


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Lay out names and values, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name.ljust(width)}  {_one_line(value)}".rstrip() for name, value in rows)


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


def moment(at: datetime | str | None) -> str:
    """Write a time, or one that JSON has as text, to the second, in UTC, which the header or the text says; empty for None."""
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return "" if found is None else found.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def lines(text: str) -> str:
    """Make a text from another machine safe for a terminal: its last bytes, without control characters except newlines and tabs."""
    kept = printable(text, replacement="", keep="\n\t")
    return kept.encode("utf-8", "replace")[-LINES_MAX:].decode("utf-8", "ignore")


def _one_line(text: str) -> str:
    """Replace control characters, which could move the cursor: names and messages come from other machines."""
    return printable(" ".join(text.splitlines()), replacement=" ")
