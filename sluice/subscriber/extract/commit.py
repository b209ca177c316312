"""After an extraction: what was extracted becomes the base of the next delta, and what isn't needed any more goes (G1, G2, C12)."""

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
from sluice.subscriber.held.directory import DistributionDirectory, Extracted
from sluice.subscriber.held.retained import keep_left
from sluice.subscriber.held.supplement import remove_supplements
from sluice.trust.roles import MANIFEST

_KEPT_FOREVER = (DistributionType.FILE.value, "desktop_application")
"""Types whose ``.ted`` stays after extraction unless max_revisions is 1 (G2)."""


def commit(held: DistributionDirectory, order: Order, receipt: Receipt) -> None:
    """The revision is what stands: its manifest is the next base, its record the status file's."""
    source = held.revision(order.revision) / MANIFEST
    if source.exists():  # else this was done before, and cleaned up
        data = source.read_bytes()
        replace_atomically(held.manifest_path, data)
    else:
        data = held.manifest_path.read_bytes()
    keep_left(held)
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
    clean_up(held, manifest)


def no_longer_read_back(held: DistributionDirectory) -> None:
    """A failed extraction without rollback left something else in part: the revision before is still the base, but not what was sworn."""
    status = held.status()
    if status.extracted is not None:
        held.write_status(replace(status, extracted=replace(status.extracted, read_back="")))


def clean_up(held: DistributionDirectory, manifest: Manifest) -> None:
    """After an extraction: remove the ``.ted`` that isn't needed any more (G2) and revisions beyond max_revisions (C12)."""
    status = held.status()
    is_file = manifest.type == DistributionType.FILE
    if manifest.type not in _KEPT_FOREVER or (manifest.max_revisions == 1 and not (is_file and manifest.verify)):
        record = status.received.get(str(manifest.revision))
        if record is not None and not record.cleaned:
            # The record first: a revision without its .ted counts as held only by it.
            cleaned = {**status.received, str(manifest.revision): replace(record, cleaned=True)}
            held.write_status(replace(status, received=cleaned))
        held.remove_directory(held.revision(manifest.revision))
        status = held.status()
    numbers = sorted(map(RevisionNumber.parse, status.received), reverse=True)
    done = [number for number in numbers if number <= manifest.revision]
    for number in done[manifest.max_revisions or len(done) :]:
        status = status.without(number)
        held.write_status(status)
        held.remove_directory(held.revision(number))
    remove_supplements(held.revision(manifest.revision))
    _remove_strangers(held)


def _remove_strangers(held: DistributionDirectory) -> None:
    """Revisions on disk that the status file doesn't know: left by a kill, or by a status file that was deleted (G4)."""
    known = held.status().received
    for path in (held.directory / "revisions").iterdir():
        if path.name not in known:
            held.remove_directory(path)
