"""``status`` and ``why``: the ledger's word on the site, and nothing made by reading."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from infra.ledger.sql import SqlLedger, open_ledger
from sluice.distributor.build.record import build_recorded
from sluice.formats.orders import receipt_bytes
from sluice.model.belief import Belief, Doubt, Machine
from sluice.model.event import Event, EventKind
from sluice.model.order import ActionReport, Failure, Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.state import Built
from sluice.trust.envelope import RECEIPT_WORD, seal
from tests.cli.conftest import NOW, Sluice
from tests.cli.real_site import RealSite
from tests.system.postgres import Cluster

BUILT = NOW - timedelta(hours=2)
SENT = NOW - timedelta(hours=1)
REVISION = RevisionNumber(1, 1)
FILES = "files:\n  - {{source: {source}, destination: /srv/zone}}\n"


@pytest.fixture
def ledger(site: Path) -> Iterator[SqlLedger]:
    """Zone 1.1 was built, near extracted it, far was never called."""
    opened = open_ledger(site / "var/hq/ledger.db")
    fill(opened)
    yield opened
    opened.close()


def fill(opened: SqlLedger) -> None:
    opened.record(Event(BUILT, EventKind.BUILT, "hq", "zone", REVISION), built=Built("zone", REVISION, BUILT, files=1, bytes=2))
    sent = Event(SENT, EventKind.SENT, "hq", "zone", REVISION, "near", "daily")
    opened.record(sent, lambda s: s.offer(REVISION, distributor="hq", channel="daily", at=SENT))
    opened.record(sent, lambda s: s.mark_received(REVISION, sent=2048, resumed=0, at=SENT))
    receipt = Receipt("hq", "near", 1, "zone", REVISION, Outcome.INSTALLED, SENT, SENT, 1, 0, 2, "0" * 64)
    opened.accept_receipt(receipt, "{}", Event(SENT, EventKind.INSTALLED, "hq", "zone", REVISION, "near"))


def test_status_json_has_a_row_for_each_pair_in_the_documented_keys(sluice: Sluice, ledger: SqlLedger, at_noon: datetime) -> None:
    rows = sluice("status", "--json").json["rows"]
    assert rows[-2:] == [
        {
            "subscriber": "far",
            "distribution": "zone",
            "channel": "daily",
            "held": None,
            "extracted": None,
            "latest": "1.1",
            "state": "waiting",
            "reason": "1.1 waits for the next start of Channel daily at 2026-03-01 22:00:00 UTC",
            "since": None,
            "bytes_sent": 0,
            "read_back_at": None,
            "seen_at": None,
            "doubt": None,
            "build_failure": None,
        },
        {
            "subscriber": "near",
            "distribution": "zone",
            "channel": "daily",
            "held": "1.1",
            "extracted": "1.1",
            "latest": "1.1",
            "state": "installed",
            "reason": "1.1 is installed, read back 1 h ago (2026-03-01 11:00:00 UTC)",
            "since": "2026-03-01T11:00:00Z",
            "bytes_sent": 2048,
            "read_back_at": "2026-03-01T11:00:00Z",
            "seen_at": "2026-03-01T11:00:00Z",
            "doubt": None,
            "build_failure": None,
        },
    ]
    assert [(row["distribution"], row["state"]) for row in rows[:-2]] == [("unlisted", "not sent")]


def test_status_for_people(sluice: Sluice, ledger: SqlLedger, at_noon: datetime) -> None:
    assert sluice("status", "--subscriber", "near").out == (
        "SUBSCRIBER  DISTRIBUTION  CHANNEL  HELD  EXTRACTED  LATEST  STATE      SINCE (UTC)          READ BACK   SENT"
        "  REASON\n"
        "near        zone          daily    1.1   1.1        1.1     installed  2026-03-01 11:00:00  1 h ago    2 KiB"
        "  1.1 is installed, read back 1 h ago (2026-03-01 11:00:00 UTC)\n"
        "1 of 1 Subscriber extracted 1.1\n"
    )


@pytest.mark.parametrize(
    ("words", "pairs"),
    [
        (("zone",), [("far", "zone"), ("near", "zone")]),
        (("daily",), [("far", "zone"), ("near", "zone")]),
        (("unlisted",), [("", "unlisted")]),
        (("zone", "--subscriber", "far"), [("far", "zone")]),
        (("unlisted", "--subscriber", "far"), []),
    ],
)
def test_status_narrows_to_a_distribution_channel_or_subscriber(
    words: tuple[str, ...], pairs: list[tuple[str, str]], sluice: Sluice, ledger: SqlLedger
) -> None:
    rows = sluice("status", *words, "--json").json["rows"]
    assert [(row["subscriber"], row["distribution"]) for row in rows] == pairs


@pytest.mark.parametrize("words", [("nosuch",), ("--subscriber", "nosuch")])
def test_status_of_an_unknown_name_is_an_error(words: tuple[str, ...], sluice: Sluice, site: Path) -> None:
    result = sluice("status", *words)
    assert result.code == 2
    assert "'nosuch': the site has: " in result.err


def test_why_is_one_sentence(sluice: Sluice, ledger: SqlLedger, at_noon: datetime) -> None:
    sentence = "far has no revision of zone (latest: 1.1): 1.1 waits for the next start of Channel daily at 2026-03-01 22:00:00 UTC."
    assert sluice("why", "far", "zone").out == f"{sentence}\n"
    found = sluice("why", "far", "zone", "--json").json
    assert (found["sentence"], found["state"]) == (sentence, "waiting")
    assert sluice("why", "far", "nosuch").code == sluice("why", "nosuch", "zone").code == 2


def test_why_shows_the_last_actions_and_all_that_a_failed_one_printed(sluice: Sluice, ledger: SqlLedger, at_noon: datetime) -> None:
    reports = (
        ActionReport("pre", "script (shell)", 0.5, 0, "all is well\n"),
        ActionReport("post", "script (shell): /opt/restart", 1.5, 3, "x" * 5000 + "\nno such service\r\n\x1b]0;title\x07\u202eend\n"),
        ActionReport("undo", "stop process webd", 0.0, 0, "stays stopped: no undo: starts it again (asked to end: PID 7)"),
    )
    failure = Failure("ActionFailedError", "post action 1, script (shell): /opt/restart, ended with exit code 3", "", False)
    receipt = Receipt("hq", "near", 2, "zone", REVISION, Outcome.FAILED, SENT, SENT, 0, 0, 0, "", reports, failure)
    envelope = seal(RECEIPT_WORD, receipt_bytes(receipt), key="near", sign=lambda _: bytes(64))
    ledger.accept_receipt(receipt, json.dumps(envelope), Event(SENT, EventKind.EXTRACT_FAILED, "hq", "zone", REVISION, "near"))
    shown = sluice("why", "near", "zone").out.splitlines()
    assert shown[1] == "pre action, script (shell), exit code 0, 0.5 s: all is well"
    assert shown[2] == "post action, script (shell): /opt/restart, exit code 3, printed:"
    assert shown[4:6] == ["    no such service", "    ]0;titleend"]
    assert sum(len(line) - 4 + 1 for line in shown[3:6]) == 4096
    assert shown[6:] == [
        "undo action, stop process webd, exit code 0, printed:",
        "    stays stopped: no undo: starts it again (asked to end: PID 7)",
    ]
    first, action, undo = sluice("why", "near", "zone", "--json").json["actions"]
    assert first == {"phase": "pre", "label": "script (shell)", "exit_code": 0, "seconds": 0.5, "output": "all is well\n"}
    output = action.pop("output")
    assert action == {"phase": "post", "label": "script (shell): /opt/restart", "exit_code": 3, "seconds": 1.5}
    assert output.endswith("x\nno such service\n]0;titleend\n")
    assert len(output) == 4096
    assert (undo["phase"], undo["label"]) == ("undo", "stop process webd")


def test_why_shows_no_action_of_an_extraction_without_any(sluice: Sluice, ledger: SqlLedger, at_noon: datetime) -> None:
    assert sluice("why", "near", "zone", "--json").json["actions"] == []


def test_reading_makes_nothing(sluice: Sluice, site: Path) -> None:
    assert sluice("status").code == sluice("why", "near", "zone").code == 0
    assert not (site / "var").exists()


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_ledger_that_distributors_share_is_read(
    form: str, sluice: Sluice, ledger: SqlLedger, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = (site / "var/hq/ledger.db").rename(tmp_path / "shared.db")
    monkeypatch.setenv("SLUICE_LEDGER", form.format(shared))
    assert "installed" in sluice("status", "zone", "--subscriber", "near").out


def test_a_ledger_on_postgresql_is_read(sluice: Sluice, site: Path, postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    database = postgres.database()
    monkeypatch.setenv("SLUICE_LEDGER", postgres.url(database))
    with closing(open_ledger(postgres.url(database))) as opened:
        fill(opened)
    assert "installed" in sluice("status", "zone", "--subscriber", "near").out
    postgres.drop(database)
    gone = sluice("status", "--json")
    assert (gone.code, gone.json["error"]["code"]) == (10, "LedgerError")
    assert postgres.password not in gone.out


def test_a_damaged_ledger_is_a_ledger_error(sluice: Sluice, site: Path) -> None:
    (site / "var/hq").mkdir(parents=True)
    (site / "var/hq/ledger.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    result = sluice("status", "--json")
    assert (result.code, result.json["error"]["code"]) == (10, "LedgerError")


def test_what_contacts_raised_is_in_status_and_why(sluice: Sluice, ledger: SqlLedger, at_noon: datetime) -> None:
    machines = (Machine("x", "web", "ssh:web", NOW), Machine("y", "copy", "ssh:copy", SENT))
    belief = Belief(NOW, "0.1.0", "k", "/work", 1, machines, twins_at=NOW)
    doubt = Doubt("at T its agent had nothing extracted, although 1.1 had been read back", None, None, 0)
    ledger.believe("hq", "near", belief, [], {"zone": lambda state: state.raise_doubt(doubt, NOW)})
    (row,) = sluice("status", "--subscriber", "near", "--json").json["rows"]
    assert (row["state"], row["extracted"], row["doubt"]) == ("waiting", None, doubt.text)
    said = sluice("why", "near", "zone").out
    assert (doubt.text in said, "two machines answered in turn as near: web at ssh:web" in said) == (True, True)
    left_out = f"near (zone): {doubt.text}; run: sluice distribute zone --to near"
    assert f"would not be read back: {left_out}" in sluice("verify", "near", "--dry-run").out
    assert sluice("verify", "near", "--dry-run", "--json").json["doubted"] == [left_out]


@pytest.mark.real
@pytest.mark.parametrize("kind", ["postgresql", "file", "own"])
def test_a_new_ledger_says_so_and_does_not_deny_the_revisions_on_disk(
    sluice: Sluice, tmp_path: Path, postgres: Cluster, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    real = RealSite(tmp_path / "site")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a").write_text("a")
    real.write(
        f"---\nkind: Distribution\nname: zone\ndistributor: hq\ntype: file\nchannels: [web]\n{FILES.format(source=tmp_path / 'source')}"
    )
    with real.work() as work:
        build_recorded(work, "zone")
    monkeypatch.setenv("SLUICE_SITE", str(real.directory))
    before = sluice("status", "--json").json["rows"]
    assert "is new" not in sluice("status").err

    own = real.directory / "var/hq/ledger.db"
    if kind == "own":
        own.unlink()
    else:
        monkeypatch.setenv("SLUICE_LEDGER", postgres.url(postgres.database()) if kind == "postgresql" else str(tmp_path / "new.db"))
    told = sluice("status")
    (row,) = sluice("status", "--json").json["rows"]
    assert (row["latest"], row["state"]) == ("1.1", before[0]["state"])
    assert "this ledger doesn't know 1.1, which is in the store: the next build records it" in row["reason"]
    assert "knows nothing of the revisions in the store of Distributor hq" in told.err
    assert postgres.password not in told.out + told.err
    copy = f'sluice ledger copy {own} "$SLUICE_LEDGER"'
    assert (copy in told.err) is (kind != "own")

    if kind != "own":
        copied = sluice("ledger", "copy", own, os.environ["SLUICE_LEDGER"], "--json")
        assert (copied.code, copied.json["copied"]) == (0, True)
        assert postgres.password not in copied.out + copied.err
        assert sluice("status", "--json").json["rows"] == before
        assert "is new" not in sluice("status").err
