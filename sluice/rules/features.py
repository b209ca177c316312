"""Derive the features that an agent needs for a Distribution on a Subscriber (F10) from the order that it will get."""

from __future__ import annotations

from collections.abc import Collection

from sluice.model.action import Script, ScriptType, StartProcess, StopProcess, is_no_name
from sluice.model.feature import Feature
from sluice.model.recipe import RenderedRecipe
from sluice.model.site import Distribution, Synchronize
from sluice.rules.destinations import destination_of, limits_removals, sets_directories


def needed_features(asking: Distribution | RenderedRecipe, *, min_free: int) -> frozenset[Feature]:
    """Return the features that an agent must have.

    Only the Distribution tells of its former name, of templates, and which files need removal, owners or extended attributes: its
    manifest has that, no order does.

    Args:
        min_free: Bytes that must stay free on the Subscriber.
    """
    needed: set[Feature] = {Feature.LOCKED} if asking.locked.retries else set()
    if isinstance(asking, Distribution) and asking.renamed_from:
        needed.add(Feature.RENAME)
    for entry in asking.files if isinstance(asking, Distribution) else ():
        needed |= {
            feature
            for feature, asked in (
                (Feature.SYNCHRONIZE, entry.synchronize is not Synchronize.NO),
                (Feature.OWNER, entry.owner),
                (Feature.XATTRS, entry.xattrs),
                (Feature.REMOVALS, limits_removals(destination_of(entry))),
                (Feature.DIRECTORY_MODE, sets_directories(destination_of(entry))),
            )
            if asked
        }
    if min_free:
        needed.add(Feature.MIN_FREE)
    for action in (*asking.pre_actions, *asking.post_actions):
        match action:
            case Script():
                needed |= {Feature.SCRIPT, Feature.PERL} if action.type is ScriptType.PERL else {Feature.SCRIPT}
            case StartProcess():
                needed |= {Feature.START_PROCESS} if action.path.startswith("/") else {Feature.START_PROCESS, Feature.TEMPLATES}
            case StopProcess():
                needed |= {Feature.STOP_PROCESS, Feature.TEMPLATES} if is_no_name(action.name) else {Feature.STOP_PROCESS}
    return frozenset(needed)


def remedy_for_missing(missing: Collection[str], subscriber: str) -> str:
    """Return what gives a Subscriber's agent the features that it lacks. No bootstrap makes an agent root's, so that alone can't help."""
    command = f"run: sluice subscriber bootstrap {subscriber}"
    if Feature.OWNER not in missing:
        return command
    return (
        f"owner: needs an agent that runs as root: in the document of {subscriber}, write ssh: {{become: sudo}} or a login as root, and a "
        f"working_directory of its own for it (local: run Sluice as root); then {command}"
    )
