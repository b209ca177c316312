"""Whole numbers in as few bytes as they need: seven bits a byte, the lowest first; signed ones as zigzag. No I/O."""

from __future__ import annotations

from sluice.errors import StoreCorruptError

BYTES_MAX = 10
"""Most bytes of one number, which has at most 64 bits."""


def put(out: bytearray, number: int) -> None:
    """Append a number from 0 to 2**64 - 1."""
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def zigzag(number: int) -> int:
    """Encode a signed number as an unsigned one, which is small if the amount is."""
    return number << 1 if number >= 0 else (-number << 1) - 1


def signed(number: int) -> int:
    """Decode a number from ``zigzag``."""
    return number >> 1 if not number & 1 else -((number + 1) >> 1)


def shared_length(one: str | bytes, other: str | bytes) -> int:
    """Count the first characters or bytes that two texts share."""
    shared, most = 0, min(len(one), len(other))
    while shared < most and one[shared] == other[shared]:
        shared += 1
    return shared


class Reader:
    """Reads hostile bytes. Raises StoreCorruptError if they end early or a number isn't in its shortest form."""

    def __init__(self, data: bytes, *, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    @property
    def remaining(self) -> int:
        """Number of bytes not read yet."""
        return len(self._data) - self._at

    def number(self, most: int) -> int:
        """Read the next number; refuse one above ``most``."""
        found, shift, data, at = 0, 0, self._data, self._at
        while at < len(data) and shift < BYTES_MAX * 7:
            byte = data[at]
            at += 1
            found |= (byte & 127) << shift
            if byte < 128:
                if found > most or (not byte and shift):
                    raise StoreCorruptError(f"{self._what}: a number is out of range")
                self._at = at
                return found
            shift += 7
        raise StoreCorruptError(f"{self._what} ends within a number, or one has no end")

    def signed(self, most: int) -> int:
        """Read the next signed number; refuse an amount above ``most``."""
        return signed(self.number(2 * most))

    def take(self, length: int) -> bytes:
        """Read the next bytes."""
        if length > self.remaining:
            raise StoreCorruptError(f"{self._what} ends too early")
        self._at += length
        return self._data[self._at - length : self._at]

    def text(self, length: int) -> str:
        """Read the next bytes as UTF-8."""
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise StoreCorruptError(f"{self._what} has a text that isn't UTF-8") from error

    def end(self) -> None:
        """Refuse further bytes."""
        if self.remaining:
            raise StoreCorruptError(f"{self._what} has {self.remaining} bytes too many")
