"""One Distributor at work in one run: what all of its operations share, whatever the Subscriber (``infra/workplace.py`` is one)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from sluice.errors import SluiceError
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind, JsonValue
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distributor, Site
from sluice.model.state import CurrentState, Record
from sluice.ports import Clock, Ledger, Source, Store, Transport
from sluice.trust.publish import Publisher


class DistributorContext(Protocol):
    """A Distributor with everything it works with; each part may be opened when it is first used."""

    @property
    def site(self) -> Site: ...

    @property
    def distributor(self) -> Distributor: ...

    @property
    def store(self) -> Store: ...

    @property
    def source(self) -> Source: ...

    @property
    def publisher(self) -> Publisher: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def transport(self) -> Transport: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def flow_run(self) -> str:
        """The id under which events and tickets of the send queue are recorded; empty outside of a flow run."""
        ...


def event_of(
    context: DistributorContext,
    kind: EventKind,
    about: Assignment | str = "",
    revision: RevisionNumber | None = None,
    data: Mapping[str, JsonValue] | None = None,
) -> Event:
    """Make an event of this run, now.

    Args:
        about: An assignment, or the name of a Distribution.
        revision: Of the Distribution; an assignment has its own.
    """
    if isinstance(about, str):
        about_distribution, subscriber, channel = about, "", ""
    else:
        about_distribution, revision, subscriber, channel = about.distribution, about.revision, about.subscriber, about.channel
    return Event(
        at=context.clock.now(),
        kind=kind,
        distributor=context.distributor.name,
        distribution=about_distribution,
        revision=revision,
        subscriber=subscriber,
        channel=channel,
        flow_run=context.flow_run,
        data=data or {},
    )


def record_of(
    context: DistributorContext,
    kind: EventKind,
    assignment: Assignment,
    change: Callable[[CurrentState, datetime], CurrentState],
    data: Mapping[str, JsonValue] | None = None,
) -> Record:
    """Make an event of this run about an assignment, now, with the change of its state as of the same instant."""
    event = event_of(context, kind, assignment, data=data)
    return Record(event, lambda state: change(state, event.at))


def failure_data(error: SluiceError) -> Mapping[str, JsonValue]:
    """Return an error as the data of an event."""
    return {"code": error.code, "message": error.message[:1000]}
