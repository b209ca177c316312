"""Withdraw Distributions that left the site (A14): from then on nothing of them can be sent, whoever asks.

Leaves out: clean-up on Subscribers and the deletion of revisions, which need acknowledgements.
"""

from __future__ import annotations

from sluice.distributor.context import DistributorContext
from sluice.rules.lifetimes import longest_send_interval
from sluice.trust.roles import distribution_role


def withdraw(context: DistributorContext) -> list[str]:
    """Sign empty listings for Distributions that a Distributor signed and doesn't own any more.

    Returns:
        Their names; empty if nothing was signed of any.
    Raises:
        TrustError: The Distributor has no keys.
    """
    site, distributor, publisher = context.site, context.distributor.name, context.publisher
    owned = {d.name for d in site.distributions_of_distributor(distributor)}
    prefix = distribution_role("")
    signed = {role.removeprefix(prefix) for role in publisher.versions() if role.startswith(prefix)}
    gone = sorted(name for name in signed - owned if publisher.listing(name))
    if gone:
        publisher.publish(
            lambda: {name: {} for name in gone}, now=context.clock.now(), longest_interval=longest_send_interval(site, distributor)
        )
    return gone
