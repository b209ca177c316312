"""``subscriber``, ``subscribers``, ``trust`` and ``agent`` where no host need answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Sluice


def test_bootstrap_needs_names_or_all_and_not_both(sluice: Sluice, site: Path) -> None:
    assert sluice("subscriber", "bootstrap").code == 2
    assert sluice("subscriber", "bootstrap", "near", "--all").code == 2
    assert sluice("subscriber", "check", "nosuch").code == 2


def test_bootstrap_without_keys_says_how_to_make_them_for_each_host(sluice: Sluice, site: Path) -> None:
    result = sluice("subscriber", "bootstrap", "--all", "--json")
    assert result.code == 4
    assert [(each["subscriber"], each["error"]["code"]) for each in result.json["subscribers"]] == [
        ("far", "TrustError"),
        ("near", "TrustError"),
    ]
    assert "far: failed: no keys on this machine of Distributor hq: run `sluice trust init hq`" in result.err
    assert not (site / "var").exists()


@pytest.mark.parametrize(
    ("where", "names"),
    [('name == "near"', ["near"]), ('platform == "linux"', ["far", "near"]), ('not name == "near"', ["far"]), ('name == "x"', [])],
)
def test_subscribers_are_listed_by_selector(where: str, names: list[str], sluice: Sluice, site: Path) -> None:
    assert [each["name"] for each in sluice("subscribers", "list", "--where", where, "--json").json["subscribers"]] == names


def test_a_selector_that_is_none_is_a_usage_error(sluice: Sluice, site: Path) -> None:
    result = sluice("subscribers", "list", "--where", "name = 3")
    assert result.code == 2
    assert "name = 3" in result.err


def test_subscribers_list_for_people(sluice: Sluice, site: Path) -> None:
    lines = [line.split() for line in sluice("subscribers", "list").out.splitlines()]
    assert lines == [
        ["SUBSCRIBER", "ADDRESS", "PLATFORM", "ACTIVE", "TAGS"],
        ["far", f"local:{site}/var/far", "debian-12", "yes"],
        ["near", f"local:{site}/var/near", "debian-12", "yes"],
    ]


def test_trust_is_made_once_and_exported(sluice: Sluice, site: Path, tmp_path: Path) -> None:
    assert sluice("trust", "export", "hq", tmp_path / "root.json").code == 2
    assert sluice("trust", "init", "hq", "--dry-run").code == 0
    assert not (site / "var").exists()
    assert "made the keys of Distributor hq" in sluice("trust", "init", "hq").out
    before = {path: path.read_bytes() for path in (site / "var/hq").rglob("*.pem")}
    assert sluice("trust", "init", "hq").out == f"Distributor hq has keys in {site}/var/hq/keys\n"
    assert {path: path.read_bytes() for path in (site / "var/hq").rglob("*.pem")} == before
    assert sluice("trust", "export", "hq", tmp_path / "root.json", "--dry-run").code == 0
    assert not (tmp_path / "root.json").exists()
    assert sluice("trust", "export", "hq", tmp_path / "root.json").code == 0
    exported = json.loads((tmp_path / "root.json").read_bytes())
    assert exported["signed"]["_type"] == "root"
    assert not any(b"PRIVATE" in path.read_bytes() for path in tmp_path.glob("*.json"))


def test_trust_of_an_unknown_distributor_is_an_error(sluice: Sluice, site: Path) -> None:
    assert sluice("trust", "init", "nosuch").code == 2
    assert sluice("trust", "push", "nosuch").code == 2
    assert sluice("trust", "push").code == 4


@pytest.mark.parametrize("python", ["3", "three", "3.11.7"])
def test_a_python_that_is_none_is_a_usage_error(python: str, sluice: Sluice, site: Path) -> None:
    assert sluice("agent", "build", "--python", python).code == 2


def test_agent_build_dry_run_names_the_bundle(sluice: Sluice, site: Path, tmp_path: Path) -> None:
    result = sluice("agent", "build", "--python", "3.12", "--arch", "aarch64", "--libc", "glibc", "--dry-run")
    assert result.code == 0
    assert "-cp312-aarch64-glibc.zip" in result.out
    assert "for Python 3.12, aarch64, glibc" in result.out
    assert not (tmp_path / "state").exists()
