"""Whole numbers in as few bytes as they need: seven bits a byte, the lowest first; signed ones as zigzag. No I/O."""

from __future__ import annotations

from sluice.errors import StoreCorruptError

BYTES_MAX = 10
"""Of one number, which has at most 64 bits."""


def put(out: bytearray, number: int) -> None:
    """Append a number from 0 to 2**64 - 1."""
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def zigzag(number: int) -> int:
    """A signed number as an unsigned one, small where its amount is."""
    return number << 1 if number >= 0 else (-number << 1) - 1


def signed(number: int) -> int:
    """What ``zigzag`` was made of."""
    return number >> 1 if not number & 1 else -((number + 1) >> 1)


class Reader:
    """Takes numbers and bytes from hostile bytes. Raises StoreCorruptError where they end early or a number isn't in its shortest form."""

    def __init__(self, data: bytes, *, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return len(self._data) - self._at

    def number(self, most: int) -> int:
        """The next number, refused above ``most``."""
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
        """The next signed number, refused beyond ``most`` either way."""
        return signed(self.number(2 * most))

    def take(self, length: int) -> bytes:
        """The next bytes."""
        if length > self.left:
            raise StoreCorruptError(f"{self._what} ends too early")
        self._at += length
        return self._data[self._at - length : self._at]

    def end(self) -> None:
        """Refuse what is left over."""
        if self.left:
            raise StoreCorruptError(f"{self._what} has {self.left} bytes too many")
