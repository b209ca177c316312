"""Mail people that a Distribution nears its maximum of revisions (C7): one mail for each revision in that range.

The ledger knows what is due and what was sent: ``mail due`` before the first try, ``mail sent`` after the server took it. Killed in
between, the next build sends it again under the same Message-ID, so that mail systems drop the double. A server that doesn't take mail
fails no build: that is recorded, and a mail stays due while its revision is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from sluice.distributor.context import DistributorContext, event_of
from sluice.errors import MailError
from sluice.model.event import Event, EventKind, RecordedEvent
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distribution
from sluice.ports import Ledger, Letter, Mailer
from sluice.rules.revisions import nears_maximum
from sluice.rules.wording import counted

MAIL_KINDS = (EventKind.MAIL_DUE, EventKind.MAIL_SENT)
EVENTS = 1000
"""Events read at once."""


@dataclass(frozen=True, slots=True)
class Mailed:
    """One mail that a server took."""

    revision: RevisionNumber
    to: tuple[str, ...]
    refused: tuple[str, ...]
    """Recipients it didn't take."""


def notify(context: DistributorContext, mailer: Mailer, distribution: Distribution) -> list[Mailed]:
    """Send the mails that are due of a Distribution's kept revisions; none if nobody is to be notified.

    Raises:
        MailError: The server didn't take one; those before it are sent, the others stay due.
    Source: TED "Maximum revisions".
    """
    if distribution.notify is None:
        return []
    sent: list[Mailed] = []
    for due in _due(context, distribution):
        revision = due.revision
        letter = _letter(distribution, due)
        try:
            refused = tuple(mailer.send(letter))
        except MailError as error:
            context.ledger.record(event_of(context, EventKind.MAIL_FAILED, distribution.name, revision, {"message": str(error)[:1000]}))
            raise
        data = {"to": ", ".join(letter.to)[:1000], "refused": ", ".join(refused)[:1000]}
        context.ledger.record(event_of(context, EventKind.MAIL_SENT, distribution.name, revision, data))
        sent.append(Mailed(_revision(due), letter.to, refused))
    return sent


def _revision(due: Event) -> RevisionNumber:
    """Return the revision of a ``mail due``."""
    if due.revision is None:
        raise ValueError("mail is due of revisions only")
    return due.revision


def _due(context: DistributorContext, distribution: Distribution) -> list[Event]:
    """List mails that aren't sent yet, oldest first: of the newest revision, if it is in the range, and of earlier builds."""
    kept = context.store.revisions(distribution.name)
    due: dict[RevisionNumber, Event] = {}
    sent: set[RevisionNumber] = set()
    for recorded in _events(distribution, context.ledger):
        event = recorded.event
        if event.revision is not None and event.kind is EventKind.MAIL_SENT:
            sent.add(event.revision)
        elif event.revision in kept and event.revision is not None:
            due.setdefault(event.revision, event)
    when_left = distribution.notify.when_left if distribution.notify else 0
    newest = kept[-1] if kept else None
    if newest is not None and newest not in due and nears_maximum(newest, max_revisions=distribution.max_revisions, when_left=when_left):
        due[newest] = event_of(context, EventKind.MAIL_DUE, distribution.name, newest)
        context.ledger.record(due[newest])
    return [due[revision] for revision in sorted(due.keys() - sent)]


def _events(distribution: Distribution, ledger: Ledger) -> list[RecordedEvent]:
    found: list[RecordedEvent] = []
    while more := ledger.events(distribution=distribution.name, kinds=MAIL_KINDS, after=found[-1].number if found else 0, limit=EVENTS):
        found += more
    return found


def _letter(distribution: Distribution, due: Event) -> Letter:
    revision, most = _revision(due), distribution.max_revisions or 0
    remaining = max(0, most - revision.number)
    follows = "the next change begins a new baseline, and older revisions are deleted" if not remaining else "then a new baseline begins"
    return Letter(
        id=f"sluice.{due.distributor}.{distribution.name}.{revision}.{due.at.strftime('%Y%m%d%H%M%S%f')}",
        to=distribution.notify.to if distribution.notify else (),
        subject=f"{distribution.name} {revision}: {remaining} of {counted(most, 'revision')} left",
        text=(
            f"Distributor {due.distributor} built revision {revision} of Distribution {distribution.name}.\n\n"
            f"It is number {revision.number} of at most {most} of its baseline: {remaining} left, {follows}.\n\n"
            f"    sluice revisions {distribution.name}            what is kept, and its size\n"
            f"    sluice build {distribution.name} --rebaseline   begin the new baseline now\n"
        ),
        at=due.at,
    )
