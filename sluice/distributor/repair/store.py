"""Verify a Distributor's store, and repair damage (E4).

Everything is read again and hashed. A content that is lost is taken from a place where it still has its digest: a full ``.ted`` in the
store, or the source, whose files are read and hashed too unless they are known to have other contents; a name, a size or a time is never
enough. A damaged ``.ted`` is set aside as ``.corrupt`` and made again from contents. A manifest was signed and can't be made again: a new
baseline takes its place. May be killed and repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sluice.distributor.build.build import scanned_last
from sluice.distributor.context import DistributorContext, event_of
from sluice.errors import NotFoundError, SourceError, StoreCorruptError
from sluice.formats.ted.file import PAYLOAD_OFFSET, needed_contents, open_ted, read_contents
from sluice.model.damage import AffectedRevision, Damage, Examination, Part
from sluice.model.event import EventKind, JsonValue
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distribution
from sluice.model.state import Record
from sluice.ports import PackRepair, Progress, Source, Store
from sluice.rules.wording import counted
from sluice.trust.publish import Publisher
from sluice.trust.roles import DISTFILE, MANIFEST, delta_name, manifest_target
from sluice.trust.targets import Target


@dataclass(frozen=True, slots=True)
class Verdict:
    """A damage and its repair."""

    damage: Damage
    mended: str = ""
    """How it was repaired, without a full stop; empty if it wasn't."""
    remedy: str = ""
    """What to do about it; empty if nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A store after all of it was read."""

    examined: Examination
    verdicts: tuple[Verdict, ...]

    @property
    def unmended(self) -> tuple[Verdict, ...]:
        """Damage that remains."""
        return tuple(verdict for verdict in self.verdicts if not verdict.mended)


def verify_store(
    context: DistributorContext, names: Collection[str] = (), *, repair: bool = False, progress: Progress | None = None
) -> Verified:
    """Read again everything in the store, and find what is damaged.

    Args:
        names: Only the parts of these Distributions; empty: all.
        repair: Repair the damage as far as possible.
        progress: Called with (done, total) of the bytes to read.
    Raises:
        StoreError: The disk can't be read or written, or a lock isn't given up.
    """
    store, owned = context.store, context.site.distributions_of_distributor(context.distributor.name)
    distributions = {each.name: each for each in owned}
    examined = store.examine(names, progress=progress)
    damages = [*examined.damages, *_unsigned(names or distributions, store, context.publisher, examined.damages)]
    examined = replace(examined, damages=tuple(damages))
    if not damages or not repair:
        return Verified(examined, tuple(Verdict(each, remedy=_remedy(each)) for each in damages))
    of_contents = [each for each in damages if each.is_of_contents]
    verdicts = _repair_contents(of_contents, distributions, store, context.source) if of_contents else []
    verdicts += [_repair_ted(each, store) for each in damages if each.part is Part.TED]
    verdicts += [Verdict(each, remedy=_remedy(each)) for each in damages if each.part is Part.MANIFEST]
    return Verified(examined, tuple(verdicts))


def _unsigned(names: Iterable[str], store: Store, publisher: Publisher, known: Iterable[Damage]) -> Iterable[Damage]:
    """Find manifests that can be read and aren't the ones that were signed."""
    damaged = {each.concerns for each in known if each.part is Part.MANIFEST}
    for name in names:
        listing = publisher.listing(name)
        for revision in store.revisions(name):
            signed, of = listing.get(manifest_target(name, revision)), ((name, revision),)
            if signed is None or of in damaged:
                continue
            try:
                data = store.manifest_bytes(name, revision)
            except NotFoundError:
                continue
            if Target.of(data) != signed:
                yield Damage(Part.MANIFEST, f"{name}/{revision}/{MANIFEST}", "it isn't the one that was signed", of)


def _repair_contents(damages: Sequence[Damage], distributions: Mapping[str, Distribution], store: Store, source: Source) -> list[Verdict]:
    """Take lost contents from sound packs, from ``.ted`` files or else from the sources."""
    notes: list[str] = []
    with store.repair_packs(damages) as pack_repair:
        saved = {digest for damage in damages for digest, _ in damage.lost} - pack_repair.lost.keys()
        concerned = sorted({each for damage in damages for each in damage.concerns}, reverse=True)
        _from_teds(pack_repair, concerned, store)
        from_teds = {digest for damage in damages for digest, _ in damage.lost} - pack_repair.lost.keys() - saved
        for name in sorted({name for name, _ in concerned}):
            if pack_repair.lost and name in distributions:
                try:
                    source.scan(distributions[name], scanned_last(store, name), sink=pack_repair, entries=True)
                except SourceError as error:
                    notes.append(str(error))
        missing = set(pack_repair.lost)
    return [_verdict(damage, missing, saved, from_teds, notes) for damage in damages]


def _verdict(damage: Damage, missing: set[str], saved: set[str], from_teds: set[str], notes: Sequence[str]) -> Verdict:
    lost = {digest for digest, _ in damage.lost}
    if gone := lost & missing:
        names = ", ".join(sorted({name for name, _ in damage.concerns}))
        also = f" ({'; '.join(notes)})" if notes else ""
        what = f"{counted(len(gone), 'content')} of {len(lost)} cannot be recovered: no source or full .ted contains them{also}"
        return Verdict(replace(damage, problem=f"{damage.problem}; {what}"), remedy=f"`sluice build NAME --rebaseline` for {names}: {_WHY}")
    ways = [
        f"{counted(len(found), 'content')} {way}"
        for found, way in (
            (lost & saved, "found again in packs"),
            (lost & from_teds, "taken from a .ted"),
            (lost - saved - from_teds, "taken from the source"),
        )
        if found
    ]
    rest = "its sound contents were saved" if damage.part is Part.PACK else "its contents were listed anew"
    return Verdict(damage, mended="; ".join(ways) or rest)


def _from_teds(pack_repair: PackRepair, concerned: Iterable[AffectedRevision], store: Store) -> None:
    """Take lost contents from full ``.ted`` files; they are hashed on the way."""
    for name, revision in concerned:
        if not pack_repair.lost:
            return
        try:
            whole = [ted for ted in store.teds(name, revision) if ted.base is None]
            needed = needed_contents(store.manifest(name, revision))
        except (NotFoundError, StoreCorruptError):
            continue
        if not any(digest in pack_repair.lost for digest, _ in needed):
            continue
        for ted in whole:
            try:
                index, _ = open_ted(ted.path)
                with open(ted.path, "rb") as file:
                    file.seek(PAYLOAD_OFFSET)
                    for digest, size, pieces in read_contents(file.read, index, needed):
                        if digest in pack_repair.lost:
                            pack_repair.put(digest, size, pieces)
            except (StoreCorruptError, FileNotFoundError):
                continue  # contents before the damage are kept


def _repair_ted(damage: Damage, store: Store) -> Verdict:
    """Set a damaged ``.ted`` aside and make it again from contents."""
    (name, revision), file = damage.concerns[0], Path(damage.path).name
    try:
        aside = store.set_aside(name, revision, file)
        base, small = _base_of(file)
        store.ensure_ted(name, revision, base, small=small)
    except NotFoundError as error:
        if revision not in store.revisions(name):
            return Verdict(damage, mended="its revision isn't kept any more")
        return Verdict(damage, mended=f"set aside; it can't be made again, Subscribers get a full one instead: {error.message}")
    except StoreCorruptError as error:
        problem = f"{damage.problem}; {error.message}"
        return Verdict(replace(damage, problem=problem), remedy="mend the contents that it is made of first, then repeat this")
    return Verdict(damage, mended=f"set aside as {Path(aside).name} and made again" if aside else "made again meanwhile")


def _base_of(file: str) -> tuple[RevisionNumber | None, bool]:
    """Parse a ``.ted``'s name: the revision it builds on, and whether it is small. Raises NotFoundError if it is no such name."""
    if file == DISTFILE:
        return None, False
    small = file.endswith(".small.ted")
    base = RevisionNumber.parse(file.removeprefix("from-").removesuffix(".ted").removesuffix(".small"))
    if delta_name(base, small) != file:
        raise NotFoundError(f"no .ted is named {file}")
    return base, small


_WHY = "contents that no revision needs any more go with the old baseline"


def _remedy(damage: Damage) -> str:
    names = ", ".join(sorted({name for name, _ in damage.concerns})) or "NAME"
    if damage.part is Part.MANIFEST:
        return f"`sluice build {names} --rebaseline`: a manifest can't be made again, a new baseline takes its place"
    if damage.part is Part.TED:
        return "`sluice store verify --repair` sets it aside and makes it again"
    return "`sluice store verify --repair` saves sound contents and takes the rest from the sources"


def record_damage(context: DistributorContext, verdicts: Sequence[Verdict]) -> None:
    """Record in the ledger what was damaged, a revision at a time, and whether it was repaired."""
    records = []
    for verdict in verdicts:
        kind = EventKind.DAMAGE_MENDED if verdict.mended else EventKind.DAMAGE_FOUND
        what = f"{verdict.damage.part}: {verdict.damage.problem}"
        data: dict[str, JsonValue] = {
            "path": verdict.damage.path[-500:],
            "what": what[:1000],
            "done": (verdict.mended or verdict.remedy)[:1000],
        }
        for name, revision in verdict.damage.concerns or (("", None),):
            records.append(Record(event_of(context, kind, name, revision, data)))
    context.ledger.record_all(records)


def concerned_text(concerns: Sequence[tuple[str, RevisionNumber]]) -> str:
    """List what a damage concerns: ``zone 1.1, 1.2; web 2.1``."""
    by_name: dict[str, list[str]] = {}
    for name, revision in concerns:
        by_name.setdefault(name, []).append(str(revision))
    return "; ".join(f"{name} {', '.join(revisions)}" for name, revisions in by_name.items())
