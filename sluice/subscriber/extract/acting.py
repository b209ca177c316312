"""The actions of one extraction: checked before anything is touched, run in their order, and taken back (F3, F9).

The journal knows of an action before it begins, so that it is taken back whatever happens to the agent: what it left running is ended,
then its ``undo:`` runs. What isn't taken back, because its author said so, is said in the receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sluice.errors import SluiceError
from sluice.model.action import Action
from sluice.model.order import ActionReport, Order
from sluice.subscriber.actions.action import (
    check_file,
    check_gone,
    check_processes,
    check_report,
    comes_with,
    is_left_running,
    needs_undo,
    run_action,
    stays_stopped,
)
from sluice.subscriber.actions.processes import pids_text
from sluice.subscriber.actions.run import end_action, environment, new_token
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.journal import JournalState, StartedAction
from sluice.subscriber.extract.receipts import SHORT_OUTPUT

if TYPE_CHECKING:
    from psutil import Process


class Actions:
    """Of one order, on their way to be run."""

    def __init__(self, context: ExtractionContext, order: Order) -> None:
        self._context = context
        self._order = order
        self._ran: dict[tuple[str, int], Sequence[Process]] = {}
        """What ran of a program that is to be started, before anything was touched."""

    def check_files(self) -> None:
        """What they run must be there, or come with this revision. Raises ActionFailedError."""
        for action in self._order.pre_actions:
            check_file(action)
        for action in self._order.post_actions:
            check_file(action, comes=comes_with(action, self._order.destinations))

    def check_processes(self) -> None:
        """What runs on this host must let them do their work, as far as it can be known now. Raises ActionFailedError."""
        earlier: list[Action] = []
        for phase, actions in (("pre", self._order.pre_actions), ("post", self._order.post_actions)):
            for number, action in enumerate(actions):
                self._ran[phase, number] = check_processes(action, earlier)
                earlier.append(action)

    def run(self, phase: str, state: JournalState) -> None:
        """Run those of a phase, in order. Raises ActionFailedError at the first that fails."""
        actions = self._order.pre_actions if phase == "pre" else self._order.post_actions
        if actions:
            self._context.journal.enter(state)
        for number, action in enumerate(actions):
            what = f"{phase} action {number + 1}"
            self._context.event(what, number, len(actions))
            check_file(action)
            check_gone(action, self._ran.get((phase, number), ()))
            waits = partial(self._waits, what, number, len(actions))
            report = run_noted(self._context, self._order, action, phase, phase, number, waits)
            check_report(action, report, self._context.action_limit, what=what)

    def _waits(self, what: str, done: int, total: int, whom: str) -> None:
        self._context.event(f"{what}: {whom}", done, total)


def undo_actions(context: ExtractionContext, order: Order, phase: str) -> list[str]:
    """Take back every action of a phase that was started, the last first. Returns complaints about those where that failed."""
    journal, complaints = context.journal, list[str]()
    actions: Sequence[Action] = order.pre_actions if phase == "pre" else order.post_actions
    noted = journal.actions()
    over = {each.number: each.report for each in noted if each.phase == f"undo {phase}" and each.report is not None}
    for started in reversed([each for each in noted if each.phase == phase]):
        action = actions[started.number]
        if done := over.get(started.number):  # before the agent was killed; what went wrong then is still so
            complaints += _complaints(action, done)
            continue
        try:
            complaints += _take_back(context, order, action, started)
        except SluiceError as error:
            complaints.append(f"undo of {action.label}: {error.message}")
    return complaints


def _take_back(context: ExtractionContext, order: Order, action: Action, started: StartedAction) -> list[str]:
    noted_as, said = f"undo {started.phase}", stays_stopped(action, started.report)
    if is_left_running(action):
        ended = end_action(started.token, started.session)
        if ended.left:
            return [f"{action.label} still runs, with PID {pids_text(ended.left)}"]
        said = f"ended: PID {pids_text(ended.asked)}" if ended.asked else ""
    if needs_undo(action):
        return _complaints(action, run_noted(context, order, action, "undo", noted_as, started.number))
    if said:
        report = ActionReport("undo", action.label, 0.0, 0, said)
        context.journal.note_action(noted_as, started.number, token=new_token(), report=report)
    return []


def _complaints(action: Action, report: ActionReport) -> list[str]:
    if report.exit_code == 0:
        return []
    return [f"undo of {action.label} ended with {report.exit_code}: {report.output[-SHORT_OUTPUT:]}"]


def run_noted(
    context: ExtractionContext,
    order: Order,
    action: Action,
    phase: str,
    noted_as: str,
    number: int,
    waits: Callable[[str], None] = lambda _: None,
) -> ActionReport:
    """Run an action with its traces in the journal, before and after."""
    journal, token = context.journal, new_token()
    journal.note_action(noted_as, number, token=token)
    report = run_action(
        action,
        phase=phase,
        token=token,
        scratch=journal.directory,
        environment=environment(distribution=order.distribution, revision=str(order.revision), subscriber=context.subscriber, phase=phase),
        limit=context.action_limit,
        started=lambda session: journal.note_action(noted_as, number, session=session),
        waits=waits,
    )
    journal.note_action(noted_as, number, report=report)
    return report
