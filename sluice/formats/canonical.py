"""Canonical JSON: one value, one byte string. The only reader and writer of JSON that is signed, hashed or sent.

Keys are sorted, there are no spaces, UTF-8 isn't escaped. The reader is for hostile bytes: size and number of values are bounded;
endless nesting, duplicate keys, NaN and trailing bytes are refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sluice.errors import NotFoundError, TamperedError, TruncatedError
from sluice.model.names import name_is_valid
from sluice.model.revision import RevisionNumber

VALUES_MAX = 250_000
"""Most values of one document from outside: parsed, 16 MiB of empty lists would take 25 times their size. The largest honest one, the
hello of 10,000 Distributions, has a fifth of that."""
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escaped surrogate, paired or not."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|([,\[{])', re.DOTALL)
"""A text, or (as its group) the begin of another value. An unterminated text reaches to the end: no byte is searched twice."""


def canonical_bytes(value: Any) -> bytes:
    """Return the one byte string of ``value``."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_canonical(data: bytes, *, limit: int, what: str, values: int = VALUES_MAX) -> Any:
    """Read JSON from an untrusted source.

    Args:
        limit: Most bytes accepted.
        values: Most values accepted, which bounds the memory; only signed indexes need more than the default.
        what: Names the object in errors.
    Raises:
        TruncatedError: It is empty, or ends before its value does.
        TamperedError: It is over a limit, nested too deeply, isn't JSON, or has a duplicate key or a text that isn't Unicode.
    """
    if len(data) > limit:
        raise TamperedError(f"{what} has {len(data)} bytes, more than the {limit} allowed")
    check_values(data, what=what, most=values)
    try:
        value = json.loads(data.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        if _HALF.search(data):
            canonical_bytes(value)  # half a surrogate pair isn't text: encoding it later would fail
        return value
    except UnicodeError as error:
        raise TamperedError(f"{what} isn't UTF-8") from error
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg:
            raise TruncatedError(f"{what} ends too early") from error
        raise TamperedError(f"{what} isn't JSON: {error.msg} at byte {error.pos}") from error
    except RecursionError as error:
        raise TamperedError(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise TamperedError(f"{what}: {error}") from error


def check_values(data: bytes, *, what: str, most: int = VALUES_MAX) -> None:
    """Refuse JSON that would become too many values, before it is parsed. Raises TamperedError."""
    if len(data) > most and data.count(b",") + data.count(b"[") + data.count(b"{") > most:  # some may be within texts
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
                raise ValueError(f"key {name[:64]!r} appears twice")
            seen.add(name)
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


class Fields:
    """Reads an object's keys by type; ``done``, or the end of a ``with``, refuses keys that weren't read.

    Raises:
        TamperedError: A key is missing, unknown or of another type; the message names it.
    """

    def __init__(self, value: Any, *, what: str) -> None:
        if not isinstance(value, dict):
            raise TamperedError(f"{what} isn't an object")
        self._unread = dict(value)
        self._what = what

    @classmethod
    def parse(cls, data: bytes, *, limit: int, what: str, values: int = VALUES_MAX) -> Fields:
        """Read an object as ``parse_canonical`` does."""
        return cls(parse_canonical(data, limit=limit, what=what, values=values), what=what)

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.done()

    def text(self, key: str, *, limit: int = 4096) -> str:
        """Read a string of at most ``limit`` characters without NUL."""
        found = self._take(key)
        if not isinstance(found, str) or len(found) > limit or "\0" in found:
            raise TamperedError(f"{self._what}: {key} isn't a text of at most {limit} characters")
        return found

    def name(self, key: str) -> str:
        """Read the name of an object of the site."""
        found = self.text(key)
        if not name_is_valid(found):
            raise TamperedError(f"{self._what}: {key} {found!r:.64} isn't a valid name")
        return found

    def revision(self, key: str) -> RevisionNumber:
        """Read a revision number."""
        try:
            return RevisionNumber.parse(self.text(key))
        except NotFoundError as error:
            raise TamperedError(f"{self._what}: {key}: {error.message:.80}") from error

    def number(self, key: str, *, least: int = 0, most: int = 2**63 - 1) -> int:
        """Read a whole number in a range."""
        found = self._take(key)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise TamperedError(f"{self._what}: {key} isn't a whole number from {least} to {most}")
        return found

    def real(self, key: str) -> float:
        """Read a finite number from 0 up."""
        found = self._take(key)
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 2**63:
            raise TamperedError(f"{self._what}: {key} isn't a number")
        return float(found)

    def flag(self, key: str) -> bool:
        """Read true or false."""
        found = self._take(key)
        if not isinstance(found, bool):
            raise TamperedError(f"{self._what}: {key} is neither true nor false")
        return found

    def items(self, key: str, *, limit: int) -> list[Any]:
        """Read a list of at most ``limit`` items, which aren't checked."""
        found = self._take(key)
        if not isinstance(found, list) or len(found) > limit:
            raise TamperedError(f"{self._what}: {key} isn't a list of at most {limit} items")
        return found

    def any(self, key: str) -> Any:
        """Read a value unchecked, for a reader of its own."""
        return self._take(key)

    def optional(self, key: str) -> bool:
        """Whether the key exists and isn't null; a null counts as read."""
        if self._unread.get(key) is None:
            self._unread.pop(key, None)
            return False
        return True

    def constant(self, key: str, expected: str | int) -> None:
        """Read a version or type, and refuse any value but ``expected``."""
        found = self._take(key)
        if type(found) is not type(expected) or found != expected:
            raise TamperedError(f"{self._what}: {key} is {found!r:.64}, not {expected!r}")

    def done(self) -> None:
        """Refuse unread keys."""
        if self._unread:
            raise TamperedError(f"{self._what}: unknown key {sorted(self._unread)[0][:64]!r}")

    def _take(self, key: str) -> Any:
        try:
            return self._unread.pop(key)
        except KeyError:
            raise TamperedError(f"{self._what}: {key} is missing") from None
