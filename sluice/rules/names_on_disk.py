"""Check whether names on the Distributor's disk can be distributed (B4, B5). Pure.

Names travel as UTF-8 in NFC: a name in another normal form gets its NFC one, unless another file has it. Names that no manifest can
contain are always refused; names that are impossible on Windows, and paths that differ only by case, are refused unless the
Distribution names only platforms that tell case apart. (TED silently distributed the first of two such paths.)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from sluice.errors import CaseCollisionError, NameImpossibleError, escaped

PART_MAX = 255
"""Most bytes of one part of a path, in UTF-8."""
PATH_MAX = 4096
"""Most bytes of a path below a destination."""
LISTED = 20
"""Most names that an error lists."""

_RENAME = "rename it, or exclude it"
_RESTRICT = f"{_RENAME}, or set `platforms: [linux]` in the Distribution"
_WINDOWS = re.compile(
    r'[\x00-\x1f<>:"|?*]|[ .]\Z|\A(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(?:\.|\Z)', re.IGNORECASE
)


def distributed_name(name: str, *, where: str, case_sensitive_only: bool) -> str:
    """Return the name that a file gets in the manifest, in NFC.

    Args:
        name: One part of a path as on disk; bytes that aren't UTF-8 are lone surrogates.
        where: The directory's path, for the error.
    Raises:
        NameImpossibleError: The name is impossible on a platform of the Distribution; names path, reason and remedy.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise _impossible(where, name, "isn't UTF-8", _RENAME) from None
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    if "\\" in name and not case_sensitive_only:
        raise _impossible(where, name, "has a backslash, which is a separator on Windows", _RESTRICT)
    if len(name) * 4 > PART_MAX and len(name.encode()) > PART_MAX:
        raise _impossible(where, name, f"has more than {PART_MAX} bytes in UTF-8", _RENAME)
    if not case_sensitive_only and _WINDOWS.search(name):
        raise _impossible(where, name, "can't exist on Windows", _RESTRICT)
    return name


def check_path_length(path: str, *, where: str) -> None:
    """Refuse a path below a destination that is too long for a manifest. Raises NameImpossibleError."""
    if len(path) * 4 > PATH_MAX and len(path.encode("utf-8", "surrogateescape")) > PATH_MAX:
        raise NameImpossibleError(
            f"{shown_path(f'{where}/{path[:80]}')}...: the path has more than {PATH_MAX} bytes", remedy="shorten it, or exclude it"
        )


def all_impossible(first: Sequence[NameImpossibleError], number: int) -> NameImpossibleError:
    """Return one error for all names that can't be distributed, so that no build is needed for each of them.

    Args:
        first: The first ``LISTED`` of them.
        number: Number of all.
    """
    if number == 1:
        return first[0]
    more = f"; and {number - len(first)} more" if number > len(first) else ""
    remedies = {each.remedy for each in first}
    mixed = f"{_RESTRICT}, which lets in those that only Windows can't have" if _RESTRICT in remedies else _RENAME
    remedy = first[0].remedy if len(remedies) == 1 else mixed
    return NameImpossibleError(f"{number} names can't be distributed: {'; '.join(each.message for each in first)}{more}", remedy=remedy)


def shown_path(path: str) -> str:
    """Return a path for a message, with escaped bytes that aren't UTF-8 and control characters, which could move a terminal's cursor."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return escaped(text)


def check_collisions(paths: Iterable[tuple[str, str]], *, case_sensitive_only: bool) -> None:
    """Refuse paths of one destination that are the same path on some Subscriber.

    Args:
        paths: Path below the destination, and its path on disk.
    Raises:
        NameImpossibleError: Two have the same NFC form.
        CaseCollisionError: Two differ only by case; the message lists every such pair.
    """
    exact: dict[str, str] = {}
    firsts: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for path, found in paths:
        if exact.setdefault(path, found) != found:
            raise NameImpossibleError(f"{exact[path]!r} and {found!r} are both {path!r} once normalised", remedy=_RENAME)
        if not case_sensitive_only:
            first = firsts.setdefault(folded(path), found)
            if first != found:
                pairs.append((first, found))
    if pairs:
        listed = "; ".join(f"{first!r} and {second!r}" for first, second in pairs[:LISTED])
        more = f"; and {len(pairs) - LISTED} more pairs" if len(pairs) > LISTED else ""
        raise CaseCollisionError(f"paths that differ only by case: {listed}{more}", remedy=_RESTRICT)


def folded(path: str) -> str:
    """Return a key that is equal for all paths that a case-insensitive file system takes for the same."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path.casefold())


def _impossible(where: str, name: str, why: str, remedy: str) -> NameImpossibleError:
    return NameImpossibleError(f"{shown_path(f'{where}/{name}')}: the name {why}", remedy=remedy)
