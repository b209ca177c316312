"""Signing receipts, and what every extraction on this Subscriber needs. Imported only where something is extracted or recovered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from agents.working_directory import WorkingDirectory
from infra.filesystem.local import LocalFilesystem
from sluice.formats.orders import receipt_bytes
from sluice.model.order import Receipt
from sluice.operations.extract_end import Extractions, recover
from sluice.operations.held import HeldDistribution
from sluice.trust.envelope import RECEIPT_WORD, Envelope, seal
from sluice.trust.keys import load_private_key

KEY = "receipt"
"""How a receipt's envelope names its key: a Subscriber has one."""


def extractions(
    directory: WorkingDirectory, held: HeldDistribution, *, event: Callable[[str, int, int], None] = lambda _phase, _done, _total: None
) -> Extractions:
    """One Distribution on this Subscriber, with its real file system, clock and key."""

    def sign(receipt: Receipt) -> Envelope:
        return seal(RECEIPT_WORD, receipt_bytes(receipt), key=KEY, sign=load_private_key(directory.receipt_key).sign)

    return Extractions(
        filesystem=LocalFilesystem(),
        held=held,
        subscriber=directory.subscriber(),
        working_directory=str(directory.path),
        sign=sign,
        now=lambda: datetime.now(UTC),
        event=event,
    )


def recover_distribution(directory: WorkingDirectory, held: HeldDistribution) -> None:
    """End what a killed agent left. Raises StoreLockedError where it is alive, UndoFailedError."""
    with held.lock():
        recover(extractions(directory, held))
