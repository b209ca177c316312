"""An unprivileged user of the Subscriber who may write around a destination, while an agent that is root extracts there.

What is prepared beforehand, and what is exchanged all the time by a process of that user, never makes root touch what the user couldn't.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.attacks.case import Family
from tests.attacks.sandbox import LOCAL_USER
from tests.attacks.subscriber import Subscriber

PREPARED = Family[Subscriber]("prepared by a local user")
RACING = Family[Subscriber]("raced by a local user")

STAGING = ".sluice-oslo.hq.zone"
RACES = 3
"""Orders of one race."""


def theirs(path: Path) -> Path:
    """Give something to the local user."""
    os.chown(path, LOCAL_USER, LOCAL_USER, follow_symlinks=False)
    return path


def folder(path: Path) -> Path:
    """A directory of the local user."""
    path.mkdir(parents=True)
    return theirs(path)


def ordered(prepare: Callable[[Path, Path], str | None]) -> Callable[[Subscriber], str]:
    """The user prepares ``home``, knowing ``bait``; then 1.2 is ordered to the destination it names, ``home/app`` as a rule."""

    def attack(world: Subscriber) -> str:
        home = world.top / "home"
        destination = prepare(home, world.top / "bait") or str(home / "app")
        world.mark()
        return world.talk().order(world.order(world.made[1], destinations=(destination,)))

    return attack


def linked(at: str, to: str) -> Callable[[Path, Path], str | None]:
    """A link of the user's in ``home``, to something in the bait."""

    def prepare(home: Path, bait: Path) -> None:
        (home / at).parent.mkdir(parents=True, exist_ok=True)
        for parent in [(home / at).parent, *(home / at).parent.parents]:
            if parent.is_relative_to(home):
                theirs(parent)
        (home / at).symlink_to(bait / to)
        theirs(home / at)

    return prepare


def inner(at: str, make: Callable[[Path], object]) -> Callable[[Path, Path], str | None]:
    """Something other than a file or directory at a path of the destination."""

    def prepare(home: Path, _: Path) -> None:
        folder(home / "app")
        (home / "app" / at).parent.mkdir(exist_ok=True)
        make(home / "app" / at)
        theirs(home / "app" / at)

    return prepare


def listening(path: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as found:
        here = os.open(path.parent, os.O_RDONLY)
        found.bind(f"/proc/self/fd/{here}/{path.name}")  # a socket's path is short
        os.close(here)


def null_device(path: Path) -> None:
    """What /dev/null is."""
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def root_link_in_open_directory(home: Path, bait: Path) -> str:
    """A link of root's own, in a directory where the user can change names."""
    (folder(home / "open") / "app").symlink_to(bait / "etc")
    return str(home / "open/app/zone")


def everybodys_directory(home: Path, bait: Path) -> str:
    """A link of root's own, in a directory that is root's and everybody's, without the sticky bit."""
    (home / "all").mkdir()
    (home / "all").chmod(0o777)
    (home / "all/app").symlink_to(bait / "etc")
    return str(home / "all/app/zone")


def loop(home: Path, _: Path) -> str:
    """Links of root's that lead to each other."""
    (home / "roots").mkdir()
    for name, to in (("a", "b"), ("b", "a")):
        (home / "roots" / name).symlink_to(to)
    return str(home / "roots/a/zone")


def foreign(home: Path, _: Path) -> None:
    """A directory with the user's files where a file must go."""
    folder(home / "app")
    folder(home / "app/a")
    (home / "app/a/\x1b[2Jmine").write_text("mine")


def into_home(world: Subscriber) -> str:
    """Nothing hostile."""
    folder(world.top / "home/app")
    return world.talk().order(world.order(world.made[1], destinations=(str(world.top / "home/app"),)))


REFUSED = "DestinationError"
PREPARED.accepts("a directory of the user's", "installed", into_home)
PREPARED.refuses("the destination is a link", REFUSED, ordered(linked("app", "etc")))
PREPARED.refuses("the destination's parent is a link", REFUSED, ordered(lambda h, b: linked("up", "etc")(h, b) or str(h / "up/app")))
PREPARED.refuses("a link to nothing", REFUSED, ordered(linked("app", "etc/not-yet")))
PREPARED.refuses("a directory of the manifest is a link", REFUSED, ordered(linked("app/sub", "etc")))
PREPARED.refuses("a link of root's where the user may change names", REFUSED, ordered(root_link_in_open_directory))
PREPARED.refuses("a link of root's where everybody may", REFUSED, ordered(everybodys_directory))
PREPARED.refuses("links in a circle", REFUSED, ordered(loop))
PREPARED.refuses("a pipe where a file must go", REFUSED, ordered(inner("a", os.mkfifo)))
PREPARED.refuses("a socket where a file must go", REFUSED, ordered(inner("a", listening)))
PREPARED.refuses("a device where a file must go", REFUSED, ordered(inner("a", null_device)))
PREPARED.refuses("a pipe where a directory must go", REFUSED, ordered(inner("sub", os.mkfifo)))
PREPARED.refuses("a file where a directory must go", REFUSED, ordered(inner("sub", lambda path: path.write_text("mine"))))
PREPARED.refuses("a file on the way", REFUSED, ordered(lambda h, b: theirs(h).joinpath("up").write_text("x") and str(h / "up/app")))
PREPARED.refuses("the user's files where a file must go", REFUSED, ordered(foreign))


def around(prepare: Callable[[Path, Path], None]) -> Callable[[Subscriber], str]:
    """What can't hinder the extraction must not be touched by it either: the bait stays, whatever it says."""

    def attack(world: Subscriber) -> str:
        home = world.top / "home"
        prepare(home, world.top / "bait")
        before = world.baited()
        said = world.talk().order(world.order(world.made[1], destinations=(str(home / "app"),)))
        assert world.baited() == before
        return said

    return attack


def staging_is_a_link(home: Path, bait: Path) -> None:
    """Staging's name is taken by a link."""
    theirs(home)
    (home / STAGING).symlink_to(bait / "etc")


def staging_has_a_link(home: Path, bait: Path) -> None:
    """Staging's name is taken by a directory of the user's with links in it."""
    folder(home / STAGING)
    (home / STAGING / "0").symlink_to(bait / "etc")
    (home / STAGING / "deep").mkdir()
    (home / STAGING / "deep/down").symlink_to(bait)


def a_hard_link(home: Path, bait: Path) -> None:
    """Another name of a file that the user can't write."""
    folder(home / "app")
    (home / "app/a").hardlink_to(bait / "etc/shadow")


def a_link_at_a_file(home: Path, bait: Path) -> None:
    """A link where a file must go."""
    folder(home / "app")
    theirs(home / "app")
    (home / "app/a").symlink_to(bait / "etc/passwd")


def a_hard_link_of_the_same(home: Path, bait: Path) -> None:
    """Another name of a file with the very content that must go there, but not its mode."""
    (bait / "etc/same").write_text("a of 2")
    (bait / "etc/same").chmod(0o600)
    folder(home / "app")
    (home / "app/a").hardlink_to(bait / "etc/same")


for prepared in (staging_is_a_link, staging_has_a_link, a_link_at_a_file):
    PREPARED.refuses(prepared.__doc__.rstrip(".").lower() if prepared.__doc__ else "", REFUSED, ordered(prepared))
for prepared in (a_hard_link, a_hard_link_of_the_same):
    PREPARED.accepts(prepared.__doc__.rstrip(".").lower() if prepared.__doc__ else "", "installed", around(prepared))


# --- races ------------------------------------------------------------------------------------------------------------

_RACER = """
import os, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
home, bait = sys.argv[1:]
def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        pass
sys.stdout.write("ready\\n"); sys.stdout.flush()
while True:
{body}
    if os.getppid() == 1:
        break
"""
"""What a local user runs; it gives root up first."""


def raced(body: str, *, destination: str = "up/app") -> Callable[[Subscriber], str]:
    """Orders to a destination in ``home`` while a process of the user does ``body`` again and again."""

    def attack(world: Subscriber) -> str:
        home, bait = world.top / "home", world.top / "bait"
        folder(home / "up")
        world.sent.update(body.encode())
        untouched = world.apart_from("home", "subscriber")
        code = _RACER.format(uid=LOCAL_USER, body="\n".join(f"    {line}" for line in body.strip().splitlines()))
        racer = subprocess.Popen([sys.executable, "-I", "-c", code, str(home), str(bait)], stdout=subprocess.PIPE)
        try:
            assert racer.stdout is not None
            assert racer.stdout.readline() == b"ready\n"
            talk = world.talk()
            answers = {talk.order(world.order(world.made[1], destinations=(str(home / destination),))) for _ in range(RACES)}
        finally:
            racer.kill()
            racer.communicate()
        assert world.apart_from("home", "subscriber") == untouched
        world.mark()  # where an order was carried out, in the attacker's own directory, that is what it holds now
        return "held off" if answers <= HELD_OFF else str(answers - HELD_OFF)

    return attack


HELD_OFF = {
    "installed", "already installed", "DestinationError", "LockedTargetError", "ReadBackError", "UndoFailedError", "BaseDiffersError",
}  # fmt: skip
"""Whoever wins: the bait is what counts."""

PARENT_SWAPPED = """
attempt(os.rename, home + "/up", home + "/away")
attempt(os.symlink, bait + "/etc", home + "/up")
attempt(os.unlink, home + "/up")
attempt(os.rename, home + "/away", home + "/up")
"""
DESTINATION_SWAPPED = """
attempt(os.mkdir, home + "/up/app")
attempt(os.rename, home + "/up/app", home + "/up/was")
attempt(os.symlink, bait + "/etc", home + "/up/app")
attempt(os.unlink, home + "/up/app")
attempt(os.rename, home + "/up/was", home + "/up/app")
"""
STAGING_SWAPPED = f"""
attempt(os.rename, home + "/up/{STAGING}", home + "/up/was")
attempt(os.symlink, bait + "/etc", home + "/up/{STAGING}")
attempt(os.unlink, home + "/up/{STAGING}")
attempt(os.rename, home + "/up/was", home + "/up/{STAGING}")
"""
STAGING_TAKEN = f"""
attempt(os.mkdir, home + "/up/{STAGING}")
attempt(os.symlink, bait + "/etc", home + "/up/{STAGING}/0")
attempt(os.unlink, home + "/up/{STAGING}/0")
attempt(os.rmdir, home + "/up/{STAGING}")
"""
FILE_SWAPPED = """
attempt(os.mkdir, home + "/up/app")
attempt(os.symlink, bait + "/etc/shadow", home + "/up/app/a")
attempt(os.unlink, home + "/up/app/a")
attempt(os.mkfifo, home + "/up/app/a")
attempt(os.unlink, home + "/up/app/a")
"""
INNER_SWAPPED = """
attempt(os.mkdir, home + "/up/app")
attempt(os.mkdir, home + "/up/app/sub")
attempt(os.rename, home + "/up/app/sub", home + "/up/was")
attempt(os.symlink, bait + "/etc", home + "/up/app/sub")
attempt(os.unlink, home + "/up/app/sub")
attempt(os.rename, home + "/up/was", home + "/up/app/sub")
"""

RACING.accepts("nothing", "held off", raced("pass"))
RACING.refuses("the destination's parent becomes a link", "held off", raced(PARENT_SWAPPED))
RACING.refuses("the destination becomes a link", "held off", raced(DESTINATION_SWAPPED))
RACING.refuses("staging becomes a link", "held off", raced(STAGING_SWAPPED))
RACING.refuses("staging is there before us", "held off", raced(STAGING_TAKEN))
RACING.refuses("a file becomes a link or a pipe", "held off", raced(FILE_SWAPPED))
RACING.refuses("a directory within becomes a link", "held off", raced(INNER_SWAPPED))
