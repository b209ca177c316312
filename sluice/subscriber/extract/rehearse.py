"""What an extraction would do on this Subscriber now, for a dry run: by the planner of the real one. Changes nothing, takes no lock.

Nobody signed the question, so a wrong or hostile one may name any directory: no more names of mirrored directories are looked at than it
has itself, and COUNT_MAX; and a file is read only to compare it with a content that a signed manifest held here names. Any other content
counts as another, so that the answer names what may be replaced, and is no oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

from sluice.errors import OutOfOrderError, SluiceError
from sluice.formats.rehearsals import COUNT_MAX, Question
from sluice.model.change import ChangeKind, Changes, Stop
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.subscriber.extract.changes import ChangeLog
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.former import read_former
from sluice.subscriber.extract.known import Knowledge
from sluice.subscriber.extract.locked import locked_error, locked_targets
from sluice.subscriber.extract.plan import Plan
from sluice.subscriber.extract.planner import plan_extraction
from sluice.subscriber.extract.removals import MoreThanMostError
from sluice.subscriber.extract.staging import check_apart, check_holder, check_room
from sluice.subscriber.extract.writable import check_working_directory
from sluice.subscriber.held.state import DistributionState


def rehearse_extraction(context: ExtractionContext, question: Question) -> Changes:
    """Return every change that an extraction of the question's manifest would make, and everything that would stop it."""
    try:
        state, manifest = DistributionState(context.held), question.manifest
        extracted = state.status.extracted
        if extracted is not None and manifest.revision < RevisionNumber.parse(extracted.revision):
            raise OutOfOrderError(f"{manifest.distribution} {extracted.revision} is extracted: {manifest.revision} is older")
        if not (question.verify or question.force) and state.is_installed(manifest.revision, question.destinations):
            return Changes()
        with closing(state.tree(context.filesystem)) as tree, read_former(context, manifest) as former:
            signed = _signed_contents(state) | (_signed_contents(DistributionState(former.held)) if former else frozenset())
            known = Knowledge.read(state, tree, former, manifest, question, context.now())
            known = replace(known, may_read=signed.__contains__, most=COUNT_MAX)
            with closing(plan_extraction(context, question.destinations, manifest, known)) as plan:
                return _answer(plan.changes, _stops(context, plan, question))
    except MoreThanMostError:
        log = ChangeLog()
        log.counts[ChangeKind.FOREIGN_REMOVED] = COUNT_MAX + 1
        return _answer(log, [])
    except SluiceError as error:
        return _answer(ChangeLog(), [Stop.of(error)])


def _answer(log: ChangeLog, stops: list[Stop]) -> Changes:
    return Changes(tuple(stops), len(stops), log.named(), dict(log.counts))


def _stops(context: ExtractionContext, plan: Plan, question: Question) -> list[Stop]:
    """Return all refusals; only a plan without any can meet the others."""
    stops = [Stop.of(error) for error in plan.refusals]
    if stops:
        return stops
    name = f"{question.manifest.distribution} {question.manifest.revision}"
    used = [area for area in plan.areas if area.is_used]
    checks: list[Callable[[], None]] = [partial(check_apart, used), *(partial(check_holder, area) for area in used)]
    checks += [
        partial(check_working_directory, context),
        partial(check_room, plan, name, question.min_free),
        partial(_check_unlocked, plan),
    ]
    for check in checks:
        try:
            check()
        except SluiceError as error:
            stops.append(Stop.of(error))
    return stops


def _check_unlocked(plan: Plan) -> None:
    if found := locked_targets(plan):
        raise locked_error(found)


def _signed_contents(state: DistributionState) -> frozenset[str]:
    """Return the digests of all contents that manifests held here name: of the extracted and of the newest received revision."""
    manifests: list[Manifest] = [state.extracted] if state.extracted else []
    if newest := max(map(RevisionNumber.parse, state.status.received), default=None):
        with suppress(SluiceError):  # damaged, or gone: it says nothing
            manifests.append(state.manifest(newest))
    return frozenset(digest for each in manifests for digest, _ in each.contents())
