"""The context of extractions on this Subscriber, with its file system, clock and key. Imported only to extract or recover."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agents.working_directory import WorkingDirectory
from infra.filesystem.local import LocalFilesystem
from sluice.formats.orders import receipt_bytes
from sluice.model.order import Receipt
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.ending import recover
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.trust.envelope import RECEIPT_WORD, Envelope, seal
from sluice.trust.keys import load_private_key

if TYPE_CHECKING:
    from agents.frame_channel import Events

KEY = "receipt"
"""Name of the key in a receipt's envelope: a Subscriber has one."""


def extraction_context(directory: WorkingDirectory, held: DistributionDirectory, events: Events | None = None) -> ExtractionContext:
    """Return the context of one Distribution."""

    def sign(receipt: Receipt) -> Envelope:
        return seal(RECEIPT_WORD, receipt_bytes(receipt), key=KEY, sign=load_private_key(directory.receipt_key).sign)

    reports: dict[str, Any] = {"event": events, "tell": events.tell} if events else {}
    return ExtractionContext(
        filesystem=LocalFilesystem(),
        held=held,
        subscriber=directory.subscriber(),
        working_directory=str(directory.path),
        sign=sign,
        now=lambda: datetime.now(UTC),
        **reports,
    )


def recover_distribution(directory: WorkingDirectory, held: DistributionDirectory) -> None:
    """End the extraction of a killed agent. Raises StoreLockedError if the agent is alive, UndoFailedError."""
    with held.lock():
        recover(extraction_context(directory, held))
