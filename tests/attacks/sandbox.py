"""A directory with all that an attack may reach, and a listing of it that nothing escapes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from blake3 import blake3

LOCAL_USER = 4242
"""Uid of somebody on the Subscriber who isn't root."""


class Sandbox:
    """``top``, made once and put back as it was before every case: at the same path, so that the same attack is the same bytes."""

    def __init__(self, top: Path, make: Callable[[Path], None]) -> None:
        self.top = top
        self._template = top.with_name(f"{top.name}-template")
        top.mkdir()
        bait = top / "bait"
        (bait / "etc").mkdir(parents=True)
        (bait / "etc/shadow").write_text("root:secret")
        (bait / "etc/shadow").chmod(0o600)
        (bait / "etc/passwd").write_text("root:x:0:0")
        (bait / "run.sh").write_text("#!/bin/sh\n")
        (bait / "run.sh").chmod(0o755)
        (top / "home").mkdir()
        os.chown(top / "home", LOCAL_USER, LOCAL_USER)
        make(top)
        shutil.copytree(top, self._template, symlinks=True, copy_function=shutil.copy2)
        subprocess.run(["cp", "-a", f"{top}/.", self._template], check=True)

    def restore(self) -> None:
        """As it was made."""
        subprocess.run(["rm", "-rf", "--", self.top], check=True)
        subprocess.run(["cp", "-a", self._template, self.top], check=True)


Listing = Mapping[str, tuple[object, ...]]


def listing(top: Path, *, without: Callable[[str], bool] = lambda _: False) -> Listing:
    """Every path below ``top``: kind, mode, owner, and size, time and digest of files or the text of links; directories without time.

    Args:
        without: Tells by the relative path what may change.
    """
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            path = Path(directory, name)
            relative = str(path.relative_to(top))
            if without(relative):
                continue
            status = path.lstat()
            what: tuple[object, ...] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid)
            if stat.S_ISLNK(status.st_mode):
                what = (*what, os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                what = (*what, status.st_size, status.st_mtime_ns, status.st_nlink, blake3(path.read_bytes()).hexdigest())
            found[relative] = what
    return found


def changes(before: Listing, after: Listing) -> dict[str, tuple[object, object]]:
    """What differs, by path."""
    return {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
