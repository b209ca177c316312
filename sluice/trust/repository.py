"""The files of a Distributor's TUF repository, read as one set at a time even if another process publishes meanwhile.

Numbered files never change; ``timestamp.json`` names the set, and is replaced last. ``publish.py`` decides which listings are signed,
when, and for how long.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from sluice.durable import replace_atomically
from sluice.errors import StoreCorruptError, StoreLockedError, TrustError
from sluice.trust.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, distribution_role, metadata_file, split_metadata_file
from sluice.trust.targets import Listing, Target

EARLIER = 32
"""Number of versions of each role that are kept beside the newest."""
READ_TRIES = 100
"""Tries to read a set before another replaces it; each takes milliseconds."""
_KINDS: Mapping[str, type[Any]] = {ROOT: Root, TIMESTAMP: Timestamp, SNAPSHOT: Snapshot}
"""Class of the metadata by role; all other roles are Targets."""
_S = TypeVar("_S", bound=Signed)
_T = TypeVar("_T")


class Repository:
    """A directory of metadata. Reading takes no lock; writers hold the trust's."""

    def __init__(self, directory: Path, *, distributor: str) -> None:
        self._directory, self._distributor = directory, distributor

    def versions(self) -> dict[str, int]:
        """Return the versions of the published set by role; empty before the first publishing."""
        timestamp = self.load(metadata_file(TIMESTAMP, None), Timestamp)
        if timestamp is None:
            return {}
        snapshot = self.snapshot(timestamp)
        found = {name.removesuffix(".json"): meta.version for name, meta in snapshot.meta.items()}
        found |= {TIMESTAMP: timestamp.version, SNAPSHOT: snapshot.version, ROOT: self.newest_root()}
        return found

    def of_one_set(self, read: Callable[[], _T]) -> _T:
        """Return the result of ``read``, called again if a publishing changed the set meanwhile: readers take no lock."""
        for _ in range(READ_TRIES):
            before = self._timestamp_bytes()
            try:
                found = read()
            except (FileNotFoundError, StoreCorruptError):
                if self._timestamp_bytes() == before:
                    raise
            else:
                if self._timestamp_bytes() == before:
                    return found
        raise StoreLockedError(f"the trust of Distributor {self._distributor} keeps being published", remedy="repeat the command")

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises FileNotFoundError."""
        return (self._directory / name).read_bytes()

    def _timestamp_bytes(self) -> bytes:
        try:
            return self.read(metadata_file(TIMESTAMP, None))
        except FileNotFoundError:
            return b""

    def write(self, name: str, signed: Signed, key: Ed25519PrivateKey) -> None:
        """Sign metadata and write it to a file, durably and atomically."""
        replace_atomically(self._directory / name, signed_bytes(signed, key), mode=0o644)

    def load(self, name: str, kind: type[_S]) -> _S | None:
        """Return a file's content; None if there is no such file. Raises StoreCorruptError."""
        path = self._directory / name
        try:
            metadata: Metadata[Any] = Metadata.from_bytes(self.read(name))
        except FileNotFoundError:
            return None
        except (DeserializationError, RepositoryError) as error:
            raise StoreCorruptError(f"{path} is damaged: {error}", remedy="restore trust/repository from your backup") from error
        if not isinstance(metadata.signed, kind):
            raise StoreCorruptError(f"{path} is metadata of another kind", remedy="restore trust/repository from your backup")
        return metadata.signed

    def load_role(self, role: str, version: int) -> Signed | None:
        """Return the content of a version of a role; None if its file isn't here. Raises StoreCorruptError."""
        name = metadata_file(role, None if role == TIMESTAMP else version)
        signed: Signed | None = self.load(name, _KINDS.get(role, Targets))
        return signed if signed is not None and signed.version == version else None

    def written(self, role: str, version: int) -> datetime | None:
        """Return when a version of a role was published; None if its file isn't here."""
        name = metadata_file(role, None if role == TIMESTAMP else version)
        if role == TIMESTAMP and self.load_role(role, version) is None:
            return None
        try:
            return datetime.fromtimestamp((self._directory / name).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def snapshot(self, timestamp: Timestamp) -> Snapshot:
        """Return the snapshot that a timestamp names. Raises StoreCorruptError."""
        name = metadata_file(SNAPSHOT, timestamp.snapshot_meta.version)
        snapshot = self.load(name, Snapshot)
        if snapshot is None:
            raise StoreCorruptError(f"{self._directory / name} is missing", remedy="restore trust/repository from your backup")
        return snapshot

    def expires(self) -> dict[str, datetime]:
        """Return when the root and each role of the published set expire, by role."""
        found = {}
        for role, version in (self.versions() or {ROOT: self.newest_root()}).items():
            if (signed := self.load_role(role, version)) is not None:
                found[role] = signed.expires
        return found

    def files_for(self, distribution: str, held: Mapping[str, int]) -> dict[str, bytes]:
        """Return the published files that a Subscriber needs for one Distribution and doesn't hold. Raises TrustError."""
        versions = self.versions()
        if distribution_role(distribution) not in versions:
            raise TrustError(f"Distribution {distribution} isn't signed yet", remedy=f"run `sluice sign {distribution}`")
        names = [metadata_file(ROOT, version) for version in range(held.get(ROOT, 0) + 1, versions[ROOT] + 1)]
        for role in (SNAPSHOT, TARGETS, distribution_role(distribution)):
            if held.get(role) != versions[role]:
                names.append(metadata_file(role, versions[role]))
        if held.get(TIMESTAMP) != versions[TIMESTAMP]:
            names.append(metadata_file(TIMESTAMP, None))
        return {name: self.read(name) for name in names}

    def held_files(self, distribution: str, held: Mapping[str, int]) -> dict[str, bytes]:
        """Return those files of a Distribution's roles that a Subscriber holds and that are still kept here, by role."""
        found = {}
        for role in (TARGETS, SNAPSHOT, distribution_role(distribution)):
            with suppress(FileNotFoundError):
                if role in held:
                    found[role] = self.read(metadata_file(role, held[role]))
        return found

    def listing(self, distribution: str) -> Listing:
        """Return the published listing of one Distribution; empty if nothing of it is signed."""
        version = self.versions().get(distribution_role(distribution))
        if version is None:
            return {}
        role = self.load(metadata_file(distribution_role(distribution), version), Targets)
        return {} if role is None else {path: Target(file.length, file.hashes["sha256"]) for path, file in role.targets.items()}

    def newest_root(self) -> int:
        """Return the version of the newest trust root; there is one."""
        parts = (split_metadata_file(entry.name) for entry in os.scandir(self._directory))
        return max(version for role, version in filter(None, parts) if role == ROOT and version)

    def remove_unreferenced(self, versions: Mapping[str, int], snapshot: int) -> None:
        """Remove numbered files except those of this set and some before: a reader may still be copying one, and new ones are sent as
        their differences from one that a Subscriber holds.
        """
        newest = {**versions, SNAPSHOT: snapshot}
        for entry in list(os.scandir(self._directory)):
            parts = split_metadata_file(entry.name)
            if parts is None or parts[1] is None or parts[0] == ROOT:
                continue
            if parts[1] < newest.get(parts[0], 0) - EARLIER:
                os.unlink(entry.path)


def signed_bytes(signed: Signed, key: Ed25519PrivateKey) -> bytes:
    """Return signed metadata in the form of a repository's files."""
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(CryptoSigner(key))
    return metadata.to_bytes()
