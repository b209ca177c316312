"""What an extraction would take away on this Subscriber now, for a dry run (C9): by the rule that is applied then. Changes nothing.

Nobody signed the question, so that a wrong or hostile one may name any directory as mirrored: no more names are looked at than it names
itself and COUNT_MAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing

from sluice.errors import DestinationError, SluiceError
from sluice.formats.manifest.document import parse_manifest
from sluice.formats.rehearsals import COUNT_MAX, Removals
from sluice.model.manifest import Manifest
from sluice.ports import Filesystem, Root
from sluice.subscriber.extract.others import other_destinations
from sluice.subscriber.extract.removals import MoreThanMostError, PreviousState, Remover
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.subscriber.held.retained import read_left
from sluice.subscriber.held.ted import extracted_bytes
from sluice.subscriber.held.tree import ExtractedTree


def rehearse_removals(
    filesystem: Filesystem, held: DistributionDirectory, working_directory: str, manifest: Manifest, destinations: Sequence[str]
) -> Removals:
    """Real paths that would go, in order; or what would hinder the extraction. Where there are too many to look at, none is named.

    Args:
        manifest: Of the revision that would be extracted; paths, kinds and ``synchronize`` count.
        destinations: Rendered.
    """
    try:
        paths = _removals(filesystem, held, working_directory, manifest, destinations)
    except MoreThanMostError:
        return Removals((), COUNT_MAX + 1)
    except SluiceError as error:
        return Removals((), 0, error.message)
    return Removals(tuple(paths), len(paths))


def _removals(
    filesystem: Filesystem, held: DistributionDirectory, working_directory: str, manifest: Manifest, destinations: Sequence[str]
) -> Sequence[str]:
    if len(destinations) != len(manifest.destinations):
        raise DestinationError(f"{len(destinations)} destinations were named, the manifest has {len(manifest.destinations)}")
    status = held.status()
    data = extracted_bytes(held, status)
    extracted = parse_manifest(data) if data else None
    with ExitStack() as stack:
        roots: dict[str, Root] = {}

        def open_root(directory: str) -> Root:
            if directory not in roots:
                roots[directory] = stack.enter_context(closing(filesystem.open_root(directory)))
            return roots[directory]

        tree = ExtractedTree(filesystem, lambda: extracted, status.extracted.destinations if status.extracted else ())
        stack.enter_context(closing(tree))
        located = []
        for text, destination in zip(destinations, manifest.destinations, strict=True):
            found = filesystem.locate(text, is_directory=destination.is_directory)
            located.append((open_root(found.directory), found.below))
        remover = Remover(
            filesystem,
            manifest,
            located,
            open_root=open_root,
            protected=working_directory,
            others=lambda: other_destinations(filesystem, working_directory, held),
            most=COUNT_MAX,
        )
        return sorted(remover.find(PreviousState(tree.tops(), read_left(held))).kinds)
