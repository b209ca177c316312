"""``sluice release``: hosts forget that a Distribution placed anything, and every file stays. A real agent answers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sluice.errors import ConnectionLostError
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind
from sluice.model.revision import RevisionNumber
from sluice.model.state import State
from sluice.model.ticket import Ticket
from tests.cli.conftest import Sluice
from tests.cli.real_site import RealSite, forked_site
from tests.subscriber.revisions import tree_of

D = """\
---
kind: Distribution
name: {name}
distributor: hq
type: file
channels: [web]
extract: immediately
files:
  - {{source: src, destination: "{{{{ LOCAL_DIRECTORY }}}}/tree", synchronize: {synchronize}}}
"""


pytestmark = pytest.mark.slow


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealSite:
    """``d`` is installed: two files and a directory."""
    site = forked_site(tmp_path, monkeypatch, a="a", sub__b="b")
    site.write(D.format(name="d", synchronize="true"))
    assert site.distribute("d").state is State.INSTALLED
    return site


def test_the_files_stay_and_nothing_of_it_is_remembered_there(real: RealSite, sluice: Sluice) -> None:
    before = tree_of(real.host / "tree")
    result = sluice("release", "d")
    assert (result.code, result.out) == (
        0,
        "s1: d 1.1 released: its files stay; Channel web sends it there again when it next starts, by schedule or by hand\n",
    )
    assert tree_of(real.host / "tree") == before
    status = real.held("d").status()
    assert (status.received, status.extracted) == ({}, None)
    assert sorted(path.name for path in real.held("d").directory.iterdir()) == ["lock", "receipts", "status.json"]
    with real.work() as work:
        state = work.ledger.state("s1", "d")
        assert (state.state, state.held, state.extracted, state.sequence) == (State.RELEASED, None, None, 2)
        assert [each.event.kind for each in work.ledger.events(newest_first=True, limit=1)] == [EventKind.RELEASED]
        assert work.ledger.receipt("hq", "s1", 2) is not None
    assert not list(real.held("d").receipts.iterdir())  # acknowledged


def test_no_channel_sends_it_again_to_a_host_that_it_is_not_for_any_more(real: RealSite, sluice: Sluice) -> None:
    real.write(D.format(name="d", synchronize="true").replace("type: file", "type: file\nplatforms: [alma]"))
    assert sluice("release", "d").out == "s1: d 1.1 released: its files stay\n"


def test_a_dry_run_asks_nobody_and_changes_nothing(real: RealSite, sluice: Sluice) -> None:
    before = real.held("d").status()
    result = sluice("release", "d", "--dry-run", "--json")
    assert result.json == {
        "distribution": "d",
        "subscribers": [
            {
                "subscriber": "s1",
                "distributor": "hq",
                "outcome": "would be released",
                "revision": "1.1",
                "joined_by": ["web"],
                "error": None,
            }
        ],
        "not_in_the_site": [],
        "not_asked": [],
    }
    assert real.held("d").status() == before
    with real.work() as work:
        assert work.ledger.state("s1", "d").state is State.INSTALLED


def test_status_and_why_say_that_the_files_stay_and_what_comes_next(real: RealSite, sluice: Sluice) -> None:
    sluice("release", "d")
    [row] = sluice("status", "--json").json["rows"]
    assert (row["state"], row["held"], row["extracted"]) == ("released", None, None)
    assert ": its files stay; 1.1 waits for the next start of Channel web" in row["reason"]
    assert sluice("why", "s1", "d").out.startswith("s1 has no revision of d (latest: 1.1): released at ")


def test_released_files_are_removed_by_no_later_revision(real: RealSite, sluice: Sluice) -> None:
    assert sluice("release", "d").code == 0
    (real.directory / "src/a").unlink()
    assert real.distribute("d").state is State.INSTALLED
    assert (real.host / "tree/a").read_text() == "a"  # placed by 1.1, which was released: foreign now
    (real.directory / "src/sub/b").unlink()
    assert real.distribute("d").state is State.INSTALLED
    assert not (real.host / "tree/sub/b").exists()  # placed again by 1.2: removed by 1.3


def test_another_distribution_may_mirror_the_paths_from_then_on(real: RealSite, sluice: Sluice) -> None:
    real.write(D.format(name="other", synchronize="mirror"))  # d left the site
    refused = real.distribute("other")
    assert refused.error is not None
    assert "is a destination of d" in refused.error.message
    assert sluice("release", "d").out == "s1: d 1.1 released: its files stay\n"
    assert real.distribute("other").state is State.INSTALLED


def test_one_that_left_the_site_is_released_by_the_distributor_that_signed_it(real: RealSite, sluice: Sluice) -> None:
    real.write("")
    result = sluice("release", "d", "--to", "s1", "--json")
    assert [(each["outcome"], each["revision"]) for each in result.json["subscribers"]] == [("released", "1.1")]
    assert real.held("d").status().extracted is None
    assert "(latest: 1.1): the site no longer has a Distribution d; released at " in sluice("why", "s1", "d").out
    [row] = sluice("status", "--json").json["rows"]
    assert row["reason"].endswith(", its files stay")


def test_one_that_was_withdrawn_by_a_refresh_is_released_too(real: RealSite, sluice: Sluice) -> None:
    from sluice.distributor.build.withdraw import withdraw

    real.write("")
    with real.work() as work:
        assert withdraw(work) == ["d"]
    assert sluice("release", "d").out == "s1: d 1.1 released: its files stay\n"


def test_a_ledger_that_was_lost_knows_nobody_and_the_host_is_named(real: RealSite, sluice: Sluice) -> None:
    (real.directory / "var/hq/ledger.db").unlink()
    assert sluice("release", "d").out == "by its receipts no Subscriber has anything of d: name those to ask with --to\n"
    assert sluice("release", "d", "--to", "s1").out.startswith("s1: d 1.1 released: its files stay")


def test_a_second_release_finds_nothing(real: RealSite, sluice: Sluice) -> None:
    sluice("release", "d")
    assert sluice("release", "d", "--to", "s1").out == "s1: nothing there\n"


def test_a_name_that_no_distributor_ever_signed_is_not_found(real: RealSite, sluice: Sluice) -> None:
    result = sluice("release", "dd")
    assert result.code == 2
    assert "had, a Distribution 'dd': it is one of: d" in result.err


def test_a_host_without_its_agent_is_an_error_of_its_row_and_is_asked_again_once_it_is_back(
    real: RealSite, sluice: Sluice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SLUICE_SITE", str(real.directory))
    launcher = real.host / "sluice/agent/sluice-agent"
    launcher.rename(launcher.with_name("away"))
    result = sluice("release", "d")
    assert result.code == 7
    assert result.out.startswith("s1: ")
    with real.work() as work:
        state = work.ledger.state("s1", "d")
        assert (state.state, " its agent was gone: " in state.doubt) == (State.WAITING, True)
    launcher.with_name("away").rename(launcher)
    assert sluice("release", "d").out.startswith("s1: d 1.1 released: its files stay")


def test_a_host_that_shows_less_than_is_believed_is_doubted_by_a_release_too(real: RealSite, sluice: Sluice) -> None:
    real.held("d").status_path.unlink()
    assert sluice("release", "d").out.startswith("s1: d 1.1 released: its files stay")
    with real.work() as work:
        assert len(work.ledger.events(kinds=[EventKind.DOUBTED])) == 1
        assert work.ledger.state("s1", "d").doubt == ""


def test_what_another_distributor_placed_is_not_called_released(real: RealSite, sluice: Sluice) -> None:
    """The Distribution had another owner, whose records on the host are its own."""
    with real.work() as work:
        event = Event(datetime.now(UTC), EventKind.INSTALLED, "branch", "d", subscriber="s1")
        work.ledger.record(event, lambda state: replace(state, distributor="branch"))
    shutil.rmtree(real.held("d").directory)
    named = "s1: what Distributor branch placed stays: it isn't in the site, or its keys aren't on this machine\n"
    assert sluice("release", "d").out == named
    assert sluice("release", "d", "--json").json["not_asked"] == [{"subscriber": "s1", "distributor": "branch"}]
    assert sluice("release", "d", "--to", "s1").out == f"s1: nothing there\n{named}"
    with real.work() as work:
        state = work.ledger.state("s1", "d")
        assert (state.state, state.distributor, state.doubt) == (State.INSTALLED, "branch", "")


@pytest.mark.parametrize("is_shared", [False, True], ids=["two ledgers", "one ledger"])
def test_what_an_earlier_owner_placed_is_released_too(
    real: RealSite, sluice: Sluice, monkeypatch: pytest.MonkeyPatch, *, is_shared: bool
) -> None:
    branch = "---\nkind: Distributor\nname: branch\nworking_directory: var/branch\n"
    real.write(branch + D.format(name="d", synchronize="true").replace("distributor: hq", "distributor: branch"))
    if is_shared:  # by the new owner's offer its record takes the place of the earlier one's
        monkeypatch.setenv("SLUICE_LEDGER", str(real.directory / "var/hq/ledger.db"))
        with real.work() as work:
            event = Event(datetime.now(UTC), EventKind.OFFERED, "branch", "d", subscriber="s1")
            one = RevisionNumber(1, 1)
            offered = work.ledger.record(event, lambda state: state.offer(one, distributor="branch", channel="web", at=event.at))
            assert offered is not None
            assert (offered.held, offered.extracted) == (None, None), "what another placed attests nothing"
    released = sluice("release", "d", "--json")
    assert [(each["distributor"], each["outcome"], each["revision"]) for each in released.json["subscribers"]] == [
        ("hq", "released", "1.1")
    ]
    assert real.held("d").status().extracted is None
    assert sorted(path.name for path in (real.host / "tree").iterdir()) == ["a", "sub"]
    with real.work() as work:
        state = work.ledger.state("s1", "d")
    assert (state.distributor, state.state) == (("branch", State.WAITING) if is_shared else ("hq", State.RELEASED))


def test_a_run_that_has_the_pair_is_waited_for(real: RealSite, sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    with real.work() as work:
        ticket = work.ledger.enqueue("hq", Assignment("s1", "d", RevisionNumber(1, 1)), "run-1", lease_seconds=600, now=datetime.now(UTC))
        assert isinstance(ticket, Ticket)
        slept: list[float] = []

        def sleep(_: object, seconds: float) -> None:
            slept.append(seconds)
            assert real.held("d").status().extracted is not None  # not touched while the run has it
            if len(slept) == 2:
                work.ledger.finish(ticket)

        monkeypatch.setattr("infra.workplace.SystemClock.sleep", sleep)
        result = sluice("release", "d")
    assert len(slept) == 2
    assert result.err.count("s1: waits: ") == 1
    assert result.out.startswith("s1: d 1.1 released")


def test_killed_after_the_host_released_it_is_repeated(real: RealSite, sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise ConnectionLostError("the line broke before the receipt was kept")

    with monkeypatch.context() as patch:
        patch.setattr("sluice.distributor.deliver.orders.Orders._keep", killed)
        assert sluice("release", "d").code == 7
    assert real.held("d").status().extracted is None
    with real.work() as work:
        assert work.ledger.state("s1", "d").state is State.INSTALLED  # nothing is said that wasn't seen
    assert sluice("release", "d").out.startswith("s1: d 1.1 released: its files stay")
    with real.work() as work:
        assert work.ledger.state("s1", "d").state is State.RELEASED
        assert work.ledger.receipt("hq", "s1", 2) is not None  # the first answer was fetched too
    assert not list(real.held("d").receipts.iterdir())


def test_an_older_agent_is_asked_for_nothing(real: RealSite, sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SLUICE_SITE", str(real.directory))
    launcher = real.host / "sluice/agent/sluice-agent"
    call = "import sys; from agents.main import main"
    older = "import sys; import agents.features as f; f.Feature = [x for x in f.Feature if x != 'release']; from agents.main import main"
    launcher.write_text(launcher.read_text().replace(call, older))
    result = sluice("release", "d")
    assert result.code == 7
    assert "can't do what d needs: release: run: sluice subscriber bootstrap s1" in result.out
    assert real.held("d").status().extracted is not None
