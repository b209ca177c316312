"""How an extraction ends: committed, taken back or kept as it is, and how one that was killed is ended at the next start (F9, G1, G2).

From the journal alone, so that a kill anywhere in here only means that the next start does it again.
"""

from __future__ import annotations

from contextlib import suppress

from sluice.errors import ExtractError, SluiceError, UndoFailedError
from sluice.formats.orders import parse_order, time_from_json
from sluice.model.order import ActionReport, Order, Outcome
from sluice.subscriber.actions.run import end_action
from sluice.subscriber.extract.acting import undo_actions
from sluice.subscriber.extract.commit import commit, no_longer_read_back
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.journal import Begun, Journal, JournalState
from sluice.subscriber.extract.receipts import Figures, receipt_for, receipt_in, store_receipt
from sluice.subscriber.extract.undo import Opened, clear, undo
from sluice.trust.envelope import Envelope


def reports_of(journal: Journal) -> list[ActionReport]:
    """What the actions that ended said."""
    return [each.report for each in journal.actions() if each.report is not None]


def finish(context: ExtractionContext) -> None:
    """Clean up after COMMITTED or UNDONE: the receipt stands in the journal. May be repeated."""
    journal, held = context.journal, context.held
    begun, envelope = journal.begun(), journal.receipt()
    if begun is None or envelope is None:
        raise UndoFailedError(f"{journal.directory} lacks its beginning or its receipt", remedy="restore by hand, then remove it")
    receipt, order = receipt_in(envelope), parse_order(begun.order.encode())
    store_receipt(held, receipt.sequence, envelope)
    if receipt.outcome is Outcome.INSTALLED:
        commit(held, order, receipt)
    elif receipt.outcome is Outcome.FAILED_KEPT:
        no_longer_read_back(held)
    opened = Opened(context.filesystem, begun.places)
    try:
        clear(opened, journal.plan(), undone=journal.state() is JournalState.UNDONE)
    finally:
        opened.close()
    journal.remove()


def finish_if_possible(context: ExtractionContext) -> None:
    """The same where the outcome must not depend on it: what fails is done at the next start."""
    with suppress(SluiceError, OSError):
        finish(context)


def end_failed(context: ExtractionContext, error: SluiceError, figures: Figures) -> Envelope:
    """Take an extraction back, or keep what was done where rollback is off; sign the receipt and clean up.

    Returns:
        The receipt, stored. Where files couldn't be restored it says so, and the journal stays for another try.
    """
    journal = context.journal
    begun = journal.begun()
    if begun is None:
        raise error
    state, receipt = journal.state(), journal.receipt()
    if receipt is not None and state in (JournalState.COMMITTED, JournalState.UNDONE):  # it had ended before this went wrong
        journal.enter(state)  # what went wrong may be the sync of that very word: it is durable before anybody hears of it
        finish_if_possible(context)
        return receipt
    order = parse_order(begun.order.encode())
    for action in journal.actions():
        if action.report is None:
            end_action(action.token, action.session)
    changed = state is not JournalState.STAGING and state is not JournalState.UNDOING
    if not begun.rollback and changed:
        _sign(context, order, begun, Outcome.FAILED_KEPT, error, figures)
        journal.enter(JournalState.COMMITTED)
    else:
        journal.enter(JournalState.UNDOING)
        opened = Opened(context.filesystem, begun.places)
        try:
            complaints = undo_actions(context, order, "post")
            undo(opened, journal.plan())
            complaints += undo_actions(context, order, "pre")
        except UndoFailedError as failed:
            envelope = _sign(context, order, begun, Outcome.FAILED, _both(failed, error), Figures())
            store_receipt(context.held, order.sequence, envelope)
            return envelope
        finally:
            opened.close()
        if complaints:
            error = _both(UndoFailedError("; ".join(complaints), remedy="take the effect back by hand"), error)
        _sign(context, order, begun, Outcome.FAILED, error, Figures())
        journal.enter(JournalState.UNDONE)
    envelope = journal.receipt() or {}
    finish_if_possible(context)
    return envelope


def _both(failed: UndoFailedError, cause: SluiceError) -> UndoFailedError:
    return UndoFailedError(f"{failed.message}; it failed first because of {cause.code}: {cause.message}", remedy=failed.remedy)


def _sign(context: ExtractionContext, order: Order, begun: Begun, outcome: Outcome, error: SluiceError, figures: Figures) -> Envelope:
    """The receipt, signed and in the journal; one that tells of a failure already stays, since a Distributor may have it."""
    journal = context.journal
    known = journal.receipt()
    if known is not None and receipt_in(known).outcome is not Outcome.INSTALLED:  # that one was never committed
        return known
    started = time_from_json(begun.started)
    receipt = receipt_for(
        order, outcome, started=started, finished=context.now(), figures=figures, actions=reports_of(journal), error=error
    )
    envelope = context.sign(receipt)
    journal.write_receipt(envelope)
    return envelope


def recover(context: ExtractionContext) -> None:
    """End what a killed agent left, at its next start. The caller holds the Distribution's lock. Raises UndoFailedError."""
    journal = context.journal
    begun = journal.begun()
    if begun is None:
        journal.remove()
        return
    state = journal.state()
    if state in (JournalState.COMMITTED, JournalState.UNDONE):
        finish(context)
        return
    stands = "everything was restored" if begun.rollback or state is JournalState.STAGING else "rollback is off: what was done stays"
    error = _Interrupted(f"the agent ended during the extraction ({state}); {stands}", remedy="the next extract tries again")
    end_failed(context, error, Figures())
    if journal.state() is JournalState.UNDOING:
        raise UndoFailedError(f"{journal.directory}: an extraction couldn't be taken back", remedy="its receipt names the paths")


class _Interrupted(ExtractError):
    retryable = True
    code = "ExtractError"
