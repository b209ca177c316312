"""Receive a revision on a Subscriber: verified block by block as it comes, held whole or not at all (D8, E1, E4).

A revision arrives in ``receiving/B.N`` and is moved to ``revisions/B.N`` by one rename once everything in it was verified against its
Distributor's signatures; a delta brings its manifest itself and waits there for ``complete.py``. After a kill or a broken link at any
point, the next receive verifies the blocks that arrived and goes on from there. Memory is bounded by the manifest's and the index's signed
sizes and a block. The caller holds the Distribution's lock.
Source: TED "receiving a Distribution", ``distfile.ted``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from blake3 import blake3

from sluice.durable import make_directory, replace_atomically, sync_directory
from sluice.errors import BaseDiffersError, NotFoundError, StoreCorruptError, TamperedError, TruncatedError
from sluice.formats.manifest.document import MANIFEST_MAX, parse_manifest
from sluice.formats.orders import time_to_json
from sluice.formats.ted.index import DELTA_INDEX_MAX, INDEX_MAX, TedIndex, parse_index
from sluice.formats.zstd import decompress_frame, frame_max
from sluice.model.names import name_is_valid
from sluice.model.revision import RevisionNumber
from sluice.subscriber.held.directory import SENDER_BROKEN, SENT_WHOLE, SUPPLEMENT_PREFIX, TED, DistributionDirectory, Received
from sluice.subscriber.receive.blocks import BlockReceiver, check_free_space
from sluice.trust.roles import MANIFEST, delta_name
from sluice.trust.targets import Target


@dataclass(frozen=True, slots=True)
class TargetPath:
    """The parts of a target's path."""

    distribution: str
    revision: RevisionNumber
    file: str

    @classmethod
    def parse(cls, path: str) -> TargetPath:
        """Parse ``zone/1.2/distfile.ted``. Raises TamperedError for anything that can't be signed."""
        parts = path.split("/")
        if len(parts) == 3 and name_is_valid(parts[0]):
            try:
                found = cls(parts[0], RevisionNumber.parse(parts[1]), parts[2])
                small = parts[2].endswith(".small.ted")
                base = parts[2].removeprefix("from-").removesuffix(".ted").removesuffix(".small")
                if parts[2] in (MANIFEST, TED) or parts[2] == delta_name(RevisionNumber.parse(base), small):
                    return found
            except NotFoundError:
                pass
        raise TamperedError(f"{path[:200]!r} is no target", remedy=SENDER_BROKEN)


class ManifestReceiver:
    """One put of a manifest: in zstd, whose plaintext is the target."""

    def __init__(self, held: DistributionDirectory, path: TargetPath, signed: Target, *, length: int) -> None:
        if signed.length > MANIFEST_MAX or length > frame_max(signed.length):
            raise TamperedError(f"{length} bytes are too many for the manifest of {path.distribution} {path.revision}")
        self._held = held
        self._path = path
        self._signed = signed
        self._remaining = length
        self._encoded = bytearray()
        check_free_space(held.directory, signed.length + length, f"the manifest of {path.distribution} {path.revision}")

    def is_held(self) -> bool:
        """Whether it is here already, received whole or arriving."""
        for directory in (self._held.revision(self._path.revision), self._held.receiving(self._path.revision)):
            try:
                if self._signed.fits((directory / MANIFEST).read_bytes()):
                    return True
            except FileNotFoundError:
                continue
        return False

    def feed(self, data: bytes) -> bool:
        """Take a data frame; True once the manifest is here, verified and stored durably. Raises TruncatedError, TamperedError."""
        if len(data) > self._remaining:
            raise TamperedError(f"more bytes than announced of the manifest of {self._path.distribution}")
        self._encoded += data
        self._remaining -= len(data)
        if self._remaining:
            return False
        name = f"the manifest of {self._path.distribution} {self._path.revision}"
        try:
            plain = decompress_frame(bytes(self._encoded), self._signed.length, what=name)
        except StoreCorruptError as error:
            raise TamperedError(error.message, remedy=f"run: sluice send {self._path.distribution}") from error
        if not self._signed.fits(plain):
            raise TamperedError(f"{name} isn't what its Distributor signed", remedy=f"run: sluice send {self._path.distribution}")
        manifest = parse_manifest(plain)
        if (manifest.distribution, manifest.revision) != (self._path.distribution, self._path.revision):
            raise TamperedError(f"{name} names {manifest.distribution} {manifest.revision}", remedy=SENDER_BROKEN)
        directory = self._held.receiving(self._path.revision)
        make_directory(directory)
        replace_atomically(directory / MANIFEST, plain)
        return True

    def close(self) -> None:
        """End the put."""
        self._encoded.clear()


class TedReceiver(BlockReceiver):
    """One put of a ``.ted``: ``begin`` with its index, ``feed`` until every block is here, ``finish``."""

    def __init__(self, held: DistributionDirectory, path: TargetPath) -> None:
        super().__init__(f"the .ted of {path.distribution} {path.revision}")
        self._held = held
        self._path = path
        self._directory = held.receiving(path.revision)
        self._part = self._directory / f"{path.file}.part"
        self._index_bytes = b""
        self._manifest_digest = ""

    def is_held(self) -> bool:
        """Whether this file needn't be sent: the revision is held, and with its contents if this is the full ``.ted``."""
        status = self._held.status()
        record = status.received.get(str(self._path.revision))
        if record is None or not self._held.holds(status, self._path.revision):
            return False
        return self._path.file != TED or not (record.cleaned or record.base)

    def begin(self, index: bytes, payload: int, signed: Target, *, min_free: int = 0) -> int:
        """Verify the index, then the blocks that arrived in earlier tries.

        Args:
            min_free: Bytes that must stay free on the file system that receives it.
        Returns:
            The offset in the payload at which the sender goes on.
        Raises:
            TamperedError, TruncatedError, BaseDiffersError, NotFoundError: It can't be accepted.
            NoSpaceError: With the figures.
        """
        self._index = self._checked_index(index, payload, signed)
        self._index_bytes = index
        if self._index.recipe is None:
            self._manifest_digest = self._arrived_manifest()
        make_directory(self._directory)
        whole = self._directory / TED
        if whole.exists():  # killed within ``finish``, or a delta that waits to be completed
            whole.rename(self._part)
        self._remove_other_files()
        self.open(self._part, self._index)
        remaining = self._index.payload - self.offset + len(index)
        check_free_space(self._held.directory, remaining, self._name, min_free=min_free)
        replace_atomically(self._directory / f"{self._path.file}.index", index)
        return self.offset

    def finish(self, now: datetime) -> None:
        """Make the file durable once every block is here, and hold it unless it is a delta, which is completed first."""
        self.seal(self._index_bytes)
        self._part.rename(self._directory / TED)
        (self._directory / f"{self._path.file}.index").unlink()
        sync_directory(self._directory)
        if self._index.recipe is None:
            base = str(self._index.base) if self._index.base else ""
            record = Received(self._manifest_digest, blake3(self._index_bytes).hexdigest(), base, time_to_json(now))
            self._held.hold(self._path.revision, record)

    def _checked_index(self, data: bytes, payload: int, signed: Target) -> TedIndex:
        if not signed.fits(data):
            raise TamperedError(
                f"the index of {self._name} isn't what its Distributor signed", remedy=f"run: sluice send {self._path.distribution}"
            )
        index = parse_index(data)
        path = self._path
        file = TED if index.base is None else delta_name(index.base, index.small)
        if (index.distribution, index.revision, file, index.payload) != (path.distribution, path.revision, path.file, payload):
            raise TamperedError(f"the index of {self._name} names another file or size")
        if index.base is not None:
            status = self._held.status()
            bases = {status.extracted.revision} if status.extracted else set()
            if str(index.base) not in (bases if index.recipe else bases | set(status.received)):
                raise BaseDiffersError(f"{self._name} builds on {index.base}, which isn't here", remedy=SENT_WHOLE)
        return index

    def _arrived_manifest(self) -> str:
        arrived = self._directory / MANIFEST
        if not arrived.exists():  # repairs a damaged ``.ted``: its manifest is held already
            try:
                data = (self._held.revision(self._path.revision) / MANIFEST).read_bytes()
            except FileNotFoundError:
                raise NotFoundError(f"the manifest of {self._path.revision} isn't here yet", remedy=SENDER_BROKEN) from None
            make_directory(self._directory)
            replace_atomically(arrived, data)
        return blake3(arrived.read_bytes()).hexdigest()

    def _remove_other_files(self) -> None:
        """Remove what remains of an earlier send of another file of this revision; supplements serve every delta."""
        keep = {MANIFEST, self._part.name, f"{self._path.file}.index"}
        for path in self._directory.iterdir():
            if path.name not in keep and (self._index.recipe is None or not path.name.startswith(SUPPLEMENT_PREFIX)):
                path.unlink()


def check_index_length(length: int, signed: Target, *, is_whole: bool) -> None:
    """Check the announced length of an index, before it is buffered. Raises TamperedError, TruncatedError."""
    if length < signed.length:
        raise TruncatedError(f"an index of {length} bytes, but {signed.length} were signed")
    if length > min(signed.length, INDEX_MAX if is_whole else DELTA_INDEX_MAX):
        raise TamperedError(f"an index of {length} bytes, but {signed.length} were signed")
