"""The past served again: rollback of each role, replays after marks or metadata were wiped, freezing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.attacks.case import Family
from tests.attacks.forge import Change, resigned, setting, whole_set
from tests.attacks.subscriber import DAY, NOW, Subscriber
from tests.attacks.talk import Files

ROLLBACK = Family[Subscriber]("rollback")
WIPED = Family[Subscriber]("replay after a wipe")
FREEZE = Family[Subscriber]("freeze")

OLD = "2020-01-01T00:00:00Z"


def pushed(files_of: Callable[[Subscriber], Files]) -> Callable[[Subscriber], str]:
    """Hands a set of metadata over."""
    return lambda world: world.talk().push(files_of(world))


def older(role: str, version: int) -> Callable[[Subscriber], Files]:
    """The held set with one role at a lower version, signed by the right key: what a restored backup of a Distributor would say."""

    def files(world: Subscriber) -> Files:
        key = world.key("hq/online")
        if role == "timestamp":
            return whole_set(world.files[1], key, timestamp=setting(version=version))
        held = world.files[1]
        name = next(name for name in held if name.endswith(f".{role}.json"))
        lower = {f"{version}.{role}.json": resigned(held[name], setting(version=version), key)}
        newest: dict[str, bytes] = dict(world.files[2])

        def pointing(signed: dict[str, Any]) -> None:
            signed["meta"][f"{role}.json"] = {"version": version}

        if role == "snapshot":
            return {**lower, **whole_set(newest, key, timestamp=pointing)}
        return {**lower, **whole_set(newest, key, snapshot=pointing)}

    return files


def without(*kept: str) -> Callable[[Subscriber], Files]:
    """A snapshot that forgets roles it had."""

    def change(signed: dict[str, Any]) -> None:
        signed["meta"] = {name: meta for name, meta in signed["meta"].items() if name in kept}

    return lambda world: whole_set(world.files[2], world.key("hq/online"), snapshot=change)


def ahead(change: Change) -> Callable[[Subscriber], Files]:
    """A stranger's claim to a far version: no mark may rise by it."""
    return lambda world: whole_set(world.files[2], world.key("stranger/online"), timestamp=change)


ROLLBACK.accepts("the newest set after all", "accepted", pushed(lambda world: world.files[2]))
ROLLBACK.refuses("the first set whole", "ReplayedError", pushed(lambda world: world.files[0]))
ROLLBACK.refuses("the first timestamp alone", "ReplayedError", pushed(lambda w: {"timestamp.json": w.files[0]["timestamp.json"]}))
ROLLBACK.refuses("timestamp", "ReplayedError", pushed(older("timestamp", 1)))
ROLLBACK.refuses("snapshot", "ReplayedError", pushed(older("snapshot", 1)))
ROLLBACK.refuses("targets", "ReplayedError|TamperedError", pushed(older("targets", 0)))
ROLLBACK.refuses("the Distribution's role", "ReplayedError|TamperedError", pushed(older("distribution.zone", 1)))
ROLLBACK.refuses("a snapshot that forgets the Distribution", "TamperedError|ReplayedError", pushed(without("targets.json")))
ROLLBACK.refuses("a snapshot that forgets everything", "TamperedError|ReplayedError", pushed(without()))
ROLLBACK.refuses(
    "a stranger's claim to version 2,000,000,000", "UnknownDistributorError|TamperedError", pushed(ahead(setting(version=2_000_000_000)))
)
ROLLBACK.refuses("a version below zero", "TamperedError|ReplayedError", pushed(older("timestamp", -5)))


def withdrawn(world: Subscriber) -> str:
    """1.3 was listed once; a listing without it was accepted since."""
    world.bench.publisher.publish(lambda: {"zone": world.listing(world.made[3])}, now=NOW, longest_interval=DAY)
    world.files.append(world.bench.publisher.files_for("zone", {"root": 1}))
    talk = world.talk()
    assert talk.push(world.files[-1]) == "accepted"
    world.mark()
    return talk.send(world.made[2])


ROLLBACK.refuses("a revision that is no longer signed", "TamperedError", withdrawn)


def wiped(*names: str) -> Callable[[Callable[[Subscriber], str]], Callable[[Subscriber], str]]:
    """First somebody removes files of what the Subscriber keeps of ``hq``: a reinstalled disk, an eager clean-up."""

    def wrap(attack: Callable[[Subscriber], str]) -> Callable[[Subscriber], str]:
        def carried_out(world: Subscriber) -> str:
            for name in names:
                path = world.hq / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            world.mark()
            return attack(world)

        return carried_out

    return wrap


def first_order(world: Subscriber) -> str:
    """The first order, whose receipt was acknowledged."""
    return world.talk().order(world.first_order)


METADATA, STATUS, HELD = "trust/metadata", "distributions/zone/status.json", "distributions/zone/revisions"

WIPED.accepts("the newest set without metadata", "accepted", wiped(METADATA)(pushed(lambda world: world.files[2])))
WIPED.refuses("the first set without metadata", "ReplayedError", wiped(METADATA)(pushed(lambda world: world.files[0])))
WIPED.refuses("the first set without timestamp", "ReplayedError", wiped(f"{METADATA}/timestamp.json")(pushed(lambda world: world.files[0])))
WIPED.refuses(
    "the first set without timestamp and snapshot",
    "ReplayedError",
    wiped(f"{METADATA}/timestamp.json", f"{METADATA}/snapshot.json")(pushed(lambda world: world.files[0])),
)
WIPED.refuses("the first order without status", "ReplayedError", wiped(STATUS)(first_order))
WIPED.refuses("the first order without metadata", "TruncatedError", wiped(METADATA)(first_order))
WIPED.refuses("the first order after a set, without metadata", "ReplayedError", wiped(METADATA)(lambda world: order_after_set(world)))
WIPED.refuses("the first order without what was held", "ReplayedError", wiped(HELD, STATUS)(first_order))


def order_after_set(world: Subscriber) -> str:
    """The set that is held, again, and then the old order."""
    talk = world.talk()
    assert talk.push(world.files[1]) == "accepted"
    world.mark()
    return talk.order(world.first_order)


def damaged_marks(data: bytes) -> Callable[[Subscriber], str]:
    """High-water marks that can't be read are never taken for none."""

    def attack(world: Subscriber) -> str:
        path = world.hq / "high-water.json"
        true = path.read_bytes()
        path.write_bytes(data)
        world.sent.update(b"marks " + data)  # the marks are put back before anybody compares
        try:
            return world.talk().push(world.files[0])
        finally:
            path.write_bytes(true)

    return attack


WIPED.refuses("the first set with empty marks", "TruncatedError", damaged_marks(b""))
WIPED.refuses("the first set with marks cut short", "TruncatedError", damaged_marks(b'{"sequences":{"zone":1},"versio'))
WIPED.refuses("the first set with marks of another version", "TamperedError", damaged_marks(b'{"sequences":{},"version":2,"versions":{}}'))
WIPED.refuses(
    "the first set with marks that are texts", "TamperedError", damaged_marks(b'{"sequences":{},"version":1,"versions":{"timestamp":"1"}}')
)


# --- freeze -----------------------------------------------------------------------------------------------------------


def expired(*roles: str) -> Callable[[Subscriber], Files]:
    """The newest set with roles whose lifetime is over, signed by the right key."""

    def files(world: Subscriber) -> Files:
        return whole_set(world.files[2], world.key("hq/online"), **{role: setting(expires=OLD) for role in roles})

    return files


def frozen(role: str) -> Callable[[Subscriber], tuple[Subscriber, None]]:
    """The held copy of a role is one that was signed for a short time, long ago."""

    def freeze(world: Subscriber) -> tuple[Subscriber, None]:
        path = world.hq / "trust/metadata" / f"{role}.json"
        path.write_bytes(resigned(path.read_bytes(), setting(expires=OLD), world.key("hq/online")))
        world.mark()
        return world, None

    return freeze


def sent_while_frozen(role: str) -> Callable[[Subscriber], str]:
    """A put under what has expired."""
    return lambda world: frozen(role)(world)[0].talk().send(world.made[2])


def ordered_while_frozen(role: str) -> Callable[[Subscriber], str]:
    """A genuine order under what has expired: one that was kept back, say."""
    return lambda world: frozen(role)(world)[0].talk().order(world.order(world.made[1]))


FREEZE.accepts(
    "a set that holds for another second",
    "accepted",
    pushed(
        lambda w: whole_set(w.files[2], w.key("hq/online"), timestamp=setting(expires=(NOW + 365 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")))
    ),
)
for each in ("timestamp", "snapshot", "targets", "distribution.zone"):
    FREEZE.refuses(f"an expired {each}", "ExpiredError", lambda world, role=each: world.anew().push(expired(role)(world)))
FREEZE.refuses("all expired", "ExpiredError", pushed(expired("timestamp", "snapshot", "targets", "distribution.zone")))
FREEZE.refuses(
    "no end at all",
    "TamperedError",
    pushed(lambda w: whole_set(w.files[2], w.key("hq/online"), timestamp=lambda signed: signed.pop("expires"))),
)
FREEZE.refuses(
    "an end that is no time",
    "TamperedError",
    pushed(lambda w: whole_set(w.files[2], w.key("hq/online"), timestamp=setting(expires="never"))),
)
for each in ("timestamp", "targets", "distribution.zone"):
    FREEZE.refuses(f"a put under an expired {each}", "ExpiredError", sent_while_frozen(each))
FREEZE.refuses("an order under an expired timestamp", "ExpiredError", ordered_while_frozen("timestamp"))
FREEZE.refuses(
    "an order kept back beyond its end", "ExpiredError", lambda w: w.talk().order(w.order(w.made[1], expires=NOW - timedelta(seconds=1)))
)
