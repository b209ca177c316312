"""Extraction on a Subscriber (docs/formats.md section 8): the Distributor's side is ``order_extract.py``.

Compare, stage and verify, pre actions, look for locked targets, swap, post actions, read back, commit; any failure takes everything
back. A receipt signed by the Subscriber says how it went and is stored before anybody is told. Killed anywhere, the next start ends it
(``extract_end.recover``).
Source: TED "extracting a Distribution".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import replace

from sluice.durable import replace_atomically
from sluice.errors import (
    ExtractError,
    NotFoundError,
    OutOfOrderError,
    SluiceError,
    StoreCorruptError,
    StoreError,
)
from sluice.formats.manifest.document import parse_header, parse_manifest, read_back_digest
from sluice.formats.orders import order_bytes, time_to_json
from sluice.formats.ted.file import Content, verify_payload
from sluice.model.manifest import Manifest
from sluice.model.order import Order, Outcome
from sluice.model.revision import RevisionNumber
from sluice.subscriber.extract.acting import Actions
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.ending import end_failed, finish_if_possible, recover, reports_of
from sluice.subscriber.extract.journal import Begun, JournalState
from sluice.subscriber.extract.locked import wait_until_unlocked
from sluice.subscriber.extract.others import other_destinations
from sluice.subscriber.extract.plan import Plan
from sluice.subscriber.extract.planner import Planner
from sluice.subscriber.extract.receipts import Figures, receipt_for, store_receipt
from sluice.subscriber.extract.removals import PreviousState
from sluice.subscriber.extract.staging import make_staging, stage
from sluice.subscriber.extract.swap import read_back, steps_of, swap_in
from sluice.subscriber.held.directory import CORRUPT, TED
from sluice.subscriber.held.local_contents import LocalContents
from sluice.subscriber.held.retained import note_left, read_left
from sluice.subscriber.held.stat_cache import EMPTY, StatCache, StatRecorder, stat_cache_bytes
from sluice.subscriber.held.supplement import SupplementContents
from sluice.subscriber.held.ted import extracted_bytes, held_manifest, stat_cache_of, usable_ted
from sluice.subscriber.held.tree import ExtractedTree
from sluice.trust.envelope import Envelope


def extract(context: ExtractionContext, order: Order, *, accept: Callable[[], None] = lambda: None) -> Envelope:
    """Carry out a verified order.

    Args:
        accept: Called once nothing but the extraction itself can fail any more, before it begins: raises the high-water mark.
    Returns:
        The signed receipt, stored; also where the extraction failed.
    Raises:
        StoreLockedError: The Distribution is being received or extracted now.
        NotFoundError: The revision isn't held: it must be sent first.
        UndoFailedError: An earlier extraction still couldn't be taken back.
    """
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
        self._status = self._held.status()
        self._figures = Figures()
        self._noted = StatRecorder(context.clock_ns)
        self._extracted_bytes = b""
        try:
            self._extracted_bytes = extracted_bytes(self._held, self._status)
        except StoreCorruptError as error:  # as if nothing were extracted: the tree is compared anew
            self._status = replace(self._status, extracted=None, reason=error.message)

    def check_held(self) -> None:
        """Raise NotFoundError where the revision must be sent first."""
        extracted = self._status.extracted
        if str(self._order.revision) not in {*self._status.received, extracted.revision if extracted else ""}:
            raise NotFoundError(f"{self._order.distribution} {self._order.revision} isn't held", remedy="send it first")

    def run(self) -> Envelope:
        """The receipt."""
        extracted = self._status.extracted
        if extracted is not None and self._is_installed():
            return self._answer(Outcome.ALREADY_INSTALLED, read_back=extracted.read_back)
        try:
            return self._extract()
        except SluiceError as error:
            return self._failed(error)
        except OSError as error:
            return self._failed(StoreError(f"{self._held.directory}: {error}", remedy="look at the disk of the working directory"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the files of a user don't stay half replaced
            return self._failed(
                ExtractError(f"unexpected: {type(error).__name__}: {error}", remedy="report it, with what the agent printed")
            )

    def _failed(self, error: SluiceError) -> Envelope:
        if isinstance(error, StoreCorruptError):
            self._set_aside(error)
        if self._journal.begun() is None:
            return self._answer(Outcome.FAILED, error=error)
        return end_failed(self._context, error, self._figures)

    def _answer(self, outcome: Outcome, *, read_back: str = "", error: SluiceError | None = None) -> Envelope:
        """A receipt where nothing was begun."""
        receipt = receipt_for(
            self._order,
            outcome,
            started=self._started,
            finished=self._context.now(),
            figures=self._figures,
            read_back=read_back,
            error=error,
        )
        envelope = self._context.sign(receipt)
        store_receipt(self._held, self._order.sequence, envelope)
        return envelope

    def _extract(self) -> Envelope:
        order, event = self._order, self._context.event
        extracted = self._status.extracted
        if extracted is not None and order.revision < RevisionNumber.parse(extracted.revision):
            raise OutOfOrderError(
                f"{order.distribution} {extracted.revision} is extracted: {order.revision} is older", remedy="send the newest"
            )
        manifest = held_manifest(self._held, self._status, order.revision, self._extracted_bytes)
        actions = Actions(self._context, order)
        actions.check_files()
        tree = ExtractedTree(self._context.filesystem, self._extracted_manifest, extracted.destinations if extracted else ())
        with closing(LocalContents(tree, SupplementContents(self._held.revision(order.revision)))) as local:
            event("compare", 0, 0)
            seen = EMPTY if manifest.verify else stat_cache_of(self._held, self._status, tree)
            with closing(self._planner(tree, seen).plan(manifest, order.destinations)) as plan:
                if extracted is not None and plan.is_empty and str(order.revision) == extracted.revision:
                    self._figures.unchanged = len(plan.unchanged)
                    return self._answer(Outcome.ALREADY_INSTALLED, read_back=read_back_digest(manifest))
                return self._carry_out(plan, manifest, local, actions)

    def _carry_out(self, plan: Plan, manifest: Manifest, local: LocalContents, actions: Actions) -> Envelope:
        event = self._context.event
        actions.check_processes()
        places = tuple(place.in_journal() for place in plan.places)
        self._journal.begin(Begun(order_bytes(self._order).decode(), time_to_json(self._started), manifest.rollback, places))
        self._stage(plan, manifest, local)
        note_left(self._held, plan.left)
        self._journal.write_plan(steps_of(plan))
        actions.run("pre", JournalState.ACTING)
        wait_until_unlocked(plan, self._order.locked, event, self._context.sleep)
        self._journal.enter(JournalState.SWAPPING)
        swap_in(plan, lambda done, total: event("swap", done, total))
        self._figures.written, self._figures.unchanged = plan.file_count, len(plan.unchanged)
        self._figures.removed = plan.paths_removed
        self._journal.enter(JournalState.SWAPPED)
        actions.run("post", JournalState.SWAPPED)
        digest = read_back(plan, manifest, self._noted, lambda done, total: event("read back", done, total))
        return self._commit(digest)

    def _planner(self, tree: ExtractedTree, seen: StatCache) -> Planner:
        order = self._order
        return Planner(
            self._context.filesystem,
            staging_name=f".sluice-{order.subscriber}.{order.distributor}.{order.distribution}",
            placed=tree.placed,
            before=lambda: PreviousState(tree.tops(), read_left(self._held)),
            others=lambda: other_destinations(self._context.filesystem, self._context.working_directory, self._held),
            protected=self._context.working_directory,
            now_ns=int(self._started.timestamp()) * 10**9,
            look=lambda: self._context.event("compare", 0, 0),
            known=seen.digest,
        )

    def _stage(self, plan: Plan, manifest: Manifest, local: LocalContents) -> None:
        ted = usable_ted(self._held, self._status, manifest, self._extracted_manifest())
        what = f"Subscriber {self._order.subscriber}: {self._order.distribution} {manifest.revision}"
        make_staging(plan, what, min_free=self._order.min_free)
        gives = ted.gives() if ted else {}
        if ted and not plan.files:
            verify_payload(ted.path)
        local.require([digest for digest in plan.files if digest not in gives])
        contents: Iterable[Content] = ()
        if ted and not gives.keys().isdisjoint(plan.files):
            local.require(ted.needs())
            contents = ted.contents(local)
        try:
            self._figures.bytes = stage(plan, contents, local, lambda done, total: self._context.event("stage", done, total))
        except StoreCorruptError as error:
            raise ted.explained(error) if ted else error from error

    def _commit(self, digest: str) -> Envelope:
        receipt = receipt_for(
            self._order,
            Outcome.INSTALLED,
            started=self._started,
            finished=self._context.now(),
            figures=self._figures,
            read_back=digest,
            actions=reports_of(self._journal),
        )
        envelope = self._context.sign(receipt)
        self._journal.write_receipt(envelope)
        self._note_seen()
        self._journal.enter(JournalState.COMMITTED)
        self._context.event("clean up", 0, 0)
        finish_if_possible(self._context)
        return envelope

    def _note_seen(self) -> None:
        """True whatever becomes of this extraction, since every row is about one inode; and without it files are only read again."""
        record, extracted = self._status.received.get(str(self._order.revision)), self._status.extracted
        digest = record.manifest if record else extracted.manifest if extracted else ""
        with suppress(SluiceError, OSError):
            replace_atomically(self._held.stat_cache_path, stat_cache_bytes(digest, self._noted.rows))

    def _is_installed(self) -> bool:
        """Whether the status file says so, and that is enough: with ``verify`` the tree itself is asked (C10)."""
        order, extracted = self._order, self._status.extracted
        if extracted is None or (str(order.revision), order.destinations) != (extracted.revision, extracted.destinations):
            return False
        if not extracted.read_back:
            return False
        manifest, _ = parse_header(self._extracted_bytes.partition(b"\n")[0])
        return not manifest.verify

    def _extracted_manifest(self) -> Manifest | None:
        return parse_manifest(self._extracted_bytes) if self._status.extracted else None

    def _set_aside(self, error: StoreCorruptError) -> None:
        """Damage at rest (E4): the ``.ted`` gets another name and counts as not held, so that the next send repairs it."""
        place = self._held.revision(self._order.revision)
        if (place / TED).exists():
            (place / TED).rename(place / CORRUPT)
        status = self._held.status().without(self._order.revision, reason=f"{error.code}: {error.message}")
        self._held.write_status(status)
