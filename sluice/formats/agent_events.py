"""Events of an agent (docs/formats.md section 7): the form of ``AgentEvent`` on the wire."""

from __future__ import annotations

from dataclasses import replace

from sluice.errors import TamperedError
from sluice.formats.canonical import Fields
from sluice.formats.orders import failure_from_json, failure_to_json, report_from_json, report_to_json
from sluice.formats.protocol import Message
from sluice.model.agent_event import AgentEvent
from sluice.rules.wording import printable

PHASE_MAX = 64
"""Characters of a phase, which may name a file."""


def event_to_json(event: AgentEvent) -> Message:
    """Return an event's message; its phase is cut, and left without characters that no terminal should be shown."""
    message: Message = {"type": "event", "phase": printable(event.phase[:PHASE_MAX]), "done": event.done, "total": event.total}
    message |= {"report": report_to_json(event.report)} if event.report else {}
    return message | ({"failure": failure_to_json(event.failure)} if event.failure else {})


def event_from_json(message: Message) -> AgentEvent:
    """Read an event; keys that a later agent adds don't matter. Raises TamperedError."""
    fields = Fields(message, what="the agent's event")
    phase = fields.text("phase", limit=PHASE_MAX)
    if not phase.isprintable():
        raise TamperedError(f"the agent's phase is {phase!r}, which isn't printable")
    report = report_from_json(fields.any("report")) if fields.optional("report") else None
    failure = failure_from_json(fields.any("failure")) if fields.optional("failure") else None
    if report:
        report = replace(report, label=printable(report.label), output=printable(report.output, keep="\n\t"))
    if failure:
        failure = replace(failure, message=printable(failure.message), remedy=printable(failure.remedy))
    return AgentEvent(phase, fields.number("done"), fields.number("total"), report, failure)
