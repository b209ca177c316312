"""``status``, ``doctor`` and others as they are seen in terminals of several sizes: what failed first, nothing beyond the last column."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.findings import findings_text
from demo.screen import Terminal
from infra.ledger.sql import SqlLedger, open_ledger
from sluice.distributor.deliver.under_way import DIRECTORY, Board
from sluice.errors import UnreachableError
from sluice.model.assignment import Assignment
from sluice.model.belief import Belief, Machine
from sluice.model.event import Event, EventKind
from sluice.model.order import Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.state import Built, Record, State
from sluice.rules.diagnosis import Finding, Health
from sluice.rules.retry import failure_of
from tests.cli.conftest import SITE, Sluice

pytestmark = pytest.mark.slow
SLUICE = str(Path(sys.executable).with_name("sluice"))
SIZES = [(80, 24), (40, 10), (200, 50)]
V1 = RevisionNumber(1, 1)
AT = datetime.now(UTC) - timedelta(minutes=10)
"""The command has its own clock, and leases run out."""
HOSTS = [f"host-{number:02}" for number in range(40)]
FAILED, SENDING = HOSTS[20:23], HOSTS[30:32]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "SLUICE_SITE", "SLUICE_STATE", "TMPDIR", "HOME")}
    return kept | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | more


def typed(*words: str, columns: int = 80, rows: int = 24, **more: str) -> Terminal:
    return Terminal([SLUICE, *words], columns=columns, rows=rows, environment=environment(**more))


def lines_of(*words: str, columns: int = 80, **more: str) -> list[str]:
    """What a command prints in a terminal that is long enough."""
    terminal = typed(*words, columns=columns, rows=400, **more)
    terminal.end()
    return terminal.screen.text.splitlines()


@pytest.fixture
def fleet(site: Path) -> Iterator[SqlLedger]:
    """40 hosts of which 35 have the revision, three don't answer and two are being sent it."""
    text = SITE.replace("subscribers: [near, far]", f"subscribers: [{', '.join(HOSTS)}]")
    for name in HOSTS:
        text += f"---\nkind: Subscriber\nname: {name}\naddress: local:var/{name}\nworking_directory: var/{name}/sluice\n"
        text += 'platform: debian-12\nvariables: {DEST: "{{ LOCAL_DIRECTORY }}/out"}\n'
    (site / "site.yaml").write_text(
        text.partition("---\nkind: Distribution\nname: unlisted")[0] + "---" + text.partition('/unlisted"}\n---')[2]
    )
    ledger = open_ledger(site / "var/hq/ledger.db")
    ledger.record(Event(AT, EventKind.BUILT, "hq", "zone", V1), built=Built("zone", V1, AT, files=1, bytes=2))
    for number, name in enumerate(HOSTS):
        sent = Event(AT, EventKind.SENT, "hq", "zone", V1, name, "daily")
        ledger.record(sent, lambda s: s.offer(V1, distributor="hq", channel="daily", at=AT))
        if name in FAILED:
            error = failure_of(UnreachableError(f"{name}: port 22 of 192.0.2.7 does not answer", remedy="check that it is up"))
            next_try = datetime.now(UTC) + timedelta(minutes=2)
            ledger.record(
                Event(AT, EventKind.SEND_FAILED, "hq", "zone", V1, name, "daily"),
                lambda s, e=error, t=next_try: s.fail_sending(
                    e, state=State.UNAVAILABLE, reason=f"retry 1 of 15: {e.message}", next_try=t, at=AT, sent=0
                ),
            )
        elif name not in SENDING:
            ledger.record(sent, lambda s: s.mark_received(V1, sent=2048, resumed=0, at=AT))
            receipt = Receipt("hq", name, number + 1, "zone", V1, Outcome.INSTALLED, AT, AT, 1, 0, 2, "0" * 64)
            ledger.accept_receipt(receipt, "{}", Event(AT, EventKind.INSTALLED, "hq", "zone", V1, name))
    tickets = [ledger.enqueue("hq", Assignment(name, "zone", V1, "daily"), "run", lease_seconds=9999, now=AT) for name in SENDING]
    numbers = {ticket.number: ticket for ticket in tickets}  # type: ignore[union-attr]

    def began(number: int) -> Record:
        return Record(
            Event(AT, EventKind.SEND_STARTED, "hq", "zone", V1, numbers[number].subscriber, "daily"), lambda s: s.begin_sending(V1, AT)
        )

    ledger.take_turns("hq", numbers, numbers, began, limit=None, now=AT)
    board = Board()
    board.begin("zone", "1.1", SENDING[0]).now("sending", 34, 100)
    board.write(site / "var/hq" / DIRECTORY / "run")
    yield ledger
    ledger.close()


@pytest.mark.parametrize("columns", [80, 40, 200])
def test_status_fits_and_says_what_failed_first_and_a_total(columns: int, fleet: SqlLedger) -> None:
    lines = lines_of("status", columns=columns)
    assert max(map(len, lines)) <= columns
    subscribers = [line.split()[0] for line in lines if line.startswith("host-")]
    assert (subscribers[:3], len(subscribers)) == (FAILED, 40)
    assert "3 of 40 Subscribers failed, 35 extracted 1.1, 2 sending" in " ".join(" ".join(lines).split())
    assert "does not answer" in " ".join(lines)
    assert ("REASON" in lines[0]) is (columns == 200)


@pytest.mark.parametrize("columns", [80, 40, 200])
def test_a_row_that_is_sending_says_how_far_it_is(columns: int, fleet: SqlLedger, sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sluice.distributor.deliver.under_way.BELIEVED_SECONDS", float("inf"))
    (row,) = [line for line in sluice("status").out.splitlines() if line.startswith(SENDING[0])]
    assert row.count("sending 34 %") == 1


@pytest.mark.parametrize("doing", ["sending", "extracting"])
def test_a_row_that_extracts_says_nothing_of_the_send_before(
    doing: str, fleet: SqlLedger, site: Path, sluice: Sluice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sluice.distributor.deliver.under_way.BELIEVED_SECONDS", float("inf"))
    fleet.enqueue("hq", Assignment(HOSTS[0], "zone", V1, "daily"), "run", lease_seconds=9999, now=AT)
    event = Event(AT, EventKind.EXTRACT_STARTED, "hq", "zone", V1, HOSTS[0], "daily")
    fleet.record(event, lambda s: s.begin_extracting(V1, AT))
    board = Board()
    board.begin("zone", "1.1", HOSTS[0]).now(doing, 66, 100)
    board.write(site / "var/hq" / DIRECTORY / "run")
    told = sluice("status", "--subscriber", HOSTS[0]).out
    assert ("installing" in told, "sending" in told, "66 %" in told) == (True, False, doing == "extracting"), told


@pytest.mark.parametrize("columns", [80, 40])
def test_a_build_that_fails_is_told_once_and_whatever_is_odd_with_its_row(
    columns: int, fleet: SqlLedger, sluice: Sluice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    failing = {"code": "SourceMissingError", "message": "the source is gone", "remedy": "mount it"}
    fleet.record(Event(AT, EventKind.BUILD_FAILED, "hq", "zone", data=failing))
    for name in HOSTS[:2]:
        fleet.believe("hq", name, Belief(AT, "1.0", "the same key", "/srv", 3, (Machine("i", "host", "address", AT),)), [], {})
    lines = sluice("status").out.splitlines()
    assert max(map(len, lines)) <= columns
    told = " ".join(" ".join(lines).split())
    assert told.count("the source is gone") == 1
    assert "3 of 40 Subscribers failed, 35 extracted 1.1, 2 sending; builds fail since" in told
    assert told.count("have one identity: all but one are clones") == 2
    assert ("READ BACK" in lines[0]) is (columns == 80)
    assert next(line for line in lines if line.startswith(HOSTS[5])).endswith(" ago") is (columns == 80)


def test_status_of_those_that_failed_alone(fleet: SqlLedger) -> None:
    lines = lines_of("status", "--failed")
    assert [line.split()[0] for line in lines if line.startswith("host-")] == FAILED
    assert lines[-1].startswith("3 of 40 Subscribers failed") or "disk" in lines[-1]
    rows = json.loads(subprocess.run([SLUICE, "status", "--failed", "--json"], env=environment(), capture_output=True, check=True).stdout)
    assert [row["subscriber"] for row in rows["rows"]] == FAILED


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_watching_rewrites_in_place_until_ctrl_c(columns: int, rows: int, fleet: SqlLedger) -> None:
    terminal = typed("status", "--watch", columns=columns, rows=rows)
    screen = terminal.wait_for(lambda screen: "3 of 40 Subscribers failed" in screen.text)
    assert screen.scrolled == []
    assert ("more lines; --failed" in screen.text) is (rows < 45)
    terminal_failed = Event(AT, EventKind.SENT, "hq", "zone", V1, FAILED[0], "daily")
    fleet.record(terminal_failed, lambda s: s.mark_received(V1, sent=2048, resumed=0, at=AT))
    screen = terminal.wait_for(lambda screen: "2 of 40 Subscribers failed" in screen.text)
    assert screen.text.count("of 40 Subscribers") == 1
    terminal.type(b"\x03")
    assert terminal.end() == 0


def test_watching_without_a_terminal_prints_what_changed(fleet: SqlLedger) -> None:
    with subprocess.Popen([SLUICE, "status", "--watch"], env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert any("3 of 40 Subscribers failed" in line for line in iter(process.stdout.readline, ""))
            fleet.record(
                Event(AT, EventKind.SENT, "hq", "zone", V1, FAILED[0], "daily"),
                lambda s: s.mark_received(V1, sent=2048, resumed=0, at=AT),
            )
            assert any("2 of 40 Subscribers failed" in line for line in iter(process.stdout.readline, ""))
        finally:
            process.terminate()
        assert "\x1b" not in process.stdout.read()


def test_watching_goes_on_if_the_ledger_cannot_be_read_for_a_while(fleet: SqlLedger, site: Path) -> None:
    terminal = typed("status", "--watch")
    terminal.wait_for(lambda screen: "3 of 40 Subscribers failed" in screen.text)
    ledger, kept = site / "var/hq/ledger.db", site / "kept"
    ledger.rename(kept)
    ledger.write_bytes(b"no database" * 1000)
    screen = terminal.wait_for(lambda screen: "file is not a database" in screen.text)
    assert "3 of 40 Subscribers failed" in screen.text, "what was read last stays"
    kept.rename(ledger)
    terminal.wait_for(lambda screen: "file is not a database" not in screen.text)
    terminal.type(b"\x03")
    assert terminal.end() == 0


def test_watching_reads_a_changed_site_and_shows_the_last_one_while_it_has_errors(fleet: SqlLedger, site: Path) -> None:
    terminal = typed("status", "--watch")
    terminal.wait_for(lambda screen: "3 of 40 Subscribers failed" in screen.text)
    blueprint = site / "site.yaml"
    text = blueprint.read_text()
    blueprint.write_text(text + "---\nkind: Nothing\n")
    screen = terminal.wait_for(lambda screen: "sluice validate" in screen.text)
    assert "3 of 40 Subscribers failed" in screen.text
    another = text.partition(f"name: {HOSTS[0]}\n")[2].partition("---")[0]
    text = text.replace(f"[{HOSTS[0]},", f"[host-40, {HOSTS[0]},")
    blueprint.write_text(f"{text}---\nkind: Subscriber\nname: host-40\n{another.replace(HOSTS[0], 'host-40')}")
    screen = terminal.wait_for(lambda screen: "3 of 41 Subscribers failed" in screen.text)
    assert "sluice validate" not in screen.text
    terminal.type(b"\x03")
    assert terminal.end() == 0


def test_watching_ends_when_nobody_reads_it(fleet: SqlLedger) -> None:
    with subprocess.Popen([SLUICE, "status", "--watch"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_watch_and_json_exclude_each_other(site: Path) -> None:
    done = subprocess.run([SLUICE, "status", "--watch", "--json"], env=environment(), capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, "UsageError")


@pytest.mark.parametrize(
    ("words", "more", "is_coloured"),
    [
        (("status",), {}, True),
        (("--no-color", "status"), {}, False),
        (("status",), {"NO_COLOR": "1"}, False),
        (("status",), {"TERM": "dumb"}, False),
    ],
    ids=str,
)
def test_colours_are_for_terminals_that_want_them(
    words: tuple[str, ...], more: dict[str, str], is_coloured: bool, fleet: SqlLedger
) -> None:
    terminal = typed(*words, rows=400, **more)
    assert terminal.end() == 0
    assert (b"\x1b[31m" in terminal.written) is is_coloured
    assert b"\x1b" not in subprocess.run([SLUICE, *words], env=environment(**more), capture_output=True, check=True).stdout


def test_a_pipe_gets_each_row_on_its_line(fleet: SqlLedger) -> None:
    done = subprocess.run([SLUICE, "status"], env=environment(), capture_output=True, check=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("host-")]
    assert len(found) == 40
    assert all("does not answer" in line for line in found[:3])


def test_a_terminal_without_utf_8_gets_ascii(fleet: SqlLedger) -> None:
    terminal = typed("status", "--watch", rows=10, LC_ALL="C")
    terminal.wait_for(lambda screen: "3 of 40 Subscribers failed" in screen.text)
    terminal.type(b"\x03")
    assert terminal.end() == 0
    assert terminal.written.isascii()


@pytest.mark.parametrize("columns", [80, 40, 200])
def test_doctor_says_what_failed_first_then_warnings_then_one_line_of_what_is_fine(columns: int, site: Path) -> None:
    lines = lines_of("doctor", "--no-subscribers", columns=columns)
    assert max(map(len, lines)) <= columns
    words = [line.split()[0] for line in lines if line and not line.startswith(" ")][:-1]
    assert words[0] == "failed"
    assert words == sorted(words, key=["failed", "warning", "fine"].index)
    assert words.count("fine") == 1
    every = lines_of("doctor", "--no-subscribers", "--verbose", columns=columns)
    assert not any(line.startswith("fine") for line in every)
    assert sum(line.startswith("ok") for line in every) >= 2
    assert lines[-1] == every[-1]


def test_hosts_of_which_the_same_is_said_are_named_together() -> None:
    failed = [Finding(Health.FAILED, "subscriber", name, "agent: there is none", "bootstrap it") for name in ("oslo", "riga", "oslo")]
    other = Finding(Health.FAILED, "subscriber", "pori", "agent: there is none", "bootstrap pori")
    warning, fine = Finding(Health.WARNING, "machine", "disk", "nearly full", "free some"), Finding(Health.OK, "site", "site", "valid")
    lines = ["failed   subscriber oslo, riga: agent: there is none", "         bootstrap it"]
    lines += ["failed   subscriber pori: agent: there is none", "         bootstrap pori"]
    lines += ["warning  machine disk: nearly full", "         free some", "fine     2 checks: site 1, machine 1", ""]
    found = findings_text([fine, warning, replace(fine, area="machine"), *failed, other], listed=False)
    assert [text for text, _ in found] == [*lines, "7 checks: 4 failed, 1 warning"]
    assert [colour for _, colour in found] == [*["red"] * 4, *["yellow"] * 2, "", "", ""]


def test_short_commands_do_not_pay_for_the_library(site: Path) -> None:
    for words in (["--version"], ["--help"], ["status"], ["validate"]):
        script = f"import sys; from cli.main import run; run({words!r}); sys.exit('rich' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, check=False).returncode == 0
