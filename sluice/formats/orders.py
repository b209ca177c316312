"""JSON of actions, orders and receipts (docs/formats.md section 5). Bytes in, data out; signatures are ``trust/envelope.py``'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sluice.errors import NotFoundError, TamperedError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical
from sluice.model.action import ACTIONS_MAX, ARGUMENTS_MAX, Action, Script, ScriptType, StartProcess, StopProcess
from sluice.model.locked import FAILS_AT_ONCE, RETRIES_MAX, WAIT_MAX, Locked
from sluice.model.names import name_is_valid
from sluice.model.order import ActionReport, Failure, Order, Outcome, Receipt
from sluice.model.revision import RevisionNumber

ORDER_MAX = 15 * 1024 * 1024
"""Most bytes of an order's payload; it must fit a message with its envelope."""
RECEIPT_MAX = 1024 * 1024
SCRIPT_MAX = 1024 * 1024
"""Most characters of a script's text."""
DESTINATIONS_MAX = 10_000
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_YEARS = range(1970, 9999)
"""What a time may say: strftime doesn't pad years below 1000, and near the calendar's ends other zones have no time."""


def action_to_json(action: Action) -> dict[str, Any]:
    """One action as it stands in manifests and orders."""
    match action:
        case Script():
            return {"script": {"type": action.type.value, "run": action.run, "path": action.path, "undo": action.undo}}
        case StartProcess():
            arguments = list(action.arguments)
            return {"start_process": {"path": action.path, "arguments": arguments, "wait": action.wait, "undo": action.undo}}
        case StopProcess():
            return {"stop_process": {"name": action.name, "wait": action.wait, "kill": action.kill, "undo": action.undo}}


def action_from_json(value: Any) -> Action:
    """The action back. Raises TamperedError."""
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _READERS:
        raise TamperedError(f"an action is none of {', '.join(_READERS)}")
    kind, found = next(iter(value.items()))
    fields = Fields(found, what=f"a {kind} action")
    action = _READERS[kind](fields)
    fields.done()
    return action


def _script(fields: Fields) -> Script:
    kind = fields.text("type")
    if kind not in {t.value for t in ScriptType}:
        raise TamperedError(f"a script action: unknown type {kind!r:.64}")
    script = Script(
        type=ScriptType(kind),
        run=fields.text("run", limit=SCRIPT_MAX),
        path=fields.text("path"),
        undo=fields.text("undo", limit=SCRIPT_MAX),
    )
    if bool(script.run) == bool(script.path):
        raise TamperedError("a script action needs either run or path")
    return script


def _start_process(fields: Fields) -> StartProcess:
    path = fields.text("path")
    if not path.startswith("/"):
        raise TamperedError(f"a start_process action needs a full path, not {path!r:.64}")
    arguments = tuple(texts(fields.items("arguments", limit=ARGUMENTS_MAX), "an argument"))
    return StartProcess(path, arguments, fields.flag("wait"), fields.text("undo", limit=SCRIPT_MAX))


def _stop_process(fields: Fields) -> StopProcess:
    name = fields.text("name", limit=255)
    if not name or "/" in name:
        raise TamperedError(f"a stop_process action needs a name without a directory, not {name!r:.64}")
    return StopProcess(name, fields.flag("wait"), fields.flag("kill"), fields.text("undo", limit=SCRIPT_MAX))


_READERS: Mapping[str, Callable[[Fields], Action]] = {"script": _script, "start_process": _start_process, "stop_process": _stop_process}


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
    value: dict[str, Any] = {
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
    # Left out where they say nothing: an agent that doesn't know them isn't bothered (F10).
    if order.locked.retries:
        value["locked"] = {"retries": order.locked.retries, "wait": int(order.locked.wait.total_seconds())}
    if order.min_free:
        value["min_free"] = order.min_free
    return canonical_bytes(value)


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
        destinations=tuple(texts(fields.items("destinations", limit=DESTINATIONS_MAX), "a destination")),
        pre_actions=actions_from_json(fields.items("pre_actions", limit=ACTIONS_MAX)),
        post_actions=actions_from_json(fields.items("post_actions", limit=ACTIONS_MAX)),
        locked=_locked(fields.any("locked")) if fields.optional("locked") else FAILS_AT_ONCE,
        min_free=fields.number("min_free") if fields.optional("min_free") else 0,
    )
    fields.done()
    return order


def _locked(value: Any) -> Locked:
    fields = Fields(value, what="locked")
    wait = timedelta(seconds=fields.number("wait", least=1, most=int(WAIT_MAX.total_seconds())))
    found = Locked(fields.number("retries", least=1, most=RETRIES_MAX), wait)
    fields.done()
    return found


def receipt_bytes(receipt: Receipt) -> bytes:
    """The payload that is signed."""
    failure = receipt.failure
    # Left out where it says nothing: a Distributor that doesn't know it isn't bothered.
    removed = {"paths_removed": receipt.paths_removed} if receipt.paths_removed else {}
    return canonical_bytes(
        {
            "version": 1,
            **removed,
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
        paths_removed=fields.number("paths_removed", least=1) if fields.optional("paths_removed") else 0,
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


def texts(values: list[Any], what: str, *, limit: int = 4096) -> list[str]:
    """A list of texts, checked; ``what`` names one of them. Raises TamperedError."""
    for value in values:
        if not isinstance(value, str) or len(value) > limit or "\0" in value:
            raise TamperedError(f"{what} is no text of at most {limit} characters")
    return values
