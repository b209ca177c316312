"""Check the head of an HDiffPatch patch (its format ``HDIFF13``) before its library gets the patch.

The library allocates as much as the head says; so the head must match the signed figures. Layout: ``HDIFF13&``, name of a compression (none
here), NUL, then numbers: new size, old size, covers, and for each of four parts (covers, run lengths, their bytes, new bytes) its size
and its compressed size (0 here); then the parts. A number is big-endian in groups of 7 bits, the top bit says that another follows.
"""

from __future__ import annotations

from sluice.errors import StoreCorruptError

_MAGIC = b"HDIFF13&\0"
_PARTS = 4
_NUMBER_MAX = 5
"""Most bytes of a number here: 35 bits."""


def check_patch(patch: bytes, *, plain: int, reference: int, what: str) -> None:
    """Check that a patch makes ``plain`` bytes from ``reference`` bytes, isn't compressed inside, and has all its parts and no more.

    Raises:
        StoreCorruptError: It doesn't; ``what`` names the object.
    """
    numbers, at = [], len(_MAGIC)
    if patch.startswith(_MAGIC):
        for _ in range(3 + 2 * _PARTS):
            number, at = _number(patch, at)
            numbers.append(number)
    if not numbers or -1 in numbers:
        raise StoreCorruptError(f"{what}: a patch has no head")
    sizes, compressed = numbers[3::2], numbers[4::2]
    if numbers[:2] != [plain, reference] or any(compressed) or at + sum(sizes) != len(patch):
        raise StoreCorruptError(f"{what}: the head of a patch says {numbers}, not {plain} bytes of {reference} in {len(patch)}")


def _number(patch: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at`` and the position after it; -1 if there is none."""
    value = 0
    for byte in patch[at : at + _NUMBER_MAX]:
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return -1, at
