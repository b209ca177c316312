"""``sluice ledger copy`` as it is typed; what is copied, and how, is in ``tests/ports/test_ledger_copy.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.orchestrator.server_address import state_directory
from sluice.durable import locked
from sluice.errors import LedgerError
from tests.cli.conftest import Sluice
from tests.ports.test_ledger_copy import filled


@pytest.fixture
def source(tmp_path: Path) -> str:
    return filled(tmp_path / "ledger.db")


def test_it_says_what_it_copied_and_how_to_switch(sluice: Sluice, site: Path, source: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "ledger.db"
    looked = sluice("ledger", "copy", source, target, "--dry-run")
    assert (looked.code, target.parent.exists()) == (0, False)
    assert f"would copy {source} to {target}" in looked.out

    done = sluice("ledger", "copy", source, target)
    assert done.code == 0
    assert "events: 30 of 30 rows" in done.err
    assert f"{target} is equal, row by row; {source} is as it was\nNow set SLUICE_LEDGER to the target" in done.out
    assert done.out.splitlines()[1:-2] == looked.out.splitlines()[1:-1], "the same counts and digests"

    again = sluice("ledger", "copy", source, target, "--json")
    assert (again.code, again.json["copied"]) == (0, False)
    assert f"{target} was equal already" in sluice("ledger", "copy", source, target).out


def test_while_up_runs_for_the_site_it_refuses(sluice: Sluice, site: Path, source: str, tmp_path: Path) -> None:
    state = state_directory(site)
    state.mkdir(parents=True)
    with locked(state / "up.lock", what="the embedded server"):
        refused = sluice("ledger", "copy", source, tmp_path / "new.db")
    assert refused.code == 10
    assert refused.err.startswith(f"sluice: `sluice up` runs for {site}: end it with Ctrl-C, then repeat")
    assert not (tmp_path / "new.db").exists()
    assert sluice("ledger", "copy", source, tmp_path / "new.db").code == 0


def test_a_refusal_is_json_too(sluice: Sluice, site: Path, tmp_path: Path) -> None:
    refused = sluice("ledger", "copy", tmp_path / "none.db", tmp_path / "new.db", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (10, "LedgerError")


SECRETS = [
    "postgresql://sluice:hunter2/x@127.0.0.1/ledger",
    "postgresql://sluice:hunter2@x@127.0.0.1/ledger",
    "postgresql://sluice:hunter2%@127.0.0.1/ledger",
    "postgresql+psycopg://sluice:a/hunter2@127.0.0.1:5432/ledger",
    "postgresql//sluice:hunter2@127.0.0.1/ledger",
    "postgres://sluice:hunter2@127.0.0.1/ledger",
    "mysql://sluice:hunter2@127.0.0.1/ledger",
    "host=127.0.0.1 user=sluice password=hunter2",
    "password = hunter2 dbname=ledger",
]


@pytest.mark.parametrize("place", SECRETS)
def test_no_damaged_name_of_a_ledger_shows_its_password_or_makes_a_file(
    place: str, sluice: Sluice, site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ledger.db").touch()
    refused = [sluice("ledger", "copy", place, tmp_path / "new.db"), sluice("ledger", "copy", tmp_path / "ledger.db", place)]
    monkeypatch.setenv("SLUICE_LEDGER", place)
    for each in (*refused, sluice("status")):
        told = each.out + each.err
        assert (each.code, "hunter2" in told, "write " in told) == (LedgerError.exit_code, False, True), told
    assert list(Path.cwd().iterdir()) == []
