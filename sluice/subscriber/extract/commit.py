"""After an extraction: its revision becomes the base of the next delta, and files that aren't needed any more are removed (G1, G2, C12)."""

from __future__ import annotations

from dataclasses import replace

from blake3 import blake3

from sluice.durable import replace_atomically
from sluice.formats.manifest.document import parse_header
from sluice.formats.orders import time_to_json
from sluice.model.manifest import Manifest
from sluice.model.order import Order, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.site import DistributionType
from sluice.subscriber.extract.journal import FORMER
from sluice.subscriber.held.directory import DistributionDirectory, Extracted, remove_directory
from sluice.subscriber.held.path_lists import MOUNTED, RETAINED, STOOD
from sluice.subscriber.held.supplement import remove_supplements
from sluice.trust.roles import MANIFEST

_KEPT_FOREVER = (DistributionType.FILE.value, "desktop_application")
"""Types whose ``.ted`` stays after extraction unless max_revisions is 1 (G2)."""


def commit(held: DistributionDirectory, order: Order, receipt: Receipt) -> None:
    """Make the revision the extracted one: its manifest is the next base, its record the status file's."""
    source = held.revision(order.revision) / MANIFEST
    if source.exists():  # else this was done before, and cleaned up
        data = source.read_bytes()
        replace_atomically(held.manifest_path, data)
    else:
        data = held.manifest_path.read_bytes()
    RETAINED.commit(held)
    STOOD.commit(held)
    MOUNTED.commit(held)
    manifest, _ = parse_header(data.partition(b"\n")[0])
    extracted = Extracted(
        revision=str(order.revision),
        sequence=order.sequence,
        at=time_to_json(receipt.finished),
        destinations=order.destinations,
        read_back=receipt.read_back,
        manifest=blake3(data).hexdigest(),
    )
    held.write_status(replace(held.status(), extracted=extracted, reason=""))
    recorded = held.journal / FORMER
    if recorded.exists() and (former := held.former(manifest.renamed_from)) is not None:
        with former.lock():  # it was free since the revision was committed: what came back in that time is another's
            if former.fingerprint() == recorded.read_bytes():  # all that it placed is in this manifest, or retained
                remove_directory(former.directory, swept=held.directory)
    clean_up(held, manifest)


def forget_read_back(held: DistributionDirectory) -> None:
    """Forget the read-back digest after a failed extraction without rollback: the previous revision is still the base, but in part only."""
    status = held.status()
    if status.extracted is not None:
        held.write_status(replace(status, extracted=replace(status.extracted, read_back="")))


def clean_up(held: DistributionDirectory, manifest: Manifest) -> None:
    """Remove the ``.ted`` if it isn't needed any more (G2), and revisions beyond max_revisions (C12)."""
    status = held.status()
    is_file = manifest.type == DistributionType.FILE
    if manifest.type not in _KEPT_FOREVER or (manifest.max_revisions == 1 and not (is_file and manifest.verify)):
        record = status.received.get(str(manifest.revision))
        if record is not None and not record.cleaned:
            # The record first: a revision without its .ted counts as held only by it.
            cleaned = {**status.received, str(manifest.revision): replace(record, cleaned=True)}
            held.write_status(replace(status, received=cleaned))
        remove_directory(held.revision(manifest.revision))
        status = held.status()
    numbers = sorted(map(RevisionNumber.parse, status.received), reverse=True)
    superseded = [number for number in numbers if number <= manifest.revision]
    for number in superseded[manifest.max_revisions or len(superseded) :]:
        status = status.without(number)
        held.write_status(status)
        remove_directory(held.revision(number))
    remove_supplements(held.revision(manifest.revision))
    _remove_unknown(held)


def _remove_unknown(held: DistributionDirectory) -> None:
    """Remove revisions that the status file doesn't know: leftovers of a kill, or of a status file that was deleted (G4)."""
    known = held.status().received
    for path in (held.directory / "revisions").iterdir():
        if path.name not in known:
            remove_directory(path)
