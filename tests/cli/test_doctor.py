"""``sluice doctor`` with real faults: keys, metadata, ledger, server and hosts as they go wrong.

What it says of a Prefect server that runs is in tests/system/test_deploy_production.py.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.hosts.check import check
from infra.ledger.sql import open_ledger
from infra.ledger.tables import SCHEMA_VERSION
from infra.transports.address import AddressTransport
from sluice.trust.publish import Publisher
from tests.cli.conftest import Result, Sluice
from tests.system.postgres import USER, Cluster
from tests.system.sshd import SshLab, lab


def said(result: Result, area: str, name: str = "") -> list[tuple[str, str]]:
    """Health and sentence of each finding of an area, in order; of one object where it is named."""
    return [(f["health"], f["sentence"]) for f in findings(result, area, name)]


def findings(result: Result, area: str, name: str = "") -> list[dict[str, str]]:
    """The findings of an area, in order; of one object where it is named."""
    return [f for f in result.json["findings"] if f["area"] == area and name in ("", f["object"])]


def everything_in(directory: Path) -> dict[str, tuple[int, int]]:
    """Modes and times of what a directory holds."""
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in sorted(directory.rglob("*"))}


@pytest.fixture
def keys(sluice: Sluice, site: Path) -> Path:
    """The Distributor's keys, made."""
    assert sluice("trust", "init", "hq").code == 0
    return site / "var/hq/keys"


@pytest.mark.slow
def test_nothing_is_changed_and_each_failure_has_a_remedy(sluice: Sluice, site: Path, keys: Path, tmp_path: Path) -> None:
    before = everything_in(tmp_path)

    result = sluice("doctor", "--json")

    assert result.code == 1
    assert everything_in(tmp_path) == before
    assert [f for f in result.json["findings"] if f["health"] == "failed" and not f["remedy"]] == []
    assert result.json["failed"] == sum(f["health"] == "failed" for f in result.json["findings"])
    assert said(result, "trust", "hq: keys") == [("ok", "present, readable by their account alone")]


def test_without_a_server_it_says_so_and_starts_none(sluice: Sluice, site: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(sluice("doctor", "--json", "--no-subscribers"), "prefect") == [("failed", "no server is known")]
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    found = said(sluice("doctor", "--json", "--no-subscribers"), "prefect")
    assert found == [("failed", "nothing answers at http://127.0.0.1:9/api")]


def test_a_site_with_errors_is_told_line_by_line(sluice: Sluice, site: Path) -> None:
    (site / "site.yaml").write_text((site / "site.yaml").read_text().replace("type: file", "type: fil", 1))

    result = sluice("doctor", "--json")

    (finding,) = [f for f in result.json["findings"] if f["area"] == "site"]
    assert (result.code, finding["health"], finding["object"]) == (1, "failed", f"{site}/site.yaml:28")


@pytest.mark.parametrize("name", ["online.pem", "root.pem"])
def test_a_key_that_others_can_read_fails(name: str, sluice: Sluice, keys: Path) -> None:
    (keys / name).chmod(0o644)

    result = sluice("doctor", "--json", "--no-subscribers")

    found = [f for f in result.json["findings"] if f["area"] == "trust" and f["health"] == "failed"]
    assert [f["remedy"] for f in found] == [f"chmod 600 {keys / name}"]


def test_a_working_directory_that_others_can_read_fails(sluice: Sluice, site: Path, keys: Path) -> None:
    keys.parent.chmod(0o755)

    found = said(sluice("doctor", "--json", "--no-subscribers"), "machine", str(keys.parent))
    assert found[0] == ("failed", "others can read it: mode 0755")


def test_a_directory_of_keys_that_others_can_enter_is_a_warning(sluice: Sluice, keys: Path) -> None:
    keys.chmod(0o755)

    (found,) = findings(sluice("doctor", "--json", "--no-subscribers"), "trust", str(keys))

    assert (found["health"], found["sentence"], found["remedy"]) == ("warning", "others can enter it: mode 0755", f"chmod 700 {keys}")


def test_an_identity_that_others_can_read_is_a_failure(sluice: Sluice, site: Path, keys: Path) -> None:
    text = (site / "site.yaml").read_text()
    host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN9hYlVVAL+lACWYMA/OryRKMsyWlVS6RG/NvsXdx/Xj"
    address = f"address: ssh://hq@127.0.0.1\nhost_key: {host_key}\nidentity: id\n"
    text = text.replace("address: local:var/near\nworking_directory: var/near/sluice\n", f"{address}working_directory: /srv/sluice\n")
    (site / "site.yaml").write_text(text.replace("{{ LOCAL_DIRECTORY }}/out", "/srv/out"))
    identity = site / "id"
    identity.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    identity.chmod(0o640)
    assert [health for health, _ in said(sluice("doctor", "--json", "--no-subscribers"), "site")] == ["ok"]

    (found,) = findings(sluice("doctor", "--json", "--no-subscribers"), "machine", str(identity))

    assert (found["health"], found["sentence"], found["remedy"]) == (
        "failed",
        "it is open to others (mode 0640), so that they could log in with it; ssh refuses it too",
        f"chmod 600 {identity}",
    )
    identity.chmod(0o600)
    assert findings(sluice("doctor", "--json", "--no-subscribers"), "machine", str(identity)) == []


def test_one_of_a_kind_is_singular(sluice: Sluice, site: Path) -> None:
    assert "2 Distributions, 2 Subscribers" in said(sluice("doctor", "--json", "--no-subscribers"), "site")[0][1]
    documents = (site / "site.yaml").read_text().split("---\n")
    kept = [each for each in documents if "name: unlisted" not in each and "name: far" not in each]
    (site / "site.yaml").write_text("---\n".join(kept).replace("[near, far]", "[near]"))
    assert "1 Distribution, 1 Subscriber;" in said(sluice("doctor", "--json", "--no-subscribers"), "site")[0][1]


def test_a_ledger_with_a_slash_too_few_is_neither_path_nor_url(
    sluice: Sluice, site: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("mysql:/x", "mysql://x"):
        monkeypatch.setenv("SLUICE_LEDGER", url)
        ((health, sentence),) = said(sluice("doctor", "--json", "--no-subscribers"), "ledger")
        assert (health, "neither a path nor sqlite:/// nor postgresql://" in sentence) == ("failed", True)


def test_metadata_that_expired_fail(sluice: Sluice, site: Path) -> None:
    Publisher(site / "var/hq", distributor="hq").ensure_keys(datetime.now(UTC))
    then = datetime.now(UTC) - timedelta(days=20)
    Publisher(site / "var/hq", distributor="hq").publish(dict, now=then, longest_interval=timedelta(days=1))

    result = sluice("doctor", "--json", "--no-subscribers")

    # The timestamp lasts at least 14 days, so it ended 6 days ago; the others last a year and ten.
    assert said(result, "trust", "hq: timestamp") == [("failed", "expired 6 days ago: Subscribers refuse it")]
    assert [health for health, _ in said(result, "trust", "hq: targets") + said(result, "trust", "hq: root")] == ["ok", "ok"]


def test_a_distributor_without_keys_anywhere_here_fails(sluice: Sluice, site: Path) -> None:
    assert said(sluice("doctor", "--json", "--no-subscribers"), "trust", "hq") == [("failed", f"no keys in {site}/var/hq/keys")]


def test_keys_that_subscribers_trust_are_restored_not_made(sluice: Sluice, site: Path, keys: Path) -> None:
    keys.rename(site / "elsewhere")

    (found,) = findings(sluice("doctor", "--json", "--no-subscribers"), "trust", "hq")

    assert (found["health"], found["sentence"]) == (
        "failed",
        "the keys of Distributor hq are gone, but its Subscribers trust them",
    )
    assert found["remedy"].startswith("restore keys/ from your backup;")
    assert sluice("trust", "init", "hq").code == 4


def test_a_trust_repository_that_is_gone_is_told_apart_from_keys_that_are(sluice: Sluice, site: Path, keys: Path) -> None:
    (site / "var/hq/trust").rename(site / "elsewhere")

    (found,) = findings(sluice("doctor", "--json", "--no-subscribers"), "trust", "hq: keys")

    missing = f"its trust repository {site}/var/hq/trust/repository is missing"
    assert (found["health"], found["sentence"]) == ("failed", f"Distributor hq has keys in {keys}, but {missing}")
    assert found["remedy"].startswith("restore trust/ together with store/ from your backup;")
    before = (keys / "online.pem").read_bytes()
    said_by_init = sluice("trust", "init", "hq").out
    assert "made the keys" not in said_by_init
    assert f"made the first trust root of Distributor hq with the existing keys in {keys}" in said_by_init
    assert (keys / "online.pem").read_bytes() == before


def test_a_ledger_of_another_schema_fails_and_stays_as_it_is(sluice: Sluice, site: Path, keys: Path) -> None:
    path = site / "var/hq/ledger.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE schema_version (only INTEGER, version INTEGER)")
        database.execute("INSERT INTO schema_version VALUES (1, 99)")
    database.close()
    before = path.read_bytes()

    ((health, sentence),) = said(sluice("doctor", "--json", "--no-subscribers"), "ledger", str(path))

    assert health == "failed"
    assert "schema version 99" in sentence
    assert path.read_bytes() == before


def test_a_ledger_that_is_none_fails(sluice: Sluice, site: Path, keys: Path) -> None:
    (site / "var/hq/ledger.db").write_text("no database\n" * 100)

    (found,) = findings(sluice("doctor", "--json", "--no-subscribers"), "ledger")
    assert (found["health"], "not a database" in found["sentence"]) == ("failed", True)
    assert found["remedy"].startswith("restore it from a backup, or move it away")


@pytest.mark.parametrize("password", ["", ":wrong"])
def test_a_ledger_without_its_password_is_told_where_it_goes(
    password: str, sluice: Sluice, keys: Path, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    monkeypatch.setenv("SLUICE_LEDGER", f"postgresql://{USER}{password}@127.0.0.1:{postgres.port}/postgres")

    (found,) = findings(sluice("doctor", "--json", "--no-subscribers"), "ledger")

    assert (found["health"], found["remedy"].partition(" for ")[0]) == ("failed", "set PGPASSFILE (or PGPASSWORD)")


@pytest.mark.parametrize("url", ["mysql://hq:hunter2@db/ledger", "mysql://hq:hunter2@db:x/ledger", "mysql:/hq:hunter2@db"])
def test_a_ledger_that_can_t_be_one_fails_without_showing_its_password(
    url: str, sluice: Sluice, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_LEDGER", url)

    result = sluice("doctor", "--json", "--no-subscribers")

    assert [health for health, _ in said(result, "ledger", "SLUICE_LEDGER")] == ["failed"]
    assert "hunter2" not in result.out


def test_a_ledger_whose_writer_was_killed_in_mid_commit_is_well(sluice: Sluice, site: Path, keys: Path) -> None:
    path = site / "var/hq/ledger.db"
    open_ledger(path).close()
    killed = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size=1")
database.execute("BEGIN IMMEDIATE")
for number in range(200):
    database.execute("INSERT INTO cancels VALUES (?, '', ?)", (str(number), "x" * 3000))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", killed, path], check=False)
    assert path.with_name("ledger.db-journal").stat().st_size > 512

    found = said(sluice("doctor", "--json", "--no-subscribers"), "ledger")

    assert found == [("ok", f"schema version {SCHEMA_VERSION}"), ("ok", "0 in the send queue")]


def test_people_are_told_what_failed_first(sluice: Sluice, keys: Path) -> None:
    lines = sluice("doctor", "--no-subscribers").out.splitlines()
    assert lines[0].startswith("failed   prefect server: no server is known")
    assert lines[1].startswith("         start `sluice up`")
    assert lines[-1].endswith("1 failed, 2 warnings") or lines[-1].endswith("1 failed, 1 warning")


# --- Subscribers --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("made_bundles")
def test_remedies_of_a_bare_host_are_those_that_go_through(sluice: Sluice, site: Path, keys: Path) -> None:
    directory = site / "var/near/sluice"
    (directory / "left-by-others").mkdir(parents=True)
    directory.chmod(0o777)

    remedies = {f["sentence"].partition(":")[0]: f["remedy"] for f in findings(sluice("doctor", "--json"), "subscriber", "near")}

    assert remedies["working directory"] == f"on near: look for files that other accounts put there, then chmod 700 {directory}"
    assert remedies["trust in hq"] == remedies["agent"] == "run: sluice subscriber bootstrap near"
    assert sluice("subscriber", "bootstrap", "near").code == 4
    directory.chmod(0o700)
    assert sluice("subscriber", "bootstrap", "near").code == 0


@pytest.fixture
def made_bundles(site: Path, bundle_directory: Path) -> None:
    """The bundles of other tests: to make one takes seconds."""
    state = Path(os.environ["SLUICE_STATE"])
    state.mkdir()
    (state / "agent-bundles").symlink_to(bundle_directory)


@pytest.fixture
def hosts(tmp_path_factory: pytest.TempPathFactory, real_part: Callable[[str], Path]) -> Iterator[SshLab]:
    with lab(tmp_path_factory.mktemp("doctor-hosts"), real_part) as made:
        yield made


def document(host: Any) -> str:
    """The blueprint of a host as it is now."""
    subscriber = host.subscriber
    return json.dumps(
        {
            "kind": "Subscriber",
            "name": host.name,
            "address": str(subscriber.address),
            "host_key": subscriber.host_key,
            "identity": subscriber.identity,
            "working_directory": str(subscriber.working_directory),
            "connection_timeout": "10 s",
            "variables": {"DEST": str(host.home)},
        }
    )


@pytest.mark.usefixtures("made_bundles")
def test_hosts_that_are_down_bare_or_changed_are_told_apart_from_a_whole_one(sluice: Sluice, site: Path, hosts: SshLab) -> None:
    whole, bare, changed = (hosts.host(name) for name in ("whole", "bare", "changed"))
    down = hosts.host("down", start=False)
    text = (site / "site.yaml").read_text().replace("subscribers: [near, far]", "subscribers: [whole, bare, changed, down]")
    documents = [part for part in text.split("---\n") if "kind: Subscriber" not in part]
    (site / "site.yaml").write_text("---\n".join([*documents, *(document(host) + "\n" for host in (whole, bare, changed, down))]))
    assert sluice("trust", "init", "hq").code == 0
    assert sluice("subscriber", "bootstrap", "whole").code == 0
    changed.stop()
    changed.new_host_key()
    changed.start()

    result = sluice("doctor", "--json")

    assert result.code == 1
    assert {health for health, _ in said(result, "subscriber", "whole")} == {"ok"}
    whole_says = dict(sentence.split(": ", 1) for _, sentence in said(result, "subscriber", "whole"))
    assert whole_says["features for hq"] == "all that its Distributions need"
    assert whole_says["trust in hq"] == "installed"
    assert whole_says["clock"] == "clock within 60 s"
    assert ("failed", "agent: none installed") in [(h, s.partition(",")[0]) for h, s in said(result, "subscriber", "bare")]
    ((health, sentence),) = said(result, "subscriber", "down")
    assert (health, sentence.startswith("login: ")) == ("failed", True)
    ((health, sentence),) = said(result, "subscriber", "changed")
    assert health == "failed"
    assert "host key" in sentence

    # An agent that lacks what a Distribution needs, and a host with too little space.
    publisher = Publisher(site / "var/hq", distributor="hq")
    places: dict[str, Any] = {"transport": AddressTransport(site), "bundles": Path(os.environ["SLUICE_STATE"]) / "agent-bundles"}
    items = check(whole.subscriber, {"hq": publisher}, **places, timeout=10, needs={"hq": frozenset({"teleport"})})
    assert [item.detail for item in items if not item.ok] == ["lacks teleport, which its Distributions need"]
