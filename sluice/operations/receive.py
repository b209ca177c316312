"""Receiving a revision on a Subscriber: verified block by block as it comes, held whole or not at all (D8, E1, E4).

A revision arrives in ``receiving/B.N`` and is moved to ``revisions/B.N`` by one rename once everything in it was verified against what
the Distributor signed. Killed or cut at any point, the next receive verifies what has arrived and goes on from there. Memory is bounded
by the manifest's and the index's signed sizes and a block. The caller holds the Distribution's lock.
Source: TED "receiving a Distribution", ``distfile.ted``.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from blake3 import blake3

from sluice.durable import EARLY, make_directory, replace_atomically, sync_directory, write_all, write_early
from sluice.errors import BaseDiffersError, NoSpaceError, NotFoundError, StoreCorruptError, TamperedError, TruncatedError
from sluice.formats.manifest import MANIFEST_MAX, parse_manifest
from sluice.formats.orders import time_to_json
from sluice.formats.ted import BLOCK, INDEX_MAX, MAGIC, PAYLOAD_OFFSET, TedIndex, parse_index, trailer
from sluice.formats.zstd import decompress_frame, frame_max
from sluice.model.names import name_is_valid
from sluice.model.revision import RevisionNumber
from sluice.operations.held import TED, HeldDistribution, Received
from sluice.rules.space import check_space
from sluice.trust.roles import MANIFEST, delta_name
from sluice.trust.targets import Target

AGAIN_MAX = 8
"""Blocks of one put that may come damaged."""
RESERVE = 16 * 1024 * 1024
"""Bytes that stay free on the working directory's file system, for the journal and the status, where ``min_free`` is less."""


@dataclass(frozen=True, slots=True)
class Named:
    """A target's path, taken apart."""

    distribution: str
    revision: RevisionNumber
    file: str

    @classmethod
    def parse(cls, path: str) -> Named:
        """From ``zone/1.2/distfile.ted``. Raises TamperedError for anything that can't be signed."""
        parts = path.split("/")
        if len(parts) == 3 and name_is_valid(parts[0]):
            try:
                found = cls(parts[0], RevisionNumber.parse(parts[1]), parts[2])
                base = parts[2].removeprefix("from-").removesuffix(".ted")
                if parts[2] in (MANIFEST, TED) or parts[2] == delta_name(RevisionNumber.parse(base)):
                    return found
            except NotFoundError:
                pass
        raise TamperedError(f"{path[:200]!r} is no target", remedy="the sender is broken or of another version")


class ManifestReceiver:
    """One put of a manifest: as zstd, whose plaintext is the target."""

    def __init__(self, held: HeldDistribution, named: Named, signed: Target, *, length: int) -> None:
        if signed.length > MANIFEST_MAX or length > frame_max(signed.length):
            raise TamperedError(f"{length} bytes are too many for the manifest of {named.distribution} {named.revision}")
        self._held = held
        self._named = named
        self._signed = signed
        self._left = length
        self._encoded = bytearray()
        _check_space(held.directory, signed.length + length, RESERVE, f"the manifest of {named.distribution} {named.revision}")

    def is_held(self) -> bool:
        """Whether it is here already, received whole (and perhaps cleaned up since) or arriving."""
        record = self._held.status().received.get(str(self._named.revision))
        if record is not None and record.cleaned:
            return True
        for place in (self._held.revision(self._named.revision), self._held.receiving(self._named.revision)):
            try:
                if self._signed.fits((place / MANIFEST).read_bytes()):
                    return True
            except FileNotFoundError:
                continue
        return False

    def feed(self, data: bytes) -> bool:
        """Take a data frame; True once all has come, was verified and stored durably. Raises TruncatedError, TamperedError."""
        if len(data) > self._left:
            raise TamperedError(f"more bytes than announced of the manifest of {self._named.distribution}")
        self._encoded += data
        self._left -= len(data)
        if self._left:
            return False
        what = f"the manifest of {self._named.distribution} {self._named.revision}"
        try:
            plain = decompress_frame(bytes(self._encoded), self._signed.length, what=what)
        except StoreCorruptError as error:
            raise TamperedError(error.message, remedy="send it again") from error
        if not self._signed.fits(plain):
            raise TamperedError(f"{what} isn't what its Distributor signed", remedy="send it again")
        manifest = parse_manifest(plain)
        if (manifest.distribution, manifest.revision) != (self._named.distribution, self._named.revision):
            raise TamperedError(f"{what} names {manifest.distribution} {manifest.revision}")
        place = self._held.receiving(self._named.revision)
        make_directory(place)
        replace_atomically(place / MANIFEST, plain)
        return True

    def close(self) -> None:
        """The put is over."""
        self._encoded.clear()


class TedReceiver:
    """One put of a ``.ted``: first ``begin`` with its index, then ``feed`` until it says that all is there, then ``finish``."""

    def __init__(self, held: HeldDistribution, named: Named) -> None:
        self._held = held
        self._named = named
        self._what = f"the .ted of {named.distribution} {named.revision}"
        self._place = held.receiving(named.revision)
        self._part = self._place / f"{named.file}.part"
        self._index: TedIndex
        self._index_bytes = b""
        self._manifest_digest = ""
        self._fd = -1
        self._block = 0
        self._pending = bytearray()
        self._again = 0

    @property
    def offset(self) -> int:
        """Bytes of payload that are here and verified."""
        return min(self._block * BLOCK, self._index.payload)

    @property
    def is_complete(self) -> bool:
        """Whether every block is here."""
        return self._block == len(self._index.blocks)

    def is_held(self) -> bool:
        """Whether this file has nothing to bring: the revision is held, and not as a difference where everything comes now."""
        status = self._held.status()
        record = status.received.get(str(self._named.revision))
        if record is None or not self._held.holds(status, self._named.revision):
            return False
        return record.cleaned or not record.base or self._named.file != TED

    def begin(self, index: bytes, payload: int, signed: Target, *, min_free: int = 0) -> int:
        """Verify the index, then what arrived in earlier tries.

        Args:
            min_free: Bytes that must stay free where it is received.
        Returns:
            The offset in the payload at which the sender goes on.
        Raises:
            TamperedError, TruncatedError, BaseDiffersError, NotFoundError: It can't be accepted.
            NoSpaceError: With the figures.
        """
        self._index = self._checked_index(index, payload, signed)
        self._index_bytes = index
        self._manifest_digest = self._arrived_manifest()
        make_directory(self._place)
        whole = self._place / TED
        if whole.exists():  # killed within ``finish``
            whole.rename(self._part)
        self._forget_others()
        self._fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._block = self._verified_blocks()
        os.ftruncate(self._fd, PAYLOAD_OFFSET + self.offset)
        os.lseek(self._fd, PAYLOAD_OFFSET + self.offset, os.SEEK_SET)
        left = self._index.payload - self.offset + len(index)
        _check_space(self._held.directory, left, max(RESERVE, min_free), self._what)
        replace_atomically(self._place / f"{self._named.file}.index", index)
        return self.offset

    def feed(self, data: bytes) -> bool:
        """Take payload bytes; False where a block doesn't fit: it and all after it must come again, from ``offset``.

        Raises:
            TamperedError: Damaged more than AGAIN_MAX times, or more bytes than the index says.
            NoSpaceError.
        """
        view = memoryview(data)
        while view:
            if self.is_complete:
                raise TamperedError(f"{self._what} has more bytes than its index says")
            length = self._index.block_length(self._block)
            taken = min(length - len(self._pending), len(view))
            whole = view[:taken] if taken == length else None
            if whole is None:
                self._pending += view[:taken]
                if len(self._pending) == length:
                    whole = memoryview(bytes(self._pending))
            view = view[taken:]
            if whole is None:
                continue
            self._pending.clear()
            if blake3(whole).hexdigest() != self._index.blocks[self._block]:
                self._again += 1
                if self._again > AGAIN_MAX:
                    raise TamperedError(
                        f"{self._what}: block {self._block} came damaged; {AGAIN_MAX} were asked for again already",
                        remedy="check the link and the Distributor's copy, then send again",
                    )
                return False
            self._write(whole)
            self._block += 1
            if self.offset % EARLY == 0:
                write_early(self._fd, PAYLOAD_OFFSET + self.offset - EARLY, EARLY)
        return True

    def finish(self, now: datetime) -> None:
        """All is here: make it durable and hold it."""
        held, status = self._held, self._held.status()
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._write(MAGIC)
        os.lseek(self._fd, PAYLOAD_OFFSET + self._index.payload, os.SEEK_SET)
        self._write(trailer(self._index_bytes))
        os.fsync(self._fd)
        self._part.rename(self._place / TED)
        (self._place / f"{self._named.file}.index").unlink()
        sync_directory(self._place)
        # The record first: until the directory stands under its name it says nothing, and afterwards nothing is missing.
        base = str(self._index.base) if self._index.base else ""
        record = Received(self._manifest_digest, blake3(self._index_bytes).hexdigest(), base, time_to_json(now))
        held.write_status(status.with_received(self._named.revision, record))
        held.remove_directory(held.revision(self._named.revision))
        self._place.rename(held.revision(self._named.revision))
        sync_directory(held.directory / "revisions")
        sync_directory(held.directory / "receiving")
        for other in (held.directory / "receiving").iterdir():
            with suppress(NotFoundError):  # no revision: not ours to judge
                if RevisionNumber.parse(other.name) < self._named.revision:
                    held.remove_directory(other)

    def close(self) -> None:
        """The put is over; what arrived stays for the next."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._pending.clear()

    def _write(self, data: bytes | memoryview) -> None:
        try:
            write_all(self._fd, data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoSpaceError(f"no space left for {self._what}", remedy="free some, then send again") from error

    def _checked_index(self, data: bytes, payload: int, signed: Target) -> TedIndex:
        if not signed.fits(data):
            raise TamperedError(f"the index of {self._what} isn't what its Distributor signed", remedy="send it again")
        index = parse_index(data)
        named = self._named
        file = TED if index.base is None else delta_name(index.base)
        if (index.distribution, index.revision, file, index.payload) != (named.distribution, named.revision, named.file, payload):
            raise TamperedError(f"the index of {self._what} names another file or size")
        if index.base is not None:
            status = self._held.status()
            at_hand = {status.extracted.revision} if status.extracted else set()
            if str(index.base) not in at_hand | set(status.received):
                raise BaseDiffersError(
                    f"{self._what} builds on {index.base}, which isn't here", remedy=f"send {named.distribution} {named.revision} whole"
                )
        return index

    def _arrived_manifest(self) -> str:
        arrived = self._place / MANIFEST
        if not arrived.exists():  # repairs a damaged ``.ted``: its manifest is held already
            try:
                data = (self._held.revision(self._named.revision) / MANIFEST).read_bytes()
            except FileNotFoundError:
                raise NotFoundError(f"the manifest of {self._named.revision} isn't here yet", remedy="send it before the .ted") from None
            make_directory(self._place)
            replace_atomically(arrived, data)
        return blake3(arrived.read_bytes()).hexdigest()

    def _forget_others(self) -> None:
        """What an earlier send of another file of this revision left."""
        keep = {MANIFEST, self._part.name, f"{self._named.file}.index"}
        for path in self._place.iterdir():
            if path.name not in keep:
                path.unlink()

    def _verified_blocks(self) -> int:
        os.lseek(self._fd, PAYLOAD_OFFSET, os.SEEK_SET)
        for number, digest in enumerate(self._index.blocks):
            if blake3(os.read(self._fd, self._index.block_length(number))).hexdigest() != digest:
                return number
        return len(self._index.blocks)


def check_index_length(length: int, signed: Target) -> None:
    """Before the index of a put is buffered. Raises TamperedError, TruncatedError."""
    if length < signed.length:
        raise TruncatedError(f"an index of {length} bytes where {signed.length} were signed")
    if length > min(signed.length, INDEX_MAX):
        raise TamperedError(f"an index of {length} bytes where {signed.length} were signed")


def _check_space(directory: Path, needed: int, kept: int, what: str) -> None:
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    check_space(what, needed=needed, free=free, kept=kept, where=str(directory), remedy="free space there, then send again")
