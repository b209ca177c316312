"""Order extractions over one conversation: the Distributor's side (the Subscriber's is ``sluice/subscriber/extract/``).

An order: fetch the receipts that no Distributor has acknowledged, sign the order, hand it over, verify the receipt, store it, and only then
acknowledge it. A kill between any two steps converges on a repeat: a receipt that never arrived is fetched first next time, one that was
stored is stored no second time, and an order carried out twice is answered "already installed".

"Installed" is said only after the receipt's signature, recipient, order and read-back digest fit (X2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from sluice.distributor.context import DistributorContext, event_of, failure_data, record_of
from sluice.errors import BaseDiffersError, ReadBackError, SluiceError, TamperedError, TransportError, TrustError, error_from_code
from sluice.formats.canonical import canonical_bytes
from sluice.formats.manifest.document import parse_header, read_back_digest
from sluice.model.agent_event import AgentEvent, ExtractPhase
from sluice.model.assignment import Assignment
from sluice.model.event import EventKind, JsonValue
from sluice.model.feature import Feature
from sluice.model.order import INSTALLED, Act, Demand, Failure, Order, Outcome, Receipt
from sluice.model.recipe import RenderedRecipe
from sluice.model.state import Record
from sluice.model.ticket import Ticket
from sluice.ports import TedStore
from sluice.rules.destinations import path_of
from sluice.rules.features import needed_features
from sluice.rules.lifetimes import ORDER_LIFETIMES
from sluice.rules.wording import counted, printable
from sluice.sender.call import Call, require
from sluice.trust.envelope import Envelope


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """A Subscriber's answer to an order, verified."""

    receipt: Receipt
    fetched: bool = False
    """It answers an earlier order, whose receipt hadn't arrived; no new order was given."""
    was_extracted: bool = False
    """By an earlier receipt the revision was extracted before."""
    unproven: Failure | None = None
    """Why what the agent says stays doubted, although by its receipt it succeeded."""

    @property
    def is_installed(self) -> bool:
        """Whether the revision is installed there, read back."""
        return self.receipt.outcome in INSTALLED and self.unproven is None

    @property
    def reason(self) -> str:
        """What was done, for a person: verified is only what was read and hashed in that very order."""
        receipt, written = self.receipt, self.receipt.files_written
        if self.was_extracted and receipt.is_read_back:
            is_anew, others = written and not receipt.files_unchanged, receipt.paths_adjusted
            besides = f", {counted(others, 'other path')} set right" if others else ""
            done = f"{written} {'written anew' if is_anew else 'repaired'}{besides}"
            return f"verified: {counted(receipt.files_read or 0, 'file')} read back, {done}"
        return f"{counted(written, 'file')} written, {receipt.files_unchanged} unchanged"

    @property
    def error(self) -> SluiceError | None:
        """Why it failed, as the error the Subscriber met; None if it is installed."""
        failure = self.unproven or self.receipt.failure
        if self.is_installed:
            return None
        if failure is None:
            return SluiceError(f"{self.receipt.outcome}")
        return error_from_code(failure.code, printable(failure.message), printable(failure.remedy))


@dataclass(frozen=True, slots=True, repr=False)  # a recipe's scripts may contain passwords
class Orders:
    """Orders to one Subscriber to extract one revision, or to release the Distribution, over one conversation."""

    context: DistributorContext
    call: Call
    """Its agent, called."""
    assignment: Assignment
    recipe: RenderedRecipe
    """Destinations and actions, rendered for it."""
    on_event: Callable[[AgentEvent], None] | None = None
    demand: Demand = Demand.DUE

    def give(self, *, hand_over: Callable[[], Ticket | None] = lambda: None, if_changed: str = "", supplement: int = 0) -> ExtractResult:
        """Have it extract a revision it holds, or verify and repair the one it has extracted (C10).

        Args:
            hand_over: Gives the claim up, which is then given back with the receipt.
            if_changed: What the caller does if the tree there was changed, for the event: a failure that is repaired at once is none.
            supplement: Bytes on the wire that went before, of missing contents for this.
        Returns:
            Also if the extraction failed: see ``error``. BaseDiffersError there means that its tree lacks contents.
        Raises:
            AgentVersionError: Its agent lacks a feature that the order needs; none is given (F10).
            TransportError: The conversation broke; repeat, nothing is lost.
            TrustError: The receipt can't be believed, or the Subscriber refused the order.
            ReadBackError: It claims to have installed something else than was signed.
            LedgerError.
        """
        about, ledger = self.assignment, self.context.ledger
        receipts, state = self.fetch_receipts(), ledger.state(*about.pair)
        is_there = self.call.hello.of(about.distribution).extracted == about.revision and not state.doubt
        for receipt in receipts if is_there and self.demand is Demand.DUE else ():
            if receipt.revision == about.revision and receipt.outcome in INSTALLED:
                return ExtractResult(receipt, fetched=True)
        needs = needed_features(self.recipe, min_free=self.recipe.min_free)
        require(self.call.hello, needs if self.demand is Demand.DUE else needs | {Feature.VERIFY}, about.distribution)
        is_check, demand = state.extracted == about.revision, self.demand
        if state.doubt and demand is Demand.DUE:
            demand = Demand.VERIFY  # reading back alone ends a doubt
        started = record_of(
            self.context,
            EventKind.EXTRACT_STARTED,
            about,
            lambda state, at: state.begin_extracting(about.revision, at, sent=supplement),
            {"lent": supplement} if supplement else None,
        )
        envelope, receipt = self._ordered(Act.EXTRACT, started, demand)
        self._keep(envelope, receipt, about.channel, hand_over(), is_check=is_check, if_changed=if_changed)
        after = ledger.state(*about.pair) if state.doubt else state
        return ExtractResult(receipt, was_extracted=is_check, unproven=after.error if after.doubt else None)

    def release(self, *, hand_over: Callable[[], Ticket | None]) -> Receipt:
        """Have it forget that the Distribution placed anything; the revision is the one it has, as far as is known.

        Raises:
            As ``give``; UndoFailedError, StoreLockedError: the Subscriber refuses as long as an extraction stands half done.
        """
        self.fetch_receipts()
        require(self.call.hello, {Feature.RELEASE}, self.assignment.distribution)
        envelope, receipt = self._ordered(Act.RELEASE)
        self._keep(envelope, receipt, self.assignment.channel, hand_over())
        return receipt

    def _ordered(self, act: Act, started: Record | None = None, demand: Demand = Demand.DUE) -> tuple[Envelope, Receipt]:
        """Give one order; return its receipt, verified. ``started`` is recorded together with its number."""
        about, distributor = self.assignment, self.context.distributor.name
        now = started.event.at if started else self.context.clock.now()
        # A receipt of any of its Distributions may still wait there under a number that a new ledger would give again.
        sequence = self.context.ledger.next_sequence(distributor, about.subscriber, above=self.call.hello.sequence, record=started)
        can_verify = act is Act.EXTRACT and Feature.VERIFY in self.call.hello.features
        asked = demand if can_verify else None
        recipe = self.recipe
        if Feature.DRY_RUN not in self.call.hello.features:  # an older agent has no brake that would have to be let go
            recipe = replace(recipe, allow_removals=False)
        order = order_of(distributor, about, sequence, recipe, self.context.store, now=now, act=act, demand=asked)
        if self.on_event is not None and Feature.PHASES not in self.call.hello.features:
            self.on_event(AgentEvent(ExtractPhase.EXTRACT))  # all that is known of an older agent's extraction
        envelope = self.call.conversation.order(self.context.publisher.sign_order(order), self.on_event)
        receipt = self._verified(envelope)
        if (receipt.sequence, receipt.distribution, receipt.revision) != (sequence, about.distribution, about.revision):
            raise self._refused(
                TamperedError(
                    f"a receipt of Subscriber {about.subscriber} answers order {receipt.sequence} of {receipt.distribution} "
                    f"{receipt.revision}, not {sequence} of {about.distribution} {about.revision}"
                )
            )
        if (receipt.outcome is Outcome.RELEASED) is not (act is Act.RELEASE):
            raise self._refused(TamperedError(f"Subscriber {about.subscriber} answers an order to {act} with {receipt.outcome.value!r}"))
        return envelope, receipt

    def fetch_receipts(self) -> list[Receipt]:
        """Store and acknowledge the receipts whose conversation broke, oldest first.

        One that can't be believed is recorded as refused, stays unacknowledged, and doesn't hold up the others.
        """
        kept = []
        for envelope in self.call.conversation.receipts(self.assignment.distribution):
            try:
                receipt = self._verified(envelope)
                if receipt.distribution != self.assignment.distribution:
                    continue  # of another Distribution: fetched with that one
            except (TrustError, ReadBackError):
                continue  # recorded as an event
            self._keep(envelope, receipt)
            kept.append(receipt)
        return sorted(kept, key=lambda receipt: receipt.sequence)

    def _verified(self, envelope: Envelope) -> Receipt:
        """Return the receipt, its signature and what it read back verified; one that can't be believed is recorded."""
        try:
            receipt = self.context.publisher.open_receipt(envelope, subscriber=self.assignment.subscriber)
            if receipt.outcome in INSTALLED:
                self._check_read_back(receipt)
        except (TrustError, ReadBackError) as error:
            raise self._refused(error) from error
        return receipt

    def _check_read_back(self, receipt: Receipt) -> None:
        kept = self.context.store.revisions(receipt.distribution)
        if receipt.revision not in kept:
            if receipt.revision > max(kept, default=receipt.revision):  # else it would count as newer than all that follows
                about = receipt.distribution
                raise TamperedError(
                    f"a receipt of Subscriber {receipt.subscriber} names {about} {receipt.revision}, which was never built",
                    remedy=f"if this store was restored from a backup, run until it is newer: sluice build {about} --rebaseline",
                )
            return  # pruned since: its read-back digest can't be computed any more
        if receipt.read_back != read_back_digest(self.context.store.manifest(receipt.distribution, receipt.revision)):
            raise ReadBackError(
                f"Subscriber {receipt.subscriber} read back something else than {receipt.distribution} {receipt.revision}",
                remedy=f"look there, then run: sluice extract {receipt.subscriber} --distribution {receipt.distribution}",
            )

    def _keep(
        self,
        envelope: Envelope,
        receipt: Receipt,
        channel: str = "",
        done: Ticket | None = None,
        *,
        is_check: bool = False,
        if_changed: str = "",
    ) -> None:
        kind = EventKind.RELEASED if receipt.outcome is Outcome.RELEASED else EventKind.EXTRACT_FAILED
        if receipt.outcome in INSTALLED:
            kind = EventKind.VERIFIED if is_check and receipt.is_read_back else EventKind.INSTALLED
        event = event_of(self.context, kind, replace(self.assignment, revision=receipt.revision, channel=channel))
        if receipt.took_over:
            event = replace(event, data={"took_over": receipt.took_over})
        elif kind is EventKind.VERIFIED:
            data: Mapping[str, JsonValue] = {"files_mended": receipt.files_written, "paths_adjusted": receipt.paths_adjusted}
            event = replace(event, data={**data, "paths_removed": receipt.paths_removed, "files_read": receipt.files_read})
        elif if_changed and receipt.failure and receipt.failure.code == BaseDiffersError.__name__:
            message = f"{printable(receipt.failure.message)[:900]}; {if_changed}"
            event = replace(event, data={"code": receipt.failure.code, "message": message})
        self.context.ledger.accept_receipt(receipt, canonical_bytes(envelope).decode(), event, done=done)
        with suppress(TransportError):  # it is kept; unacknowledged, it is fetched again and stored no second time
            self.call.conversation.acknowledge(receipt.distribution, receipt.sequence)

    def _refused(self, error: SluiceError) -> SluiceError:
        event = event_of(self.context, EventKind.RECEIPT_REFUSED, self.assignment, data=failure_data(error))
        self.context.ledger.record(replace(event, revision=None, channel=""))
        return error


def order_of(
    distributor: str,
    assignment: Assignment,
    sequence: int,
    recipe: RenderedRecipe,
    store: TedStore,
    *,
    now: datetime,
    act: Act = Act.EXTRACT,
    demand: Demand | None = Demand.DUE,
) -> Order:
    """Make the order to extract a revision by a recipe, or another act, whose recipe is empty.

    Args:
        demand: None for an agent without the feature ``verify``.
    """
    return Order(
        distributor=distributor,
        subscriber=assignment.subscriber,
        sequence=sequence,
        issued=now,
        expires=now + ORDER_LIFETIMES[act],
        distribution=assignment.distribution,
        revision=assignment.revision,
        destinations=_paths(recipe.destinations, store, assignment),
        pre_actions=recipe.pre_actions,
        post_actions=recipe.post_actions,
        locked=recipe.locked,
        min_free=recipe.min_free,
        act=act,
        allow_removals=recipe.allow_removals,
        verify=None if demand is None else demand is Demand.VERIFY,
        force=demand is Demand.FORCE,
    )


def _paths(rendered: tuple[str, ...], store: TedStore, about: Assignment) -> tuple[str, ...]:
    """Return the paths of an order: only the revision tells whether a destination with ``/`` at its end gets a file or a directory."""
    if not any(each.endswith("/") for each in rendered):
        return rendered
    header, _ = parse_header(store.manifest_bytes(about.distribution, about.revision).partition(b"\n")[0])
    if len(header.destinations) != len(rendered):
        return rendered  # the blueprint has changed since: the agent refuses the number
    return tuple(map(path_of, rendered, header.destinations))
