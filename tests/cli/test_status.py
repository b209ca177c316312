"""``status`` and ``why``: the ledger's word on the site, and nothing made by reading."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from infra.ledger.sql import SqlLedger, open_ledger
from sluice.model.order import Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.state import Built, Event, EventKind
from tests.cli.conftest import NOW, Sluice

BUILT = NOW - timedelta(hours=2)
SENT = NOW - timedelta(hours=1)
REVISION = RevisionNumber(1, 1)


@pytest.fixture
def ledger(site: Path) -> Iterator[SqlLedger]:
    """Zone 1.1 was built, near extracted it, far was never called."""
    opened = open_ledger(site / "var/hq/ledger.db")
    opened.record(Event(BUILT, EventKind.BUILT, "hq", "zone", REVISION), built=Built("zone", REVISION, BUILT, files=1, bytes=2))
    sent = Event(SENT, EventKind.SENT, "hq", "zone", REVISION, "near", "daily")
    opened.record(sent, lambda s: s.offer(REVISION, distributor="hq", channel="daily", at=SENT))
    opened.record(sent, lambda s: s.received(REVISION, sent=2048, resumed=0, at=SENT))
    receipt = Receipt("hq", "near", 1, "zone", REVISION, Outcome.INSTALLED, SENT, SENT, 1, 0, 2, "0" * 64)
    opened.accept_receipt(receipt, "{}", Event(SENT, EventKind.INSTALLED, "hq", "zone", REVISION, "near"))
    yield opened
    opened.close()


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
        },
        {
            "subscriber": "near",
            "distribution": "zone",
            "channel": "daily",
            "held": "1.1",
            "extracted": "1.1",
            "latest": "1.1",
            "state": "installed",
            "reason": "1.1 is installed since 2026-03-01 11:00:00 UTC",
            "since": "2026-03-01T11:00:00Z",
            "bytes_sent": 2048,
        },
    ]
    assert [(row["distribution"], row["state"]) for row in rows[:-2]] == [("unlisted", "not sent")]


def test_status_for_people(sluice: Sluice, ledger: SqlLedger, at_noon: datetime) -> None:
    assert sluice("status", "--subscriber", "near").out == (
        "SUBSCRIBER  DISTRIBUTION  CHANNEL  HELD  EXTRACTED  LATEST  STATE      SINCE (UTC)           SENT"
        "  REASON\n"
        "near        zone          daily    1.1   1.1        1.1     installed  2026-03-01 11:00:00  2 KiB"
        "  1.1 is installed since 2026-03-01 11:00:00 UTC\n"
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


def test_a_damaged_ledger_is_a_ledger_error(sluice: Sluice, site: Path) -> None:
    (site / "var/hq").mkdir(parents=True)
    (site / "var/hq/ledger.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    result = sluice("status", "--json")
    assert (result.code, result.json["error"]["code"]) == (10, "LedgerError")
