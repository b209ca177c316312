"""Ask hosts for a dry run what extractions would change there, and what would stop them.

With ``--json`` under ``"changes"`` rows ``{"subscriber", "distribution", "revision", "stops": [{"message", "remedy", "code"}],
"stop_count", "paths": [{"kind", "path", "detail"}], "counts": {kind: number}, "complete"}``: the first 100 stops and 2,000 paths, and
the numbers of all; ``complete`` is false for an agent too old to say more than removals. Under ``"removals"`` the removed paths alone:
``{"subscriber", "distribution", "revision", "paths", "count", "problem"}`` (20,001: more than 20,000, and maybe none named).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from cli.ask import Unasked, ask_agents
from cli.session import Session, out
from cli.tables import lines
from sluice.errors import NotFoundError
from sluice.model.change import Change, ChangeKind, Changes, Stop
from sluice.model.order import Demand
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from sluice.model.manifest import Manifest
    from sluice.model.recipe import RenderedRecipe
    from sluice.model.revision import RevisionNumber
    from sluice.sender.call import Call

SHOWN_MAX = 20
"""Paths of a kind shown to a person; --json has up to 2,000."""
_REMOVING = (ChangeKind.REMOVED, ChangeKind.FOREIGN_REMOVED)
_WORDS = {
    ChangeKind.REPLACED: ("replace", " that it did not place, unless already equal,"),  # an unsigned question may not find that out
    ChangeKind.TAKEN_OVER: ("set mode, owner, time or attributes of", " that it did not place"),
    ChangeKind.FOREIGN_REMOVED: ("remove", " that it did not place"),
    ChangeKind.TIME: ("change names, and so the time, in", " that it did not place"),
    ChangeKind.REMOVED: ("remove", ""),
    ChangeKind.CHANGED: ("change", ""),
    ChangeKind.ADJUSTED: ("set mode, owner, time or attributes of", ""),
    ChangeKind.NEW: ("place", ""),
}


@dataclass(frozen=True, slots=True)
class Demanded:
    """What a person asks beyond what is due."""

    demand: Demand = Demand.DUE
    allow_removals: bool = False


DUE = Demanded()


@dataclass(frozen=True, slots=True)
class RehearsedChanges:
    """The answers of the hosts, and the errors of those that could not be asked."""

    rows: list[tuple[str, Manifest, Changes, bool]] = field(default_factory=list)
    """Subscriber, manifest, answer, and whether that is complete."""
    unasked: list[Unasked] = field(default_factory=list)

    def failures(self) -> dict[tuple[str, str], str]:
        """Map Subscriber and Distribution to the error that the run would end with, by its name: the first reason to stop."""
        return {(name, manifest.distribution): found.stops[0].code for name, manifest, found, _ in self.rows if found.stops}

    def as_json(self) -> dict[str, Any]:
        """Return the rows of ``changes`` and ``removals``."""
        changes, removals = list[Any](), list[Any]()
        for name, manifest, found, is_complete in self.rows:
            about = {"subscriber": name, "distribution": manifest.distribution, "revision": str(manifest.revision)}
            removed = [each.path for each in found.paths if each.kind in _REMOVING]
            count = sum(found.counts.get(kind, 0) for kind in _REMOVING)
            counts = {kind.value: number for kind, number in found.counts.items()}
            changes.append(about | asdict(found) | {"counts": counts, "complete": is_complete})
            removals.append(about | {"paths": removed, "count": count, "problem": found.stops[0].message if found.stops else ""})
        return {"changes": changes, "removals": removals}

    def show(self) -> None:
        """Print them; nothing if nothing would change."""
        for name, manifest, found, is_complete in self.rows:
            _show(name, f"{manifest.distribution} {manifest.revision}", found)
            if not is_complete:
                out(f"{name}: its agent is too old to say what else would change; run: sluice subscriber bootstrap {name}")
        for each in self.unasked:
            out(f"{each.subscriber} could not be asked what it would change: {each.message}")


def _show(name: str, what: str, found: Changes) -> None:
    for stop in found.stops[:SHOWN_MAX]:
        out(f"{name} would fail to extract {what}: {lines(stop.message)}")
        if stop.remedy:
            out(f"    {lines(stop.remedy)}")
    if found.stop_count > SHOWN_MAX:
        out(f"    and {found.stop_count - SHOWN_MAX} more reasons")
    for kind, (verb, which) in _WORDS.items():
        count, named = found.counts.get(kind, 0), [each for each in found.paths if each.kind is kind][:SHOWN_MAX]
        if count:
            out(f"{name} would {verb} {_number(count)}{which} with {what}{':' if named else ''}")
            for each in named:
                out(f"    {lines(each.path)}{f' ({lines(each.detail)})' if each.detail else ''}")
            if named and count > len(named):
                out(f"    and {count - len(named)} more")


def _number(count: int) -> str:
    from sluice.formats.rehearsals import COUNT_MAX

    return f"more than {counted(COUNT_MAX, 'path')}" if count == COUNT_MAX + 1 else counted(count, "path")


def newest_manifest(session: Session, distribution: str) -> Manifest | None:
    """Return the manifest of the newest revision that is built; None if there is none."""
    store = session.store(distribution)
    kept = store.revisions(distribution)
    return store.manifest(distribution, kept[-1]) if kept else None


def newest_manifests(session: Session, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Manifest]:
    """Map (Subscriber, Distribution) to the manifest of the newest revision that is built; without those that have none."""
    newest = {name: newest_manifest(session, name) for _, name in pairs}
    return {(subscriber, name): found for subscriber, name in pairs if (found := newest[name])}


def kept_manifests(
    session: Session, revisions: Mapping[tuple[str, str], RevisionNumber]
) -> tuple[dict[tuple[str, str], Manifest], list[Unasked]]:
    """Map (Subscriber, Distribution) to the manifest of the given revision; and name those of which it isn't kept any more."""
    found, gone = dict[tuple[str, str], "Manifest"](), list[Unasked]()
    for (subscriber, name), revision in revisions.items():
        try:
            found[subscriber, name] = session.store(name).manifest(name, revision)
        except NotFoundError:
            gone.append(Unasked(subscriber, f"{name} {revision} isn't kept here any more"))
    return found, gone


def rehearsed_changes(
    session: Session, manifests: Mapping[tuple[str, str], Manifest], demanded: Demanded, checks: Collection[tuple[str, str]] = ()
) -> RehearsedChanges:
    """Ask Subscribers what extracting a revision would change; an older agent is asked for removals alone, if there can be any.

    Args:
        manifests: (Subscriber, Distribution) to the revision's.
        checks: Those of them that would be read back, whatever is demanded.
    """
    from sluice.formats.rehearsals import Question
    from sluice.model.feature import Feature
    from sluice.rules.destinations import path_of
    from sluice.sender.rehearsing import rehearse_extraction, rehearse_removals

    def ask(call: Call, name: str, distribution: str, recipe: RenderedRecipe) -> tuple[str, Manifest, Changes, bool]:
        manifest, features = manifests[name, distribution], call.hello.features
        paths = recipe.destinations
        if len(paths) == len(manifest.destinations):
            paths = tuple(map(path_of, paths, manifest.destinations))
        if Feature.DRY_RUN in features:
            demand, allow_removals = demanded.demand, demanded.allow_removals
            reads = demand is Demand.VERIFY or ((name, distribution) in checks and demand is Demand.DUE)
            codes = Feature.STOP_CODES in features
            question = Question(manifest, paths, recipe.min_free, reads, demand is Demand.FORCE, allow_removals, codes)
            return name, manifest, rehearse_extraction(call.conversation, question), True
        if Feature.SYNCHRONIZE not in features or not _synchronizes(session, manifest):
            return name, manifest, Changes(), False
        found = rehearse_removals(call.conversation, manifest, paths)
        stops = (Stop(found.problem),) if found.problem else ()
        removed = tuple(Change(ChangeKind.REMOVED, path) for path in found.paths)
        return name, manifest, Changes(stops, len(stops), removed, {ChangeKind.REMOVED: found.count}), False

    return RehearsedChanges(*ask_agents(session, sorted(manifests), Feature.REHEARSE, ask))


def _synchronizes(session: Session, manifest: Manifest) -> bool:
    from sluice.formats.manifest.document import parse_header
    from sluice.model.site import Synchronize

    store = session.store(manifest.distribution)
    kept = [store.manifest_bytes(manifest.distribution, each) for each in store.revisions(manifest.distribution)]
    headers = [manifest, *(parse_header(data.partition(b"\n")[0])[0] for data in kept)]
    return any(destination.synchronize != Synchronize.NO for header in headers for destination in header.destinations)
