"""Show the phases of an extraction as task runs, while the agent carries it out as one order and one transaction (J1).

Events of the agent say when a phase begins and what its actions did; the signed receipt, which is the truth, settles the end. A task run is
made when its phase begins, never afterwards; phases that never came are shown as such.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from prefect import allow_failure, task
from prefect.client.schemas.objects import State as RunState
from prefect.states import Cancelled, Completed
from prefect.tasks import Task

from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.under_way import BOARD
from sluice.errors import SluiceError, UndoFailedError, error_from_code
from sluice.model.action import ACTIONS_MAX
from sluice.model.agent_event import AgentEvent, ExtractPhase
from sluice.model.assignment import Assignment
from sluice.model.order import ActionReport
from sluice.model.site import Distribution, ShownPhases
from sluice.rules.wording import counted
from tasks.progress import say, shown
from tasks.run_context import end_of, log
from tasks.settings import COMMON
from tasks.states import failed, state_of

T = TypeVar("T", DeliveryResult, DeliveryResult | None)
LONG_SECONDS = 3.0
"""A phase that lasts longer is long (J6)."""
FULL_UP_TO = 100
"""Subscribers of a run up to which all phases are shown."""
MILESTONES_MAX = 3 * ACTIONS_MAX + 1
"""Reports of actions and undos, and what was taken back: more an extraction hasn't."""
_ORDER = list(ExtractPhase)
_WORDS = set(ExtractPhase)


@dataclass(eq=False)
class _Bar:
    """One phase: what is told of it, and how it ended."""

    phase: ExtractPhase
    assignment: Assignment
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    lines: asyncio.Queue[tuple[str, int] | None] = field(default_factory=asyncio.Queue)
    """Text and level for the log; None at the end."""
    first: str = ""
    """A line before them."""
    last: tuple[str, int, str] | None = None
    """How the extraction ended, if it ended in this phase: text, level and failure."""
    end: RunState[Any] | None = None
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, text: str, level: int = logging.INFO) -> None:
        self.lines.put_nowait((text, level))

    def close(self, end: RunState[Any]) -> None:
        self.end = end
        self.lines.put_nowait(None)
        self.is_over.set()


_BAR: ContextVar[_Bar] = ContextVar("phase")


async def _observe(distribution: str, revision: str, subscriber: str) -> RunState[Any]:
    """Log what the phase does until it is over; return its end."""
    bar = _BAR.get()
    step = BOARD.of(bar.assignment)
    async with shown(step):
        if bar.first:
            say(step, bar.first)
        while (line := await bar.lines.get()) is not None:
            say(step, *line)
        if bar.last is not None:
            say(step, *bar.last)
    end = bar.end or Completed()
    end.timestamp = Completed().timestamp  # the server drops an end that is older than its task run's beginning
    return end


_TASKS: dict[ExtractPhase, Task[..., Any]] = {
    phase: task(
        name=phase.value,
        task_run_name=f"{phase} {{distribution}} {{revision}} on {{subscriber}}",
        description=f"The phase {phase} of an extraction, as its agent reports it",
        **COMMON,
    )(_observe)
    for phase in ExtractPhase
}


def shown_phases(distribution: Distribution, hosts: int) -> ShownPhases:
    """Decide which phases of a Distribution are shown in a run of so many Subscribers."""
    if distribution.phases is not ShownPhases.AUTO:
        return distribution.phases
    return ShownPhases.ALWAYS if hosts <= FULL_UP_TO else ShownPhases.LONG


class PhaseRuns:
    """The phases of one extraction. Made and used in the run's loop; ``on_event`` may be called from any thread."""

    def __init__(self, assignment: Assignment, distribution: Distribution, shown: ShownPhases, after: Sequence[Any]) -> None:
        """Begin with none.

        Args:
            after: Ends of the task runs that came before.
        """
        self._assignment = assignment
        self._shown = shown
        self.last: list[Any] = list(after)
        """What the next task run comes after."""
        absent = {ExtractPhase.ROLL_BACK}
        absent |= set() if distribution.pre_actions else {ExtractPhase.PRE_ACTIONS}
        absent |= set() if distribution.post_actions else {ExtractPhase.POST_ACTIONS}
        self._expected = [phase for phase in ExtractPhase if phase not in absent]
        self._bars: asyncio.Queue[_Bar | None] = asyncio.Queue()
        self._bar: _Bar | None = None
        self._begun: set[ExtractPhase] = set()
        self._heard, self._told = set[ExtractPhase](), 0
        """Phases whose beginning was taken, and how much was told of them: a hostile agent sends no end of events."""
        self._is_over = self._was_told_why = False
        self._loop = asyncio.get_running_loop()

    async def observe(self, extracting: Callable[[Callable[[AgentEvent], None]], Awaitable[T]]) -> T:
        """Await an extraction, which is given what to call with its events, and show its phases meanwhile; return, or raise, as it does."""
        showing = asyncio.create_task(self._show())
        outcome: DeliveryResult | BaseException | None = None
        try:
            outcome = result = await extracting(self.on_event)
        except BaseException as error:
            outcome = error
            raise
        finally:
            self._finish(outcome)
            await _without_failing(showing)
        return result

    def on_event(self, event: AgentEvent) -> None:
        """Take an event of the agent."""
        BOARD.of(self._assignment).on_event(event)
        if event.phase not in _WORDS:
            return
        phase = ExtractPhase(event.phase)
        tells = event.report is not None or (phase is ExtractPhase.ROLL_BACK and event.done > 0)
        if phase not in self._heard or (tells and self._told < MILESTONES_MAX):
            self._heard.add(phase)
            self._told += tells
            self._loop.call_soon_threadsafe(self._take, phase, event)

    def _take(self, phase: ExtractPhase, event: AgentEvent) -> None:
        bar = self._bar
        if self._is_over or (bar is None and phase is ExtractPhase.ROLL_BACK):
            return  # of a thread that wasn't told yet; or of an earlier extraction, whose agent was killed
        if bar is None and phase is ExtractPhase.EXTRACT:
            self._expected = [phase]  # of an agent without the feature: all that it does
        if bar is None or _ORDER.index(phase) > _ORDER.index(bar.phase):  # else a late sign of life
            if bar is not None:
                bar.close(self._ended_by(event))
            bar = self._begin(phase)
        if bar.phase is phase and event.report is not None:
            bar.tell(*_report_line(phase, event.report))
        if bar.phase is phase is ExtractPhase.ROLL_BACK and event.done:
            bar.tell(f"{counted(event.done, 'change')} taken back")

    def _begin(self, phase: ExtractPhase) -> _Bar:
        self._bar = _Bar(phase, self._assignment)
        self._begun.add(phase)
        self._bars.put_nowait(self._bar)
        return self._bar

    def _ended_by(self, event: AgentEvent) -> RunState[Any]:
        """Return the end of a phase that the next one, or a roll back, follows."""
        if event.failure is None or self._bar is None:
            return Completed()
        self._was_told_why = True
        error = error_from_code(event.failure.code, event.failure.message, event.failure.remedy)
        self._bar.tell(str(error), logging.WARNING)
        return failed(error)

    def _finish(self, result: DeliveryResult | BaseException | None) -> None:
        """Settle the phase under way by the receipt, or by what went wrong without one."""
        self._is_over = True
        if self._bar is None and isinstance(result, BaseException) and not isinstance(result, Exception):
            self._expected = []  # cancelled before anything began
        if result is None and self._bar is None:
            self._expected = []  # another run extracts it
        error = result.error if isinstance(result, DeliveryResult) else result
        bar = self._bar or (self._begin(self._expected[0]) if error is not None and self._expected else None)
        if bar is not None:
            if isinstance(result, DeliveryResult):
                text, level = f"{result.state}; {result.error or result.reason}", logging.ERROR if result.error else logging.INFO
                bar.last = text, level, str(result.error or "")
            bar.close(self._end_of(bar, result))
        self._bars.put_nowait(None)

    def _end_of(self, bar: _Bar, result: DeliveryResult | BaseException | None) -> RunState[Any]:
        match result:
            case None:
                return Completed(name="Lacks contents", message="its tree lacks contents, which are sent now")
            case DeliveryResult(error=SluiceError() as error) if self._was_told_why and not isinstance(error, UndoFailedError):
                return Completed(name="Rolled back", message=str(error))
            case DeliveryResult():
                return state_of(result)
            case SluiceError():
                return failed(result)
            case Exception():
                return failed(SluiceError(f"{type(result).__name__}: {result}", remedy="report it: this is a bug"))
            case _:
                return Cancelled(message="the run was cancelled; the agent ends or undoes what it had begun")

    async def _show(self) -> None:
        """Make a task run of each phase as it begins, and of those that never came at the end."""
        why, failed_one = "there was nothing to do", None
        while (bar := await self._bars.get()) is not None:
            if not await self._is_shown(bar):
                continue
            state = await self._task_run(bar, self.last)
            self.last = [allow_failure(state)]
            if failed_one is None:
                why, failed_one = state.message or why, self.last if state.is_failed() else None
        for phase in self._expected:
            if phase not in self._begun and self._shown is ShownPhases.ALWAYS:
                skipped = _Bar(phase, self._assignment)
                skipped.close(Cancelled(name="Skipped", message=why))
                await self._task_run(skipped, failed_one or self.last)  # nothing can wait for a cancelled one

    async def _is_shown(self, bar: _Bar) -> bool:
        """Whether a phase becomes a task run: known at its end, or as soon as it is long."""
        if self._shown is ShownPhases.ALWAYS:
            return True
        with suppress(TimeoutError):
            await asyncio.wait_for(bar.is_over.wait(), LONG_SECONDS if self._shown is ShownPhases.LONG else None)
        if bar.end is None or bar.end.is_failed():
            bar.first = f"began at {bar.began:%H:%M:%S} UTC"
            return True
        if bar.last is not None:
            say(BOARD.of(self._assignment), *bar.last)
        return False

    async def _task_run(self, bar: _Bar, after: Sequence[Any]) -> RunState[Any]:
        each = self._assignment
        token = _BAR.set(bar)
        try:
            return await end_of(_TASKS[bar.phase], each.distribution, str(each.revision), each.subscriber, after=after)
        finally:
            _BAR.reset(token)


async def _without_failing(showing: asyncio.Task[None]) -> None:
    try:
        await showing
    except Exception as error:  # noqa: BLE001 - what is shown decides nothing
        log().warning("the phases aren't all shown: %s: %s", type(error).__name__, error)


def _report_line(phase: ExtractPhase, report: ActionReport) -> tuple[str, int]:
    """Return the line of an action: ``pre stop webd: 2 ended, 0.1 s``, with everything it printed if it failed, and its level."""
    ended = "took too long" if report.exit_code is None else f"exit code {report.exit_code}"
    output = report.output.strip()
    if report.exit_code == 0:
        return f"{report.phase} {report.label}: {output.splitlines()[-1] if output else 'done'}, {report.seconds:.1f} s", logging.INFO
    return f"{report.phase} {report.label}: {ended}, {report.seconds:.1f} s" + (f"\n{output}" if output else ""), logging.WARNING
