"""The actions of one extraction: checked before anything is touched, run in their order, and undone (F3, F9).

The journal records an action before it begins, so that it is undone whatever happens to the agent: processes that it left running are
ended, then its ``undo:`` runs. The receipt names effects that stay because their author gave no undo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sluice.errors import SluiceError
from sluice.model.action import Action
from sluice.model.agent_event import AgentEvent, ExtractPhase
from sluice.model.order import ActionReport, Order
from sluice.subscriber.actions.action import (
    check_file,
    check_not_running,
    check_processes,
    check_report,
    is_delivered,
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

PHASES = {"pre": ExtractPhase.PRE_ACTIONS, "post": ExtractPhase.POST_ACTIONS, "undo": ExtractPhase.ROLL_BACK}


class Actions:
    """The actions of one order."""

    def __init__(self, context: ExtractionContext, order: Order) -> None:
        self._context = context
        self._order = order
        self._running_before: dict[tuple[str, int], Sequence[Process]] = {}
        """Processes of a program to be started that ran before anything was touched, by phase and number of its action."""

    def check_files(self) -> None:
        """Check that the files they run are there, or come with this revision. Raises ActionFailedError."""
        for action in self._order.pre_actions:
            check_file(action)
        for action in self._order.post_actions:
            check_file(action, is_delivered=is_delivered(action, self._order.destinations))

    def check_processes(self) -> None:
        """Check that the processes of this host let them do their work, as far as is known now. Raises ActionFailedError."""
        earlier: list[Action] = []
        for phase, actions in (("pre", self._order.pre_actions), ("post", self._order.post_actions)):
            for number, action in enumerate(actions):
                self._running_before[phase, number] = check_processes(action, earlier)
                earlier.append(action)

    def run(self, phase: str, state: JournalState) -> None:
        """Run the actions of a phase, in order. Raises ActionFailedError at the first that fails."""
        actions = self._order.pre_actions if phase == "pre" else self._order.post_actions
        if actions:
            self._context.tell(AgentEvent(PHASES[phase]))
            self._context.journal.enter(state)
        for number, action in enumerate(actions):
            name = f"{phase} action {number + 1}"
            self._context.event(name, number, len(actions))
            check_file(action)
            check_not_running(action, self._running_before.get((phase, number), ()))
            report_wait = partial(self._report_wait, name, number, len(actions))
            report = run_recorded(self._context, self._order, action, phase, phase, number, report_wait)
            check_report(action, report, self._context.action_limit, name=name)

    def _report_wait(self, name: str, done: int, total: int, text: str) -> None:
        self._context.event(f"{name}: {text}", done, total)


def undo_actions(context: ExtractionContext, order: Order, phase: str) -> list[str]:
    """Undo every action of a phase that was started, the last first. Returns complaints about failed undos."""
    journal, complaints = context.journal, list[str]()
    actions: Sequence[Action] = order.pre_actions if phase == "pre" else order.post_actions
    recorded = journal.actions()
    undone = {each.number: each.report for each in recorded if each.phase == f"undo {phase}" and each.report is not None}
    for started in reversed([each for each in recorded if each.phase == phase]):
        action = actions[started.number]
        if report := undone.get(started.number):  # before the agent was killed; a failure then is still one
            complaints += _complaints(action, report)
            continue
        try:
            complaints += _undo_action(context, order, action, started)
        except SluiceError as error:
            complaints.append(f"undo of {action.label}: {error.message}")
    return complaints


def _undo_action(context: ExtractionContext, order: Order, action: Action, started: StartedAction) -> list[str]:
    recorded_as, output = f"undo {started.phase}", stays_stopped(action, started.report)
    if is_left_running(action):
        ended = end_action(started.token, started.session)
        if ended.remaining:
            return [f"{action.label} still runs, with PID {pids_text(ended.remaining)}"]
        output = f"ended: PID {pids_text(ended.signalled)}" if ended.signalled else ""
    if needs_undo(action):
        return _complaints(action, run_recorded(context, order, action, "undo", recorded_as, started.number))
    if output:
        report = ActionReport("undo", action.label, 0.0, 0, output)
        context.journal.record_action(recorded_as, started.number, token=new_token(), report=report)
        context.tell(AgentEvent(PHASES["undo"], report=report))
    return []


def _complaints(action: Action, report: ActionReport) -> list[str]:
    if report.exit_code == 0:
        return []
    return [f"undo of {action.label} ended with {report.exit_code}: {report.output[-SHORT_OUTPUT:]}"]


def run_recorded(
    context: ExtractionContext,
    order: Order,
    action: Action,
    phase: str,
    recorded_as: str,
    number: int,
    report_wait: Callable[[str], None] = lambda _: None,
) -> ActionReport:
    """Run an action, and record it in the journal before and after."""
    journal, token = context.journal, new_token()
    journal.record_action(recorded_as, number, token=token)
    report = run_action(
        action,
        phase=phase,
        token=token,
        scratch=journal.directory,
        environment=environment(distribution=order.distribution, revision=str(order.revision), subscriber=context.subscriber, phase=phase),
        limit=context.action_limit,
        started=lambda session: journal.record_action(recorded_as, number, session=session),
        report_wait=report_wait,
    )
    journal.record_action(recorded_as, number, report=report)
    context.tell(AgentEvent(PHASES[phase], report=report))
    return report
