"""How an extraction ends: committed, taken back or kept as it is, and how one that was killed is ended at the next start (F9, G1, G2).

From the journal alone, so that a kill anywhere in here only means that the next start does it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from blake3 import blake3

from sluice.durable import replace_atomically
from sluice.errors import ExtractError, SluiceError, UndoFailedError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.manifest import parse_header
from sluice.formats.orders import RECEIPT_MAX, parse_order, parse_receipt, receipt_bytes, time_from_json, time_to_json
from sluice.model.action import ACTION_TIMEOUT, Action
from sluice.model.manifest import Manifest
from sluice.model.order import ActionReport, Failure, Order, Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.site import DistributionType
from sluice.operations.actions import end_action, environment, needs_undo, new_token, run_action
from sluice.operations.extract_undo import Opened, clear, undo
from sluice.operations.held import Extracted, HeldDistribution
from sluice.operations.journal import Begun, Journal, JournalState
from sluice.ports import Filesystem
from sluice.trust.envelope import Envelope
from sluice.trust.roles import MANIFEST

_SHORT_OUTPUT = 200
"""Characters kept of each action's output where a receipt would be too long."""
_KEPT_FOREVER = (DistributionType.FILE.value, "desktop_application")
"""Types whose ``.ted`` stays after extraction unless max_revisions is 1 (G2)."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What extractions of one Distribution on this Subscriber need."""

    filesystem: Filesystem
    held: HeldDistribution
    subscriber: str
    working_directory: str
    """The agent's, absolute, without links."""
    sign: Callable[[Receipt], Envelope]
    now: Callable[[], datetime]
    event: Callable[[str, int, int], None] = lambda _phase, _done, _total: None
    """Told (phase, done, total)."""
    action_limit: float = ACTION_TIMEOUT

    @property
    def journal(self) -> Journal:
        """Of the extraction under way."""
        return Journal(self.held.journal)


@dataclass(slots=True)
class Figures:
    """What a receipt counts."""

    written: int = 0
    unchanged: int = 0
    bytes: int = 0


def failure_of(error: SluiceError) -> Failure:
    """As it stands in a receipt; names that are no UTF-8 are made so."""

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
) -> Receipt:
    """A receipt that fits its limit."""
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
    )
    if len(receipt_bytes(receipt)) > RECEIPT_MAX // 2:
        receipt = replace(receipt, actions=tuple(replace(a, output=a.output[-_SHORT_OUTPUT:]) for a in receipt.actions))
    return receipt


def store_receipt(held: HeldDistribution, sequence: int, envelope: Envelope) -> None:
    """Keep it durably until a Distributor acknowledges it."""
    replace_atomically(held.receipts / f"{sequence}.json", canonical_bytes(envelope))


def reports_of(journal: Journal) -> list[ActionReport]:
    """What the actions that ended said."""
    return [each.report for each in journal.actions() if each.report is not None]


def finish(subscription: Subscription) -> None:
    """Clean up after COMMITTED or UNDONE: the receipt stands in the journal. May be repeated."""
    journal, held = subscription.journal, subscription.held
    begun, envelope = journal.begun(), journal.receipt()
    if begun is None or envelope is None:
        raise UndoFailedError(f"{journal.directory} lacks its beginning or its receipt", remedy="restore by hand, then remove it")
    receipt, order = _receipt_in(envelope), parse_order(begun.order.encode())
    store_receipt(held, receipt.sequence, envelope)
    if receipt.outcome is Outcome.INSTALLED:
        _install(held, order, receipt)
    opened = Opened(subscription.filesystem, begun.places)
    try:
        clear(opened, journal.plan(), undone=journal.state() is JournalState.UNDONE)
    finally:
        opened.close()
    journal.remove()


def _install(held: HeldDistribution, order: Order, receipt: Receipt) -> None:
    """The revision is what stands: its manifest is the next base, its record the status file's."""
    source = held.revision(order.revision) / MANIFEST
    if source.exists():  # else this was done before, and cleaned up
        data = source.read_bytes()
        replace_atomically(held.manifest_path, data)
    else:
        data = held.manifest_path.read_bytes()
    manifest, _ = parse_header(data.partition(b"\n")[0])
    extracted = Extracted(
        revision=str(order.revision),
        sequence=order.sequence,
        at=time_to_json(receipt.finished),
        destinations=order.destinations,
        read_back=receipt.read_back,
        manifest=blake3(data).hexdigest(),
    )
    held.write_status(replace(held.status(), extracted=extracted, reason=""))
    clean_up(held, manifest)


def clean_up(held: HeldDistribution, manifest: Manifest) -> None:
    """After an extraction: remove the ``.ted`` that isn't needed any more (G2) and revisions beyond max_revisions (C12)."""
    status = held.status()
    is_file = manifest.type == DistributionType.FILE
    if manifest.type not in _KEPT_FOREVER or (manifest.max_revisions == 1 and not (is_file and manifest.verify)):
        record = status.received.get(str(manifest.revision))
        if record is not None and not record.cleaned:
            # The record first: a revision without its .ted counts as held only by it.
            cleaned = {**status.received, str(manifest.revision): replace(record, cleaned=True)}
            held.write_status(replace(status, received=cleaned))
        held.remove_directory(held.revision(manifest.revision))
        status = held.status()
    numbers = sorted(map(RevisionNumber.parse, status.received), reverse=True)
    done = [number for number in numbers if number <= manifest.revision]
    for number in done[manifest.max_revisions or len(done) :]:
        status = status.without(number)
        held.write_status(status)
        held.remove_directory(held.revision(number))
    _remove_strangers(held)


def _remove_strangers(held: HeldDistribution) -> None:
    """Revisions on disk that the status file doesn't know: left by a kill, or by a status file that was deleted (G4)."""
    known = held.status().received
    for path in (held.directory / "revisions").iterdir():
        if path.name not in known:
            held.remove_directory(path)


def end_failed(subscription: Subscription, error: SluiceError, figures: Figures) -> Envelope:
    """Take an extraction back, or keep what was done where rollback is off; sign the receipt and clean up.

    Returns:
        The receipt, stored. Where files couldn't be restored it says so, and the journal stays for another try.
    """
    journal = subscription.journal
    begun = journal.begun()
    if begun is None:
        raise error
    state = journal.state()
    order = parse_order(begun.order.encode())
    for action in journal.actions():
        if action.report is None:
            end_action(action.token, action.session)
    changed = state is not JournalState.STAGING and state is not JournalState.UNDOING
    if not begun.rollback and changed:
        _sign(subscription, order, begun, Outcome.FAILED_KEPT, error, figures)
        journal.enter(JournalState.COMMITTED)
    else:
        journal.enter(JournalState.UNDOING)
        opened = Opened(subscription.filesystem, begun.places)
        try:
            complaints = _undo_actions(subscription, order, "post")
            undo(opened, journal.plan())
            complaints += _undo_actions(subscription, order, "pre")
        except UndoFailedError as failed:
            envelope = _sign(subscription, order, begun, Outcome.FAILED, _both(failed, error), Figures())
            store_receipt(subscription.held, order.sequence, envelope)
            return envelope
        finally:
            opened.close()
        if complaints:
            error = _both(UndoFailedError("; ".join(complaints), remedy="take the effect back by hand"), error)
        _sign(subscription, order, begun, Outcome.FAILED, error, Figures())
        journal.enter(JournalState.UNDONE)
    envelope = journal.receipt() or {}
    finish(subscription)
    return envelope


def _receipt_in(envelope: Envelope) -> Receipt:
    return parse_receipt(str(envelope["payload"]).encode())


def _both(failed: UndoFailedError, cause: SluiceError) -> UndoFailedError:
    return UndoFailedError(f"{failed.message}; it failed first because of {cause.code}: {cause.message}", remedy=failed.remedy)


def _sign(subscription: Subscription, order: Order, begun: Begun, outcome: Outcome, error: SluiceError, figures: Figures) -> Envelope:
    """The receipt, signed and in the journal; one that tells of a failure already stays, since a Distributor may have it."""
    journal = subscription.journal
    known = journal.receipt()
    if known is not None and _receipt_in(known).outcome is not Outcome.INSTALLED:  # that one was never committed
        return known
    started = time_from_json(begun.started)
    receipt = receipt_for(
        order, outcome, started=started, finished=subscription.now(), figures=figures, actions=reports_of(journal), error=error
    )
    envelope = subscription.sign(receipt)
    journal.write_receipt(envelope)
    return envelope


def _undo_actions(subscription: Subscription, order: Order, phase: str) -> list[str]:
    """Run the undo of every action of a phase that was started, the last first. Returns complaints about those that failed."""
    journal, complaints = subscription.journal, list[str]()
    actions: Sequence[Action] = order.pre_actions if phase == "pre" else order.post_actions
    noted = journal.actions()
    over = {each.number for each in noted if each.phase == f"undo {phase}" and each.report is not None}
    for started in reversed([each for each in noted if each.phase == phase]):
        action = actions[started.number]
        if started.number in over or not needs_undo(action):
            continue
        try:
            report = run_noted(subscription, order, action, "undo", f"undo {phase}", started.number)
        except SluiceError as error:
            complaints.append(f"undo of {action.label}: {error.message}")
            continue
        if report.exit_code != 0:
            complaints.append(f"undo of {action.label} ended with {report.exit_code}: {report.output[-_SHORT_OUTPUT:]}")
    return complaints


def run_noted(subscription: Subscription, order: Order, action: Action, phase: str, noted_as: str, number: int) -> ActionReport:
    """Run an action with its traces in the journal, before and after."""
    journal, token = subscription.journal, new_token()
    journal.note_action(noted_as, number, token=token)
    report = run_action(
        action,
        phase=phase,
        token=token,
        scratch=journal.directory,
        environment=environment(
            distribution=order.distribution, revision=str(order.revision), subscriber=subscription.subscriber, phase=phase
        ),
        limit=subscription.action_limit,
        started=lambda session: journal.note_action(noted_as, number, session=session),
    )
    journal.note_action(noted_as, number, report=report)
    return report


def recover(subscription: Subscription) -> None:
    """End what a killed agent left, at its next start. The caller holds the Distribution's lock. Raises UndoFailedError."""
    journal = subscription.journal
    begun = journal.begun()
    if begun is None:
        journal.remove()
        return
    state = journal.state()
    if state in (JournalState.COMMITTED, JournalState.UNDONE):
        finish(subscription)
        return
    stands = "everything was restored" if begun.rollback or state is JournalState.STAGING else "rollback is off: what was done stays"
    error = _Interrupted(f"the agent ended during the extraction ({state}); {stands}", remedy="the next extract tries again")
    end_failed(subscription, error, Figures())
    if journal.begun() is not None:
        raise UndoFailedError(f"{journal.directory}: an extraction couldn't be taken back", remedy="its receipt names the paths")


class _Interrupted(ExtractError):
    retryable = True
    code = "ExtractError"


def receipts_of(held: HeldDistribution) -> Mapping[int, Path]:
    """Stored receipts by sequence."""
    found = {}
    for path in held.receipts.glob("*.json") if held.receipts.is_dir() else ():
        if path.stem.isdigit():
            found[int(path.stem)] = path
    return dict(sorted(found.items()))
