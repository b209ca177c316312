"""Building a revision of a Distribution (requirements B, C): scan the sources, compare with the last revision, make the next one.

Nothing new is built if nothing changed (C1). A change may be in files, or in the blueprint's words about them: destinations, actions and
options are in the manifest too. Killed at any point, a repeated build ends as one that wasn't.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from blake3 import blake3

from sluice.errors import NotFoundError, RemovalsError, SourceError, StoreCorruptError
from sluice.formats.manifest.document import manifest_bytes, parse_header
from sluice.formats.ted.file import needed_contents
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distribution, Synchronize
from sluice.ports import Draft, Progress, Scan, Source, Store, TedFile
from sluice.rules.destinations import destination_of
from sluice.rules.removals import unusual_removals
from sluice.rules.revisions import FIRST, delta_bases, next_revision, superseded
from sluice.rules.wording import counted, links_across_text, unmatched_text

_DIGEST = 32
"""Bytes before the scan's own memory: the BLAKE3 of the manifest that was made of it."""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """How a build ended."""

    distribution: str
    revision: RevisionNumber | None
    """The one built, or that a dry run would build; None if nothing changed."""
    previous: RevisionNumber | None
    changed: bool
    files: int
    directories: int
    symlinks: int
    bytes: int
    """Of all files."""
    contents_new: int = 0
    """Contents that the previous revision hasn't."""
    bytes_new: int = 0
    files_read: int = 0
    """Files that weren't known by their stat."""
    added: int = 0
    """Paths of all kinds that the previous revision hasn't; likewise below."""
    modified: int = 0
    removed: int = 0
    bases: tuple[RevisionNumber, ...] = ()
    """From which a delta was made."""
    pruned: tuple[RevisionNumber, ...] = ()
    """Revisions that were deleted for the new one (C3)."""
    manifest: Manifest | None = None
    """What a dry run would build."""
    unmatched: tuple[tuple[str, str], ...] = ()
    """Excludes that matched nothing, each with its source."""
    links_across: int = 0
    """As ``Scan.links_across``; 0 if nothing changed."""

    @property
    def remark(self) -> str:
        """Say what its author may not have meant; empty if there is nothing."""
        return "; ".join(filter(None, (unmatched_text(self.unmatched), links_across_text(self.links_across))))


def build(
    distribution: Distribution,
    *,
    store: Store,
    source: Source,
    progress: Progress | None = None,
    making: Progress | None = None,
    rebaseline: bool = False,
    allow_removals: bool = False,
    dry_run: bool = False,
) -> BuildResult:
    """Build the next revision of a Distribution, if anything changed.

    Args:
        progress: Called with (done, total) of the bytes to read.
        making: Called with (done, total) of the new bytes of each delta.
        rebaseline: Build a new baseline even if nothing changed (C8).
        allow_removals: Build also if a source became empty or lost more than ``max_removals``.
        dry_run: Say what would be built; read the sources, write nothing, hold no lock.
    Raises:
        StoreLockedError: The Distribution is being built or pruned by another process.
        SourceError: Its leaves name what can't be read or distributed, or what must be allowed.
        NoSpaceError: Less than ``min_free`` would be left.
    Source: TED "Build schedule", "Maximum revisions".
    """
    asked = _Asked(rebaseline, allow_removals, progress, making)
    if dry_run:
        return _build(distribution, store, source, asked, None)
    with store.lock(distribution.name) as draft:
        return _build(distribution, store, source, asked, draft)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Everything that the caller of a build asks beyond a plain one."""

    rebaseline: bool
    allow_removals: bool
    progress: Progress | None
    making: Progress | None


def _build(distribution: Distribution, store: Store, source: Source, asked: _Asked, draft: Draft | None) -> BuildResult:
    name = distribution.name
    kept = store.revisions(name)
    newest = kept[-1] if kept else None
    before = _manifest_bytes_of(store, name, newest)
    made_of, memory = _split(store.scan_memory(name))
    made_of_last = blake3(before).digest()
    entries = asked.rebaseline or made_of != made_of_last or not _header_is_of(distribution, before)
    scan = source.scan(distribution, memory, sink=draft or _DiscardingSink(), entries=entries, progress=asked.progress)
    if scan.destinations is None:
        return _unchanged(distribution, scan, newest, _tidy(distribution, kept, draft))
    last = _manifest(distribution, newest or FIRST, scan.destinations)
    _refuse_overlaps(last)
    if not asked.rebaseline and manifest_bytes(last) == before:
        if draft is not None:
            draft.remember(made_of_last + scan.memory)
        return _unchanged(distribution, scan, newest, _tidy(distribution, kept, draft))
    previous = _manifest_of(store, name, newest)
    if previous is not None and not asked.allow_removals:
        _refuse_removals(distribution, previous, last, scan)
    number = next_revision(newest, max_revisions=distribution.max_revisions, rebaseline=asked.rebaseline or previous is None)
    manifest = replace(last, revision=number)
    teds: Sequence[TedFile] = ()
    if draft is not None:
        bases = delta_bases(number, newest if previous else None, max_revisions=distribution.max_revisions)
        teds = draft.add_revision(manifest, bases, progress=asked.making)
        draft.remember(blake3(manifest_bytes(manifest)).digest() + scan.memory)
    new = needed_contents(manifest, previous)
    added, modified, removed = _differences(previous, manifest)
    return replace(
        _unchanged(distribution, scan, newest, _tidy(distribution, [*kept, number], draft)),
        revision=number,
        changed=True,
        contents_new=len(new),
        bytes_new=sum(size for _, size in new),
        added=added,
        modified=modified,
        removed=removed,
        manifest=manifest if draft is None else None,
        bases=tuple(ted.base for ted in teds if ted.base and not ted.small),
    )


class _DiscardingSink:
    """The sink of a dry run: it claims to have everything already."""

    def expect(self, size: int) -> None:
        """Accept any size: nothing is kept."""

    def holds(self, digest: str) -> bool:
        """Claim to hold every content."""
        return True

    def put(self, digest: str, size: int, pieces: Iterable[bytes]) -> None:
        """Do nothing: no content is ever missing."""


def scanned_last(store: Store, distribution: str) -> bytes:
    """Return what the last scan of a Distribution's sources remembered for the next one."""
    return _split(store.scan_memory(distribution))[1]


def _split(memory: bytes) -> tuple[bytes, bytes]:
    return memory[:_DIGEST], memory[_DIGEST:]


def _tidy(distribution: Distribution, kept: Sequence[RevisionNumber], draft: Draft | None) -> tuple[RevisionNumber, ...]:
    """Delete revisions that the newest superseded, also those that a killed build didn't come to delete."""
    gone = superseded(kept, max_revisions=distribution.max_revisions)
    if gone and draft is not None:
        draft.remove(gone)
    return gone


def _unchanged(distribution: Distribution, scan: Scan, newest: RevisionNumber | None, pruned: tuple[RevisionNumber, ...]) -> BuildResult:
    return BuildResult(
        distribution=distribution.name,
        revision=None,
        previous=newest,
        changed=False,
        files=scan.files,
        directories=scan.directories,
        symlinks=scan.symlinks,
        bytes=scan.size,
        files_read=scan.files_read,
        pruned=pruned,
        unmatched=scan.unmatched,
        links_across=scan.links_across,
    )


def _manifest(distribution: Distribution, number: RevisionNumber, destinations: tuple[Destination, ...]) -> Manifest:
    return Manifest(
        distribution=distribution.name,
        revision=number,
        type=distribution.type.value,
        destinations=destinations,
        pre_actions=distribution.pre_actions,
        post_actions=distribution.post_actions,
        copy=distribution.copy.value,
        rollback=distribution.rollback,
        verify=distribution.verify,
        max_revisions=distribution.max_revisions,
        renamed_from=distribution.renamed_from,
    )


def _header_is_of(distribution: Distribution, before: bytes) -> bool:
    """Whether the last manifest says the same as the blueprint about everything but files."""
    try:
        header, _ = parse_header(before.partition(b"\n")[0])
    except StoreCorruptError:
        return False
    destinations = header.destinations
    if len(destinations) != len(distribution.files):
        return False
    if [destination_of(f, is_directory=d.is_directory) for f, d in zip(distribution.files, destinations, strict=True)] != [*destinations]:
        return False
    return _manifest(distribution, header.revision, header.destinations) == header


def _manifest_bytes_of(store: Store, distribution: str, revision: RevisionNumber | None) -> bytes:
    """Read the last manifest as it is there; empty if there is none, or it was lost."""
    try:
        return store.manifest_bytes(distribution, revision) if revision else b""
    except NotFoundError:
        return b""


def _manifest_of(store: Store, distribution: str, revision: RevisionNumber | None) -> Manifest | None:
    """Read the last manifest; None if there is none, or it is lost or damaged: nothing can be built upon it then."""
    try:
        return store.manifest(distribution, revision) if revision else None
    except (NotFoundError, StoreCorruptError):
        return None


def _refuse_overlaps(manifest: Manifest) -> None:
    """Refuse two sources that share a path; they may share a destination directory."""
    templates = [d.template.rstrip("/") for d in manifest.destinations]
    if len(set(templates)) == len(templates):
        return
    seen: dict[tuple[str, str], EntryKind] = {}
    for template, destination in zip(templates, manifest.destinations, strict=True):
        for entry in destination.entries:
            first = seen.get((template, entry.path))
            seen[template, entry.path] = entry.kind
            if first is not None and not first is entry.kind is EntryKind.DIRECTORY:
                raise SourceError(f"two sources have {entry.path or 'a file'!r} for {template!r}", remedy="exclude it from one of them")


def _refuse_removals(distribution: Distribution, before: Manifest, after: Manifest, scan: Scan) -> None:
    """Refuse a revision of which a source that isn't mounted, or was deleted, may be the reason. Raises RemovalsError."""
    found = []
    for each in unusual_removals(distribution.files, before, after):
        given = distribution.files[each.number]
        moved = " (a part of it was on another file system, which isn't there now)" if each.number in scan.lost_devices else ""
        state = "has no files now; the last revision has" if each.is_emptied else f"lacks {each.removed} of"
        would = "" if given.synchronize is Synchronize.NO else f" and would remove {each.removed} of them from {given.destination}"
        found.append(f"{given.source} {state} {counted(each.of, 'file')}{would}{moved}")
    if found:
        raise RemovalsError(
            f"{distribution.name}: {'; '.join(found)}",
            remedy=f"see whether it is mounted and complete; if it is meant, run: sluice build {distribution.name} --allow-removals",
        )


def _differences(before: Manifest | None, after: Manifest) -> tuple[int, int, int]:
    """Count the paths that were added, modified and removed."""
    old, new = _by_path(before), _by_path(after)
    both = old.keys() & new.keys()
    return len(new) - len(both), sum(old[path] != new[path] for path in both), len(old) - len(both)


def _by_path(manifest: Manifest | None) -> dict[tuple[str, str], Entry]:
    destinations = manifest.destinations if manifest else ()
    return {(d.template, entry.path): entry for d in destinations for entry in d.entries}
