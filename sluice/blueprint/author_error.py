"""``AuthorError``: a value that is wrong as its author wrote it, raised before its file and line are known."""

from __future__ import annotations


class AuthorError(ValueError):
    """A value that is wrong as written. ``what`` and ``remedy`` are for the author."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what
        self.remedy = remedy
