"""The promises about everything that stands on a host, judged by looks at the disk before and after (docs/formats.md section 8).

They are stated without the planner's code: what was placed by a Distribution is what it made, or had in a revision that is extracted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from sluice.model.change import ChangeKind
from sluice.model.manifest import Destination, EntryKind
from sluice.model.order import Outcome, Receipt
from sluice.model.site import DirectoryMode, Synchronize
from tests.trees.snapshot import Snapshot, Thing
from tests.trees.subscriber import Foretold, shown

FOREIGN = (ChangeKind.REPLACED, ChangeKind.TAKEN_OVER, ChangeKind.FOREIGN_REMOVED)
KINDS = {EntryKind.FILE: "file", EntryKind.DIRECTORY: "directory", EntryKind.SYMLINK: "link"}


@dataclass
class Placed:
    """The paths that one Distribution placed, with their kinds."""

    kinds: dict[str, str] = field(default_factory=dict)

    def has(self, path: str, thing: Thing) -> bool:
        """Whether something is there that it placed, or that people put in its place in the same kind."""
        return self.kinds.get(path) == thing.kind

    def after(self, wanted: Mapping[str, str], before: Snapshot, after: Snapshot) -> None:
        """Note an extraction that left something. A directory that stood before isn't placed, a file is, though it was right already."""
        kept = {path: kind for path, kind in self.kinds.items() if path in after and after[path].kind == kind}
        for path, kind in wanted.items():
            stood = path in before and before[path].kind == kind == "directory"
            if not stood or kept.get(path) == kind:
                kept[path] = kind
        self.kinds = {path: kind for path, kind in kept.items() if path in after}


@dataclass(frozen=True)
class Run:
    """One extraction, with the looks at the host around it."""

    destinations: Mapping[str, Destination]
    """The revision's, by real path."""
    foretold: Foretold
    """By the dry run once the revision was held, whose manifest is signed for."""
    foretold_unheld: Foretold
    """By one before: of contents that nobody signed it says only that they may be replaced."""
    before: Snapshot
    after: Snapshot
    receipt: Receipt
    user: int
    """The agent's account."""
    fails: bool
    """Whether an action of it fails for good."""

    @property
    def wanted(self) -> Mapping[str, str]:
        """Kind of everything that the revision has, by real path."""
        found = {}
        for top, destination in self.destinations.items():
            found |= {f"{top}/{entry.path}" if entry.path else top: KINDS[entry.kind] for entry in destination.entries}
        return found

    @property
    def is_installed(self) -> bool:
        return self.receipt.outcome in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)


def violations(run: Run, placed: Placed) -> Iterator[str]:
    """Yield everything that is other than promised."""
    yield from _agreement(run)
    if run.receipt.outcome is Outcome.FAILED:
        before = _with_times_that_cannot_be_restored(run)
        yield from (f"a failed run left {each}" for each in differences(before, run.after))
    else:
        yield from _foreign(run, placed)
        yield from _kinds(run, placed)
        yield from _excludes(run, placed)
    if run.is_installed:
        yield from _places(run)
        yield from _foretold_and_not_done(run)


def _agreement(run: Run) -> Iterator[str]:
    failure = run.receipt.failure
    if run.foretold.problem and run.is_installed:
        yield f"the dry run says it would stop, and it ran: {run.foretold.problem}"
    is_said = run.foretold.problem and run.foretold_unheld.problem
    if failure is not None and not is_said and not (run.fails and failure.code == "ActionFailedError"):
        yield f"it stopped, and the dry run didn't say so: {failure.code}: {failure.message}"


def differences(before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Yield each path that isn't as before."""
    for path in sorted(before.keys() | after.keys()):
        one, other = before.get(path), after.get(path)
        if one is None or other is None:
            yield f"{path!r} {'new' if one is None else 'gone'}"
        elif one != other:
            yield f"{path!r} with {', '.join(_differing(one, other))}"


def _differing(one: Thing, other: Thing) -> Iterator[str]:
    for name, was, now in zip(Thing._fields, one, other, strict=True):
        if was != now:
            yield f"{name} {_text(was)} → {_text(now)}" if name != "mode" else f"mode {was:o} → {now:o}"


def _text(value: object) -> str:
    return str(value)[:40]


def _foreign(run: Run, placed: Placed) -> Iterator[str]:
    """Whatever stood and wasn't placed is as it was, or was named."""
    named = run.foretold.of(*FOREIGN) & run.foretold_unheld.of(*FOREIGN)
    only_times = run.foretold.of(ChangeKind.TIME) & run.foretold_unheld.of(ChangeKind.TIME)
    for path, thing in _with_times_that_cannot_be_restored(run).items():
        now = run.after.get(path)
        if now == thing or placed.has(path, thing) or shown(path) in named:
            continue
        if now is None:
            yield f"gone, and the dry run didn't name it: {path!r}, a {thing.kind}"
        elif shown(path) not in only_times or now._replace(mtime_ns=thing.mtime_ns) != thing:
            yield f"changed, and the dry run didn't name it: {path!r}, a {thing.kind}: {', '.join(_differing(thing, now))}"


def _with_times_that_cannot_be_restored(run: Run) -> Snapshot:
    """Of a directory of another account an agent that isn't root can't restore the time, which changes as it stages there."""

    def mine(path: str, thing: Thing) -> Thing:
        now = run.after.get(path)
        is_other = thing.kind == "directory" and run.user not in (0, thing.owner[0])
        return thing if now is None or not is_other else thing._replace(mtime_ns=now.mtime_ns)

    return {path: mine(path, thing) for path, thing in run.before.items()}


def _kinds(run: Run, placed: Placed) -> Iterator[str]:
    """Nothing foreign gives way to another kind, whatever was named, but below a mirrored directory, which spares its excludes."""
    for path, thing in run.before.items():
        now = run.after.get(path)
        if now is None or now == thing or placed.has(path, thing):
            continue
        top, destination = next(((top, each) for top, each in run.destinations.items() if f"{path}/".startswith(f"{top}/")), ("", None))
        mirrors, sets = False, False
        if destination is not None:
            mirrors = destination.synchronize == Synchronize.MIRROR and path != top
            sets = destination.directory_mode == DirectoryMode.SET
        if (thing.kind != now.kind or thing.kind == "link") and not mirrors:
            yield f"a foreign {thing.kind} became a {now.kind}: {path!r}"
        elif thing.kind == now.kind == "directory" and not sets and now._replace(mtime_ns=thing.mtime_ns) != thing:
            yield f"a foreign directory isn't as it was: {path!r}: {', '.join(_differing(thing, now))}"


def _excludes(run: Run, placed: Placed) -> Iterator[str]:
    """A mirrored directory spares its excludes, of which those without a slash are judged here."""
    for top, destination in run.destinations.items():
        patterns = [each for each in destination.exclude if "/" not in each]
        for path, thing in run.before.items():
            parts = path.removeprefix(f"{top}/").split("/") if path.startswith(f"{top}/") else []
            is_excluded = any(fnmatchcase(part, pattern) for part in parts for pattern in patterns)
            if is_excluded and path not in run.after and not placed.has(path, thing):
                yield f"excluded from a mirror, and gone: {path!r}"


def _places(run: Run) -> Iterator[str]:
    for path, kind in run.wanted.items():
        found = run.after.get(path)
        if found is None or found.kind != kind:
            yield f"said to be installed, and isn't: {path!r}, a {kind}"


def _foretold_and_not_done(run: Run) -> Iterator[str]:
    """All that was named is done."""
    foretold, after, before = run.foretold, run.after, run.before
    replaced = {path for path, thing in before.items() if path in after and after[path].kind != thing.kind == "directory"}
    gone = before.keys() - after.keys()
    removed = foretold.of(ChangeKind.REMOVED, ChangeKind.FOREIGN_REMOVED)
    if unfulfilled := removed - {shown(path) for path in gone}:
        yield f"the dry run names as removed {sorted(unfulfilled)}, which stayed"
    if unnamed := {shown(path) for path in gone if not _is_below(path, replaced)} - removed:
        yield f"the dry run doesn't name as removed {sorted(unnamed)}"
    new = {shown(path) for path in after.keys() - before.keys()}
    if unfulfilled := foretold.of(ChangeKind.NEW) - new - {shown(path) for path in replaced}:
        yield f"the dry run names as new {sorted(unfulfilled)}, and they aren't"
    same = {shown(path) for path, thing in before.items() if after.get(path) == thing}
    kinds = (ChangeKind.REPLACED, ChangeKind.TAKEN_OVER, ChangeKind.TIME, ChangeKind.CHANGED, ChangeKind.ADJUSTED)
    if unfulfilled := foretold.of(*kinds) & same:
        yield f"the dry run names {sorted(unfulfilled)}, which are as they were"


def _is_below(path: str, those: Set[str]) -> bool:
    while path := path.rpartition("/")[0]:
        if path in those:
            return True
    return False
