"""Lay out text for people: tables, sizes, times. A pipe gets each row on one line, a terminal what fits its width."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cli.terminal import Line, cells, wrapped
from sluice.rules.space import size as size
from sluice.rules.wording import duration as duration
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
    texts = [[header.upper() for header in headers], *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(wide for row in texts if (wide := cells(row[column])) <= WIDE) for column in range(len(headers))]
    flush = [header in right for header in headers]

    def padded(text: str, width: int, is_right: bool) -> str:
        blank = " " * (width - cells(text))
        return blank + text if is_right else text + blank

    return "\n".join("  ".join(map(padded, row, widths, flush)).rstrip() for row in texts)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table that fits a terminal."""

    cells: Sequence[str]
    remark: str = ""
    """The last column; in a narrow terminal it stands beneath the others."""
    colour: str = ""
    is_plain: bool = False
    """The other columns say it all: in a narrow terminal its remark is left out."""


def fitted(
    headers: Sequence[str], rows: Sequence[Row], *, width: int | None, right: Collection[str] = (), less: Sequence[str] = ()
) -> Sequence[Line]:
    """Lay out a table whose last header is that of the remarks.

    Args:
        width: Columns that there are; None: lines may be of any length.
        less: Columns that a narrow terminal leaves out, as many as needed, in this order. If that isn't enough, rows are broken.
    """
    shown = table(headers, [[*row.cells, row.remark] for row in rows], right=right).splitlines()
    if width is None or max(map(cells, shown)) <= width:
        return list(zip(shown, ["bold", *(row.colour for row in rows)], strict=True))
    kept = list(headers[:-1])
    for name in (None, *less):
        kept = [header for header in kept if header != name]
        places = [headers.index(header) for header in kept]
        shown = table(kept, [[row.cells[place] for place in places] for row in rows], right=right).splitlines()
        if max(map(cells, shown)) <= width:
            break
    lines = [(each, "bold") for each in _broken(shown[0], width)]
    for row, text in zip(rows, shown[1:], strict=True):
        remarks = [] if row.is_plain else wrapped(row.remark, width, indent="    ", hanging="    ")
        lines += [(each, row.colour) for each in (*_broken(text, width), *remarks)]
    return lines


def _broken(row: str, width: int) -> Sequence[str]:
    return [row] if cells(row) <= width else wrapped(row, width, hanging="  ")


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Lay out names and values, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name.ljust(width)}  {one_line(value)}".rstrip() for name, value in rows)


def moment(at: datetime | str | None) -> str:
    """Write a time, or one that JSON has as text, to the second, in UTC, which the header or the text says; empty for None."""
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return "" if found is None else found.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def lines(text: str) -> str:
    """Make a text from another machine safe for a terminal: its last bytes, without control characters except newlines and tabs."""
    kept = printable(text, replacement="", keep="\n\t")
    return kept.encode("utf-8", "replace")[-LINES_MAX:].decode("utf-8", "ignore")


def one_line(text: str) -> str:
    """Replace control characters, which could move the cursor: names and messages come from other machines."""
    return printable(" ".join(text.splitlines()), replacement=" ")
