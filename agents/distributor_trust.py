"""The trust in one Distributor: accepts its metadata, answers what it signed, and quarantines metadata that is refused."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.durable import locked, make_directory, replace_atomically
from sluice.errors import TrustError, UnknownDistributorError
from sluice.formats.canonical import canonical_bytes
from sluice.model.order import Order
from sluice.subscriber.receive.receivers import TargetPath
from sluice.trust.high_water import read_high_water, write_high_water
from sluice.trust.targets import Target
from sluice.trust.verify import TrustDirectory
from sluice.trust.view import TrustedView

LOCK_WAIT = 30.0
"""Seconds to wait for another conversation that accepts metadata."""
QUARANTINE_MAX = 16
"""Most refusals that are kept."""
QUARANTINE_BYTES = 256 * 1024
"""Bytes kept of all files of one refusal: the sender chooses how much it sends."""


class DistributorTrust:
    """For one conversation: what is signed is read once per Distribution, until new metadata is accepted."""

    def __init__(self, directory: Path, distributor: str) -> None:
        self._directory = directory
        self._distributor = distributor
        self._trust = TrustDirectory(directory, distributor=distributor)
        self._views: dict[str, TrustedView] = {}

    def check_installed(self) -> None:
        """Raise UnknownDistributorError if no trust root is installed."""
        if not (self._directory / "trust" / "root.json").exists():
            raise UnknownDistributorError(
                f"Distributor {self._distributor} is not trusted here: no trust root is installed",
                remedy=f"run `sluice trust push {self._distributor}`",
            )

    def held_files(self, roles: Sequence[Any]) -> bytes:
        """The metadata files of these roles that are held, one after the other."""
        return b"".join(self._trust.held_file(role) for role in roles)

    def accept(self, files: dict[str, bytes], distribution: str) -> Any:
        """Verify and keep metadata files. Returns the versions held then. Raises TrustError: they are in quarantine."""
        self.check_installed()
        self._views.clear()
        try:
            with self._locked():
                return self._trust.accept(files, distribution)
        except TrustError as error:
            self._quarantine(files, error)
            raise

    def view(self, distribution: str) -> TrustedView:
        """Return the signed targets of a Distribution, whose name is checked; expiry counts, since something is received."""
        if distribution not in self._views:
            self._views[distribution] = self._trust.view(distribution, now=datetime.now(UTC))
        return self._views[distribution]

    def signed(self, path: TargetPath) -> Target:
        """Return the target at a path. Raises TamperedError if none is signed."""
        return self.view(path.distribution).target(f"{path.distribution}/{path.revision}/{path.file}")

    def check_sequence(self, order: Order) -> None:
        """Raise ReplayedError if an order is older than one that was accepted."""
        read_high_water(self._trust.high_water_path).check_sequence(order)

    def raise_sequence(self, order: Order) -> None:
        """Accept an order durably: older ones are refused from now on."""
        with self._locked():
            marks = read_high_water(self._trust.high_water_path)
            marks.check_sequence(order)
            write_high_water(self._trust.high_water_path, marks.raised(sequences={order.distribution: order.sequence}))

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._directory / "lock", what=f"the trust of Distributor {self._distributor}", wait=LOCK_WAIT)

    def _quarantine(self, files: dict[str, bytes], error: TrustError) -> None:
        """Keep refused files, and the reason, for a person to look at."""
        directory = self._directory / "quarantine"
        make_directory(directory)
        kept, remaining = {}, QUARANTINE_BYTES
        for name, data in files.items():
            kept[name[:200]] = data[:remaining].decode(errors="replace")
            remaining -= len(data[:remaining])
        value = {"code": error.code, "message": error.message, "files": kept}
        replace_atomically(directory / f"{time.time_ns()}.json", canonical_bytes(value))
        for old in sorted(directory.glob("*.json"))[:-QUARANTINE_MAX]:
            old.unlink(missing_ok=True)
