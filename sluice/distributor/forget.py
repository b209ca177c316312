"""Forget a Subscriber (``sluice subscriber remove``): its receipt key, and everything that is believed of it.

Events, receipts and order numbers stay: they are history, and a number must not be given twice if the Subscriber comes back.
"""

from __future__ import annotations

from dataclasses import replace

from sluice.distributor.context import DistributorContext, event_of
from sluice.model.event import EventKind
from sluice.model.state import CurrentState, Record


def forget_subscriber(context: DistributorContext, name: str, *, dry_run: bool) -> list[str]:
    """Forget it, and return the steps; none if nothing was known of it.

    Raises:
        LedgerError, StoreError.
    """
    distributor, steps = context.distributor.name, []
    believed = [
        state
        for state in context.ledger.snapshot().states.values()
        if (state.subscriber, state.distributor) == (name, distributor) and (state.held or state.extracted)
    ]
    if believed:
        names = ", ".join(sorted(state.distribution for state in believed))
        steps.append(f"forget that it has {names} of Distributor {distributor}")
    if context.publisher.subscriber_key(name) is not None:
        steps.append(f"forget its receipt key in the trust of Distributor {distributor}")
    if dry_run or not steps:
        return steps
    # First the belief: a removal that is interrupted after it is repeated because of the key.
    event = replace(event_of(context, EventKind.REMOVED), subscriber=name)
    context.ledger.record_all([Record(replace(event, distribution=state.distribution), _forget) for state in believed])
    context.publisher.forget_subscriber_key(name)
    return steps


def _forget(state: CurrentState) -> CurrentState:
    known = CurrentState(state.subscriber, state.distribution, distributor=state.distributor, channel=state.channel)
    return replace(known, reason="Sluice was removed from its host", bytes_sent=state.bytes_sent)
