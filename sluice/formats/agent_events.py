"""Events of an agent (docs/formats.md section 7): the form of ``AgentEvent`` on the wire."""

from __future__ import annotations

from contextlib import suppress
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
    report = failure = None
    with suppress(TamperedError):  # nothing is decided by them: a later agent may say more, or otherwise
        if fields.optional("report"):
            read = report_from_json(fields.any("report"))
            report = replace(read, phase=printable(read.phase), label=printable(read.label), output=printable(read.output, keep="\n\t"))
    with suppress(TamperedError):
        if fields.optional("failure"):
            why = failure_from_json(fields.any("failure"))
            failure = replace(why, message=printable(why.message), remedy=printable(why.remedy))
    return AgentEvent(phase, fields.number("done"), fields.number("total"), report, failure)
