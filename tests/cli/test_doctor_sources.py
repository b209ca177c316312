"""``sluice doctor`` looks at sources before a build stumbles over them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.ledger.sql import open_ledger
from sluice.model.event import Event, EventKind
from sluice.model.revision import RevisionNumber
from sluice.model.state import Built
from tests.cli.conftest import Sluice

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def built(sluice: Sluice, site: Path) -> Path:
    """The source of ``zone``, of which 1.1 has a file."""
    assert sluice("trust", "init", "hq").code == 0
    ledger = open_ledger(site / "var/hq/ledger.db")
    revision = RevisionNumber(1, 1)
    ledger.record(Event(AT, EventKind.BUILT, "hq", "zone", revision), built=Built("zone", revision, AT, files=1, bytes=2))
    ledger.close()
    return site / "payload"


def told(sluice: Sluice) -> dict[str, tuple[str, str, str]]:
    """By the beginning of each sentence."""
    found = [f for f in sluice("doctor", "--no-subscribers", "--json").json["findings"] if f["area"] == "source"]
    return {f["sentence"].split()[0]: (f["health"], f["object"], f["sentence"]) for f in found}


def test_a_source_that_can_be_read_is_fine(sluice: Sluice, built: Path) -> None:
    assert [each[0] for each in told(sluice).values()] == ["ok"]


@pytest.mark.parametrize(("kind", "problem"), [("missing", "No such file"), ("a pipe", "neither a file nor a directory")])
def test_a_source_that_no_build_can_read_fails(sluice: Sluice, built: Path, kind: str, problem: str) -> None:
    built.rename(built.with_name("away"))
    if kind == "a pipe":
        os.mkfifo(built)
    health, name, sentence = told(sluice)["zone"]
    assert (health, name, problem in sentence) == ("failed", str(built), True)


def test_an_empty_source_after_a_revision_with_files_is_a_warning(sluice: Sluice, built: Path) -> None:
    (built / "a.txt").unlink()
    health, name, sentence = told(sluice)["it"]
    assert (health, name, sentence) == ("warning", str(built), "it is empty, and zone 1.1 has 1 file")


def test_a_dangling_link_is_missing(sluice: Sluice, built: Path) -> None:
    built.rename(built.with_name("away"))
    built.symlink_to(built.with_name("nowhere"))
    assert told(sluice)["zone"][0] == "failed"
