"""Temporary files that killed processes left in a working directory: found cheaply, removed by who holds the lock that covers them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sluice.durable import TEMP_PREFIX, locked, sweep
from sluice.errors import StoreLockedError
from sluice.subscriber.held.directory import DistributionDirectory

SCRATCH = "scratch"
"""Below ``trust``: where metadata is verified before it is kept."""


def distribution_has_leftovers(held: DistributionDirectory) -> bool:
    """Whether an extraction or a receive was killed; may also be one that still runs."""
    return held.journal.exists() or any(_has_temporary(each) for each in held.swept())


def sweep_distributor(place: Path) -> None:
    """Remove what was left beside and in the trust of one Distributor; left to its process where one works there."""
    trust = place / "trust"
    places = (place, trust, trust / "metadata", place / "quarantine")
    if not (any(map(_has_temporary, places)) or (trust / SCRATCH).exists()):
        return
    with suppress(StoreLockedError), locked(place / "lock", what=f"the trust of Distributor {place.name}"):
        _sweep(places)
        shutil.rmtree(trust / SCRATCH, ignore_errors=True)


def sweep_identity(identity: Path) -> None:
    """The same for the Subscriber's own name and key."""
    if _has_temporary(identity):
        with suppress(StoreLockedError), locked(identity / "lock", what=f"the identity in {identity.parent}"):
            _sweep((identity,))


def _sweep(places: Iterable[Path]) -> None:
    for each in places:
        sweep(each)


def _has_temporary(directory: Path) -> bool:
    try:
        return any(name.startswith(TEMP_PREFIX) for name in os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return False
