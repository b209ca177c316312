"""Pre and post actions on a Subscriber (F3 to F5, F7, F9): each is checked first, then carried out.

A script's text is in a file that only we can read, never in a shell string. A program that is started without waiting is left
running, and counts as ours until the extraction has ended: a later failure ends it (``end_action``). ``run.py`` runs commands,
``processes.py`` finds processes.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.durable import replace_atomically
from sluice.errors import ActionFailedError
from sluice.model.action import ACTION_TIMEOUT, Action, Script, ScriptType, StartProcess, StopProcess, file_of
from sluice.model.order import ActionReport
from sluice.rules.interpreters import foreign_interpreter
from sluice.rules.wording import SEE_WHY
from sluice.subscriber.actions.processes import first_line, is_alive, pids_text, processes_running
from sluice.subscriber.actions.run import SEARCH_PATH, Command, Session, leave_running, run_to_end
from sluice.subscriber.actions.stop import NONE_RUNS, check_stop, stop

if TYPE_CHECKING:
    from psutil import Process


def check_file(action: Action, *, is_delivered: bool = False) -> None:
    """Check that the file which an action runs is there.

    Args:
        is_delivered: Its file may come with this revision: only its interpreter must be there by now.
    Raises:
        ActionFailedError.
    """
    if isinstance(action, Script):
        _interpreter(action.type)
    if is_delivered:
        return
    match action:
        case Script():
            if action.path and not (action.path.startswith("/") and Path(action.path).is_file()):
                raise ActionFailedError(
                    f"{action.label}: {action.path} is no file on this Subscriber", remedy="name an existing file by its full path"
                )
            if action.path and (other := foreign_interpreter(action.type, first_line(action.path))):
                raise ActionFailedError(
                    f"{action.label}: {action.path} begins with a #! line for {other}", remedy="give the script the type it has"
                )
        case StartProcess():
            if not Path(action.path).is_file():
                raise ActionFailedError(
                    f"{action.label}: {action.path} is no file on this Subscriber", remedy="name an existing program by its full path"
                )
            if not os.access(action.path, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                raise ActionFailedError(f"{action.label}: {action.path} isn't executable", remedy=f"chmod +x {action.path}")
        case StopProcess():
            pass


def check_processes(action: Action, earlier: Sequence[Action] = ()) -> Sequence[Process]:
    """Check that the processes of this host let an action do its work.

    Args:
        earlier: Actions before it: a stop of the same program, or a script, may end processes that run now.
    Returns:
        Processes of a program that is to be started; ``check_not_running`` looks at them again once ``earlier`` has run.
    Raises:
        ActionFailedError: The program runs already and nothing before may end it; or a stop would hit a process that is never stopped.
    """
    match action:
        case StartProcess():
            found = processes_running(action.path)
            if not any(isinstance(each, Script) or _stops(each, action) for each in earlier):
                check_not_running(action, found)
            return found
        case StopProcess():
            check_stop(action)
    return ()


def check_not_running(action: Action, before: Sequence[Process]) -> None:
    """Check right before a start that no process of its program runs, nor any of ``before``, whose file may have been replaced."""
    if isinstance(action, StartProcess):
        found = {process.pid for process in (*before, *processes_running(action.path)) if is_alive(process)}
        if found:
            name = action.path.rpartition("/")[2]
            raise ActionFailedError(
                f"{action.label}: it runs already, with PID {pids_text(found)}",
                remedy=f"put stop_process: {{name: {name}, wait: true}} first",
            )


def run_action(
    action: Action,
    *,
    phase: str,
    token: str,
    scratch: Path,
    environment: Mapping[str, str],
    limit: float = ACTION_TIMEOUT,
    started: Callable[[Session], None] = lambda _: None,
    report_wait: Callable[[str], None] = lambda _: None,
) -> ActionReport:
    """Run one action; wait for it unless it says otherwise.

    Args:
        phase: ``pre``, ``post``, or ``undo`` for the action's undo text.
        scratch: A directory of ours for a script's text.
        limit: Seconds until it is ended with everything it started.
        started: Called once its session is known.
        report_wait: Called with the processes that a stop waits for; see ``stop``.
    Returns:
        Its report; ``exit_code`` is None if the limit ended it. ``check_report`` judges it.
    Raises:
        ActionFailedError: It can't be started.
    """

    def command(*words: str) -> Command:
        return Command(words, action.label, phase, token, environment, started)

    def text(type_: ScriptType, content: str) -> ActionReport:
        path = scratch / f"script-{token}"
        replace_atomically(path, content.encode(), mode=0o700)
        try:
            return run_to_end(command(*_interpreter(type_), str(path)), limit)
        finally:
            path.unlink(missing_ok=True)  # a script may remove itself

    if phase == "undo":
        return text(action.type if isinstance(action, Script) else ScriptType.SHELL, action.undo)
    match action:
        case Script(path=""):
            return text(action.type, action.run)
        case Script():
            return run_to_end(command(*_interpreter(action.type), action.path), limit)
        case StartProcess():
            program = command(action.path, *action.arguments)
            return run_to_end(program, limit) if action.wait else leave_running(program)
        case StopProcess():
            return stop(action, phase, limit, report_wait=report_wait)


def check_report(action: Action, report: ActionReport, limit: float, *, name: str) -> None:
    """Raise ActionFailedError, which begins with ``name``, if an action failed."""
    if report.exit_code == 0:
        return
    result, remedy = f"ended with exit code {report.exit_code}", SEE_WHY
    if isinstance(action, StopProcess):
        result, remedy = report.output, "end it by hand" if action.kill else "end it by hand, or write kill: true to end it by force"
    elif report.exit_code is None:
        result = f"took longer than {limit:g} s and was ended"
    raise ActionFailedError(f"{name}, {action.label}, {result}", remedy=remedy)


def needs_undo(action: Action) -> bool:
    """Whether its author gave an undo."""
    return action.undo not in ("", "none")


def is_left_running(action: Action) -> bool:
    """Whether a process of ours may run on after it, to be ended when it is undone."""
    return isinstance(action, StartProcess) and not action.wait


def stays_stopped(action: Action, report: ActionReport | None) -> str:
    """Return the report of a stop that has no undo when everything else is undone; empty if it stopped nothing."""
    if not isinstance(action, StopProcess) or needs_undo(action) or (report is not None and report.output == NONE_RUNS):
        return ""
    return "stays stopped: no undo: starts it again" + (f" ({report.output})" if report is not None else "")


def _stops(earlier: Action, start: StartProcess) -> bool:
    return isinstance(earlier, StopProcess) and earlier.name == start.path.rpartition("/")[2]


def _interpreter(type_: ScriptType) -> list[str]:
    match type_:
        case ScriptType.SHELL:
            return ["/bin/sh"]
        case ScriptType.PYTHON:
            return [sys.executable or "python3", "-I"]
        case ScriptType.PERL:
            found = shutil.which("perl", path=SEARCH_PATH)
            if found is None:
                raise ActionFailedError(
                    "script (perl): this Subscriber has no perl", remedy="install it there, or write the script in another language"
                )
            return [found]


def is_delivered(action: Action, destinations: Sequence[str]) -> bool:
    """Whether the file that an action runs may come with the revision itself: then it is checked when it is run."""
    file = file_of(action)
    return file is not None and any(file.is_relative_to(each) for each in destinations)
