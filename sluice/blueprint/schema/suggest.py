"""Suggest the nearest known word for an unknown one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache

from sluice.blueprint.schema.bounds import may_compare

BEGUN_MIN = 4
"""Characters of a word that is taken for the beginning of another."""
SUGGESTED_MAX = 200
"""Errors of a site after which no variable is suggested any more: each takes time."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean X?``, or nothing if no known word is near."""
    found = nearest_name(word, known)
    return f"did you mean {found}?" if found else ""


def nearest_name(word: str, known: Iterable[str]) -> str:
    """Return the known word that is nearest; empty if none is near, or too many were looked for."""
    names = tuple(sorted(known))
    return _nearest(word, names) if may_compare(word, len(names)) else ""


@lru_cache(maxsize=1024)
def _nearest(word: str, names: Sequence[str]) -> str:
    lowered = {name.lower(): name for name in reversed(names)}
    if len(begun := [name for name in lowered if len(word) >= BEGUN_MIN and name.startswith(word.lower())]) == 1:
        return lowered[begun[0]]
    found = get_close_matches(word.lower(), lowered, n=1, cutoff=0.5 if len(word) <= 3 else 0.6)
    return lowered[found[0]] if found else ""


def nearest_or_all(word: str, known: Iterable[str], what: str) -> str:
    """Suggest the nearest known word; if none is near, list the first known ones."""
    names = sorted(known)
    if not names:
        return f"the site has no {what}"
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return nearest(word, names) or f"the {what} are {shown}"


def or_nearest(variable: str, known: Iterable[str], errors: Sequence[object]) -> str:
    """Return ``write X, or`` for the known variable that is nearest; empty if none is near or the site has many errors."""
    near = nearest_name(variable, known) if len(errors) < SUGGESTED_MAX else ""
    return f"write {near}, or " if near else ""
