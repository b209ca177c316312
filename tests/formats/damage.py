"""Damage of every kind to bytes, by chance and on purpose. What is made is always another byte string than the one it was made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random

Damage = Callable[[bytes, Random], bytes]

NUMBERS = (
    b"\xff" * 9 + b"\x01",
    b"\xff" * 10,
    b"\xff" * 10 + b"\x01",
    b"\x80" * 11,
    b"\x80\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x08",
    b"\x00",
    b"\x01",
    b"\x7f",
)
"""Varints: the largest, without end, not in their shortest form, beyond any count."""
WORDS = (
    b"-1",
    b"0",
    b"00",
    b"1e9",
    b"1.5",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"9" * 4000,
    b"134217729",
    b"true",
    b"null",
    b'""',
    b'"#0"',
    b'"../../etc/passwd"',
    b'"\\u0000"',
    b"[]",
    b"{}",
    b"[" * 3000,
    b'{"a":' * 2000,
    b"NaN",
    b"\xff\xfe",
)
"""What stands in JSON where something else is due."""
_VALUES = re.compile(rb'-?[0-9]+|"[^"]*"|true|false|null')


def flipped(data: bytes, chance: Random) -> bytes:
    """One to four bits."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
    return bytes(found)


def cut(data: bytes, chance: Random) -> bytes:
    """Its end is missing, or its beginning."""
    at = chance.randrange(len(data))
    return data[:at] if chance.random() < 0.8 else data[at + 1 :]


def longer(data: bytes, chance: Random) -> bytes:
    """More follows: noise, zeros, itself."""
    more = chance.choice((chance.randbytes(chance.randrange(1, 40)), bytes(chance.randrange(1, 2000)), data, data[-1:]))
    return data + (more or b"\0")


def swapped(data: bytes, chance: Random) -> bytes:
    """Two pieces have changed places."""
    first, second, third = sorted(chance.randrange(len(data) + 1) for _ in range(3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def without_a_piece(data: bytes, chance: Random) -> bytes:
    """A piece is missing in the middle."""
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.choice((1, 1, 2, 7, 100)) :]


def with_a_piece_twice(data: bytes, chance: Random) -> bytes:
    """A piece comes again."""
    at, length = chance.randrange(len(data)), chance.choice((1, 2, 8, 64))
    return data[: at + length] + data[at:]


def overwritten(data: bytes, chance: Random) -> bytes:
    """Noise over a piece."""
    at, length = chance.randrange(len(data)), chance.choice((1, 2, 4, 16))
    return data[:at] + chance.randbytes(len(data[at : at + length])) + data[at + length :]


def with_a_hostile_number(data: bytes, chance: Random) -> bytes:
    """A varint in the place of one byte, or before it."""
    at = chance.randrange(len(data))
    return data[:at] + chance.choice(NUMBERS) + data[at + chance.randrange(2) :]


def with_a_hostile_word(data: bytes, chance: Random) -> bytes:
    """Something else in the place of one JSON value."""
    places = list(_VALUES.finditer(data))
    place = chance.choice(places)
    return data[: place.start()] + chance.choice(WORDS) + data[place.end() :]


BINARY: tuple[Damage, ...] = (
    flipped,
    flipped,
    cut,
    longer,
    swapped,
    without_a_piece,
    with_a_piece_twice,
    overwritten,
    with_a_hostile_number,
    with_a_hostile_number,
)
TEXT: tuple[Damage, ...] = (flipped, cut, longer, swapped, without_a_piece, with_a_piece_twice, overwritten, with_a_hostile_word)


def damaged(data: bytes, kinds: tuple[Damage, ...], seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` damages of ``data``, each with a name that says how it is made again; ``seed`` is that of the first."""
    made = 0
    while made < count:
        chance = Random(seed + made)
        kind = kinds[made % len(kinds)]
        found = data
        while found == data:
            found = kind(data, chance)
        yield f"{kind.__name__} {seed + made}", found
        made += 1
