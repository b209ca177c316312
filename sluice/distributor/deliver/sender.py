"""The Distributor as a sender."""

from __future__ import annotations

from sluice.distributor.build.record import sign_recorded
from sluice.distributor.context import DistributorContext
from sluice.sender.transfer import Sender


def distributor_sender(context: DistributorContext) -> Sender:
    """Make the sender that reaches a Distributor's Subscribers, and signs a ``.ted`` that a transfer made."""
    return Sender(
        distributor=context.distributor.name,
        transport=context.transport,
        store=context.store,
        signed=context.publisher,
        sign=lambda distribution: sign_recorded(context, (distribution,)),
        timeout=context.distributor.connection_timeout.total_seconds(),
    )
