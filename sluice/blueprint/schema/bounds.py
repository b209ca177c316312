"""Count what costs much for each value and little text, so that a site's validation takes time in proportion to its text.

An RFC 5545 rule is searched for its times, of a time zone all clock changes are found, unknown words are compared with all known ones,
expressions are evaluated for each Subscriber, and variables that one lacks are looked for in what was refused.
A site may have so many of each for every begun 64 KiB of its blueprints.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

SHARE = 64 * 1024
"""Bytes of blueprints, begun, for each of which a site may have the following."""
RULES_MAX = 20
"""Most different rules."""
ZONES_MAX = 50
"""Most different time zones."""
COMPARISONS_MAX = 50_000
"""Most words that unknown words are compared with; what is unknown after that has no suggestion."""
LONGEST_WORD = 100
"""Characters of the longest word that is compared."""
EXPRESSION_WORK_MAX = 10_000_000
"""Most work of all evaluated expressions: their parts, each counted as so many characters, and the characters that they handle."""

EXCUSES_MAX = 20_000
"""Most variables, counted for each Subscriber, that are looked for in what was refused; of a site with errors no more are told."""


@dataclass(slots=True)
class _Counted:
    shares: int = 1
    rules: set[tuple[str, str]] = field(default_factory=set)
    zones: set[str] = field(default_factory=set)
    comparisons: int = 0
    expression_work: int = 0
    excuses: int = 0


_SITE: ContextVar[_Counted | None] = ContextVar("what was counted of the site that is validated", default=None)


@contextmanager
def counted() -> Iterator[None]:
    """Count, and refuse, what comes within the context as one site's; outside nothing is bounded."""
    token = _SITE.set(_Counted())
    try:
        yield
    finally:
        _SITE.reset(token)


def _site() -> _Counted:
    return _SITE.get() or _Counted()


def expect(size: int) -> None:
    """Bound what is counted by the bytes of the site's blueprints; call it before the first of them is judged."""
    _site().shares = max(1, -(-size // SHARE))


def most(of_share: int) -> int:
    """Return how many a site of this size may have, if each share may have a number."""
    return of_share * _site().shares


def may_have_rule(rule: str, zone: str) -> bool:
    """Count a rule; False if it is one too many."""
    found = _site().rules
    if len(found) < most(RULES_MAX):
        found.add((rule, zone))
    return (rule, zone) in found


def may_have_zone(zone: str) -> bool:
    """Count a time zone; False if it is one too many."""
    found = _site().zones
    if len(found) < most(ZONES_MAX):
        found.add(zone)
    return zone in found


def may_compare(word: str, number: int) -> bool:
    """Count a word that is to be compared with a number of others; False if that would take too long."""
    found = _site()
    found.comparisons += number
    return found.comparisons <= most(COMPARISONS_MAX) and len(word) <= LONGEST_WORD


def may_evaluate(work: int) -> bool:
    """Count the work of an expression; False if that would take too long."""
    found = _site()
    found.expression_work += work
    return found.expression_work <= most(EXPRESSION_WORK_MAX)


def may_excuse(number: int) -> bool:
    """Count Subscribers that lack a variable; False if to look for it would take too long."""
    found = _site()
    found.excuses += number
    return found.excuses <= most(EXCUSES_MAX)
