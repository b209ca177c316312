"""JSON of actions, orders and receipts (docs/formats.md section 5). Bytes in, data out; ``trust/envelope.py`` signs and verifies them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sluice.errors import TamperedError
from sluice.formats.canonical import Fields, canonical_bytes
from sluice.model.action import ACTIONS_MAX, ARGUMENTS_MAX, Action, Script, ScriptType, StartProcess, StopProcess, is_no_name
from sluice.model.locked import FAILS_AT_ONCE, RETRIES_MAX, WAIT_MAX, Locked
from sluice.model.order import Act, ActionReport, Failure, Order, Outcome, Receipt
from sluice.model.recipe import DESTINATIONS_MAX

ORDER_MAX = 15 * 1024 * 1024
"""Most bytes of an order's payload; with its envelope it must fit into a message."""
RECEIPT_MAX = 1024 * 1024
SCRIPT_MAX = 1024 * 1024
"""Most characters of a script's text."""
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_YEARS = range(1970, 9999)
"""Allowed years: strftime doesn't pad years below 1000, and near the calendar's ends other zones have no time."""


def action_to_json(action: Action) -> dict[str, Any]:
    """Return an action in the form of manifests and orders."""
    match action:
        case Script():
            return {"script": {"type": action.type.value, "run": action.run, "path": action.path, "undo": action.undo}}
        case StartProcess():
            arguments = list(action.arguments)
            return {"start_process": {"path": action.path, "arguments": arguments, "wait": action.wait, "undo": action.undo}}
        case StopProcess():
            return {"stop_process": {"name": action.name, "wait": action.wait, "kill": action.kill, "undo": action.undo}}


def action_from_json(value: Any, *, templates: bool = False) -> Action:
    """Read an action. Raises TamperedError.

    Args:
        templates: It is of a manifest, in which a value may be a template: only what it renders to must be a full path or a name.
    """
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _READERS:
        raise TamperedError(f"an action is none of {', '.join(_READERS)}")
    kind, found = next(iter(value.items()))
    with Fields(found, what=f"a {kind} action") as fields:
        return _READERS[kind](fields, templates)


def _script(fields: Fields, _templates: bool) -> Script:
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


def _start_process(fields: Fields, templates: bool) -> StartProcess:
    path = fields.text("path")
    if not path.startswith("/") and not (templates and "{{" in path):
        raise TamperedError(f"a start_process action needs a full path, not {path!r:.64}")
    arguments = tuple(texts(fields.items("arguments", limit=ARGUMENTS_MAX), "an argument"))
    return StartProcess(path, arguments, fields.flag("wait"), fields.text("undo", limit=SCRIPT_MAX))


def _stop_process(fields: Fields, templates: bool) -> StopProcess:
    name = fields.text("name")
    if is_no_name(name) and not (templates and "{{" in name):
        raise TamperedError(f"a stop_process action needs a name without a directory, not {name!r:.64}")
    return StopProcess(name, fields.flag("wait"), fields.flag("kill"), fields.text("undo", limit=SCRIPT_MAX))


_READERS: Mapping[str, Callable[[Fields, bool], Action]] = {
    "script": _script,
    "start_process": _start_process,
    "stop_process": _stop_process,
}


def actions_to_json(actions: Sequence[Action]) -> list[Any]:
    """Return actions as JSON, in order."""
    return [action_to_json(a) for a in actions]


def actions_from_json(values: list[Any], *, templates: bool = False) -> tuple[Action, ...]:
    """Read actions, in order. Raises TamperedError."""
    return tuple(action_from_json(v, templates=templates) for v in values)


def time_to_json(time: datetime) -> str:
    """Format a time in UTC with microseconds and ``Z``."""
    return time.astimezone(UTC).strftime(_TIME)


def time_from_json(text: str) -> datetime:
    """Read a time, aware. Raises TamperedError, also for a time that no clock shows."""
    try:
        found = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise TamperedError(f"{text!r:.64} isn't a time") from error
    if found.year not in _YEARS:
        raise TamperedError(f"{text!r:.64} is before {_YEARS.start} or after {_YEARS.stop - 1}")
    return found


def order_bytes(order: Order) -> bytes:
    """Return an order's payload, which is signed."""
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
    # Left out if they have their defaults: an agent that doesn't know them can still take the order (F10).
    if order.locked.retries:
        value["locked"] = {"retries": order.locked.retries, "wait": int(order.locked.wait.total_seconds())}
    if order.min_free:
        value["min_free"] = order.min_free
    if order.act is not Act.EXTRACT:
        value["act"] = order.act.value
    if order.verify is not None:
        value["verify"] = order.verify
    if order.force:
        value["force"] = True
    if order.allow_removals:
        value["allow_removals"] = True
    return canonical_bytes(value)


def parse_order(data: bytes) -> Order:
    """Read a payload whose signature was verified. Raises TamperedError, TruncatedError."""
    with Fields.parse(data, limit=ORDER_MAX, what="an order") as fields:
        fields.constant("version", 1)
        order = Order(
            distributor=fields.name("distributor"),
            subscriber=fields.name("subscriber"),
            sequence=fields.number("sequence", least=1),
            issued=time_from_json(fields.text("issued")),
            expires=time_from_json(fields.text("expires")),
            distribution=fields.name("distribution"),
            revision=fields.revision("revision"),
            destinations=tuple(texts(fields.items("destinations", limit=DESTINATIONS_MAX), "a destination")),
            pre_actions=actions_from_json(fields.items("pre_actions", limit=ACTIONS_MAX)),
            post_actions=actions_from_json(fields.items("post_actions", limit=ACTIONS_MAX)),
            locked=_locked(fields.any("locked")) if fields.optional("locked") else FAILS_AT_ONCE,
            min_free=fields.number("min_free") if fields.optional("min_free") else 0,
            act=_act(fields.text("act")) if fields.optional("act") else Act.EXTRACT,
            verify=fields.flag("verify") if fields.optional("verify") else None,
            force=fields.flag("force") if fields.optional("force") else False,
            allow_removals=fields.flag("allow_removals") if fields.optional("allow_removals") else False,
        )
    if order.act is not Act.EXTRACT and (order.destinations or order.pre_actions or order.post_actions):
        raise TamperedError(f"an order to {order.act} has destinations or actions")
    return order


def _act(word: str) -> Act:
    if word not in set(Act):
        raise TamperedError(f"an order: unknown act {word!r:.64}")
    return Act(word)


def _locked(value: Any) -> Locked:
    with Fields(value, what="locked") as fields:
        wait = timedelta(seconds=fields.number("wait", least=1, most=int(WAIT_MAX.total_seconds())))
        return Locked(fields.number("retries", least=1, most=RETRIES_MAX), wait)


def receipt_bytes(receipt: Receipt) -> bytes:
    """Return a receipt's payload, which is signed."""
    failure = receipt.failure
    # Left out if they say nothing: a Distributor that doesn't know them can still read the receipt.
    more: dict[str, Any] = {"paths_removed": receipt.paths_removed} if receipt.paths_removed else {}
    more |= {"files_read": receipt.files_read} if receipt.files_read is not None else {}
    more |= {"paths_adjusted": receipt.paths_adjusted} if receipt.paths_adjusted else {}
    more |= {"took_over": receipt.took_over} if receipt.took_over else {}
    return canonical_bytes(
        {
            "version": 1,
            **more,
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
            "actions": [report_to_json(each) for each in receipt.actions],
            "failure": failure and failure_to_json(failure),
        }
    )


def parse_receipt(data: bytes) -> Receipt:
    """Read a payload whose signature was verified. Raises TamperedError, TruncatedError."""
    with Fields.parse(data, limit=RECEIPT_MAX, what="a receipt") as fields:
        fields.constant("version", 1)
        outcome = fields.text("outcome")
        if outcome not in {o.value for o in Outcome}:
            raise TamperedError(f"a receipt: unknown outcome {outcome!r:.64}")
        return Receipt(
            distributor=fields.name("distributor"),
            subscriber=fields.name("subscriber"),
            sequence=fields.number("sequence", least=1),
            distribution=fields.name("distribution"),
            revision=fields.revision("revision"),
            outcome=Outcome(outcome),
            started=time_from_json(fields.text("started")),
            finished=time_from_json(fields.text("finished")),
            files_written=fields.number("files_written"),
            files_unchanged=fields.number("files_unchanged"),
            bytes_written=fields.number("bytes_written"),
            read_back=fields.text("read_back", limit=64),
            actions=tuple(report_from_json(each) for each in fields.items("actions", limit=3 * ACTIONS_MAX)),
            failure=failure_from_json(fields.any("failure")) if fields.optional("failure") else None,
            paths_removed=fields.number("paths_removed", least=1) if fields.optional("paths_removed") else 0,
            files_read=fields.number("files_read") if fields.optional("files_read") else None,
            paths_adjusted=fields.number("paths_adjusted", least=1) if fields.optional("paths_adjusted") else 0,
            took_over=fields.name("took_over") if fields.optional("took_over") else "",
        )


def report_to_json(report: ActionReport) -> dict[str, Any]:
    """Return an action's report in the form of receipts and events."""
    words = {"phase": report.phase, "label": report.label, "output": report.output}
    return {**words, "seconds": report.seconds, "exit_code": report.exit_code}


def report_from_json(value: Any) -> ActionReport:
    """Read an action's report. Raises TamperedError."""
    with Fields(value, what="an action's report") as fields:
        exit_code = fields.number("exit_code", least=-255, most=255) if fields.optional("exit_code") else None
        label, seconds = fields.text("label"), fields.real("seconds")
        return ActionReport(fields.text("phase"), label, seconds, exit_code, fields.text("output", limit=8192))


def failure_to_json(failure: Failure) -> dict[str, Any]:
    """Return a failure in the form of receipts and events."""
    return {"code": failure.code, "message": failure.message, "remedy": failure.remedy, "retryable": failure.retryable}


def failure_from_json(value: Any) -> Failure:
    """Read a failure. Raises TamperedError."""
    with Fields(value, what="a failure") as fields:
        code, message = fields.text("code"), fields.text("message", limit=16384)
        return Failure(code, message, fields.text("remedy", limit=16384), fields.flag("retryable"))


def texts(values: list[Any], what: str, *, limit: int = 4096) -> list[str]:
    """Check that all values are texts and return them; ``what`` names one of them. Raises TamperedError."""
    for value in values:
        if not isinstance(value, str) or len(value) > limit or "\0" in value:
            raise TamperedError(f"{what} isn't a text of at most {limit} characters")
    return values
