"""Checking actions on this Subscriber for a dry run, by the rules that are applied before they run. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sluice.errors import ActionFailedError
from sluice.model.action import Action, ActionRehearsal, Script, StartProcess, StopProcess
from sluice.model.recipe import RenderedRecipe
from sluice.subscriber.actions.action import check_file, check_processes, is_delivered
from sluice.subscriber.actions.processes import processes_named, processes_running


def rehearse_actions(recipe: RenderedRecipe) -> list[ActionRehearsal]:
    """Return one answer for each action, pre actions first."""
    found: list[ActionRehearsal] = []
    actions = [*recipe.pre_actions, *recipe.post_actions]
    for number, action in enumerate(actions):
        delivered = number >= len(recipe.pre_actions) and is_delivered(action, recipe.destinations)
        found.append(_check(action, actions[:number], delivered=delivered))
    return found


def _check(action: Action, earlier: Sequence[Action], *, delivered: bool) -> ActionRehearsal:
    pids: tuple[int, ...] = ()
    try:
        pids = tuple(_pids(action))
        check_file(action, is_delivered=delivered)
        check_processes(action, earlier)
    except ActionFailedError as error:
        return ActionRehearsal(pids, len(pids), error.message)
    return ActionRehearsal(pids, len(pids), "")


def _pids(action: Action) -> list[int]:
    match action:
        case Script():
            return []
        case StartProcess():
            return [process.pid for process in processes_running(action.path)]
        case StopProcess():
            return [process.pid for process in processes_named(action.name)]
