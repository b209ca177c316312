"""A YAML document as data that knows the file and line of everything in it, so that every error can name its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from sluice.errors import BlueprintError

PathKey: TypeAlias = tuple[str | int, ...]
"""Keys and list indexes that lead to a value."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The line of a value. ``raw`` is the text of an unquoted scalar, as it was typed."""

    line: int
    raw: str | None = None


@dataclass(slots=True)
class Document:
    """One YAML document: its data, and the Mark of each path in it."""

    file: str
    line: int
    data: dict[str, object]
    marks: dict[PathKey, Mark] = field(default_factory=dict)
    broken: set[PathKey] = field(default_factory=set)
    """Paths of values that were refused; what a later check says of them is a consequence. ``()``: the whole document."""

    def touches_broken(self, path: PathKey) -> bool:
        """Whether the value at a path, one around it or one within it was refused."""
        return self.is_broken(path) or any(each[: len(path)] == path for each in self.broken)

    def is_broken(self, path: PathKey) -> bool:
        """Whether the value at a path, or one around it, was refused."""
        return bool(self.broken) and any(path[:end] in self.broken for end in range(len(path) + 1))

    def mark(self, path: PathKey) -> Mark:
        """Return the Mark of the path, or of the nearest thing around it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.marks:
                return self.marks[path[:end]]
        return Mark(self.line)

    def error(self, path: PathKey, message: str, remedy: str = "") -> BlueprintError:
        """Return an error at a path of this document."""
        found = BlueprintError(message, file=self.file, line=self.mark(path).line, path=path_text(path), remedy=remedy)
        found.is_consequence = self.is_broken(path)
        return found

    def position(self, path: PathKey = ()) -> str:
        """Return ``file:line`` of a path."""
        return f"{self.file}:{self.mark(path).line}"


def path_text(path: PathKey) -> str:
    """Write ``('files', 0, 'source')`` as ``files[0].source``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
