"""Release a Distribution on one Subscriber: its host forgets that anything of it was placed, and the files stay.

It needs no blueprint of the Distribution, which may have left the site: the Distributor is the one that signed it once. Blocking.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from sluice.distributor.context import DistributorContext
from sluice.distributor.deliver.contact import contact_in
from sluice.distributor.deliver.orders import Orders
from sluice.distributor.send_queue.claim import Claim
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.model.assignment import Assignment
from sluice.model.order import Receipt
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.site import Subscriber
from sluice.rules.belief import of_owner
from sluice.rules.lifetimes import longest_send_interval
from sluice.rules.revisions import FIRST
from sluice.sender.metadata import push_metadata
from sluice.sender.transfer import Sender

OCCUPIED_SECONDS = 3.0
"""Between two looks whether another run has finished with the same Subscriber and Distribution."""


@dataclass(repr=False)  # a Subscriber's variables may contain passwords
class Release:
    """The release of one Distribution on one Subscriber."""

    context: DistributorContext
    watch: QueueWatch
    sender: Sender
    subscriber: Subscriber
    distribution: str
    on_wait: Callable[[str], None]
    """Called with the reason when another run has the pair."""

    def carry_out(self) -> Receipt | None:
        """Wait until no run sends to it or has it extract, then order the release. None: neither it nor the ledger knows of anything.

        Raises:
            TransportError, TrustError, LedgerError: Repeat it; nothing is lost.
            AgentVersionError: Its agent is too old; nothing was ordered.
            UndoFailedError, StoreLockedError: An extraction there stands half done, or doesn't end.
        """
        claim = Claim(self.context, self.watch, self._assignment(self._believed() or FIRST))
        waits_for = ""
        while (occupied := claim.enter()) is not None:
            if occupied.reason != waits_for:
                waits_for = occupied.reason
                self.on_wait(waits_for)
            self.context.clock.sleep(OCCUPIED_SECONDS)
        try:
            return self._order(claim)
        finally:
            claim.leave()

    def _order(self, claim: Claim) -> Receipt | None:
        contact = contact_in(self.context, self.subscriber)
        with contact.calling():
            called = self.sender.call(self.subscriber, self.distribution)
        with closing(called) as call:
            contact.heard(call.hello, about=self.distribution)
            there = call.hello.of(self.distribution)
            revision = there.extracted or there.held or self._believed()
            if revision is None:
                return None
            push_metadata(call, self.sender.signed, self.distribution, call.hello.trust or {})
            return Orders(self.context, call, self._assignment(revision), RenderedRecipe(())).release(hand_over=claim.hand_over)

    def _believed(self) -> RevisionNumber | None:
        """Return the revision that the ledger believes is there, or on its way, from this Distributor."""
        state = of_owner(self.context.ledger.state(self.subscriber.name, self.distribution), self.context.distributor.name)
        return None if state is None else state.extracted or state.held or state.offered

    def _assignment(self, revision: RevisionNumber) -> Assignment:
        return Assignment(self.subscriber.name, self.distribution, revision)


def renew_signature(context: DistributorContext, distribution: str) -> None:
    """Sign what is listed of a Distribution again, if that expires soon: no refresh does it for one that left the site."""
    context.publisher.publish(
        lambda: {distribution: context.publisher.listing(distribution)},
        now=context.clock.now(),
        longest_interval=longest_send_interval(context.site, context.distributor.name),
    )
