"""What actions would meet on this Subscriber now, for a dry run: by the rules that are applied before they run. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sluice.errors import ActionFailedError
from sluice.model.action import Action, ActionRehearsal, Script, StartProcess, StopProcess
from sluice.model.recipe import RenderedRecipe
from sluice.subscriber.actions.action import check_file, check_processes, comes_with
from sluice.subscriber.actions.processes import processes_named, processes_running


def rehearse(recipe: RenderedRecipe) -> list[ActionRehearsal]:
    """One answer for each action, those before the files are placed first."""
    found: list[ActionRehearsal] = []
    actions = [*recipe.pre_actions, *recipe.post_actions]
    for number, action in enumerate(actions):
        comes = number >= len(recipe.pre_actions) and comes_with(action, recipe.destinations)
        found.append(_met(action, actions[:number], comes=comes))
    return found


def _met(action: Action, earlier: Sequence[Action], *, comes: bool) -> ActionRehearsal:
    pids: tuple[int, ...] = ()
    try:
        pids = tuple(_about(action))
        check_file(action, comes=comes)
        check_processes(action, earlier)
    except ActionFailedError as error:
        return ActionRehearsal(pids, len(pids), error.message)
    return ActionRehearsal(pids, len(pids), "")


def _about(action: Action) -> list[int]:
    match action:
        case Script():
            return []
        case StartProcess():
            return [process.pid for process in processes_running(action.path)]
        case StopProcess():
            return [process.pid for process in processes_named(action.name)]
