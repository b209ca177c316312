"""Locked targets (F2): looked for after the pre actions, which usually end who uses them, and before the first swap.

So that a file which is locked is found while nothing was replaced yet. One that is locked in mid-swap all the same fails its step, and
everything is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sluice.errors import LockedTargetError
from sluice.model.locked import Locked
from sluice.model.manifest import EntryKind
from sluice.ports import Root
from sluice.subscriber.extract.plan import NEW, Plan
from sluice.subscriber.held.paths import full

NAMED_MAX = 3
"""Most paths that an error names."""


def wait_until_unlocked(plan: Plan, locked: Locked, event: Callable[[str, int, int], None], sleep: Callable[[float], None]) -> None:
    """Look at every target, again after each wait, at most as often as ``locked`` says.

    Args:
        event: Told ("locked: /path (why)", number of the look, looks in all) after each look that found something.
        sleep: Takes seconds.
    Raises:
        LockedTargetError: They are locked still; names the first few and how many.
    """
    looks, look = locked.retries + 1, 1
    while found := list(_locked(plan)):
        event(_said(found[:1]), look, looks)
        if look == looks:
            raise locked_error(found)
        sleep(locked.wait.total_seconds())
        look += 1


def locked_error(found: Sequence[str]) -> LockedTargetError:
    """Of paths with the reason of each, at least one."""
    return LockedTargetError(
        _said(found[:NAMED_MAX]) + (f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""),
        remedy="end what uses it or make it mutable; the next extract tries again",
    )


def locked_in(root: Root, paths: Sequence[str], *, replaced: bool) -> Iterator[str]:
    """Those that are locked, as an error names them."""
    for found in root.locked(paths, replaced=replaced):
        yield f"{full(root, found.path)} ({found.why})"


def _said(found: Sequence[str]) -> str:
    return f"locked: {', '.join(found)}"


def _locked(plan: Plan) -> Iterator[str]:
    for root in plan.roots.values():
        replaced, changed = list[str](), dict[str, None]()
        for swap in plan.swaps:
            if swap.place.root is root:
                changed[swap.path.rpartition("/")[0]] = None
                if swap.before:
                    replaced += _all_below(root, swap.path) if swap.before == EntryKind.DIRECTORY.value else [swap.path]
        for removal in plan.removals:
            if removal.place.root is root:
                changed[removal.path.rpartition("/")[0]] = None
                replaced += _all_below(root, removal.path) if removal.kind is EntryKind.DIRECTORY else [removal.path]
        for step in plan.metadata:
            if plan.places[step.place].root is root and step.mode_before != NEW:
                changed[step.path] = None
        yield from locked_in(root, replaced, replaced=True)
        yield from locked_in(root, list(changed), replaced=False)


def _all_below(root: Root, path: str) -> Sequence[str]:
    """A directory that goes away, with everything in it."""
    paths, directories = [path], [path]
    for directory in directories:  # grows while it is walked
        for found in root.list(directory):
            paths.append(found.path)
            if found.kind is EntryKind.DIRECTORY:
                directories.append(found.path)
    return paths
