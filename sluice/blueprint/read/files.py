"""Find the YAML files of a site.

Files below the site directory named ``*.yaml`` or ``*.yml``, in capitals too, are read in name order; hidden ones, everything in hidden
directories, and the directories ``files``, ``keys`` and ``var`` aren't. ``reader.py`` reads one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from sluice.errors import BlueprintError

NOT_BLUEPRINTS = frozenset({"files", "keys", "var"})
"""Directories of a site for distributed files, keys and state; a ``.yaml`` file in them is not a blueprint."""
FILES_MAX = 5_000
"""Files of one site."""


def blueprint_files(directory: Path) -> list[Path]:
    """List the files of a site in name order; BlueprintError if there is no such directory, no file or too many."""
    wrong = partial(BlueprintError, file=str(directory), line=0)
    if not directory.is_dir():
        raise wrong("no such directory", remedy="name the site's directory, or create one with sluice init")
    found: list[Path] = []
    for root, _, names in walk_site(directory):
        found += [Path(root, n) for n in names if is_blueprint(n)]
        if len(found) > FILES_MAX:
            raise wrong(f"more than {FILES_MAX} blueprint files", remedy="put several documents into a file")
    if not found:
        raise wrong("contains no blueprints", remedy="write a .yaml file, or create a site with sluice init")
    return sorted(found)


def files_state(directory: Path) -> Sequence[tuple[Path, int, int]]:
    """Return what changes with any file of a site: each with its inode and its time; nothing if they can't be listed now."""
    with suppress(OSError, BlueprintError):
        return [(path, (found := path.stat()).st_ino, found.st_mtime_ns) for path in blueprint_files(directory)]
    return []


def text_size(file: Path) -> int:
    """Return the bytes of a file; 0 if it isn't one or can't be looked at."""
    try:
        found = file.stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def is_blueprint(name: str) -> bool:
    """Whether a file of this name is read."""
    return name.lower().endswith((".yaml", ".yml")) and not name.startswith(".")


def walk_site(directory: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield as ``os.walk`` the directories of a site that blueprints may be in. BlueprintError names one that can't be read."""

    def failed(error: OSError) -> None:
        raise BlueprintError(
            f"cannot be read ({error.strerror})", file=str(error.filename), line=0, remedy="give this account the right to read it"
        ) from error

    for root, directories, names in os.walk(directory, onerror=failed):
        directories[:] = sorted(d for d in directories if not d.startswith(".") and d not in NOT_BLUEPRINTS)
        yield root, directories, names
