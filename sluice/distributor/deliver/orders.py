"""Order an extraction: the Distributor's side (the Subscriber's is ``extract.py``).

Order: fetch the receipts no Distributor has acknowledged, sign an order, hand it over, verify the receipt, store it, and only then
acknowledge it. A kill between any two steps converges on a repeat: a receipt that never arrived is fetched first next time, one that was
stored is stored no second time, and an order carried out twice is answered "already installed".

"Installed" is said only after the receipt's signature, recipient, order and read-back digest fit (X2).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sluice.errors import BaseDiffersError, ReadBackError, SluiceError, TamperedError, TransportError, TrustError, error_from_code
from sluice.formats.canonical import canonical_bytes
from sluice.formats.manifest.document import read_back_digest
from sluice.model.event import Event, EventKind
from sluice.model.order import Order, Outcome, Receipt
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.state import Record
from sluice.model.ticket import Ticket
from sluice.ports import Ledger, Store
from sluice.rules.features import needed_features
from sluice.rules.lifetimes import ORDER_LIFETIME
from sluice.rules.retry import failure_of
from sluice.rules.wording import printable
from sluice.sender.call import Call, require
from sluice.sender.conversation import AgentEvent
from sluice.trust.envelope import Envelope
from sluice.trust.publish import Publisher

INSTALLED = (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """What a Subscriber swore, believed by now."""

    receipt: Receipt
    fetched: bool = False
    """It answers an earlier order, whose receipt hadn't arrived; no new order was given."""

    @property
    def is_installed(self) -> bool:
        """Whether the revision stands there, read back."""
        return self.receipt.outcome in INSTALLED

    @property
    def error(self) -> SluiceError | None:
        """Why it failed, as the error the Subscriber met; None where it didn't."""
        failure = self.receipt.failure
        if self.is_installed:
            return None
        return (
            error_from_code(failure.code, printable(failure.message), printable(failure.remedy))
            if failure
            else SluiceError(f"{self.receipt.outcome}")
        )


@dataclass(frozen=True, slots=True)
class Ordering:
    """What orders need on the Distributor's side; the same for all its Subscribers."""

    distributor: str
    store: Store
    publisher: Publisher
    ledger: Ledger
    flow_run: str = ""

    def order_extract(
        self,
        call: Call,
        distribution: str,
        revision: RevisionNumber,
        recipe: RenderedRecipe,
        *,
        now: datetime,
        channel: str = "",
        on_event: Callable[[AgentEvent], None] | None = None,
        done: Callable[[], Ticket | None] = lambda: None,
        if_changed: str = "",
        lent: int = 0,
    ) -> ExtractResult:
        """Have one Subscriber extract a revision it holds, or verify and mend the one it has extracted (C10).

        Args:
            call: Its agent, called.
            recipe: Destinations and actions, rendered for it.
            now: The one reference time; the order expires ORDER_LIFETIME later, and its answer is recorded as long after as it took.
            done: Gives the claim up, which is then given back with the receipt.
            if_changed: What its caller does where the tree there was changed, for the event: a failure that is mended at once is none.
            lent: Bytes on the wire that went before, to lend it contents for this.
        Returns:
            Also where the extraction failed: see ``error``. BaseDiffersError there means: send it whole.
        Raises:
            AgentVersionError: Its agent can't do what the order would ask; none is given (F10).
            TransportError: The conversation broke; repeat, nothing is lost.
            TrustError: The receipt can't be believed, or the Subscriber refused the order.
            ReadBackError: It swears to have installed something else than was signed.
            LedgerError.
        """
        subscriber = call.hello.subscriber
        for receipt in self.fetch_receipts(call, distribution, now=now):
            if receipt.revision == revision and receipt.outcome in INSTALLED and call.hello.of(distribution).extracted == revision:
                return ExtractResult(receipt, fetched=True)
        require(call.hello, needed_features(recipe, min_free=recipe.min_free), distribution)
        is_check = self.ledger.state(subscriber, distribution).extracted == revision
        started = self._event(EventKind.EXTRACT_STARTED, subscriber, distribution, revision, now, channel)
        if lent:
            started = replace(started, data={"lent": lent})
        begun = Record(started, lambda state: state.begin_extracting(revision, now, sent=lent))
        # A receipt of any of its Distributions may still wait there under a number that a new ledger would give again.
        sequence = self.ledger.next_sequence(self.distributor, subscriber, above=call.hello.sequence, record=begun)
        order = order_of(self.distributor, subscriber, sequence, distribution, revision, recipe, now=now)
        ordered = time.monotonic()
        envelope = call.conversation.order(self.publisher.sign_order(order), on_event)
        ended = now + timedelta(seconds=time.monotonic() - ordered)  # what the run's table calls its time reaches up to here
        receipt = self._believed(envelope, call, distribution, ended)
        if (receipt.sequence, receipt.distribution, receipt.revision) != (sequence, distribution, revision):
            raise self._refused(
                TamperedError(
                    f"a receipt of Subscriber {subscriber} answers order {receipt.sequence} of {receipt.distribution} {receipt.revision}, "
                    f"not {sequence} of {distribution} {revision}"
                ),
                subscriber,
                distribution,
                ended,
            )
        self._keep(envelope, receipt, call, ended, channel, done(), is_check=is_check, if_changed=if_changed)
        return ExtractResult(receipt)

    def fetch_receipts(self, call: Call, distribution: str, *, now: datetime) -> list[Receipt]:
        """Store and acknowledge what a Subscriber swore while nobody listened, oldest first.

        One that can't be believed is recorded as refused, left unacknowledged, and doesn't hold up the others.
        """
        kept = []
        for envelope in call.conversation.receipts(distribution):
            try:
                receipt = self._believed(envelope, call, distribution, now)
                if receipt.distribution != distribution:
                    continue  # of another Distribution: fetched with that one
            except (TrustError, ReadBackError):
                continue  # recorded as an event
            self._keep(envelope, receipt, call, now, "")
            kept.append(receipt)
        return sorted(kept, key=lambda receipt: receipt.sequence)

    def extracted_in_vain(self, subscriber: str, distribution: str, revision: RevisionNumber, error: SluiceError, *, now: datetime) -> None:
        """Record that an extraction by schedule or by hand came to no receipt: a row of status says why (F1)."""
        data = {"code": error.code, "message": error.message[:1000]}
        event = Event(now, EventKind.EXTRACT_FAILED, self.distributor, distribution, revision, subscriber, "", self.flow_run, data)
        self.ledger.record(event, lambda state: state.fail_extracting(failure_of(error), now))

    def _believed(self, envelope: Envelope, call: Call, distribution: str, now: datetime) -> Receipt:
        """The receipt, its signature and what it read back verified; what isn't believed is recorded."""
        subscriber = call.hello.subscriber
        try:
            receipt = self.publisher.open_receipt(envelope, subscriber=subscriber)
            if receipt.outcome in INSTALLED:
                self._check_read_back(receipt)
        except (TrustError, ReadBackError) as error:
            raise self._refused(error, subscriber, distribution, now) from error
        return receipt

    def _check_read_back(self, receipt: Receipt) -> None:
        kept = self.store.revisions(receipt.distribution)
        if receipt.revision not in kept:
            if receipt.revision > max(kept, default=receipt.revision):  # else it would count as newer than all that follows
                raise TamperedError(
                    f"a receipt of Subscriber {receipt.subscriber} names {receipt.distribution} {receipt.revision}, which was never built",
                    remedy="where this store was restored from a backup, build until it is newer again",
                )
            return  # pruned since: what it had to be can't be computed any more
        if receipt.read_back != read_back_digest(self.store.manifest(receipt.distribution, receipt.revision)):
            raise ReadBackError(
                f"Subscriber {receipt.subscriber} read back something else than {receipt.distribution} {receipt.revision}",
                remedy=f"look there, then repeat: sluice extract {receipt.subscriber} --distribution {receipt.distribution}",
            )

    def _keep(
        self,
        envelope: Envelope,
        receipt: Receipt,
        call: Call,
        now: datetime,
        channel: str,
        done: Ticket | None = None,
        *,
        is_check: bool = False,
        if_changed: str = "",
    ) -> None:
        kind = EventKind.EXTRACT_FAILED
        if receipt.outcome in INSTALLED:
            kind = EventKind.VERIFIED if is_check else EventKind.INSTALLED
        event = self._event(kind, receipt.subscriber, receipt.distribution, receipt.revision, now, channel)
        if kind is EventKind.VERIFIED:
            event = replace(event, data={"files_mended": receipt.files_written, "paths_removed": receipt.paths_removed})
        elif if_changed and receipt.failure and receipt.failure.code == BaseDiffersError.__name__:
            message = f"{printable(receipt.failure.message)[:900]}; {if_changed}"
            event = replace(event, data={"code": receipt.failure.code, "message": message})
        self.ledger.accept_receipt(receipt, canonical_bytes(envelope).decode(), event, done=done)
        with suppress(TransportError):  # it is kept; unacknowledged, it is fetched again and stored no second time
            call.conversation.acknowledge(receipt.distribution, receipt.sequence)

    def _refused(self, error: SluiceError, subscriber: str, distribution: str, now: datetime) -> SluiceError:
        data = {"code": error.code, "message": error.message[:1000]}
        self.ledger.record(Event(now, EventKind.RECEIPT_REFUSED, self.distributor, distribution, None, subscriber, "", self.flow_run, data))
        return error

    def _event(self, kind: EventKind, subscriber: str, distribution: str, revision: RevisionNumber, now: datetime, channel: str) -> Event:
        return Event(now, kind, self.distributor, distribution, revision, subscriber, channel, self.flow_run)


def order_of(
    distributor: str, subscriber: str, sequence: int, distribution: str, revision: RevisionNumber, recipe: RenderedRecipe, *, now: datetime
) -> Order:
    """The order to extract a revision by a recipe."""
    return Order(
        distributor=distributor,
        subscriber=subscriber,
        sequence=sequence,
        issued=now,
        expires=now + ORDER_LIFETIME,
        distribution=distribution,
        revision=revision,
        destinations=recipe.destinations,
        pre_actions=recipe.pre_actions,
        post_actions=recipe.post_actions,
        locked=recipe.locked,
        min_free=recipe.min_free,
    )
