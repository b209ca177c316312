"""Names and figures as a person reads them in Prefect."""

from __future__ import annotations

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least 1: ``1.4 MiB``."""
    value = float(count)
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{count} B"


def counted(count: int, word: str) -> str:
    """``1 Subscriber``, ``3 Subscribers``."""
    return f"{count} {word}{'' if count == 1 else 's'}"
