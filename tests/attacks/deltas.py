"""Deltas of somebody with a stolen online key, to a real agent: every digest fits. The base is 1.1, which is extracted.

The cases are those of tests/formats/hostile_cases.py that say most of an agent as a whole; all of them, in process: tests/operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sluice.formats.manifest.document import manifest_bytes
from sluice.trust.roles import delta_name
from tests.attacks.case import Family
from tests.attacks.subscriber import Subscriber
from tests.attacks.talk import Talk
from tests.formats.hostile_cases import CASES, REVISION, Parts, Sent, parts, put_together

DELTAS = Family[Subscriber]("hostile deltas, signed")
TARGET = f"zone/{REVISION}"

CHOSEN = (
    "as it is",
    "of HDiffPatch in lzma",
    "other content",
    "noise",
    "a frame of more than it says",
    "a patch of more than it says",
    "lzma with a dictionary of 1 GiB",
    "a content behind the last",
    "a hundred million ranges",
    "64 MiB of zeros as recipe",
    "a manifest of a link more",
    "a manifest with 'zz/../../bait'",
    "a group of a byte too much",
    "a patch of 2**62 bytes",
    "a recipe of more than 64 MiB",
    "from what isn't extracted",
)


def true_parts(world: Subscriber) -> Parts:
    """A delta as it should be."""
    return parts(world.made[0].manifest)


def sent(world: Subscriber, made: Sent) -> tuple[Talk, str]:
    """Signed with its manifest, and put; what was said."""
    name = f"{TARGET}/{delta_name(made.made.of, made.made.small)}"
    talk = world.sign_also({f"{TARGET}/manifest": manifest_bytes(made.made.new), name: made.index})
    announced = len(made.payload) if made.announced < 0 else made.announced
    return talk, talk.put_ted(name, made.index, made.payload, payload=announced)


def completed(name: str) -> Callable[[Subscriber], str]:
    """Put, and completed where that went well."""

    def attack(world: Subscriber) -> str:
        talk, said = sent(world, CASES[name].make(true_parts(world)))
        return talk.complete(TARGET) if said == "stored" else said

    return attack


for name in CHOSEN:
    if CASES[name].answers:
        DELTAS.refuses(name, "|".join(sorted(CASES[name].answers)), completed(name))
    else:
        DELTAS.accepts(name, "completed", completed(name))


def unsigned(change: Callable[[bytes, bytes], Mapping[str, bytes]]) -> Callable[[Subscriber], str]:
    """What comes isn't what was signed, by somebody on the way."""

    def attack(world: Subscriber) -> str:
        made = true_parts(world)
        index, payload = put_together(made)
        name = f"{TARGET}/{delta_name(made.of)}"
        talk = world.sign_also({f"{TARGET}/manifest": manifest_bytes(made.new), name: index})
        other = {"index": index, "body": payload, **change(index, payload)}
        return talk.put_ted(name, other["index"], other["body"], payload=len(payload))

    return attack


def flipped(data: bytes, at: int) -> bytes:
    """One bit of it."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


for part in ("index", "body"):
    DELTAS.refuses(
        f"a flipped bit of its {part} on the way",
        "TamperedError|ProtocolError",
        unsigned(lambda index, payload, which=part: {which: flipped(index if which == "index" else payload, 20)}),  # type: ignore[misc]
    )
