"""Ending an extraction: committed, undone or kept as it is; one that was killed is ended at the next start (F9, G1, G2).

All of it works from the journal alone: after a kill anywhere in here the next start does it again.
"""

from __future__ import annotations

from contextlib import closing, suppress

from sluice.errors import ExtractError, SluiceError, UndoFailedError
from sluice.formats.orders import parse_order, time_from_json
from sluice.model.agent_event import AgentEvent, ExtractPhase
from sluice.model.order import ActionReport, Order, Outcome
from sluice.subscriber.actions.run import end_action
from sluice.subscriber.extract.acting import undo_actions
from sluice.subscriber.extract.commit import commit, forget_read_back
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.journal import Beginning, Journal, JournalState
from sluice.subscriber.extract.receipts import Figures, failure_of, receipt_for, receipt_in, store_receipt
from sluice.subscriber.extract.undo import ReopenedAreas, remove_staging, undo, unswapped
from sluice.subscriber.held.path_lists import KEPT, MOUNTED, RETAINED
from sluice.subscriber.held.paths import parents
from sluice.trust.envelope import Envelope


def reports_of(journal: Journal) -> list[ActionReport]:
    """Return the reports of all actions that ended."""
    return [each.report for each in journal.actions() if each.report is not None]


def finish(context: ExtractionContext) -> None:
    """Clean up after COMMITTED or UNDONE: the receipt is in the journal. May be repeated."""
    journal, held = context.journal, context.held
    beginning, envelope = journal.beginning(), journal.receipt()
    if beginning is None or envelope is None:
        raise UndoFailedError(
            f"{journal.directory} lacks its beginning or its receipt", remedy="restore the destinations by hand, then remove the journal"
        )
    receipt, order = receipt_in(envelope), parse_order(beginning.order.encode())
    store_receipt(held, receipt.sequence, envelope)
    if receipt.outcome is Outcome.INSTALLED:
        commit(held, order, receipt)
    elif receipt.outcome is Outcome.FAILED_KEPT:
        KEPT.commit(held, to=RETAINED.name)
        MOUNTED.commit(held)
        forget_read_back(held)
    with closing(ReopenedAreas(context.filesystem, beginning.areas)) as areas:
        remove_staging(areas, journal.plan(), undone=journal.state() is JournalState.UNDONE)
    journal.remove()


def finish_if_possible(context: ExtractionContext) -> None:
    """Do the same if the outcome must not depend on it: after a failure, the next start does it."""
    with suppress(SluiceError, OSError):
        finish(context)


def end_failed(context: ExtractionContext, error: SluiceError, figures: Figures) -> Envelope:
    """Undo an extraction, or keep its changes if rollback is off; sign the receipt and clean up.

    Returns:
        The receipt, stored. If files couldn't be restored it says so, and the journal stays for another try.
    """
    journal = context.journal
    beginning = journal.beginning()
    if beginning is None:
        raise error
    state, receipt = journal.state(), journal.receipt()
    if receipt is not None and state in (JournalState.COMMITTED, JournalState.UNDONE):  # it had ended before this went wrong
        journal.enter(state)  # the error may come from the sync of that very word: it is durable before anybody hears of it
        finish_if_possible(context)
        return receipt
    order = parse_order(beginning.order.encode())
    for action in journal.actions():
        if action.report is None:
            end_action(action.token, action.session)
    changed = state is not JournalState.STAGING and state is not JournalState.UNDOING
    if not beginning.rollback and changed:
        _keep_placed(context, beginning)
        _sign(context, order, beginning, Outcome.FAILED_KEPT, error, figures)
        journal.enter(JournalState.COMMITTED)
    else:
        journal.enter(JournalState.UNDOING)
        if changed:
            context.tell(AgentEvent(ExtractPhase.ROLL_BACK, failure=failure_of(error)))
        try:
            with closing(ReopenedAreas(context.filesystem, beginning.areas)) as areas:
                complaints = undo_actions(context, order, "post")
                restored = undo(areas, journal.plan())
                if restored:
                    context.tell(AgentEvent(ExtractPhase.ROLL_BACK, restored, restored))
                complaints += undo_actions(context, order, "pre")
        except UndoFailedError as failed:
            envelope = _sign(context, order, beginning, Outcome.FAILED, _both(failed, error), Figures())
            store_receipt(context.held, order.sequence, envelope)
            return envelope
        if complaints:
            error = _both(UndoFailedError("; ".join(complaints), remedy="undo their effects by hand"), error)
        _sign(context, order, beginning, Outcome.FAILED, error, Figures())
        journal.enter(JournalState.UNDONE)
    envelope = journal.receipt() or {}
    finish_if_possible(context)
    return envelope


def _keep_placed(context: ExtractionContext, beginning: Beginning) -> None:
    """Leave out of the next retained paths those whose swap wasn't made: nothing of ours is there."""
    with closing(ReopenedAreas(context.filesystem, beginning.areas)) as areas:
        missing = unswapped(areas, context.journal.plan())
    kept = KEPT.read(context.held, from_journal=True)
    placed = {path: kind for path, kind in kept.items() if missing.isdisjoint((path, *parents(path)))}
    KEPT.write_to_journal(context.held, {**RETAINED.read(context.held), **placed})


def _both(failed: UndoFailedError, cause: SluiceError) -> UndoFailedError:
    return UndoFailedError(f"{failed.message}; it failed first because of {cause.code}: {cause.message}", remedy=failed.remedy)


def _sign(
    context: ExtractionContext, order: Order, beginning: Beginning, outcome: Outcome, error: SluiceError, figures: Figures
) -> Envelope:
    """Sign the receipt and record it in the journal; one of a failure that is there already stays, since a Distributor may have it."""
    journal = context.journal
    known = journal.receipt()
    if known is not None and receipt_in(known).outcome is not Outcome.INSTALLED:  # that one was never committed
        return known
    started = time_from_json(beginning.started)
    receipt = receipt_for(
        order, outcome, started=started, finished=context.now(), figures=figures, actions=reports_of(journal), error=error
    )
    envelope = context.sign(receipt)
    journal.write_receipt(envelope)
    return envelope


def recover(context: ExtractionContext) -> None:
    """End the extraction of a killed agent, at its next start. The caller holds the Distribution's lock. Raises UndoFailedError."""
    journal = context.journal
    beginning = journal.beginning()
    if beginning is None:
        journal.remove()
        return
    state = journal.state()
    if state in (JournalState.COMMITTED, JournalState.UNDONE):
        finish(context)
        return
    restored = beginning.rollback or state is JournalState.STAGING
    result = "everything was restored" if restored else "rollback is off: its changes are kept"
    error = _Interrupted(f"the agent ended during the extraction ({state}); {result}", remedy="the next extract tries again")
    end_failed(context, error, Figures())
    if journal.state() is JournalState.UNDOING:
        raise UndoFailedError(f"{journal.directory}: an extraction couldn't be undone", remedy="see the paths that its receipt names")


class _Interrupted(ExtractError):
    retryable = True
    code = "ExtractError"
