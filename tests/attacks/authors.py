"""A hostile author, or whoever may write in a source tree: what can't be distributed is refused, nothing outside is read, nothing hangs.

The Distributor's builder is the victim: real source, real store. Afterwards the tree is cleaned, and builds.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from blake3 import blake3

from infra.sources.files import FilesSource
from infra.store.files import FileStore
from sluice.distributor.build.build import build
from sluice.errors import SluiceError
from sluice.model.site import Distribution, DistributionType, FileSource
from tests.attacks.case import Case, Family
from tests.attacks.sandbox import changes, listing

LATER = 10**11
"""Nanoseconds by which the scan's clock is ahead, so that no file is too young to be believed."""
SECRET = b"root:secret of the Distributor's machine"
ESCAPE = "\x1b[2J"


class Author:
    """The world of one case: a source tree, a store, and a secret beside them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = directory / "source"
        self.secret = directory / "secret"
        self.source.mkdir()
        (self.source / "a").write_text("a")
        self.secret.write_bytes(SECRET)
        self.store = FileStore(directory / "hq")
        self.build()

    def build(self) -> str:
        """Build what stands there; whether it is a revision."""
        files = (FileSource(PurePosixPath(self.source), "{{ DEST }}/zone"),)
        source = FilesSource(now_ns=lambda: time.time_ns() + LATER)
        result = build(Distribution("zone", "hq", DistributionType.FILE, files=files), store=self.store, source=source)
        return "built" if result.changed else "unchanged"

    def judge(self, case: Case[Author]) -> None:
        """Nothing was built, and the store is as it was; but the secret is in no case anywhere in it."""
        before = self._files()
        answer, message = self._answer(case)
        assert answer in case.answers, message
        secret = blake3(SECRET).hexdigest()
        for revision in self.store.revisions("zone"):
            assert secret not in dict(self.store.manifest("zone", revision).contents())
        if case.is_control:
            return
        assert changes(before, self._files()) == {}
        shutil.rmtree(self.source)
        self.source.mkdir()
        (self.source / "b").write_text("b")
        assert self.build() == "built"

    def _answer(self, case: Case[Author]) -> tuple[str, str]:
        try:
            return case.attack(self), ""
        except SluiceError as error:
            return error.code, str(error)

    def _files(self) -> object:
        return listing(self.directory / "hq", without=lambda path: path.endswith(("lock", "scan")))


AUTHORS = Family[Author]("hostile authors")


def made(make: Callable[[Path], object], name: str = "x") -> Callable[[Author], str]:
    """Something in the tree, then a build."""

    def attack(world: Author) -> str:
        make(world.source / name)
        return world.build()

    return attack


def bound(path: Path) -> None:
    """A socket."""
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def zeros(path: Path) -> None:
    """/dev/zero, which never ends."""
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))


def both(*names: str) -> Callable[[Author], str]:
    """Files of these names."""

    def attack(world: Author) -> str:
        for name in names:
            Path(os.fsdecode(os.fsencode(world.source)), name).write_text("x")
        return world.build()

    return attack


def deep(path: Path) -> None:
    """Directories whose path is longer than any manifest takes."""
    here = os.open(path.parent, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


AUTHORS.accepts("a file", "built", made(lambda path: path.write_text("x")))
AUTHORS.accepts("a link to a secret, kept as a link", "built", made(lambda path: path.symlink_to(path.parent.parent / "secret")))
AUTHORS.accepts("a link to a directory with secrets, kept as a link", "built", made(lambda path: path.symlink_to(path.parent.parent)))
AUTHORS.accepts("a link to itself", "built", made(lambda path: path.symlink_to("x")))
AUTHORS.refuses("a pipe", "SourceError", made(os.mkfifo))
AUTHORS.refuses("a socket", "SourceError", made(bound))
AUTHORS.refuses("a device without end", "SourceError", made(zeros))
AUTHORS.refuses("names that differ by case", "CaseCollisionError", both("name", "NAME"))
AUTHORS.refuses("names that differ by normal form", "CaseCollisionError|NameImpossibleError", both("\u00e9", "e\u0301"))
AUTHORS.refuses("a name that is no UTF-8", "NameImpossibleError", both("\udcff"))
AUTHORS.refuses("a name with a backslash", "NameImpossibleError", both("a\\..\\b"))
AUTHORS.refuses("a path of 5,000 bytes", "NameImpossibleError|SourceError", made(deep))
AUTHORS.refuses("a name with a terminal's commands", "NameImpossibleError", both(f"{ESCAPE}x\\"))
AUTHORS.refuses("a link of bytes that are no UTF-8", "NameImpossibleError|SourceError", made(lambda path: os.symlink(b"\xff", path)))
