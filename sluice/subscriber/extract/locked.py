"""Locked targets (F2): looked for after the pre actions, which usually end the programs that use them, and before the first swap.

So a locked file is found while nothing was replaced yet. If one is locked only during the swaps, its step fails and everything is undone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from sluice.errors import LockedTargetError
from sluice.model.locked import Locked
from sluice.model.manifest import EntryKind
from sluice.ports import LockedPath, Root
from sluice.ports.filesystem import MOUNT_POINT, mounted_error
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.plan import Plan
from sluice.subscriber.extract.steps import NEW
from sluice.subscriber.held.paths import full, walk

_ATTRIBUTES = {"immutable": "i", "append-only": "a"}
NAMED_MAX = 3
"""Most paths that an error names."""


def wait_until_unlocked(context: ExtractionContext, plan: Plan, locked: Locked) -> None:
    """Look at every target, again after each wait, at most as often as ``locked`` says.

    Each look that finds something is reported as ("locked: /path (why)", number of the look, looks in all).

    Raises:
        LockedTargetError: Some are still locked; names the first few and how many.
        DestinationError: One is a mount point, which waiting doesn't free.
    """
    looks, look = locked.retries + 1, 1
    while found := locked_targets(plan):
        context.event(_text(found[:1]), look, looks)
        if look == looks:
            raise locked_error(found)
        context.sleep(locked.wait.total_seconds())
        look += 1


def locked_error(found: Sequence[LockedPath]) -> LockedTargetError:
    """Return the error for paths with their reasons, at least one."""
    return LockedTargetError(
        _text(found[:NAMED_MAX]) + (f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""),
        remedy=f"{_way_out(found)}; the next extract tries again",
    )


def _way_out(found: Sequence[LockedPath]) -> str:
    letters = {_ATTRIBUTES.get(why) for _, why in found}
    if letters == {None}:
        return "end the program that uses it"
    if None in letters:
        return "end the programs that use them, and take the others' attributes away with chattr"
    paths = " ".join(shlex.quote(path) for path, _ in found[:NAMED_MAX])
    return f"if nobody else relies on that, run on the host: chattr -{''.join(sorted(filter(None, letters)))} {paths}"


def locked_paths(root: Root, paths: Sequence[str], *, replaced: bool) -> Iterator[LockedPath]:
    """Yield the locked ones of these paths, absolute, as an error names them."""
    for found in root.locked(paths, replaced=replaced):
        yield LockedPath(full(root, found.path), found.why)


def _text(found: Sequence[LockedPath]) -> str:
    return f"locked: {', '.join(f'{path} ({why})' for path, why in found)}"


def locked_targets(plan: Plan) -> list[LockedPath]:
    """Return everything that the plan changes and that is locked now. Raises DestinationError for a mount point."""
    found = list(_locked_targets(plan))
    for path, why in found:
        if why == MOUNT_POINT:
            raise mounted_error(path)
    return found


def _locked_targets(plan: Plan) -> Iterator[LockedPath]:
    for root in plan.destinations.roots.values():
        replaced, changed = list[str](), dict[str, None]()
        for swap in plan.swaps:
            if swap.area.root is root:
                changed[swap.path.rpartition("/")[0]] = None
                if swap.kind_before:
                    replaced += _with_all_below(root, swap.path, is_directory=swap.kind_before == EntryKind.DIRECTORY.value)
        for removal in plan.removals:
            if removal.area.root is root:
                changed[removal.path.rpartition("/")[0]] = None
                replaced += _with_all_below(root, removal.path, is_directory=removal.is_directory)
        for step in plan.metadata:
            if plan.areas[step.area].root is root and step.mode_before != NEW:
                changed[step.path] = None
        yield from locked_paths(root, replaced, replaced=True)
        yield from locked_paths(root, list(changed), replaced=False)


def _with_all_below(root: Root, path: str, *, is_directory: bool) -> Sequence[str]:
    return [path, *(found.path for found in walk(root, path))] if is_directory else [path]
