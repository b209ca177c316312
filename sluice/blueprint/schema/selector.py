"""Selectors (``where:``): the Subscribers that a Channel or a Defaults document selects.

::

    or_    = and_ {"or" and_}
    and_   = not_ {"and" not_}
    not_   = "not" not_ | "(" or_ ")" | test
    test   = NAME ("==" | "!=") TEXT | NAME ["not"] "in" ("(" | "[") TEXT {"," TEXT} (")" | "]")
    NAME   = name | platform | a tag
    TEXT   = in single or double quotes, without escapes

A tag a Subscriber doesn't have, and a platform that isn't given, is the empty text. ``platform == "linux"`` holds for every
Linux, ``debian-12`` too (B20). Selectors are parsed and evaluated here; nothing is ever executed.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, TypeAlias

from sluice.blueprint.author_error import AuthorError
from sluice.model.platforms import lineage

LENGTH_MAX = 2_000
"""Characters of a selector."""
DEPTH_MAX = 30
"""Parentheses and ``not`` within each other."""

RESERVED = frozenset({"and", "or", "not", "in", "name", "platform"})
"""No tag may be called one of these."""

Facts: TypeAlias = Mapping[str, frozenset[str]]
"""Facts about one Subscriber: the texts each NAME is equal to."""

_TOKEN = re.compile(r"""\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<text>"[^"]*"|'[^']*')|(?P<sign>==|!=|[()\[\],])|(?P<bad>\S))""")
_EMPTY = frozenset({""})
_MEANT = {
    "&": "write and",
    "|": "write or",
    "!": "write not, or != for unequal",
    ":": "write == for equal",
    ".": "write the tag's name alone",
    "*": 'write name != "" for all',
}
"""What is meant by signs of other languages."""


class SelectorError(AuthorError):
    """Not a selector."""


class Selector(ABC):
    """A parsed selector; ``str`` writes it in a form that parses to the same."""

    @abstractmethod
    def matches(self, facts: Facts) -> bool:
        """Whether the Subscriber with these facts is selected."""

    @abstractmethod
    def names(self) -> frozenset[str]:
        """Return every NAME it asks about."""


@dataclass(frozen=True, slots=True)
class Test(Selector):
    """``name == "a"``, ``name != "a"``, ``name in ("a", "b")``, ``name not in (...)``."""

    name: str
    texts: tuple[str, ...]
    negated: bool = False

    __test__ = False

    def matches(self, facts: Facts) -> bool:
        return facts.get(self.name, _EMPTY).isdisjoint(self.texts) is self.negated

    def names(self) -> frozenset[str]:
        return frozenset({self.name})

    def __str__(self) -> str:
        quoted = [f"'{t}'" if '"' in t else f'"{t}"' for t in self.texts]
        if len(quoted) == 1:
            return f"{self.name} {'!=' if self.negated else '=='} {quoted[0]}"
        return f"{self.name} {'not in' if self.negated else 'in'} ({', '.join(quoted)})"


@dataclass(frozen=True, slots=True)
class Not(Selector):
    """``not a``."""

    inner: Selector

    def matches(self, facts: Facts) -> bool:
        return not self.inner.matches(facts)

    def names(self) -> frozenset[str]:
        return self.inner.names()

    def __str__(self) -> str:
        return f"not ({self.inner})"


@dataclass(frozen=True, slots=True)
class _Joined(Selector):
    parts: tuple[Selector, ...]

    word: ClassVar[str]
    holds: ClassVar[Callable[[Iterable[bool]], bool]]

    def matches(self, facts: Facts) -> bool:
        return type(self).holds(p.matches(facts) for p in self.parts)

    def names(self) -> frozenset[str]:
        return frozenset().union(*(p.names() for p in self.parts))

    def __str__(self) -> str:
        return f" {self.word} ".join(f"({p})" for p in self.parts)


class All(_Joined):
    """``a and b``."""

    word, holds = "and", all


class Any(_Joined):
    """``a or b``."""

    word, holds = "or", any


def subscriber_facts(name: str, platform: str, tags: Mapping[str, str]) -> Facts:
    """Collect the facts that selectors can ask about one Subscriber."""
    facts = {tag: frozenset({text}) for tag, text in tags.items()}
    facts["name"] = frozenset({name})
    facts["platform"] = frozenset(lineage(platform) or {platform})
    return facts


@lru_cache(maxsize=4096)
def parse_selector(text: str) -> Selector:
    """Parse a selector; SelectorError if the text isn't one."""
    if len(text) > LENGTH_MAX:
        raise SelectorError(f"longer than {LENGTH_MAX} characters", "split it, or give the Subscribers a tag")
    tokens = _Tokens(text)
    if tokens.peek() is None:
        raise SelectorError("the selector is empty", 'write one such as site == "helsinki"')
    selector = _or(tokens, 0)
    if (rest := tokens.peek()) is not None:
        raise SelectorError(f"unexpected {rest!r} at character {tokens.column}", "join conditions with and, or; group them with ( )")
    return selector


class _Tokens:
    def __init__(self, text: str) -> None:
        self.found: list[tuple[str, str, int]] = []
        for match in _TOKEN.finditer(text):
            kind = match.lastgroup or ""
            column = match.start(kind) + 1
            if kind == "bad":
                sign = match[kind]
                if sign in "\"'":
                    raise SelectorError(f"the text that begins at character {column} has no closing quote", f"end it with {sign}")
                if sign == "=":
                    raise SelectorError(f"'=' at character {column} is not a comparison", "write == for equal, != for unequal")
                remedy = _MEANT.get(sign, "a selector uses ==, !=, in, and, or, not and ( )")
                raise SelectorError(f"{sign!r} at character {column} is not allowed", remedy)
            self.found.append((kind, match[kind], column))
        self.at = 0

    @property
    def column(self) -> int:
        return self.found[self.at][2] if self.at < len(self.found) else (self.found[-1][2] + len(self.found[-1][1]) if self.found else 1)

    def peek(self) -> str | None:
        return self.found[self.at][1] if self.at < len(self.found) else None

    def take(self, *wanted: str) -> str | None:
        if (token := self.peek()) in wanted:
            self.at += 1
            return token
        return None

    def take_kind(self, kind: str) -> str | None:
        if self.at < len(self.found) and self.found[self.at][0] == kind:
            self.at += 1
            return self.found[self.at - 1][1]
        return None

    def expected(self, what: str, remedy: str) -> SelectorError:
        found = "the end" if self.peek() is None else repr(self.peek())
        return SelectorError(f"expected {what} at character {self.column}, found {found}", remedy)


def _or(tokens: _Tokens, depth: int) -> Selector:
    parts = [_and(tokens, depth)]
    while tokens.take("or"):
        parts.append(_and(tokens, depth))
    return parts[0] if len(parts) == 1 else Any(tuple(parts))


def _and(tokens: _Tokens, depth: int) -> Selector:
    parts = [_not(tokens, depth)]
    while tokens.take("and"):
        parts.append(_not(tokens, depth))
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _not(tokens: _Tokens, depth: int) -> Selector:
    if depth > DEPTH_MAX:
        raise SelectorError(f"nested more than {DEPTH_MAX} deep", "give the Subscribers a tag instead")
    if tokens.take("not"):
        return Not(_not(tokens, depth + 1))
    if tokens.take("("):
        inner = _or(tokens, depth + 1)
        if not tokens.take(")"):
            raise tokens.expected("')'", "close the parenthesis")
        return inner
    return _test(tokens)


def _test(tokens: _Tokens) -> Selector:
    name = None if tokens.peek() in ("and", "or", "in") else tokens.take_kind("name")
    if name is None:
        raise tokens.expected("name, platform or a tag", 'write a condition such as site == "helsinki"')
    if sign := tokens.take("==", "!="):
        return Test(name, (_quoted(tokens),), sign == "!=")
    negated = tokens.take("not") is not None
    if not tokens.take("in"):
        raise tokens.expected("==, != or in", f'compare {name} with a text, such as {name} == "a"')
    opening = tokens.take("(", "[")
    if opening is None:
        raise tokens.expected("'('", f'write {name} in ("a", "b")')
    texts = [_quoted(tokens)]
    while tokens.take(","):
        texts.append(_quoted(tokens))
    if not tokens.take(")" if opening == "(" else "]"):
        raise tokens.expected("',' or the closing bracket", f'write {name} in ("a", "b")')
    return Test(name, tuple(texts), negated)


def _quoted(tokens: _Tokens) -> str:
    text = tokens.take_kind("text")
    if text is None:
        word = tokens.peek()
        remedy = f'write "{word}"' if word is not None and word.isidentifier() else 'write it in quotes, such as "helsinki"'
        raise tokens.expected("a text in quotes", remedy)
    return text[1:-1]
