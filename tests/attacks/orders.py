"""Orders that aren't for this Subscriber, not now, or not from who may give them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sluice.formats.canonical import canonical_bytes
from sluice.formats.orders import order_bytes
from sluice.model.action import Script, ScriptType
from sluice.model.revision import RevisionNumber
from sluice.trust.envelope import RECEIPT_WORD
from tests.attacks.case import Family
from tests.attacks.subscriber import DAY, NOW, Subscriber

ORDERS = Family[Subscriber]("forged orders")


def given(**changed: Any) -> Callable[[Subscriber], str]:
    """An order of ``hq`` with something else in it, rightly signed."""
    return lambda world: world.talk().order(world.order(world.made[1], **changed))


def enveloped(change: Callable[[dict[str, Any]], Any]) -> Callable[[Subscriber], str]:
    """A genuine order in another envelope."""
    return lambda world: world.talk().order(change(dict(world.order(world.made[1]))))


def altered(old: str, new: str) -> Callable[[Subscriber], str]:
    """A genuine order with a text changed under its signature."""

    def change(envelope: dict[str, Any]) -> Any:
        assert old in envelope["payload"]
        return {**envelope, "payload": envelope["payload"].replace(old, new)}

    return enveloped(change)


def by(key: str, **options: Any) -> Callable[[Subscriber], str]:
    """Signed by another key."""
    return lambda world: world.talk().order(world.order_by(key, world.made[1], **options))


def written(change: Callable[[dict[str, Any]], None]) -> Callable[[Subscriber], str]:
    """A payload that no order has, signed by the right key."""

    def attack(world: Subscriber) -> str:
        value = json.loads(order_bytes(world.genuine(world.made[1])))
        change(value)
        return world.talk().order(world.order_by("hq/online", world.made[1], payload=canonical_bytes(value)))

    return attack


SCRIPT = Script(ScriptType.SHELL, "none", run="touch attacked")


def older(world: Subscriber) -> str:
    """1.2 was extracted since; then 1.1 is ordered."""
    talk = world.talk()
    assert talk.order(world.order(world.made[1])) == "installed"
    world.mark()
    return talk.order(world.order(world.made[0]))


ORDERS.accepts("a genuine order", "installed", given())
ORDERS.accepts("a genuine order, written by hand", "installed", written(lambda value: None))
ORDERS.refuses("by a stranger of the same name", "UnknownDistributorError", by("stranger/online"))
ORDERS.refuses("by a stranger under the right key's name", "TamperedError", by("stranger/online", named="hq/online"))
ORDERS.refuses("by another trusted Distributor", "UnknownDistributorError", by("other/online"))
ORDERS.refuses("by the root key", "UnknownDistributorError", by("hq/root"))
ORDERS.refuses("by the Subscriber's receipt key", "UnknownDistributorError", by("receipt"))
ORDERS.refuses("by the receipt key under the right key's name", "TamperedError", by("receipt", named="hq/online"))
ORDERS.refuses("signed as a receipt", "TamperedError", by("hq/online", word=RECEIPT_WORD))
ORDERS.refuses("signed as metadata", "TamperedError", by("hq/online", word=b""))
ORDERS.refuses("for another Subscriber", "TamperedError", given(subscriber="bergen"))
ORDERS.refuses("of another Distributor", "TamperedError", given(distributor="other"))
ORDERS.refuses(
    "in another Distributor's conversation", "UnknownDistributorError|TruncatedError", lambda w: w.talk("other").order(w.order(w.made[1]))
)
ORDERS.refuses("expired", "ExpiredError", given(expires=NOW - timedelta(seconds=1), issued=NOW - DAY))
ORDERS.refuses("given two days ahead", "ExpiredError", given(issued=NOW + 2 * DAY, expires=NOW + 3 * DAY))
ORDERS.refuses("the first again", "ReplayedError", lambda w: w.talk().order(w.first_order))
ORDERS.refuses("the first's sequence for another revision", "ReplayedError", given(sequence=1))
ORDERS.refuses("sequence 0", "TamperedError", given(sequence=0))
ORDERS.refuses("a sequence below zero", "TamperedError", given(sequence=-1))
ORDERS.refuses("sequence 2**63", "TamperedError", given(sequence=2**63))
ORDERS.refuses("a sequence with a point", "TamperedError", written(lambda value: value.update(sequence=2.5)))
ORDERS.refuses("a sequence that is true", "TamperedError", written(lambda value: value.update(sequence=True)))
ORDERS.refuses("for a revision that isn't held", "NotFoundError", given(revision=RevisionNumber(1, 3)))
ORDERS.refuses("for an older revision", "OutOfOrderError", older)
ORDERS.refuses("for a Distribution that isn't signed", "TruncatedError", given(distribution="web"))
ORDERS.refuses("for a Distribution that is a path", "TamperedError", written(lambda value: value.update(distribution="../zone")))
ORDERS.refuses("the destination changed", "TamperedError", altered("/target", "/bait/etc"))
ORDERS.refuses("the revision changed", "TamperedError", altered('"1.2"', '"1.1"'))
ORDERS.refuses("the sequence raised", "TamperedError", altered('"sequence":2', '"sequence":3'))
ORDERS.refuses(
    "an action added",
    "TamperedError",
    altered('"pre_actions":[]', '"pre_actions":[{"script":{"path":"","run":"id","type":"shell","undo":"none"}}]'),
)
ORDERS.refuses("a space added", "TamperedError", altered('"version":1', '"version": 1'))
ORDERS.refuses("a key twice", "TamperedError", lambda w: w.talk().order(w.order_by("hq/online", w.made[1], payload=twice(w))))
ORDERS.refuses("a key more", "TamperedError", written(lambda value: value.update(more=1)))
ORDERS.refuses("a version to come", "TamperedError", written(lambda value: value.update(version=2)))
ORDERS.refuses("an action of an unknown kind", "TamperedError", written(lambda value: value.update(pre_actions=[{"load": {"class": "x"}}])))
ORDERS.refuses("101 actions", "TamperedError", given(pre_actions=(SCRIPT,) * 101))
ORDERS.refuses("10,001 destinations", "TamperedError", given(destinations=("/nowhere",) * 10_001))
ORDERS.refuses("a year beyond the calendar", "TamperedError", written(lambda value: value.update(expires="9999-12-31T23:59:59.999999Z")))
ORDERS.refuses("no envelope", "TamperedError", enveloped(lambda envelope: None))
ORDERS.refuses("an empty envelope", "TamperedError", enveloped(lambda envelope: {}))
ORDERS.refuses("a payload that is a list", "TamperedError", enveloped(lambda envelope: {**envelope, "payload": [envelope["payload"]]}))
ORDERS.refuses("a signature of nothing", "TamperedError", enveloped(lambda envelope: {**envelope, "signature": ""}))
ORDERS.refuses("a signature that is no base64", "TamperedError", enveloped(lambda envelope: {**envelope, "signature": "*" * 88}))
ORDERS.refuses("a key's name of 129 characters", "TamperedError", enveloped(lambda envelope: {**envelope, "key": "x" * 129}))
ORDERS.refuses("a key in the envelope more", "TamperedError", enveloped(lambda envelope: {**envelope, "trusted": True}))
ORDERS.refuses("a receipt", "TamperedError|UnknownDistributorError", lambda w: w.talk().order(w.first_receipt))


def twice(world: Subscriber) -> bytes:
    """Two recipients: the first for whoever looks at the first, ours for whoever looks at the last."""
    data = order_bytes(replace(world.genuine(world.made[1]), subscriber="bergen"))
    return data.replace(b'"version":1}', b'"subscriber":"oslo","version":1}')
