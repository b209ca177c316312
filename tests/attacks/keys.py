"""Wrong keys, keys of another role, and games with thresholds: what isn't signed by whom it must be is nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.attacks.case import Family
from tests.attacks.forge import edited, key_id, key_json, resigned, setting, signature, whole_set
from tests.attacks.subscriber import Subscriber
from tests.attacks.talk import Files

KEYS = Family[Subscriber]("wrong keys")
ROOTS = Family[Subscriber]("roots")


def pushed(files_of: Callable[[Subscriber], Files]) -> Callable[[Subscriber], str]:
    """Hands a set of metadata over."""
    return lambda world: world.talk().push(files_of(world))


def pushed_anew(files_of: Callable[[Subscriber], Files]) -> Callable[[Subscriber], str]:
    """The same where nothing is held, so that no role of the same version is passed over."""
    return lambda world: world.anew().push(files_of(world))


def by(key: str, role: str) -> Callable[[Subscriber], Files]:
    """The newest set, one role of it changed and signed by another key."""

    def files(world: Subscriber) -> Files:
        return whole_set(world.files[2], world.key(key), **{role: lambda signed: signed.update(expires="2098-01-01T00:00:00Z")})

    return files


def under_name(key: str, named: str, role: str) -> Callable[[Subscriber], Files]:
    """One role signed by a key that says it is another."""

    def files(world: Subscriber) -> Files:
        found = dict(world.files[2])
        name = next(name for name in found if name.endswith(f"{role}.json"))
        signed = json.loads(found[name])["signed"] | {"expires": "2098-01-01T00:00:00Z"}
        forged = signature(world.key(key), signed, named=key_id(world.key(named)))
        found[name] = json.dumps({"signatures": [forged], "signed": signed}).encode()
        return found

    return files


def signatures(role: str, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Callable[[Subscriber], Files]:
    """One role with other signatures."""

    def files(world: Subscriber) -> Files:
        found = dict(world.files[2])
        name = next(name for name in found if name.endswith(f"{role}.json"))
        found[name] = edited(found[name], lambda value: value.update(signatures=change(value["signatures"])))
        return found

    return files


def adopted(world: Subscriber) -> Files:
    """Targets that hand the Distribution to a stranger's key, signed by that key; the rest is genuine."""
    key = world.key("stranger/online")

    def change(signed: dict[str, Any]) -> None:
        delegations = signed["delegations"]
        delegations["keys"][key_id(key)] = key_json(key)
        for role in delegations["roles"]:
            role["keyids"] = [key_id(key)]

    return whole_set(world.files[2], key, targets=change)


KEYS.accepts("the newest set", "accepted", pushed(lambda world: world.files[2]))
KEYS.accepts("the newest set where nothing is held", "accepted", pushed_anew(lambda world: world.files[2]))
KEYS.refuses(
    "a stranger's set of the same name",
    "UnknownDistributorError|ReplayedError",
    pushed(lambda w: w.stranger.files_for("zone", {"root": 1})),
)
KEYS.refuses(
    "a stranger's set with its root",
    "TamperedError|ReplayedError|UnknownDistributorError",
    pushed(lambda w: w.stranger.files_for("zone", {})),
)
KEYS.refuses(
    "another trusted Distributor's set", "UnknownDistributorError|ReplayedError", pushed(lambda w: w.other.files_for("zone", {"root": 1}))
)
for each in ("timestamp", "snapshot", "targets"):
    KEYS.refuses(f"{each} by the root key", "TamperedError|UnknownDistributorError", pushed_anew(by("hq/root", each)))
    KEYS.refuses(f"{each} by the Subscriber's receipt key", "TamperedError|UnknownDistributorError", pushed_anew(by("receipt", each)))
KEYS.refuses("the Distribution's role by another Distributor", "TamperedError", pushed_anew(by("other/online", "distribution.zone")))
KEYS.refuses("the Distribution's role by the root key", "TamperedError", pushed_anew(by("hq/root", "distribution.zone")))
KEYS.refuses("a timestamp under the right key's name", "TamperedError", pushed(under_name("stranger/online", "hq/online", "timestamp")))
KEYS.refuses(
    "a Distribution's role under the right key's name", "TamperedError", pushed(under_name("receipt", "hq/online", "distribution.zone"))
)
KEYS.refuses("no signatures", "UnknownDistributorError|TamperedError", pushed(signatures("timestamp", lambda _: [])))
KEYS.refuses("a signature twice", "TamperedError", pushed(signatures("timestamp", lambda found: found * 2)))
KEYS.refuses("a signature cut short", "TamperedError", pushed(signatures("timestamp", lambda f: [{**f[0], "sig": f[0]["sig"][:-2]}])))
KEYS.refuses("a signature of zeros", "TamperedError", pushed(signatures("snapshot", lambda f: [{**f[0], "sig": "00" * 64}])))
KEYS.refuses("a signature that is no hex", "TamperedError", pushed(signatures("snapshot", lambda f: [{**f[0], "sig": "zz" * 64}])))
KEYS.refuses("a signature that is no text", "TamperedError", pushed_anew(signatures("targets", lambda f: [{**f[0], "sig": 7}])))
KEYS.refuses("a signature without a key's name", "TamperedError", pushed_anew(signatures("targets", lambda f: [{"sig": f[0]["sig"]}])))
KEYS.refuses("targets that hand the Distribution over", "TamperedError|UnknownDistributorError", pushed_anew(adopted))
KEYS.refuses(
    "a Distributor that the Subscriber doesn't know",
    "UnknownDistributorError",
    lambda world: world.talk("stranger").push(world.stranger.files_for("zone", {})),
)
KEYS.refuses(
    "one Distributor's set in another's conversation",
    "ReplayedError|TamperedError|UnknownDistributorError",
    lambda w: w.talk("other").push(w.files[2]),
)


# --- roots ------------------------------------------------------------------------------------------------------------


def root(world: Subscriber, *signers: str, version: int = 2, **changed: Any) -> Files:
    """The newest set with another root, in which the online roles' key stays."""
    data = resigned(world.bench.publisher.root(), setting(version=version, **changed), *(world.key(name) for name in signers))
    return {f"{version}.root.json": data, **world.files[2]}


def rotated(*signers: str, threshold: int = 1) -> Callable[[Subscriber], Files]:
    """A root that gives the root's role to a stranger."""

    def files(world: Subscriber) -> Files:
        signed = json.loads(world.bench.publisher.root())["signed"]
        key = world.key("stranger/root")
        keys = {**signed["keys"], key_id(key): key_json(key)}
        roles = {**signed["roles"], "root": {"keyids": [key_id(key)], "threshold": threshold}}
        return root(world, *signers, keys=keys, roles=roles)

    return files


def lowered(threshold: Any) -> Callable[[Subscriber], Files]:
    """A root whose threshold is another, signed only by a stranger whom it names."""

    def files(world: Subscriber) -> Files:
        signed = json.loads(world.bench.publisher.root())["signed"]
        key = world.key("stranger/root")
        keyids = [*signed["roles"]["root"]["keyids"], key_id(key)]
        keys = {**signed["keys"], key_id(key): key_json(key)}
        roles = {**signed["roles"], "root": {"keyids": keyids, "threshold": threshold}}
        return root(world, "stranger/root", keys=keys, roles=roles)

    return files


def confused(**field: Any) -> Callable[[Subscriber], Files]:
    """A root in which the root key is said to be of another kind; signed by it all the same, and by a stranger."""

    def files(world: Subscriber) -> Files:
        signed = json.loads(world.bench.publisher.root())["signed"]
        keys = {name: {**key, **field} for name, key in signed["keys"].items()}
        return root(world, "stranger/root", keys=keys)

    return files


ROOTS.accepts("rotated by old and new key", "accepted", pushed(rotated("hq/root", "stranger/root")))
ROOTS.refuses("rotated without the old key", "TamperedError|UnknownDistributorError", pushed(rotated("stranger/root")))
ROOTS.refuses("rotated without the new key", "TamperedError|UnknownDistributorError", pushed(rotated("hq/root")))
ROOTS.refuses("rotated by the online key", "TamperedError|UnknownDistributorError", pushed(rotated("hq/online", "stranger/root")))
ROOTS.refuses(
    "rotated to a threshold that one key can't reach",
    "TamperedError|UnknownDistributorError",
    pushed(rotated("hq/root", "stranger/root", "stranger/root", threshold=2)),
)
ROOTS.refuses("a stranger added beside the old key", "TamperedError|UnknownDistributorError", pushed(lowered(1)))
ROOTS.refuses("a threshold of nothing", "TamperedError|UnknownDistributorError", pushed(lowered(0)))
ROOTS.refuses("a negative threshold", "TamperedError|UnknownDistributorError", pushed(lowered(-1)))
ROOTS.refuses("a threshold that is a text", "TamperedError|UnknownDistributorError", pushed(lowered("1")))
ROOTS.refuses("keys said to be RSA", "TamperedError|UnknownDistributorError", pushed(confused(keytype="rsa", scheme="rsassa-pss-sha256")))
ROOTS.refuses("keys of an unknown scheme", "TamperedError|UnknownDistributorError", pushed(confused(scheme="none")))
ROOTS.refuses(
    "a version left out",
    "TamperedError|UnknownDistributorError|ReplayedError",
    pushed(lambda world: root(world, "hq/root", version=3) | {"2.root.json": root(world, "stranger/root")["2.root.json"]}),
)
ROOTS.refuses(
    "another role under the root's name",
    "TamperedError|UnknownDistributorError",
    pushed(lambda world: {"2.root.json": world.files[2]["timestamp.json"], **world.files[2]}),
)
