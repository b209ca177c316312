"""Names and figures as a person reads them in Prefect."""

from __future__ import annotations

from sluice.rules.space import size as size


def counted(count: int, word: str) -> str:
    """``1 Subscriber``, ``3 Subscribers``."""
    return f"{count} {word}{'' if count == 1 else 's'}"
