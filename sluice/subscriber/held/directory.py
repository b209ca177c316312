"""The directory of one Distribution on a Subscriber: the paths of docs/formats.md section 6, and its status file (G1).

The status file is the authority: a revision that it doesn't name as received isn't held, whatever is on disk, so deleting the file
(G4) forces a new receive. It survives clean-up. Nothing heavy is imported here: ``hello`` is answered from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sluice.durable import locked, make_directory, replace_atomically, sweep, sync_directory
from sluice.errors import NotFoundError, StoreCorruptError, TrustError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical
from sluice.model.revision import RevisionNumber

STATUS_MAX = 4 * 1024 * 1024
"""Most bytes of a status file."""
TED = "distfile.ted"
CORRUPT = "distfile.corrupt"
SENT_WHOLE = "nothing to do: Sluice sends everything instead"
"""Remedy for a delta that can't be used."""
SENDER_BROKEN = "the sender is broken or of another version: update it"
SUPPLEMENT_PREFIX = "lent-"
"""First part of the name of a supplement's files, which bring contents missing from the extracted tree."""


@dataclass(frozen=True, slots=True)
class Received:
    """A revision that was received whole and verified."""

    manifest: str
    """BLAKE3 of its manifest."""
    index: str
    """BLAKE3 of the index of its ``.ted``; the index has the digests of the rest."""
    base: str
    """The revision whose extracted tree the ``.ted`` builds on; empty: none."""
    at: str
    cleaned: bool = False
    """Whether its ``.ted`` was removed after extraction (G2)."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """The revision that is extracted."""

    revision: str
    sequence: int
    """Of the order."""
    at: str
    destinations: tuple[str, ...]
    read_back: str
    """The receipt's; empty once a failed extraction without rollback changed some files."""
    manifest: str
    """BLAKE3 of ``manifest`` beside the status file."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status file's content."""

    received: Mapping[str, Received] = field(default_factory=dict)
    """By revision."""
    extracted: Extracted | None = None
    reason: str = ""
    """The last error; empty if there was none since."""

    def with_received(self, revision: RevisionNumber, received: Received) -> Status:
        """Return the status after a receive."""
        return replace(self, received={**self.received, str(revision): received}, reason="")

    def without(self, revision: RevisionNumber, *, reason: str = "") -> Status:
        """Return the status after a revision was removed, or found damaged."""
        kept = {name: record for name, record in self.received.items() if name != str(revision)}
        return replace(self, received=kept, reason=reason or self.reason)


class DistributionDirectory:
    """``distributions/NAME`` of one Distributor on a Subscriber. Everything that writes needs ``lock``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = directory.name
        self.distributor = directory.parent.parent.name
        self.status_path = directory / "status.json"
        self.manifest_path = directory / "manifest"
        self.stat_cache_path = directory / "seen"
        self.journal = directory / "journal"
        self.receipts = directory / "receipts"

    def former(self, name: str) -> DistributionDirectory | None:
        """The directory of the Distribution's former name; None if it had none, or nothing of it is here."""
        found = DistributionDirectory(self.directory.with_name(name)) if name else None
        return found if found is not None and found.directory.is_dir() else None

    def receiving(self, revision: RevisionNumber) -> Path:
        """The directory in which a revision arrives."""
        return self.directory / "receiving" / str(revision)

    def revision(self, revision: RevisionNumber) -> Path:
        """The directory in which a revision is held; it exists with everything in it, or not at all."""
        return self.directory / "revisions" / str(revision)

    @contextmanager
    def lock(self, *, wait: float = 0.0) -> Iterator[None]:
        """Hold the lock: while receiving, extracting or cleaning up. Raises StoreLockedError."""
        for below in ("receiving", "revisions", "receipts"):
            make_directory(self.directory / below)
        with locked(self.directory / "lock", what=f"Distribution {self.name}", wait=wait):
            for each in self.swept_directories():
                _sweep_all(each)
            yield

    def swept_directories(self) -> list[Path]:
        """The directories in which killed processes may have left temporary files."""
        receiving = self.directory / "receiving"
        arriving = list(receiving.iterdir()) if receiving.is_dir() else []
        return [*arriving, receiving, self.directory / "revisions", self.receipts, self.directory]

    def fingerprint(self) -> bytes:
        """Return what differs once anything was received, extracted or begun here since. The caller holds the lock."""
        names = sorted(os.listdir(self.directory)), sorted(os.listdir(self.directory / "receiving"))
        status = self.status_path.read_bytes() if self.status_path.exists() else b""
        return canonical_bytes(list(names)) + status

    def status(self) -> Status:
        """Read the status file; nothing is held if it is missing. Raises StoreCorruptError."""
        try:
            return _parse(self.status_path.read_bytes())
        except FileNotFoundError:
            return Status()
        except (TrustError, NotFoundError) as error:
            raise StoreCorruptError(
                f"{self.status_path} is damaged: {error.message}", remedy="delete it: the Distribution is then received and compared anew"
            ) from error

    def write_status(self, status: Status) -> None:
        """Replace the status file durably."""
        replace_atomically(self.status_path, _bytes(status))

    def hold(self, revision: RevisionNumber, record: Received) -> None:
        """Hold a revision that arrived whole and verified; remove older ones that are still arriving. May be repeated."""
        # The record first: until the directory has its name it means nothing, and afterwards nothing is missing.
        self.write_status(self.status().with_received(revision, record))
        remove_directory(self.revision(revision))
        self.receiving(revision).rename(self.revision(revision))
        sync_directory(self.directory / "revisions")
        sync_directory(self.directory / "receiving")
        for other in (self.directory / "receiving").iterdir():
            with suppress(NotFoundError):  # no revision: not ours to judge
                if RevisionNumber.parse(other.name) < revision:
                    remove_directory(other)

    def holds(self, status: Status, revision: RevisionNumber) -> bool:
        """Whether the revision needn't be sent; it must be if it is a delta whose base isn't extracted any more."""
        record = status.received.get(str(revision))
        if record is None or not (record.cleaned or (self.revision(revision) / TED).exists()):
            return False
        bases = {"", status.extracted.revision} if status.extracted else {""}
        return record.cleaned or record.base in bases or str(revision) in bases

    def newest_held(self, status: Status) -> RevisionNumber | None:
        """Return the newest revision that needn't be sent."""
        numbers = map(RevisionNumber.parse, status.received)
        return max((number for number in numbers if self.holds(status, number)), default=None)


def remove_directory(path: Path, *, swept: Path | None = None) -> None:
    """Remove a directory of ours, durably, such that a reader sees all of it or nothing; harmless if it is missing.

    Args:
        swept: The directory in which the remains of a kill are swept; its own parent if left out.
    """
    swept = swept or path.parent
    doomed = swept / f".tmp-{path.name}-{os.getpid()}"
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return
    sync_directory(swept)
    if swept != path.parent:
        sync_directory(path.parent)
    shutil.rmtree(doomed)


def _sweep_all(directory: Path) -> None:
    with os.scandir(directory) as found:
        for item in found:
            if item.name.startswith(".tmp-") and item.is_dir(follow_symlinks=False):
                shutil.rmtree(item.path)
    sweep(directory)


def _bytes(status: Status) -> bytes:
    extracted = status.extracted
    return canonical_bytes(
        {
            "version": 1,
            "reason": status.reason,
            "received": {
                name: {"manifest": r.manifest, "index": r.index, "base": r.base, "at": r.at, "cleaned": r.cleaned}
                for name, r in status.received.items()
            },
            "extracted": extracted
            and {
                "revision": extracted.revision,
                "sequence": extracted.sequence,
                "at": extracted.at,
                "destinations": list(extracted.destinations),
                "read_back": extracted.read_back,
                "manifest": extracted.manifest,
            },
        }
    )


def _parse(data: bytes) -> Status:
    fields = Fields(parse_canonical(data, limit=STATUS_MAX, what="a status file"), what="a status file")
    fields.constant("version", 1)
    reason = fields.text("reason", limit=65536)
    received = fields.any("received")
    extracted = _extracted(fields.any("extracted")) if fields.optional("extracted") else None
    fields.done()
    if not isinstance(received, dict):
        raise StoreCorruptError("a status file: received is no object")
    return Status({str(RevisionNumber.parse(name)): _received(value) for name, value in received.items()}, extracted, reason)


def _received(value: Any) -> Received:
    fields = Fields(value, what="a received revision")
    found = Received(fields.text("manifest"), fields.text("index"), fields.text("base"), fields.text("at"), fields.flag("cleaned"))
    fields.done()
    return found


def _extracted(value: Any) -> Extracted:
    fields = Fields(value, what="an extracted revision")
    found = Extracted(
        revision=str(RevisionNumber.parse(fields.text("revision"))),
        sequence=fields.number("sequence"),
        at=fields.text("at"),
        destinations=tuple(str(item) for item in fields.items("destinations", limit=10_000)),
        read_back=fields.text("read_back"),
        manifest=fields.text("manifest"),
    )
    fields.done()
    return found
