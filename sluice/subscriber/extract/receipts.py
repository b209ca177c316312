"""Receipts on the Subscriber: cut to their limit, and kept until a Distributor acknowledges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sluice.durable import replace_atomically
from sluice.errors import SluiceError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.orders import RECEIPT_MAX, parse_receipt, receipt_bytes
from sluice.model.order import ActionReport, Failure, Order, Outcome, Receipt
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.trust.envelope import Envelope

SHORT_OUTPUT = 200
"""Characters kept of each action's output if a receipt would be too long."""


@dataclass(slots=True)
class Figures:
    """The counts in a receipt."""

    written: int = 0
    unchanged: int = 0
    bytes: int = 0
    removed: int = 0
    read: int = 0
    adjusted: int = 0


def failure_of(error: SluiceError) -> Failure:
    """Return an error as a receipt names it; characters that are no UTF-8 are replaced."""

    def clean(text: str) -> str:
        return text.encode(errors="replace").decode()[:4000]

    return Failure(error.code, clean(error.message), clean(error.remedy), error.retryable)


def receipt_for(
    order: Order,
    outcome: Outcome,
    *,
    started: datetime,
    finished: datetime,
    figures: Figures,
    read_back: str = "",
    actions: Sequence[ActionReport] = (),
    error: SluiceError | None = None,
    took_over: str = "",
) -> Receipt:
    """Make a receipt that fits its limit."""
    receipt = Receipt(
        distributor=order.distributor,
        subscriber=order.subscriber,
        sequence=order.sequence,
        distribution=order.distribution,
        revision=order.revision,
        outcome=outcome,
        started=started,
        finished=finished,
        files_written=figures.written,
        files_unchanged=figures.unchanged,
        bytes_written=figures.bytes,
        read_back=read_back,
        actions=tuple(actions),
        failure=failure_of(error) if error else None,
        paths_removed=figures.removed,
        files_read=None if order.verify is None else figures.read,
        paths_adjusted=0 if order.verify is None else figures.adjusted,
        took_over=took_over,
    )
    if len(receipt_bytes(receipt)) > RECEIPT_MAX // 2:
        receipt = replace(receipt, actions=tuple(replace(a, output=a.output[-SHORT_OUTPUT:]) for a in receipt.actions))
    return receipt


def store_receipt(held: DistributionDirectory, sequence: int, envelope: Envelope) -> None:
    """Keep it durably until a Distributor acknowledges it."""
    replace_atomically(held.receipts / f"{sequence}.json", canonical_bytes(envelope))


def receipt_in(envelope: Envelope) -> Receipt:
    """Return the receipt in an envelope of our own."""
    return parse_receipt(str(envelope["payload"]).encode())


def receipts_of(held: DistributionDirectory) -> Mapping[int, Path]:
    """Return stored receipts by sequence."""
    found = {}
    for path in held.receipts.glob("*.json") if held.receipts.is_dir() else ():
        if path.stem.isdigit():
            found[int(path.stem)] = path
    return dict(sorted(found.items()))
