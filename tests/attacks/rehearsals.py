"""The unsigned question of a dry run: whoever asks it without a key chooses what is walked, and gets no more than a bounded answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.rehearsals import COUNT_MAX, outline_bytes
from sluice.formats.zstd import compress_frame
from sluice.rules.excludes import EXCLUDES_MAX
from tests.attacks.case import Family, said
from tests.attacks.subscriber import Subscriber
from tests.attacks.talk import Talk
from tests.formats.hostile_cases import MIB
from tests.subscriber.revisions import make

REHEARSALS = Family[Subscriber]("rehearsing")


def mirrored(world: Subscriber) -> bytes:
    """The outline of a revision that mirrors its destination."""
    return outline_bytes(make("1.5", world.top / "source", synchronize="mirror").manifest)


def ask(talk: Talk, destination: Path | str, content: bytes, **changed: Any) -> str:
    """What the answer comes to: ``named``, ``more`` than are counted, or ``problem``; else the error."""
    packed = compress_frame(content)
    question = {"distribution": "zone", "destinations": [str(destination)], "pre_actions": [], "post_actions": []}
    talk.say(**{"type": "rehearse", **question, "outline": len(packed), "plain": len(content), **changed})
    talk.data(packed)
    reply = talk.reply()
    if reply["type"] != "rehearsal":
        return said(reply)
    removals = reply["removals"]
    if removals["problem"]:
        return "problem"
    return "more" if removals["count"] == COUNT_MAX + 1 and not removals["paths"] else "named"


def ask_all(talk: Talk, destination: Path | str, content: bytes, **changed: Any) -> str:
    """The same of the question about a whole manifest."""
    packed = compress_frame(content)
    question = {"distribution": "zone", "destinations": [str(destination)], "pre_actions": [], "post_actions": []}
    talk.say(**{"type": "rehearse", **question, "manifest": len(packed), "plain": len(content), **changed})
    talk.data(packed)
    reply = talk.reply()
    if reply["type"] != "rehearsal":
        return said(reply)
    changes = reply["changes"]
    if changes["stops"]:
        return "problem"
    return "more" if changes["counts"] == {"foreign removed": COUNT_MAX + 1} and not changes["paths"] else "named"


def whole(world: Subscriber) -> bytes:
    """A revision that mirrors its destination."""
    return manifest_bytes(make("1.5", world.top / "source", synchronize="mirror").manifest)


def excluding(world: Subscriber, length: int) -> bytes:
    """The same with a thousand different excludes of as many characters each."""
    manifest = make("1.5", world.top / "source", synchronize="mirror").manifest
    exclude = tuple(f"{number:04}{'*a' * (length // 2 - 2)}" for number in range(EXCLUDES_MAX))
    return manifest_bytes(replace(manifest, destinations=(replace(manifest.destinations[0], exclude=exclude),)))


def of(destination: Callable[[Subscriber], Path | str], **changed: Any) -> Callable[[Subscriber], str]:
    """This directory as the mirrored one."""
    return lambda world: ask(world.talk(), destination(world), mirrored(world), **changed)


def crowded(world: Subscriber, *, asking: Callable[..., str] = ask, about: Callable[[Subscriber], bytes] = mirrored) -> str:
    """A directory of somebody else's with more names than are counted, over some directories below it."""
    top = world.top.parent / "crowded"
    try:
        for number in range(COUNT_MAX + 100):
            below = top / f"{number % 20}"
            if number < 20:
                below.mkdir(parents=True)
            os.close(os.open(below / f"{number}", os.O_CREAT | os.O_WRONLY, 0o600))
        return asking(world.talk(), top, about(world))
    finally:
        shutil.rmtree(top)


REHEARSALS.accepts("what is extracted", "named", of(lambda world: world.target))
REHEARSALS.refuses("a directory with more names than are counted", "more", crowded)
REHEARSALS.refuses("a file system's root", "problem", of(lambda _: "/"))
REHEARSALS.refuses("the agent's own directory", "problem", of(lambda world: world.bench.work))
REHEARSALS.refuses("a name with .. in it", "problem", of(lambda world: f"{world.target}/../bait"))
REHEARSALS.refuses("an outline of 2**62 bytes", "ProtocolError|TamperedError", of(lambda world: world.target, outline=2**62))
REHEARSALS.refuses("an outline of less than it unpacks to", "TamperedError", of(lambda world: world.target, plain=10))
REHEARSALS.refuses("zeros as outline", "TamperedError", lambda world: ask(world.talk(), world.target, bytes(16 * MIB)))
REHEARSALS.refuses("before hello", "ProtocolError", lambda world: ask(world.silent(), world.target, mirrored(world)))
REHEARSALS.accepts("all of what is extracted", "named", lambda world: ask_all(world.talk(), world.target, whole(world)))
REHEARSALS.refuses("all of a crowded directory", "more", lambda world: crowded(world, asking=ask_all, about=whole))
REHEARSALS.refuses(
    "excludes that take long to compile", "TamperedError", lambda world: ask_all(world.talk(), world.target, excluding(world, 4000))
)
REHEARSALS.accepts(
    "as many excludes as a blueprint may have", "named", lambda world: ask_all(world.talk(), world.target, excluding(world, 250))
)
REHEARSALS.refuses("all of the root", "problem", lambda world: ask_all(world.talk(), "/", whole(world)))
REHEARSALS.refuses(
    "a manifest of 2**62 bytes", "ProtocolError|TamperedError", lambda world: ask_all(world.talk(), "/", whole(world), manifest=2**62)
)
REHEARSALS.refuses("a demand that is none", "TamperedError", lambda world: ask_all(world.talk(), world.target, whole(world), force="yes"))
