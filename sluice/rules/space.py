"""Check free space (C13), bytes and inodes. Pure: figures in, an error with the figures out."""

from __future__ import annotations

from sluice.errors import NoSpaceError

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def size(number: int) -> str:
    """Format bytes in binary units: ``17 B``, ``1.5 KiB``, ``20 MiB``."""
    if number < 1024:
        return f"{number} B"
    value = float(number)
    for unit in _UNITS:
        value /= 1024
        if value < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def check_space(what: str, *, needed: int, free: int | None, kept: int, where: str, remedy: str) -> None:
    """Refuse a step that would leave too little space free.

    Args:
        what: Names the step for a person.
        needed: Bytes that it takes.
        free: Bytes that are free on the file system; None if it doesn't tell: then nothing is refused unless something must stay free.
        kept: Bytes that must stay free there.
        where: A path on that file system.
    Raises:
        NoSpaceError: With all the figures.
    """
    if free is None:
        if kept:
            raise NoSpaceError(
                f"{what}: the file system of {where} doesn't tell how much is free, and {size(kept)} must stay free there",
                remedy="choose a place on another file system, or take min_free out of the blueprint",
            )
        return
    short = needed + kept - free
    if short > 0:
        raise NoSpaceError(
            f"{what} needs {size(needed)} on the file system of {where}; {size(free)} is free there and {size(kept)} must stay free: "
            f"{size(short)} too little",
            remedy=remedy,
        )


def check_files(what: str, *, needed: int, free: int | None, where: str) -> None:
    """Refuse a step that would make more files than a file system can hold.

    Args:
        what: Names the step for a person.
        needed: Files, directories and links that it makes.
        free: Inodes that are free; None if the file system doesn't count them.
        where: A path on that file system.
    Raises:
        NoSpaceError: With both figures.
    """
    if free is not None and needed > free:
        raise NoSpaceError(
            f"{what} needs {needed} inodes on the file system of {where}, and {free} are free there, whatever space is (`df -i` shows it)",
            remedy="remove files that nobody needs there, or use a file system with more inodes; the next extract tries again",
        )
