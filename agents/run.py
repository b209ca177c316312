"""``sluice-agent run`` and ``status``: recover every Distribution; list the revisions that are held and extracted here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from agents.leftovers import distribution_has_leftovers, sweep_distributor, sweep_identity
from agents.working_directory import WorkingDirectory
from sluice.errors import SluiceError, StoreError, StoreLockedError
from sluice.subscriber.held.directory import DistributionDirectory


def recover_all(directory: WorkingDirectory) -> list[SluiceError]:
    """End every extraction of a killed agent, and remove its temporary files; skip those that another process works on.

    Returns the errors of those that couldn't be ended.
    """
    failed: list[SluiceError] = []
    _attempt(partial(sweep_identity, directory.path / "identity"), "identity", failed)
    for distributor in directory.distributors():
        _attempt(partial(sweep_distributor, directory.distributor(distributor)), distributor, failed)
        for held in directory.distributions(distributor):
            _attempt(partial(_recover, directory, held), f"{distributor}/{held.name}", failed)
    return failed


def _recover(directory: WorkingDirectory, held: DistributionDirectory) -> None:
    if distribution_has_leftovers(held):
        from agents.extraction import recover_distribution

        recover_distribution(directory, held)


def _attempt(work: Callable[[], None], name: str, failed: list[SluiceError]) -> None:
    try:
        work()
    except StoreLockedError:
        pass
    except SluiceError as error:
        failed.append(error)
    except Exception as error:  # noqa: BLE001 - a full disk or damage of one Distribution doesn't silence the agent for all others
        failed.append(StoreError(f"recovery of {name}: {type(error).__name__}: {error}", remedy="look at the disk and the files there"))


def run(directory: WorkingDirectory) -> int:
    """Recover, and print the errors. Returns the exit code."""
    failed = recover_all(directory)
    for error in failed:
        sys.stderr.write(f"sluice-agent: {error}\n")
    return failed[0].exit_code if failed else 0


def status(directory: WorkingDirectory, *, as_json: bool) -> int:
    """Print a row per Distribution. Returns the exit code."""
    rows = [_row(name, held) for name in directory.distributors() for held in directory.distributions(name)]
    if as_json:
        sys.stdout.write(json.dumps({"subscriber": directory.subscriber(), "rows": rows}, indent=1) + "\n")
        return 0
    sys.stdout.write(f"{'distributor':16} {'distribution':24} {'held':10} {'extracted':10} state\n")
    for row in rows:
        sys.stdout.write(
            f"{row['distributor']:16} {row['distribution']:24} {row['held'] or '-':10} {row['extracted'] or '-':10} {row['state']}\n"
        )
    return 0


def _row(distributor: str, held: DistributionDirectory) -> dict[str, Any]:
    row: dict[str, Any] = {"distributor": distributor, "distribution": held.name, "held": None, "extracted": None, "reason": ""}
    try:
        found = held.status()
    except SluiceError as error:
        return {**row, "state": "damaged", "reason": str(error)}
    newest, extracted = held.newest_held(found), found.extracted
    row |= {"held": newest and str(newest), "extracted": extracted and extracted.revision, "reason": found.reason}
    row["since"] = extracted and extracted.at
    row["destinations"] = list(extracted.destinations) if extracted else []
    if held.journal.exists():
        state = "extracting"
    elif found.reason:
        state = "failed"
    elif newest and (extracted is None or str(newest) != extracted.revision):
        state = "received"
    else:
        state = "installed" if extracted else "nothing"
    return {**row, "state": state}
