"""Forget a Subscriber (``sluice subscriber remove``): its receipt key, and everything that is believed of it.

Events, receipts and order numbers stay: they are history, and a number must not be given twice if the Subscriber comes back.
"""

from __future__ import annotations

from dataclasses import replace

from sluice.distributor.context import DistributorContext, event_of
from sluice.model.belief import Doubt
from sluice.model.event import EventKind
from sluice.rules.retry import moment


def forget_subscriber(context: DistributorContext, name: str, *, dry_run: bool) -> list[str]:
    """Forget it, and return the steps; none if nothing was known of it.

    Raises:
        LedgerError, StoreError.
    """
    distributor, steps = context.distributor.name, []
    known = context.ledger.known(distributor, name)
    believed = sorted(each for each, state in known.states.items() if state.held or state.extracted)
    if believed:
        steps.append(f"forget that it has {', '.join(believed)} of Distributor {distributor}")
    if context.publisher.subscriber_key(name) is not None:
        steps.append(f"forget its receipt key in the trust of Distributor {distributor}")
    if known.belief is not None and not steps:
        steps.append(f"forget what Distributor {distributor} saw of its agent")
    if dry_run or not steps:
        return steps
    # First the belief: a removal that is interrupted after it is repeated because of the key.
    at, order = context.clock.now(), context.ledger.next_sequence(distributor, name)
    doubt = Doubt(f"at {moment(at)} Sluice was removed from its host", None, None, 0, order)
    event = replace(event_of(context, EventKind.REMOVED), subscriber=name)
    context.ledger.believe(distributor, name, None, [event], {each: lambda state: state.raise_doubt(doubt, at) for each in believed})
    context.publisher.forget_subscriber_key(name)
    return steps
