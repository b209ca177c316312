"""Commands that run flows: which flow with which names, dry runs that change nothing, and the exit code of what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.prefect_run import Detached, RunEnd
from infra.ledger.sql import SqlLedger, open_ledger
from infra.workplace import workplace_in
from sluice.blueprint import load_site
from sluice.distributor.build.build import build
from sluice.errors import HostKeyError, LockedTargetError, SluiceError, UnreachableError
from sluice.model.event import Event, EventKind
from sluice.model.revision import RevisionNumber
from sluice.model.state import Built, CurrentState, State
from sluice.rules.retry import failure_of
from tests.cli.conftest import NOW, Sluice

V1 = RevisionNumber(1, 1)


class FakePrefect:
    """Runs nothing: notes what it was asked, and lets a test write down what a flow would have."""

    def __init__(self, ledger: SqlLedger) -> None:
        self.ledger = ledger
        self.ran: list[tuple[str, dict[str, Any]]] = []
        self.failures: dict[str, SluiceError] = {}
        self.message, self.completed = "done", True

    def run(self, _session: object, flow: str, parameters: Mapping[str, Any]) -> RunEnd:
        self.ran.append((flow, {key: value for key, value in parameters.items() if value}))
        for subscriber, error in self.failures.items():
            failed = Event(NOW, EventKind.SEND_FAILED, "hq", "zone", V1, subscriber, "daily")
            self.ledger.record(failed, lambda s, e=error: _failed(s, e))
        return RunEnd(self.completed, self.message)


def _failed(state: CurrentState, error: SluiceError) -> CurrentState:
    offered = state.offer(V1, distributor="hq", channel="daily", at=NOW)
    next_try = NOW + timedelta(minutes=2) if error.retryable else None
    kind = State.UNAVAILABLE if error.retryable else State.FAILED
    return offered.fail_sending(failure_of(error), state=kind, reason="tried", next_try=next_try, at=NOW, sent=300)


@pytest.fixture
def prefect(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePrefect]:
    """Zone 1.1 is built as far as the ledger knows; nobody has it."""
    with_ledger = open_ledger(site / "var/hq/ledger.db")
    with_ledger.record(Event(NOW, EventKind.BUILT, "hq", "zone", V1), built=Built("zone", V1, NOW, files=1, bytes=2))
    fake = FakePrefect(with_ledger)
    monkeypatch.setattr("cli.runs.prefect_server", lambda *_: nullcontext())
    monkeypatch.setattr("cli.runs.run_flow", fake.run)
    yield fake
    with_ledger.close()


@pytest.mark.parametrize(
    ("words", "ran"),
    [
        (("build", "zone"), [("build", {"distribution": "zone"})]),
        (("build", "zone", "--rebaseline"), [("build", {"distribution": "zone", "rebaseline": True})]),
        (("build", "zone", "--allow-removals"), [("build", {"distribution": "zone", "allow_removals": True})]),
        (("send", "zone", "--allow-removals"), [("send", {"distribution": "zone", "allow_removals": True})]),
        (("extract", "--allow-removals"), [("extract", {"distributor": "hq", "at_once": True, "allow_removals": True})]),
        (("distribute", "zone", "--allow-removals"), [("distribute", {"distribution": "zone", "allow_removals": True})]),
        (("sign", "zone"), [("sign", {"distribution": "zone"})]),
        (("send", "zone", "--to", "near"), [("send", {"distribution": "zone", "to": ["near"]})]),
        (("send", "daily", "--check"), [("send", {"channel": "daily", "distributor": "hq", "check": True})]),
        (("extract",), [("extract", {"distributor": "hq", "at_once": True})]),
        (
            ("extract", "far", "near", "far", "--distribution", "zone"),
            [("extract", {"distributor": "hq", "subscribers": ["far", "near"], "distribution": "zone", "at_once": True})],
        ),
        (("distribute", "zone"), [("distribute", {"distribution": "zone"})]),
        (("refresh",), [("refresh", {"distributor": "hq"})]),
        (("refresh", "hq"), [("refresh", {"distributor": "hq"})]),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_a_command_runs_its_flow_with_names(
    words: tuple[str, ...], ran: list[tuple[str, dict[str, Any]]], prefect: FakePrefect, sluice: Sluice
) -> None:
    assert sluice(*words).code == 0
    assert prefect.ran == ran


@pytest.mark.parametrize(
    "words",
    [
        *(("build", "nosuch"), ("sign", "nosuch"), ("send", "nosuch"), ("send", "zone", "--to", "nosuch"), ("send", "zone", "--channel")),
        *(
            ("extract", "nosuch"),
            ("extract", "--distribution", "nosuch"),
            ("distribute", "nosuch"),
            ("refresh", "nosuch"),
            ("cancel", "nosuch"),
        ),
    ],
    ids=" ".join,
)
def test_an_unknown_name_runs_nothing(words: tuple[str, ...], prefect: FakePrefect, sluice: Sluice) -> None:
    result = sluice(*words)
    assert (result.code, prefect.ran) == (2, [])
    assert "the site has: " in result.err


def test_the_table_tells_what_happened_to_each_subscriber(prefect: FakePrefect, sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.runs.now", lambda: NOW)
    prefect.failures = {"far": HostKeyError("far shows another host key", remedy="compare it")}
    prefect.message, prefect.completed = "sent to 0 of 2 Subscribers", False
    result = sluice("send", "zone")
    assert result.code == HostKeyError.exit_code == 7
    assert result.out == (
        "sent to 0 of 2 Subscribers\n"
        "SUBSCRIBER  REVISION  STATE     SENT  TIME  REASON\n"
        "far         1.1       failed   300 B   0 s  1.1 failed at 2026-03-01 12:00:00 UTC: far shows another host key: compare it\n"
        "near        1.1       waiting    0 B     -  1.1 waits for the next start of Channel daily at 2026-03-01 22:00:00 UTC\n"
    )


def test_what_happened_before_isnt_told_as_this_runs(prefect: FakePrefect, sluice: Sluice) -> None:
    prefect.failures = {"far": UnreachableError("nothing answers")}
    sluice("send", "zone")
    prefect.failures = {}
    rows = {row["subscriber"]: row for row in sluice("send", "zone", "--to", "far", "--json").json["rows"]}
    assert list(rows) == ["far"]
    assert (rows["far"]["bytes"], rows["far"]["seconds"], rows["far"]["bytes_sent"]) == (0, None, 300)


def test_several_kinds_of_failure_exit_with_one(prefect: FakePrefect, sluice: Sluice) -> None:
    prefect.failures = {"far": UnreachableError("nothing answers"), "near": LockedTargetError("locked: a")}
    result = sluice("send", "zone", "--json")
    assert result.code == 1
    assert {row["subscriber"]: row["error"] for row in result.json["rows"]} == {"far": "UnreachableError", "near": "LockedTargetError"}


def test_a_run_that_failed_without_a_failed_subscriber_isnt_success(prefect: FakePrefect, sluice: Sluice) -> None:
    prefect.completed, prefect.message = False, "crashed"
    result = sluice("refresh", "--json")
    assert (result.code, result.json) == (1, {"runs": [{"flow": "refresh", "completed": False, "message": "crashed"}], "rows": []})


def test_a_name_of_both_kinds_is_the_distribution_unless_said(prefect: FakePrefect, site: Path, sluice: Sluice) -> None:
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(text.replace("name: daily", "name: zone").replace("[daily]", "[zone]"))
    assert sluice("send", "zone").code == sluice("send", "zone", "--channel").code == 0
    assert [parameters for _, parameters in prefect.ran] == [{"distribution": "zone"}, {"channel": "zone", "distributor": "hq"}]


def test_detach_starts_the_deployment_and_runs_nothing_here(prefect: FakePrefect, sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, dict[str, Any]]] = []

    def detach(_session: object, deployment: str, parameters: Mapping[str, Any]) -> Detached:
        started.append((deployment, {key: value for key, value in parameters.items() if value}))
        return Detached("brisk-otter", "http://127.0.0.1:4200/runs/flow-run/1")

    monkeypatch.setattr("cli.runs.detach", detach)
    result = sluice("send", "zone", "--to", "near", "--detach", "--json")
    assert result.json == {"detached": [{"deployment": "send/daily", "run": "brisk-otter", "url": "http://127.0.0.1:4200/runs/flow-run/1"}]}
    for words in (("send", "daily"), ("build", "zone"), ("extract", "near"), ("distribute", "zone"), ("refresh",)):
        assert sluice(*words, "--detach").code == 0
    assert started == [
        ("send/daily", {"channel": "daily", "distributor": "hq", "distribution": "zone", "to": ["near"]}),
        ("send/daily", {"channel": "daily", "distributor": "hq"}),
        ("build/zone", {"distribution": "zone"}),
        ("extract/hq", {"distributor": "hq", "subscribers": ["near"], "at_once": True}),
        ("distribute/zone", {"distribution": "zone"}),
        ("refresh/hq", {"distributor": "hq"}),
    ]
    assert prefect.ran == []


def test_a_distribution_without_channel_cant_be_sent(prefect: FakePrefect, sluice: Sluice) -> None:
    result = sluice("send", "unlisted", "--detach")
    assert result.code == 2
    assert "no Channel lists Distribution unlisted" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build", "zone"), "would build zone 1.1: 1 file, 2 B; "),
        (("distribute", "zone"), "would send it to those of far, near that do not have it"),
        (("sign", "zone"), "the signed metadata is up to date"),
        (("send", "zone"), "zone has no revision yet"),
        (("extract",), "no Subscriber holds a revision that it has not extracted"),
        (("verify",), "nothing is installed that would be read back"),
        (("refresh",), "would refresh hq: renew the signatures of unlisted, zone"),
        (("cancel", "zone"), "zone would be cancelled"),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_a_dry_run_changes_nothing(words: tuple[str, ...], said: str, site: Path, sluice: Sluice) -> None:
    before = sorted(site.rglob("*"))
    result = sluice(*words, "--dry-run")
    # The Subscribers have no agent yet, and a dry run that foretells a failure has its exit code.
    assert result.code == (7 if words[0] == "distribute" else 0), result.err
    assert said in result.out
    assert sorted(site.rglob("*")) == before


def test_a_dry_run_names_excludes_that_match_nothing(site: Path, sluice: Sluice) -> None:
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(
        text.replace('{source: payload, destination: "{{ DEST }}"}', "{source: payload, destination: /d, exclude: ['*.tmp']}")
    )
    assert f"exclude '*.tmp' of {site}/payload matches nothing" in sluice("build", "zone", "--dry-run").out
    unmatched = sluice("build", "zone", "--dry-run", "--json").json["build"]["unmatched_excludes"]
    assert unmatched == [{"source": f"{site}/payload", "exclude": "*.tmp"}]


def test_a_dry_run_stops_at_an_emptied_source_as_the_build_does(site: Path, sluice: Sluice) -> None:
    loaded = load_site(site)
    with workplace_in(loaded, "hq") as work:
        build(loaded.distribution("zone"), store=work.store, source=work.source)
    (site / "payload/a.txt").unlink()
    for words in (("build", "zone"), ("distribute", "zone")):
        result = sluice(*words, "--dry-run")
        assert (result.code, result.out) == (6, "")
        assert f"zone: {site}/payload has no files now; the last revision has 1 file" in result.err
    assert sluice("build", "zone", "--dry-run", "--allow-removals").out.startswith("would build zone 1.2: 0 files")


def test_cancel_stops_what_waits_under_a_name(prefect: FakePrefect, sluice: Sluice) -> None:
    prefect.failures = {"far": UnreachableError("nothing answers")}
    sluice("send", "zone")
    assert sluice("cancel", "daily", "--dry-run").out == "daily would be cancelled: 1 send waiting, 0 sends under way that will finish\n"
    assert prefect.ledger.look("hq").cancelled == {}
    assert sluice("cancel", "daily").out == "daily is cancelled: 1 send waiting, 0 sends under way that will finish\n"
    assert set(prefect.ledger.look("hq").cancelled) == {"daily"}
