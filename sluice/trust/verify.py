"""A Subscriber's side of TUF: accept received metadata, and read the targets that a Distributor has signed.

``accept`` runs python-tuf's client over the received files in a scratch copy of the held set, checks our own high-water marks,
raises them durably and only then replaces the held set. ``view`` reads the held set again and verifies every signature, so that
tampering at rest is found; it checks lifetimes only if asked to, because expiry counts at receive and not at extract.
python-tuf's exceptions are translated in ``refusals.py`` and nowhere else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from sluice.durable import make_directory, replace_atomically, sweep
from sluice.errors import ExpiredError, TamperedError, TruncatedError, UnknownDistributorError
from sluice.formats.canonical import check_values
from sluice.trust.disk import disk_errors
from sluice.trust.held import claimed_version, held_versions, versions_in
from sluice.trust.high_water import read_high_water, write_high_water
from sluice.trust.refusals import Translation, is_cut
from sluice.trust.roles import ROOT, TARGETS, TIMESTAMP, distribution_role, role_is_known, split_metadata_file
from sluice.trust.targets import Target
from sluice.trust.view import TrustedView

FILES_MAX = 300
"""Most files of one received set: a chain of 256 roots, the top roles and one Distribution's role."""
FILE_MAX = 5_000_000
"""Most bytes of one metadata file; python-tuf bounds each role further."""
_BASE = "held://"
_S = TypeVar("_S", bound=Signed)


class TrustDirectory:
    """``distributors/NAME/trust`` of a Subscriber, with ``high-water.json`` beside it. The caller holds the Distributor's lock."""

    def __init__(self, directory: Path, *, distributor: str) -> None:
        self._distributor = distributor
        self._root = directory / "trust" / "root.json"
        self._metadata = directory / "trust" / "metadata"
        self._scratch = directory / "trust" / "scratch"
        self.high_water_path = directory / "high-water.json"

    @disk_errors()
    def install_root(self, data: bytes) -> None:
        """Install this Distributor's trust root, which an administrator sends over their own login. It must be signed by itself."""
        try:
            _self_signed_root(data)
        except (DeserializationError, RepositoryError) as error:
            raise TamperedError(f"the trust root of Distributor {self._distributor} is not signed by itself") from error
        make_directory(self._metadata)
        replace_atomically(self._root, data)

    @disk_errors()
    def accept(self, files: Mapping[str, bytes], distribution: str) -> dict[str, int]:
        """Verify received metadata over the held set and keep it.

        Args:
            files: Files by name as in the Distributor's repository; those already held may be left out.
            distribution: Its delegated role must be among them or held.
        Returns:
            The versions held now, by role.
        Raises:
            UnknownDistributorError, ReplayedError, ExpiredError, TamperedError, TruncatedError: Nothing was kept.
        """
        marks = read_high_water(self.high_water_path)
        received = self._checked(files)
        claimed = {role: claimed_version(data) for role, data in self._by_role(received)}
        marks.check_versions(claimed, distributor=self._distributor)
        shutil.rmtree(self._scratch, ignore_errors=True)
        make_directory(self._scratch)
        try:
            versions = self._verified_in_scratch(received, distribution)
            marks.check_versions(versions, distributor=self._distributor)
            write_high_water(self.high_water_path, marks.raised(versions=versions))
            self._keep()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
        return self.versions()

    def versions(self) -> dict[str, int]:
        """Return the held versions by role, read without verifying: a sender gets them so that it sends only changed files."""
        return held_versions(self._root.parent.parent)

    def held_file(self, role: object) -> bytes:
        """Return a role's held file as it was received, for comparing, not for believing; empty if there is none. Raises TamperedError."""
        if not isinstance(role, str) or role == ROOT or not role_is_known(role):
            raise TamperedError(f"{role!r:.80} isn't a role whose file can be held")
        try:
            return (self._metadata / f"{role}.json").read_bytes()
        except FileNotFoundError:
            return b""

    @disk_errors()
    def view(self, distribution: str, *, now: datetime | None = None) -> TrustedView:
        """Verify the held set and return what it says of one Distribution.

        Args:
            now: Check lifetimes against this time; None if expiry no longer counts.
        Raises:
            UnknownDistributorError, ExpiredError, TamperedError, TruncatedError.
        """
        root = self._trusted_root()
        targets = self._role(root, TARGETS, Targets)
        role = self._role(targets, distribution_role(distribution), Targets)
        if now is not None:
            timestamp = self._role(root, TIMESTAMP, Timestamp)
            for name, signed in ((ROOT, root), (TIMESTAMP, timestamp), (TARGETS, targets), (distribution, role)):
                if signed.is_expired(now):
                    raise ExpiredError(
                        f"the signature of Distributor {self._distributor} on {name} expired on {signed.expires:%Y-%m-%d %H:%M} UTC",
                        remedy=f"run `sluice refresh {self._distributor}`, then repeat `sluice send`",
                    )
        return TrustedView(self._distributor, targets, {path: Target(f.length, f.hashes["sha256"]) for path, f in role.targets.items()})

    @staticmethod
    def _by_role(received: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """Yield each received file that is whole with its role. Not roots: older ones of a chain may come again."""
        for name, data in received.items():
            parts = split_metadata_file(name)
            if parts is not None and parts[0] != ROOT and not is_cut(data):
                yield parts[0], data

    def _checked(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        if len(files) > FILES_MAX:
            raise TamperedError(f"{len(files)} metadata files of Distributor {self._distributor} arrived, more than {FILES_MAX}")
        for name, data in files.items():
            if split_metadata_file(name) is None:
                raise TamperedError(f"{name[:100]!r} isn't a metadata file")
            if len(data) > FILE_MAX:
                raise TamperedError(f"{name} has {len(data)} bytes, more than {FILE_MAX}")
            check_values(data, what=name)
        return dict(files)

    def _verified_in_scratch(self, received: Mapping[str, bytes], distribution: str) -> dict[str, int]:
        if self._metadata.is_dir():
            shutil.copytree(self._metadata, self._scratch / "metadata", symlinks=True)
        else:
            (self._scratch / "metadata").mkdir()
        metadata = self._scratch / "metadata"
        fetcher = _Received(received, metadata)
        with self._translated(received):
            updater = Updater(
                str(metadata), _BASE, fetcher=fetcher, config=UpdaterConfig(max_root_rotations=256), bootstrap=self._trusted_root_bytes()
            )
            updater.refresh()
            updater.get_targetinfo(f"{distribution}/0.0/{distribution}")
        versions = versions_in(metadata)
        if distribution_role(distribution) not in versions:
            raise TamperedError(
                f"Distributor {self._distributor} signs no Distribution {distribution}",
                remedy=f"run `sluice sign {distribution}`, then repeat `sluice send`",
            )
        return versions

    def _keep(self) -> None:
        scratch = self._scratch / "metadata"
        make_directory(self._metadata)
        sweep(self._metadata)
        roots = sorted((scratch / "root_history").iterdir(), key=lambda path: int(path.name.partition(".")[0]))
        newest = roots[-1].read_bytes()
        if newest != self._root.read_bytes():
            replace_atomically(self._root, newest)
        names = [entry.name for entry in os.scandir(scratch) if entry.is_file(follow_symlinks=False) and entry.name.endswith(".json")]
        # The timestamp last: until it is replaced, a sender learns of the older set and sends the rest again.
        for name in sorted(names, key=lambda name: (name == "timestamp.json", name == "snapshot.json", name)):
            data = (scratch / name).read_bytes()
            held = self._metadata / name
            if not held.exists() or held.read_bytes() != data:
                replace_atomically(held, data)

    def _trusted_root_bytes(self) -> bytes:
        try:
            return self._root.read_bytes()
        except FileNotFoundError:
            raise UnknownDistributorError(
                f"Distributor {self._distributor} is not trusted here: no trust root is installed",
                remedy=f"run `sluice trust push {self._distributor}`",
            ) from None

    def _trusted_root(self) -> Root:
        with self._translated({}):
            return _self_signed_root(self._trusted_root_bytes())

    def _role(self, delegator: Root | Targets, role: str, kind: type[_S]) -> _S:
        path = self._metadata / f"{role}.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise TruncatedError(
                f"no metadata of {role} of Distributor {self._distributor} is held", remedy="repeat `sluice send`"
            ) from None
        with self._translated({path.name: data}):
            metadata: Metadata[Any] = Metadata.from_bytes(data)
            delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        signed = metadata.signed
        if not isinstance(signed, kind):
            raise TamperedError(f"{path.name} of Distributor {self._distributor} is metadata of another kind")
        return signed

    def _translated(self, received: Mapping[str, bytes]) -> Translation:
        return Translation(self._distributor, received, self._trusted_root_bytes())


def _self_signed_root(data: bytes) -> Root:
    """Verify that a root is signed by its own keys and return it. Raises python-tuf's exceptions."""
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    if not isinstance(metadata.signed, Root):
        raise RepositoryError("it isn't a root")
    metadata.signed.verify_delegate(ROOT, metadata.signed_bytes, metadata.signatures)
    return metadata.signed


class _Received(FetcherInterface):
    """Gives python-tuf's client the received files, then the held ones under their unversioned names."""

    def __init__(self, received: Mapping[str, bytes], held: Path) -> None:
        self._received = received
        self._held = held

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(_BASE)
        data = self._received.get(name)
        if data is None:
            data = self._from_held(name)
        if data is None:
            raise DownloadHTTPError(f"{name} is missing", 404)
        return iter((data,))

    def _from_held(self, name: str) -> bytes | None:
        parts = split_metadata_file(name)
        if parts is None or parts[0] == ROOT:
            return None
        try:
            data = (self._held / f"{parts[0]}.json").read_bytes()
        except FileNotFoundError:
            return None
        return data if parts[1] in (None, claimed_version(data)) else None
