"""JSON of actions, orders and receipts (docs/formats.md section 5). Bytes in, data out; signatures are ``trust/envelope.py``'s."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sluice.errors import NotFoundError, TamperedError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical
from sluice.model.action import Action, Script, ScriptType
from sluice.model.names import name_is_valid
from sluice.model.order import ActionReport, Failure, Order, Outcome, Receipt
from sluice.model.revision import RevisionNumber

ORDER_MAX = 15 * 1024 * 1024
"""Most bytes of an order's payload; it must fit a message with its envelope."""
RECEIPT_MAX = 1024 * 1024
SCRIPT_MAX = 1024 * 1024
"""Most characters of a script's text."""
ACTIONS_MAX = 100
"""Most pre or post actions."""
DESTINATIONS_MAX = 10_000
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_YEARS = range(1970, 9999)
"""What a time may say: strftime doesn't pad years below 1000, and near the calendar's ends other zones have no time."""


def action_to_json(action: Action) -> dict[str, Any]:
    """One action as it stands in manifests and orders."""
    return {"script": {"type": action.type.value, "run": action.run, "path": action.path, "undo": action.undo}}


def action_from_json(value: Any) -> Action:
    """The action back. Raises TamperedError."""
    outer = Fields(value, what="an action")
    fields = Fields(outer.any("script"), what="a script action")
    outer.done()
    kind = fields.text("type")
    if kind not in {t.value for t in ScriptType}:
        raise TamperedError(f"a script action: unknown type {kind!r:.64}")
    script = Script(
        type=ScriptType(kind),
        run=fields.text("run", limit=SCRIPT_MAX),
        path=fields.text("path"),
        undo=fields.text("undo", limit=SCRIPT_MAX),
    )
    fields.done()
    if bool(script.run) == bool(script.path):
        raise TamperedError("a script action needs either run or path")
    return script


def actions_to_json(actions: Sequence[Action]) -> list[Any]:
    """Actions in order."""
    return [action_to_json(a) for a in actions]


def actions_from_json(values: list[Any]) -> tuple[Action, ...]:
    """Actions in order. Raises TamperedError."""
    return tuple(action_from_json(v) for v in values)


def time_to_json(time: datetime) -> str:
    """UTC with microseconds and ``Z``."""
    return time.astimezone(UTC).strftime(_TIME)


def time_from_json(text: str) -> datetime:
    """The time back, aware. Raises TamperedError, also for one that no clock shows."""
    try:
        found = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise TamperedError(f"{text!r:.64} is no time") from error
    if found.year not in _YEARS:
        raise TamperedError(f"{text!r:.64} is before {_YEARS.start} or after {_YEARS.stop - 1}")
    return found


def order_bytes(order: Order) -> bytes:
    """The payload that is signed."""
    return canonical_bytes(
        {
            "version": 1,
            "distributor": order.distributor,
            "subscriber": order.subscriber,
            "sequence": order.sequence,
            "issued": time_to_json(order.issued),
            "expires": time_to_json(order.expires),
            "distribution": order.distribution,
            "revision": str(order.revision),
            "destinations": list(order.destinations),
            "pre_actions": actions_to_json(order.pre_actions),
            "post_actions": actions_to_json(order.post_actions),
        }
    )


def parse_order(data: bytes) -> Order:
    """Read a payload whose signature was verified. Raises TamperedError, TruncatedError."""
    fields = Fields(parse_canonical(data, limit=ORDER_MAX, what="an order"), what="an order")
    fields.constant("version", 1)
    order = Order(
        distributor=_name(fields, "distributor"),
        subscriber=_name(fields, "subscriber"),
        sequence=fields.number("sequence", least=1),
        issued=time_from_json(fields.text("issued")),
        expires=time_from_json(fields.text("expires")),
        distribution=_name(fields, "distribution"),
        revision=_revision(fields),
        destinations=tuple(_texts(fields.items("destinations", limit=DESTINATIONS_MAX))),
        pre_actions=actions_from_json(fields.items("pre_actions", limit=ACTIONS_MAX)),
        post_actions=actions_from_json(fields.items("post_actions", limit=ACTIONS_MAX)),
    )
    fields.done()
    return order


def receipt_bytes(receipt: Receipt) -> bytes:
    """The payload that is signed."""
    failure = receipt.failure
    return canonical_bytes(
        {
            "version": 1,
            "distributor": receipt.distributor,
            "subscriber": receipt.subscriber,
            "sequence": receipt.sequence,
            "distribution": receipt.distribution,
            "revision": str(receipt.revision),
            "outcome": receipt.outcome.value,
            "started": time_to_json(receipt.started),
            "finished": time_to_json(receipt.finished),
            "files_written": receipt.files_written,
            "files_unchanged": receipt.files_unchanged,
            "bytes_written": receipt.bytes_written,
            "read_back": receipt.read_back,
            "actions": [
                {"phase": a.phase, "label": a.label, "seconds": a.seconds, "exit_code": a.exit_code, "output": a.output}
                for a in receipt.actions
            ],
            "failure": failure
            and {"code": failure.code, "message": failure.message, "remedy": failure.remedy, "retryable": failure.retryable},
        }
    )


def parse_receipt(data: bytes) -> Receipt:
    """Read a payload whose signature was verified. Raises TamperedError, TruncatedError."""
    fields = Fields(parse_canonical(data, limit=RECEIPT_MAX, what="a receipt"), what="a receipt")
    fields.constant("version", 1)
    outcome = fields.text("outcome")
    if outcome not in {o.value for o in Outcome}:
        raise TamperedError(f"a receipt: unknown outcome {outcome!r:.64}")
    receipt = Receipt(
        distributor=_name(fields, "distributor"),
        subscriber=_name(fields, "subscriber"),
        sequence=fields.number("sequence", least=1),
        distribution=_name(fields, "distribution"),
        revision=_revision(fields),
        outcome=Outcome(outcome),
        started=time_from_json(fields.text("started")),
        finished=time_from_json(fields.text("finished")),
        files_written=fields.number("files_written"),
        files_unchanged=fields.number("files_unchanged"),
        bytes_written=fields.number("bytes_written"),
        read_back=fields.text("read_back", limit=64),
        actions=tuple(_report(a) for a in fields.items("actions", limit=3 * ACTIONS_MAX)),
        failure=_failure(fields.any("failure")) if fields.optional("failure") else None,
    )
    fields.done()
    return receipt


def _report(value: Any) -> ActionReport:
    fields = Fields(value, what="an action's report")
    exit_code = fields.number("exit_code", least=-255, most=255) if fields.optional("exit_code") else None
    report = ActionReport(fields.text("phase"), fields.text("label"), fields.real("seconds"), exit_code, fields.text("output", limit=8192))
    fields.done()
    return report


def _failure(value: Any) -> Failure:
    fields = Fields(value, what="a failure")
    failure = Failure(
        fields.text("code"), fields.text("message", limit=16384), fields.text("remedy", limit=16384), fields.flag("retryable")
    )
    fields.done()
    return failure


def _name(fields: Fields, key: str) -> str:
    name = fields.text(key)
    if not name_is_valid(name):
        raise TamperedError(f"{key} {name!r:.64} is no name")
    return name


def _revision(fields: Fields) -> RevisionNumber:
    try:
        return RevisionNumber.parse(fields.text("revision"))
    except NotFoundError as error:
        raise TamperedError(error.message) from error


def _texts(values: list[Any]) -> list[str]:
    for value in values:
        if not isinstance(value, str) or len(value) > 4096 or "\0" in value:
            raise TamperedError("a destination is no text of at most 4096 characters")
    return values
