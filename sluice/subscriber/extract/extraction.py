"""Extraction on a Subscriber (docs/formats.md section 8).

Compare, stage and verify, pre actions, look for locked targets, swap, post actions, read back, commit; any failure undoes everything. A
receipt signed by the Subscriber records the result and is stored before it is sent. After a kill anywhere, the next start ends the
extraction (``ending.recover``).
Source: TED "extracting a Distribution".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing, suppress

from sluice.durable import replace_atomically
from sluice.errors import (
    ExtractError,
    OutOfOrderError,
    SluiceError,
    StoreCorruptError,
    StoreError,
)
from sluice.formats.manifest.document import read_back_digest
from sluice.formats.orders import order_bytes, time_to_json
from sluice.formats.ted.file import Content, verify_payload
from sluice.model.agent_event import AgentEvent, ExtractPhase
from sluice.model.order import ActionReport, Order, Outcome
from sluice.model.revision import RevisionNumber
from sluice.subscriber.extract.acting import Actions
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.ending import end_failed, finish_if_possible, recover, reports_of
from sluice.subscriber.extract.former import Former, hold_former
from sluice.subscriber.extract.journal import Beginning, JournalState
from sluice.subscriber.extract.known import Knowledge
from sluice.subscriber.extract.locked import wait_until_unlocked
from sluice.subscriber.extract.plan import Plan
from sluice.subscriber.extract.planner import plan_extraction
from sluice.subscriber.extract.receipts import Figures, receipt_for, store_receipt
from sluice.subscriber.extract.staging import make_staging, stage
from sluice.subscriber.extract.swap import read_back, steps_of, swap_in
from sluice.subscriber.extract.writable import check_working_directory
from sluice.subscriber.held.directory import CORRUPT, TED
from sluice.subscriber.held.local_contents import LocalContents
from sluice.subscriber.held.path_lists import KEPT, MOUNTED, RETAINED, STOOD
from sluice.subscriber.held.stat_cache import StatRecorder, stat_cache_bytes
from sluice.subscriber.held.state import DistributionState
from sluice.subscriber.held.supplement import SupplementContents
from sluice.trust.envelope import Envelope


def extract(context: ExtractionContext, order: Order, *, accept: Callable[[], None] = lambda: None) -> Envelope:
    """Carry out a verified order.

    Args:
        accept: Called once nothing but the extraction itself can fail any more, before it begins: raises the high-water mark.
    Returns:
        The signed receipt, stored; also if the extraction failed.
    Raises:
        StoreLockedError: The Distribution is being received or extracted now.
        NotFoundError: The revision isn't held: it must be sent first.
        UndoFailedError: An earlier extraction still couldn't be undone.
        LockedTargetError, StoreError: The working directory can't be written.
    """
    check_working_directory(context)
    with context.held.lock():
        recover(context)
        extraction = _Extraction(context, order)
        extraction.check_held()
        accept()
        return extraction.run()


class _Extraction:
    def __init__(self, context: ExtractionContext, order: Order) -> None:
        self._context = context
        self._held = context.held
        self._journal = context.journal
        self._order = order
        self._started = context.now()
        self._figures = Figures()
        self._recorder = StatRecorder(context.clock_ns)
        self._state = DistributionState(self._held)
        self._is_committed = False
        self._took_over = ""
        """The former name, if something of it is here."""

    def check_held(self) -> None:
        """Raise NotFoundError if the revision must be sent first."""
        self._state.manifest_digest(self._order.revision)

    def run(self) -> Envelope:
        """Return the receipt."""
        order, state = self._order, self._state
        extracted = state.status.extracted
        if extracted is not None and not (order.verify or order.force) and state.is_installed(order.revision, order.destinations):
            return self._answer(Outcome.ALREADY_INSTALLED, read_back=extracted.read_back)
        self._context.tell(AgentEvent(ExtractPhase.STAGE))
        with ExitStack() as held_besides:
            envelope = self._ended(held_besides)
        if self._is_committed:
            self._context.event("clean up", 0, 0)
            finish_if_possible(self._context)
        return envelope

    def _ended(self, held_besides: ExitStack) -> Envelope:
        """Return the receipt of an extraction that was committed, or undone and cleaned up."""
        try:
            return self._extract(held_besides)
        except SluiceError as error:
            return self._failed(error)
        except OSError as error:
            return self._failed(StoreError(f"{self._held.directory}: {error}", remedy="look at the disk of the working directory"))
        except Exception as error:  # noqa: BLE001 - whatever it is, a user's files don't stay half replaced
            return self._failed(ExtractError(f"unexpected: {type(error).__name__}: {error}", remedy="report it, with the agent's output"))

    def _failed(self, error: SluiceError) -> Envelope:
        if isinstance(error, StoreCorruptError):
            self._set_aside(error)
        if self._journal.beginning() is None:
            return self._answer(Outcome.FAILED, error=error)
        return end_failed(self._context, error, self._figures)

    def _answer(self, outcome: Outcome, *, read_back: str = "", error: SluiceError | None = None) -> Envelope:
        """Sign and store a receipt if no extraction began."""
        envelope = self._sign(outcome, read_back=read_back, error=error)
        store_receipt(self._held, self._order.sequence, envelope)
        return envelope

    def _extract(self, held_besides: ExitStack) -> Envelope:
        order, state = self._order, self._state
        extracted = state.status.extracted
        if extracted is not None and order.revision < RevisionNumber.parse(extracted.revision):
            raise OutOfOrderError(
                f"{order.distribution} {extracted.revision} is extracted: {order.revision} is older",
                remedy=f"run: sluice send {order.distribution}",
            )
        manifest = state.manifest(order.revision)
        actions = Actions(self._context, order)
        actions.check_files()
        former = held_besides.enter_context(hold_former(self._context, manifest))
        self._took_over = former.held.name if former else ""
        tree = state.tree(self._context.filesystem)
        with closing(LocalContents(tree, SupplementContents(self._held.revision(order.revision)))) as local:
            self._context.event("compare", 0, 0)
            known = Knowledge.read(state, tree, former, manifest, order, self._started)
            with closing(plan_extraction(self._context, order.destinations, manifest, known)) as plan:
                plan.require_allowed()
                if plan.is_empty and state.is_extracted(order.revision) and not (order.force or former):
                    MOUNTED.write(self._held, plan.mounts)
                    self._figures.unchanged, self._figures.read = len(plan.unchanged), len(plan.read)
                    return self._answer(Outcome.ALREADY_INSTALLED, read_back=read_back_digest(manifest))
                return self._carry_out(plan, local, actions, former)

    def _carry_out(self, plan: Plan, local: LocalContents, actions: Actions, former: Former | None) -> Envelope:
        progress, rollback = self._context.progress, plan.destinations.manifest.rollback
        actions.check_processes()
        areas = tuple(area.record() for area in plan.areas)
        self._journal.begin(Beginning(order_bytes(self._order).decode(), time_to_json(self._started), rollback, areas))
        if former is not None:
            self._journal.write_former(former.held.fingerprint())
        self._stage(plan, local)
        RETAINED.write_to_journal(self._held, plan.retained)
        STOOD.write_to_journal(self._held, plan.stood)
        MOUNTED.write_to_journal(self._held, plan.mounts)
        self._journal.write_plan(steps_of(plan))
        actions.run("pre", JournalState.ACTING)
        self._context.tell(AgentEvent(ExtractPhase.EXTRACT))
        wait_until_unlocked(self._context, plan, self._order.locked)
        if not rollback:  # not before: of what failed until here nothing was placed
            KEPT.write_to_journal(self._held, {**RETAINED.read(self._held), **plan.placed})
        self._journal.enter(JournalState.SWAPPING)
        swap_in(plan, progress("swap"))
        self._figures.written, self._figures.unchanged = plan.file_count, len(plan.unchanged)
        self._figures.removed, self._figures.adjusted = plan.paths_removed, plan.changes.others
        self._journal.enter(JournalState.SWAPPED)
        actions.run("post", JournalState.SWAPPED)
        digest = read_back(plan, self._recorder, progress("read back"))
        self._figures.read = len(plan.read)
        return self._commit(digest)

    def _stage(self, plan: Plan, local: LocalContents) -> None:
        manifest = plan.destinations.manifest
        ted = self._state.usable_ted(manifest)
        name = f"Subscriber {self._order.subscriber}: {self._order.distribution} {manifest.revision}"
        make_staging(plan, name, min_free=self._order.min_free)
        new = ted.new_contents() if ted else {}
        if ted and not plan.files:
            verify_payload(ted.path)
        local.require([digest for digest in plan.files if digest not in new])
        contents: Iterable[Content] = ()
        if ted and not new.keys().isdisjoint(plan.files):
            local.require(ted.references())
            contents = ted.contents(local)
        try:
            self._figures.bytes = stage(plan, contents, local, self._context.progress("stage"))
        except StoreCorruptError as error:
            raise ted.diagnose(error) if ted else error from error

    def _commit(self, read_back: str) -> Envelope:
        envelope = self._sign(Outcome.INSTALLED, read_back=read_back, actions=reports_of(self._journal))
        self._journal.write_receipt(envelope)
        self._write_stat_cache()
        self._journal.enter(JournalState.COMMITTED)
        self._is_committed = True
        return envelope

    def _sign(
        self, outcome: Outcome, *, read_back: str = "", error: SluiceError | None = None, actions: Sequence[ActionReport] = ()
    ) -> Envelope:
        return self._context.sign(
            receipt_for(
                self._order,
                outcome,
                started=self._started,
                finished=self._context.now(),
                figures=self._figures,
                read_back=read_back,
                actions=actions,
                error=error,
                took_over=self._took_over if outcome is Outcome.INSTALLED else "",
            )
        )

    def _write_stat_cache(self) -> None:
        """Write the rows, each about one inode: true whatever becomes of this extraction. Without them, files are read again."""
        with suppress(SluiceError, OSError):
            digest = self._state.manifest_digest(self._order.revision)
            replace_atomically(self._held.stat_cache_path, stat_cache_bytes(digest, self._recorder.rows))

    def _set_aside(self, error: StoreCorruptError) -> None:
        """Rename a ``.ted`` that was damaged at rest (E4): it counts as not held, so that the next send repairs it."""
        directory = self._held.revision(self._order.revision)
        if (directory / TED).exists():
            (directory / TED).rename(directory / CORRUPT)
        status = self._held.status().without(self._order.revision, reason=f"{error.code}: {error.message}")
        self._held.write_status(status)
