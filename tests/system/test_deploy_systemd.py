"""The systemd units: what systemd itself finds wrong with them, and that they use the settings and secrets there are."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.system.production import BIN, DEPLOY, INSTALLED, PROJECT, Unit, environment_file

UNITS = {"sluice-server.service": "", "sluice-services.service": "", "sluice-worker@.service": "hq.send"}


def verified(directory: Path, program: Path) -> subprocess.CompletedProcess[str]:
    """`systemd-analyze verify` of the units with their programs where they are here, after ``directory`` got them."""
    files = []
    for name, instance in UNITS.items():
        text = (DEPLOY / "systemd" / name).read_text().replace(f"{INSTALLED}/.venv/bin", str(BIN)).replace(INSTALLED, str(PROJECT))
        files.append(directory / name.replace("@", f"@{instance}"))
        if not files[-1].exists():
            files[-1].write_text(text)
    return subprocess.run([program, "verify", "--man=no", *files], capture_output=True, text=True, check=False, timeout=60)


def test_systemd_finds_nothing_wrong(tmp_path: Path, real_part: Callable[[str], Path]) -> None:
    done = verified(tmp_path, real_part("systemd-analyze"))

    assert (done.returncode, [line for line in done.stderr.splitlines() if "sluice" in line]) == (0, [])


def test_systemd_would_find_a_misspelt_option(tmp_path: Path, real_part: Callable[[str], Path]) -> None:
    text = (DEPLOY / "systemd/sluice-server.service").read_text().replace("NoNewPrivileges=", "NoNewPrivilege=")
    (tmp_path / "sluice-server.service").write_text(text)

    assert "NoNewPrivilege" in verified(tmp_path, real_part("systemd-analyze")).stderr


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_holds_no_secret_and_gets_those_that_make_secrets_makes(tmp_path: Path, name: str) -> None:
    subprocess.run([DEPLOY / "make-secrets", tmp_path / "secrets"], check=True)
    unit = Unit(name)
    role = "worker" if "worker" in name else "server"

    assert set(unit.credentials().values()) == {
        f"/etc/sluice/secrets/{role}/{file.name}" for file in (tmp_path / "secrets" / role).iterdir()
    }
    assert all(credential == Path(path).name for credential, path in unit.credentials().items())
    assert unit.all("EnvironmentFile") == [f"/etc/sluice/{role}.env"]
    assert not [value for value in unit.all("Environment") if re.search(r"PASSWORD|AUTH|SECRET", value)]


def test_a_second_make_secrets_replaces_nothing(tmp_path: Path) -> None:
    subprocess.run([DEPLOY / "make-secrets", tmp_path / "secrets"], check=True)
    before = {file: file.read_bytes() for file in (tmp_path / "secrets").glob("*/*")}

    assert subprocess.run([DEPLOY / "make-secrets", tmp_path / "secrets"], check=False, capture_output=True).returncode == 1
    assert {file: file.read_bytes() for file in (tmp_path / "secrets").glob("*/*")} == before
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_with_secrets_sets_what_is_named_as_a_variable_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "A_SECRET").write_text("with space and 'quotes'\n")
    (tmp_path / "redis.conf").write_text("requirepass x\n")
    done = subprocess.run(
        [DEPLOY / "with-secrets", "env"],
        env={"PATH": "/usr/bin:/bin", "CREDENTIALS_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert found["A_SECRET"] == "with space and 'quotes'"
    assert set(found) - {"PWD"} == {"PATH", "CREDENTIALS_DIRECTORY", "A_SECRET"}


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that another account gets to, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="sluice-tests-worker-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_sluice_as_worker_takes_the_workers_settings_secrets_and_account(reachable: Path) -> None:
    if os.geteuid() != 0:
        missing("root, to become another account")
    etc, home = reachable / "etc", reachable / "home"
    (home / ".venv/bin").mkdir(parents=True)
    (home / "deploy").symlink_to(DEPLOY)
    stub = home / ".venv/bin/sluice"
    stub.write_text('#!/bin/sh\nid -un\necho "$*"\necho "$SLUICE_LEDGER $PREFECT_API_AUTH_STRING"\necho "$SLUICE_SITE $SLUICE_STATE"\n')
    stub.chmod(0o755)
    etc.mkdir()
    subprocess.run([DEPLOY / "make-secrets", etc / "secrets"], check=True)
    url = "postgresql://sluice@db/ledger?sslmode=verify-full&sslrootcert=/etc/ca.pem#$HOME"
    settings = (DEPLOY / "settings/worker.env").read_text()
    (etc / "worker.env").write_text(f"{settings}SLUICE_LEDGER={url}\nSLUICE_STATE='/a b'\n")
    environment = {"PATH": os.defpath, "SLUICE_ETC": str(etc), "SLUICE_HOME": str(home), "SLUICE_ACCOUNT": "nobody"}
    done = subprocess.run(
        [DEPLOY / "systemd/sluice-as-worker", "status", "zone"], env=environment, capture_output=True, text=True, check=False
    )

    auth = (etc / "secrets/worker/PREFECT_API_AUTH_STRING").read_text()
    site = environment_file(DEPLOY / "settings/worker.env")["SLUICE_SITE"]
    assert done.stdout.splitlines() == ["nobody", "status zone", f"{url} {auth}", f"{site} /a b"], done.stderr
