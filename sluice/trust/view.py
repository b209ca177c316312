"""One Distributor's signed targets and orders of one Distribution, as verified metadata says them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from securesystemslib.signer import Signature
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Targets

from sluice.errors import ExpiredError, TamperedError, UnknownDistributorError
from sluice.formats.orders import ORDER_MAX, parse_order
from sluice.model.order import Order
from sluice.trust.envelope import ORDER_WORD, unseal
from sluice.trust.roles import ORDERS
from sluice.trust.targets import Target

ORDER_AHEAD = timedelta(days=1)
"""How far a Distributor's clock may be ahead of ours; an order from later than that shows that ours was set back."""


class TrustedView:
    """The targets of one Distribution that its Distributor has signed."""

    def __init__(self, distributor: str, targets: Targets, signed: Mapping[str, Target]) -> None:
        self._distributor = distributor
        self._targets = targets
        self._signed = signed

    def target(self, path: str) -> Target:
        """Return length and digest of a target. Raises TamperedError if the Distributor signed no such target."""
        found = self._signed.get(path)
        if found is None:
            raise TamperedError(
                f"Distributor {self._distributor} has not signed {path}",
                remedy="run `sluice sign` for its Distribution, then repeat `sluice send`",
            )
        return found

    def open_order(self, envelope: object, *, subscriber: str, now: datetime) -> Order:
        """Verify that an order is this Distributor's, for this Subscriber and in time, and return it.

        The caller checks its sequence against the high-water mark and raises that before acting.

        Raises:
            UnknownDistributorError, TamperedError, TruncatedError, ExpiredError.
        """
        what = f"an order of Distributor {self._distributor}"

        def verify(key: str, signature: bytes, data: bytes) -> None:
            delegations = self._targets.delegations
            known = delegations.roles[ORDERS].keyids if delegations and delegations.roles and ORDERS in delegations.roles else []
            if key not in known:
                raise UnknownDistributorError(f"{what} is signed by a key that its trust root doesn't name: {key[:16]}")
            try:
                self._targets.verify_delegate(ORDERS, data, {key: Signature(key, signature.hex())})
            except (UnsignedMetadataError, ValueError) as error:
                raise TamperedError(f"the signature of {what} doesn't match", remedy="repeat `sluice extract`") from error

        order = parse_order(unseal(ORDER_WORD, envelope, what=what, limit=ORDER_MAX, verify=verify))
        if order.distributor != self._distributor:
            raise TamperedError(f"{what} names Distributor {order.distributor}")
        if order.subscriber != subscriber:
            raise TamperedError(f"{what} is for Subscriber {order.subscriber}, not for {subscriber}")
        if order.issued > now + ORDER_AHEAD:  # else a clock set back would make old signatures hold for ever
            raise ExpiredError(
                f"{what} was given at {order.issued:%Y-%m-%d %H:%M:%S} UTC, which is in the future here",
                remedy="set the clocks of both machines",
            )
        if order.expires <= now:
            raise ExpiredError(
                f"{what} expired at {order.expires:%Y-%m-%d %H:%M:%S} UTC",
                remedy="check the clocks of both machines, then repeat `sluice extract`",
            )
        return order
