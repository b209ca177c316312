"""Canonical JSON: one value, one byte string. The only reader and writer of JSON that is signed, hashed or sent.

Keys sorted, no spaces, UTF-8 unescaped, no floats that JSON lacks. The reader is for hostile bytes: size is
bounded, and so is the number of values; endless nesting, duplicate keys, NaN and trailing bytes are refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sluice.errors import TamperedError, TruncatedError

VALUES_MAX = 250_000
"""Most values of one document from outside: parsed, 16 MiB of empty lists would take 25 times their size. The largest honest one, the
hello of 10,000 Distributions, has a fifth of that."""
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""What only escapes of surrogates look like, paired or not."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|([,\[{])', re.DOTALL)
"""A text, or (as its group) what begins another value. A text without end reaches to the end: nothing is looked through twice."""


def canonical_bytes(value: Any) -> bytes:
    """The one byte string of ``value``."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_canonical(data: bytes, *, limit: int, what: str, values: int = VALUES_MAX) -> Any:
    """Read JSON from an untrusted source.

    Args:
        limit: Most bytes accepted.
        values: Most values accepted, which bounds the memory; only signed indexes need more.
        what: Names the object in errors.
    Raises:
        TruncatedError: Empty, or it ends before its value does.
        TamperedError: Over the limit, nested without end, a duplicate key, a text that isn't Unicode, or no JSON.
    """
    if len(data) > limit:
        raise TamperedError(f"{what} has {len(data)} bytes, more than the {limit} allowed")
    check_values(data, what=what, most=values)
    try:
        value = json.loads(data.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        if _HALF.search(data):
            canonical_bytes(value)  # half a surrogate pair is no text: whoever encodes it later would fail
        return value
    except UnicodeError as error:
        raise TamperedError(f"{what} is no UTF-8") from error
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg:
            raise TruncatedError(f"{what} ends too early") from error
        raise TamperedError(f"{what} is no JSON: {error.msg} at byte {error.pos}") from error
    except RecursionError as error:
        raise TamperedError(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise TamperedError(f"{what}: {error}") from error


def check_values(data: bytes, *, what: str, most: int = VALUES_MAX) -> None:
    """Before JSON is parsed: refuse what would become too many values. Raises TamperedError."""
    if len(data) > most and data.count(b",") + data.count(b"[") + data.count(b"{") > most:  # perhaps within texts
        found = 0
        for token in _TOKEN.finditer(data):
            found += token.lastindex is not None
            if found > most:
                raise TamperedError(f"{what} has more than the {most} values allowed")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"key {name[:64]!r} stands twice")
            seen.add(name)
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


class Fields:
    """Reads an object's keys by type; afterwards ``done`` refuses keys nobody asked for.

    Raises:
        TamperedError: A key is missing, unknown or of another type; the message names it.
    """

    def __init__(self, value: Any, *, what: str) -> None:
        if not isinstance(value, dict):
            raise TamperedError(f"{what} is no object")
        self._left = dict(value)
        self._what = what

    def text(self, key: str, *, limit: int = 4096) -> str:
        """A string of at most ``limit`` characters without NUL."""
        found = self._take(key)
        if not isinstance(found, str) or len(found) > limit or "\0" in found:
            raise TamperedError(f"{self._what}: {key} is no text of at most {limit} characters")
        return found

    def number(self, key: str, *, least: int = 0, most: int = 2**63 - 1) -> int:
        """A whole number in a range."""
        found = self._take(key)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise TamperedError(f"{self._what}: {key} is no whole number from {least} to {most}")
        return found

    def real(self, key: str) -> float:
        """A finite number from 0 up."""
        found = self._take(key)
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 2**63:
            raise TamperedError(f"{self._what}: {key} is no number")
        return float(found)

    def flag(self, key: str) -> bool:
        """True or false."""
        found = self._take(key)
        if not isinstance(found, bool):
            raise TamperedError(f"{self._what}: {key} is neither true nor false")
        return found

    def items(self, key: str, *, limit: int) -> list[Any]:
        """A list of at most ``limit`` items, themselves unchecked."""
        found = self._take(key)
        if not isinstance(found, list) or len(found) > limit:
            raise TamperedError(f"{self._what}: {key} is no list of at most {limit} items")
        return found

    def any(self, key: str) -> Any:
        """The value as it is, for a reader of its own."""
        return self._take(key)

    def optional(self, key: str) -> bool:
        """Whether the key is there and not null; a null is taken."""
        if self._left.get(key) is None:
            self._left.pop(key, None)
            return False
        return True

    def constant(self, key: str, expected: str | int) -> None:
        """Refuse any other value: versions and types."""
        found = self._take(key)
        if type(found) is not type(expected) or found != expected:
            raise TamperedError(f"{self._what}: {key} is {found!r:.64}, not {expected!r}")

    def done(self) -> None:
        """Refuse what is left over."""
        if self._left:
            raise TamperedError(f"{self._what}: unknown key {sorted(self._left)[0][:64]!r}")

    def _take(self, key: str) -> Any:
        try:
            return self._left.pop(key)
        except KeyError:
            raise TamperedError(f"{self._what}: {key} is missing") from None
