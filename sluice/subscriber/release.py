"""Release: a Subscriber forgets that a Distribution placed anything (docs/formats.md section 5). Its files stay, and no path is looked at.

After a kill at any point less is remembered than before, never more: what could remove files later is forgotten first, and which
directories stood before only when nothing is known any more that could change them.
"""

from __future__ import annotations

from collections.abc import Callable

from sluice.durable import sync_directory
from sluice.model.order import Order, Outcome
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.ending import recover
from sluice.subscriber.extract.receipts import Figures, receipt_for, store_receipt
from sluice.subscriber.held.directory import DistributionDirectory, Status, remove_directory
from sluice.subscriber.held.path_lists import MOUNTED, RETAINED, STOOD
from sluice.trust.envelope import Envelope

WAIT = 600.0
"""Seconds that a release waits for an extraction or a receive under way."""


def release(context: ExtractionContext, order: Order, *, accept: Callable[[], None] = lambda: None) -> Envelope:
    """Carry out a verified order to release. After a kill another order does it again.

    Args:
        accept: Called before anything is forgotten: raises the high-water mark.
    Returns:
        The signed receipt, stored.
    Raises:
        StoreLockedError: The Distribution is still being received or extracted after WAIT.
        UndoFailedError: An earlier extraction still couldn't be undone: it must be known until then.
    """
    started = context.now()
    with context.held.lock(wait=WAIT):
        recover(context)
        accept()
        forget(context.held)
        receipt = receipt_for(order, Outcome.RELEASED, started=started, finished=context.now(), figures=Figures())
        envelope = context.sign(receipt)
        store_receipt(context.held, order.sequence, envelope)
    return envelope


def forget(held: DistributionDirectory) -> None:
    """Forget everything that was received and extracted, but no receipt. The caller holds the lock."""
    _unlink(held, RETAINED.name)
    held.write_status(Status())
    _unlink(held, STOOD.name, MOUNTED.name, held.manifest_path.name, held.stat_cache_path.name)
    remove_directory(held.directory / "revisions")
    remove_directory(held.directory / "receiving")


def _unlink(held: DistributionDirectory, *names: str) -> None:
    for name in names:
        (held.directory / name).unlink(missing_ok=True)
    sync_directory(held.directory)
