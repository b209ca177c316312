"""``validate`` looks at the files of keys: what can't be right is an error at its line; what another machine may have is advice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Sluice

HOST = """\
---
kind: Subscriber
name: web
address: ssh://root@192.0.2.7
identity: keys/id
host_keys: known_hosts
working_directory: /var/lib/sluice
"""
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def host(site: Path, *, identity: str | bytes | None, mode: int = 0o600, known_hosts: bool = True) -> int:
    """Add a host over SSH to the site, with such files; returns the line of its identity."""
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(text + HOST)
    (site / "keys").mkdir()
    if identity is not None:
        (site / "keys/id").write_bytes(identity if isinstance(identity, bytes) else identity.encode())
        (site / "keys/id").chmod(mode)
    if known_hosts:
        (site / "known_hosts").touch()
    return len(text.splitlines()) + 5


def test_sound_files_are_not_mentioned(sluice: Sluice, site: Path) -> None:
    host(site, identity=PRIVATE)
    assert sluice("validate").out.startswith(f"{site}: no errors in ")


@pytest.mark.parametrize(
    ("identity", "mode", "what", "remedy"),
    [
        ("ssh-ed25519 AAAA a@b\n", 0o600, "is a public key", "name the private key"),
        ("ecdsa-sha2-nistp256 AAAA\n", 0o644, "is a public key", "name the private key"),
        (PRIVATE, 0o644, "is open to others (mode 0644)", "chmod 600"),
        (PRIVATE, 0o660, "is open to others (mode 0660)", "chmod 600"),
        ("hello\n", 0o600, "isn't a private key", "ssh-keygen"),
        (b"\xff\x00\x01", 0o600, "isn't a private key", "ssh-keygen"),
        ("", 0o600, "isn't a private key", "ssh-keygen"),
    ],
)
def test_a_file_that_cannot_be_an_identity_is_an_error(
    identity: str | bytes, mode: int, what: str, remedy: str, sluice: Sluice, site: Path
) -> None:
    line = host(site, identity=identity, mode=mode)
    result = sluice("validate")
    assert result.code == 3
    (told, count) = result.err.splitlines()
    assert told.startswith(f"{site}/site.yaml:{line}: identity: {site}/keys/id {what}"[:80])
    assert what in told
    assert remedy in told
    assert count == "sluice: 1 error in the site"


def test_a_missing_identity_is_advice_since_another_machine_may_have_it(sluice: Sluice, site: Path) -> None:
    line = host(site, identity=None, known_hosts=False)
    result = sluice("validate")
    assert result.code == 0
    said = result.out.splitlines()
    assert said[0].startswith(f"{site}/site.yaml:{line}: advice: identity: {site}/keys/id doesn't exist: make it with ssh-keygen")
    assert said[1].startswith(
        f"{site}/site.yaml:{line + 1}: advice: host_keys: {site}/known_hosts doesn't exist: make it with ssh-keyscan -p 22 192.0.2.7,"
    )
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(text.replace("@192.0.2.7", "@192.0.2.7:2222"))
    assert ": make it with ssh-keyscan -p 2222 192.0.2.7," in sluice("validate").out


def test_a_certificate_that_is_none_is_an_error(sluice: Sluice, site: Path) -> None:
    line = host(site, identity=PRIVATE)
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(text.replace("known_hosts\n", "known_hosts\nssh: {certificate: keys/id.pub}\n"))
    (site / "keys/id.pub").write_text("ssh-ed25519 AAAA\n")
    result = sluice("validate")
    assert result.code == 3
    assert result.err.startswith(f"{site}/site.yaml:{line + 2}: ssh.certificate: {site}/keys/id.pub isn't a certificate: ")


def test_a_missing_client_configuration_is_advice_too(sluice: Sluice, site: Path) -> None:
    line = host(site, identity=PRIVATE)
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(text.replace("known_hosts\n", "known_hosts\nssh: {config: ssh/config}\n"))
    result = sluice("validate")
    assert result.code == 0
    assert result.out.startswith(f"{site}/site.yaml:{line + 2}: advice: ssh.config: {site}/ssh/config doesn't exist: ")
    (site / "ssh/config").mkdir(parents=True)
    result = sluice("validate")
    assert result.code == 3
    assert result.err.splitlines()[0].startswith(f"{site}/site.yaml:{line + 2}: ssh.config: {site}/ssh/config isn't a file: ")


def test_a_path_at_which_nothing_can_be_looked_up_is_advice(sluice: Sluice, site: Path) -> None:
    """As below a directory that only another account may enter."""
    host(site, identity=PRIVATE)
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(text.replace("host_keys: known_hosts", f"host_keys: {'k' * 300}"))
    assert ": advice: host_keys: " in sluice("validate").out


def test_files_are_looked_at_beside_other_errors_and_each_is_told_once(sluice: Sluice, site: Path) -> None:
    host(site, identity="ssh-ed25519 AAAA\n")
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(
        text.replace("name: zone", "name: zo.ne") + HOST.replace("name: web", "name: web-2").replace("192.0.2.7", "192.0.2.8")
    )
    errors = sluice("validate", "--json").json["error"]["errors"]
    assert [error["path"] for error in errors] == ["name", "identity"]


def test_keys_of_ssh_keygen_are_taken(sluice: Sluice, site: Path, real_part: Callable[[str], Path]) -> None:
    program = real_part("ssh-keygen")
    host(site, identity=None)
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "secret", "-f", site / "keys/id"], check=True)
    assert sluice("validate").out.startswith(f"{site}: no errors in ")
    (site / "keys/id").unlink()
    (site / "keys/id.pub").rename(site / "keys/id")
    assert "is a public key" in sluice("validate").err
