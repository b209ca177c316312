"""Deltas and lent files as a Distributor makes them, without its store; and a Subscriber that takes them, without the wire."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from sluice.delta.make import default_reference, make_frames
from sluice.formats.manifest.delta import manifest_delta
from sluice.formats.ted.file import TedWriter, needed_contents
from sluice.formats.ted.frame import Range
from sluice.formats.ted.index import TedIndex
from sluice.formats.ted.recipe import Recipe, gone_contents, recipe_bytes
from sluice.formats.zstd import compress_frame
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.model.site import Effort
from sluice.subscriber.complete import complete, supplement_contents
from sluice.subscriber.receive.receivers import TargetPath, TedReceiver
from sluice.subscriber.receive.supplement import SupplementReceiver
from sluice.trust.targets import Target
from tests.subscriber.host import NOW, Host
from tests.subscriber.revisions import Made

NUMBER = RevisionNumber(1, 2)
"""What a lent file calls itself; nobody believes it."""


@dataclass(frozen=True)
class Bytes:
    """A content in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def delta(new: Made, base: Made, *, small: bool = False, outline: Manifest | None = None) -> Made:
    """The revision ``new`` as holders of ``base`` get it; ``outline`` lies about its manifest."""
    out = io.BytesIO()
    writer = TedWriter(out.write, distribution="zone", revision=new.manifest.revision, base=base.manifest.revision, small=small)
    held, gone = list(base.manifest.contents()), gone_contents(base.manifest, new.manifest)
    ordinals = gone + sorted(set(range(len(held))) - set(gone))
    old = [Bytes(base.contents[held[ordinal][0]]) for ordinal in ordinals]
    fresh = [Bytes(new.contents[digest]) for digest, _ in needed_contents(new.manifest, base.manifest)]
    frames, references = [], []
    for made in make_frames(old, len(gone), fresh, effort=Effort.DEFAULT, small=small):
        frames.append(made)
        if made.frame.reference:
            ranges = () if made.reference == default_reference(len(gone)) else made.reference
            references.append(tuple(Range(ordinals[each.content], each.offset, each.length) for each in ranges))
    recipe = recipe_bytes(Recipe(manifest_delta(base.manifest, outline or new.manifest), tuple(references)))
    writer.recipe(compress_frame(recipe), len(recipe))
    for made in frames:
        writer.delta_frame(made.frame, made.data)
    index, data = writer.finish()
    return Made(new.manifest, new.manifest_bytes, out.getvalue(), index, data, new.contents)


def lent(contents: Sequence[bytes]) -> tuple[bytes, TedIndex, bytes]:
    """Payload, index and index bytes of a file of these contents, as ``Store.supplement`` makes it."""
    out = io.BytesIO()
    writer = TedWriter(out.write, distribution="zone", revision=NUMBER, base=None)
    for each in contents:
        for at in range(0, len(each), 4096 * 1024):
            piece = each[at : at + 4096 * 1024]
            writer.frame(compress_frame(piece), len(piece))
    index, data = writer.finish()
    return out.getvalue()[8 : 8 + index.payload], index, data


class Completing:
    """A host that takes deltas."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def put(self, made: Made) -> None:
        """A delta arrives."""
        with self.host.held.lock():
            receiver = TedReceiver(self.host.held, TargetPath("zone", made.manifest.revision, made.file))
            try:
                if not receiver.is_held():
                    offset = receiver.begin(made.index_bytes, made.index.payload, Target.of(made.index_bytes))
                    assert receiver.feed(made.payload[offset:])
                    receiver.finish(NOW)
            finally:
                receiver.close()

    def complete(self, made: Made) -> list[str]:
        """What is lacking."""
        signed = {made.file: Target.of(made.index_bytes), "manifest": Target.of(made.manifest_bytes)}
        return complete(self.host.context, made.manifest.revision, signed.__getitem__)

    def supplement(self, made: Made, digests: Sequence[str], contents: Sequence[bytes]) -> None:
        """These contents are lent."""
        held, (payload, index, data) = self.host.held, lent(contents)
        receiver = SupplementReceiver(held, made.manifest.revision, supplement_contents(held, made.manifest.revision, list(digests)))
        with held.lock():
            try:
                offset = receiver.begin(data, index.payload)
                assert receiver.feed(payload[offset:])
                receiver.finish()
            finally:
                receiver.close()

    def receive(self, made: Made, *others: Made) -> list[str]:
        """Put, complete, and be lent what lacks, of ``made`` or ``others``. Returns what lacked at first."""
        self.put(made)
        lacks = self.complete(made)
        if lacks:
            contents = {digest: data for each in (made, *others) for digest, data in each.contents.items()}
            self.supplement(made, lacks, [contents[digest] for digest in lacks])
            assert self.complete(made) == []
        return lacks
