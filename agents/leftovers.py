"""Temporary files that killed processes left in a working directory: found cheaply, removed under the lock that covers them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from sluice.durable import TEMP_PREFIX, locked, sweep
from sluice.errors import StoreLockedError
from sluice.subscriber.held.directory import DistributionDirectory

SCRATCH = "scratch"
"""Directory below ``trust`` in which metadata is verified before it is kept."""


def distribution_has_leftovers(held: DistributionDirectory) -> bool:
    """Whether an extraction or a receive was killed; also true while one runs."""
    return held.journal.exists() or any(_has_temporary(each) for each in held.swept_directories())


def sweep_distributor(distributor: Path) -> None:
    """Remove temporary files in the directory and the trust of one Distributor, unless a process works there."""
    trust = distributor / "trust"
    directories = (distributor, trust, trust / "metadata", distributor / "quarantine")
    if not (any(map(_has_temporary, directories)) or (trust / SCRATCH).exists()):
        return
    with suppress(StoreLockedError), locked(distributor / "lock", what=f"the trust of Distributor {distributor.name}"):
        for each in directories:
            sweep(each)
        shutil.rmtree(trust / SCRATCH, ignore_errors=True)


def sweep_identity(identity: Path) -> None:
    """Remove temporary files beside the Subscriber's own name and key, unless a process works there."""
    if _has_temporary(identity):
        with suppress(StoreLockedError), locked(identity / "lock", what=f"the identity in {identity.parent}"):
            sweep(identity)


def _has_temporary(directory: Path) -> bool:
    try:
        return any(name.startswith(TEMP_PREFIX) for name in os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return False
