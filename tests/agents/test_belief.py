"""What real agents say of themselves, compared with the ledger at each contact: hosts restored, emptied, moved, cloned, set up anew."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from agents.init import init, trust
from infra.ledger.sql import open_ledger
from infra.transports.local import LocalStream, LocalTransport
from sluice.distributor.deliver.contact import Contact, Told
from sluice.distributor.plan.sends import plan_sends
from sluice.errors import SluiceError, StoreCorruptError, UnreachableError
from sluice.model.event import Event, EventKind
from sluice.model.order import Demand
from sluice.model.site import Address, Channel, Distribution, DistributionType, Site, Subscriber, Subscription
from sluice.model.state import State
from sluice.sender.call import call_agent
from tests.agents.route import Route
from tests.agents.test_verify_and_force import extract
from tests.agents.workbench import ForkedAgents

pytestmark = pytest.mark.slow

FILES = {"a": b"alpha", "b": b"beta"}


@pytest.fixture
def route(tmp_path: Path) -> Iterator[Route]:
    route = Route(tmp_path)
    yield route
    route.close()


def look(route: Route) -> Told:
    """Call the agent as `sluice subscriber check` and `doctor` do."""
    contact = Contact(route.ledger, route.clock, "hq", route.subscriber)
    with contact.calling():
        called = call_agent(route.subscriber, "hq", transport=route.transport, timeout=60)
    with closing(called) as call:
        return contact.heard(call.hello, looks=True)


def is_due(route: Route) -> bool:
    """By the rule of `sluice send`."""
    zone = Distribution("zone", "hq", DistributionType.FILE, channels=("night",), extract_immediately=True)
    night = Channel("night", subscriptions=(Subscription("oslo"),))
    site = Site("", {"hq": route.distributor}, {"oslo": route.subscriber}, {"night": night}, {"zone": zone})
    newest = {"zone": route.store.revisions("zone")[-1]}
    (target,) = plan_sends(site, latest=newest, states=route.ledger.snapshot().states)
    return target.is_due


def in_its_place(route: Route, other: Path) -> Path:
    """Put another working directory in the place of the Subscriber's; return the place of that one."""
    away = route.bench.work.with_name(f"away-{time.monotonic_ns()}")
    route.bench.work.rename(away)
    other.rename(route.bench.work)
    return away


def copied(route: Route, name: str) -> Path:
    return Path(shutil.copytree(route.bench.work, route.bench.work.with_name(name), symlinks=True))


def status_deleted(route: Route, _backup: Path) -> None:
    (route.bench.held / "status.json").unlink()


def emptied(route: Route, _backup: Path) -> None:
    shutil.rmtree(route.bench.work / "distributors" / "hq" / "distributions")


def restored(route: Route, backup: Path) -> None:
    in_its_place(route, backup)


def set_up_anew(route: Route, _backup: Path) -> None:
    shutil.rmtree(route.bench.work / "identity")
    shutil.rmtree(route.bench.work / "distributors")
    route.publisher.keep_subscriber_key("oslo", init(route.bench.work, "oslo"))
    trust(route.bench.work, "hq", route.publisher.root())


def another_key(route: Route, _backup: Path) -> None:
    shutil.rmtree(route.bench.work / "identity")
    route.publisher.keep_subscriber_key("oslo", init(route.bench.work, "oslo"))


def moved(route: Route, _backup: Path) -> None:
    elsewhere = route.bench.work.rename(route.bench.work.with_name("elsewhere"))
    route.bench.work = elsewhere
    route.subscriber = replace(route.subscriber, address=Address("local", path=str(elsewhere)), working_directory=PurePosixPath(elsewhere))


CASES: list[tuple[Callable[[Route, Path], None], str]] = [
    (status_deleted, "its agent had nothing extracted, although 1.2 had been read back"),
    (emptied, "its agent had nothing extracted"),
    (restored, "restored from a backup"),
    (set_up_anew, "its receipt key wasn't the one"),
    (another_key, "its receipt key wasn't the one"),
    (moved, "its working directory was"),
]


@pytest.mark.parametrize(("happens", "said"), CASES, ids=[case.__name__ for case, _ in CASES])
@pytest.mark.parametrize("by", ["look", "send", "extract"])
def test_a_host_that_is_older_other_or_emptied_is_noticed_told_and_caught_up(
    route: Route, happens: Callable[[Route, Path], None], said: str, by: str
) -> None:
    route.deliver("zone", route.build("zone", "1.1", FILES))
    backup = copied(route, "backup")
    revision = route.build("zone", "1.2", FILES | {"c": b"gamma"})
    route.deliver("zone", revision)
    look(route)
    assert not is_due(route)
    happens(route, backup)
    if by == "look":
        assert said in look(route).doubts["zone"]
        state = route.ledger.state("oslo", "zone")
        assert (state.extracted, said in state.doubt, state.read_back_at) == (None, True, None)
        assert is_due(route)
    elif by == "extract":
        with suppress(SluiceError):  # the agent refuses if it holds nothing, or has another place: that is what is recorded
            extract(route, revision)
    told = [each.event for each in route.ledger.events(kinds=[EventKind.DOUBTED])]
    if by != "send":
        assert [said in str(each.data["message"]) for each in told] == [True]
    route.deliver("zone", revision)
    told = [each.event for each in route.ledger.events(kinds=[EventKind.DOUBTED])]
    assert [(each.distribution, said in str(each.data["message"])) for each in told] == [("zone", True)]
    after = route.ledger.state("oslo", "zone")
    assert (after.state, after.extracted, after.doubt) == (State.INSTALLED, revision, "")
    assert after.read_back_at is not None
    assert look(route).doubts == {}


def agent_gone(route: Route) -> None:
    route.transport = LocalTransport()  # by the launcher, which goes with it
    shutil.rmtree(route.bench.work)


def trust_gone(route: Route) -> None:
    shutil.rmtree(route.bench.work / "distributors")


def identity_gone(route: Route) -> None:
    shutil.rmtree(route.bench.work / "identity")


def another_subscriber(route: Route) -> None:
    (route.bench.work / "identity" / "subscriber.json").write_text('{"name":"bergen","version":1}')


@pytest.mark.parametrize("happens", [agent_gone, trust_gone, identity_gone, another_subscriber])
@pytest.mark.parametrize("by", [look, lambda route: route.deliver("zone", route.store.revisions("zone")[-1], demand=Demand.VERIFY)])
def test_a_host_without_this_agent_has_nothing_as_far_as_is_known(
    route: Route, happens: Callable[[Route], None], by: Callable[[Route], object]
) -> None:
    route.deliver("zone", route.build("zone", "1.1", FILES))
    look(route)
    happens(route)
    for _ in range(2):
        with pytest.raises(SluiceError) as error:
            by(route)
        assert error.value.remedy != ""
    state = route.ledger.state("oslo", "zone")
    assert (state.extracted, " its agent was gone: " in state.doubt) == (None, True)
    assert is_due(route)
    assert len(route.ledger.events(kinds=[EventKind.DOUBTED])) == 1, "it is told once"


def test_a_host_that_is_away_is_believed_as_before(route: Route) -> None:
    route.deliver("zone", route.build("zone", "1.1", FILES))
    before = route.ledger.state("oslo", "zone")

    class Away(ForkedAgents):
        def connect(self, subscriber: Subscriber, *, timeout: float) -> LocalStream:
            raise UnreachableError("nothing answers", remedy="start it")

    route.transport = Away()
    with pytest.raises(UnreachableError):
        look(route)
    assert (route.ledger.state("oslo", "zone"), is_due(route)) == (before, False)


def test_a_damaged_status_file_holds_nothing_and_its_remedy_helps(route: Route) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision)
    (route.bench.held / "status.json").write_bytes(b"{}")
    assert "its agent had nothing extracted" in look(route).doubts["zone"]
    with pytest.raises(StoreCorruptError, match="is damaged") as error:
        route.deliver("zone", revision)
    assert error.value.remedy.startswith("delete it")
    (route.bench.held / "status.json").unlink()
    route.deliver("zone", revision)
    assert look(route).doubts == {}


def test_a_ledger_that_was_restored_from_a_backup_believes_no_more_than_it_knows(route: Route, tmp_path: Path) -> None:
    route.deliver("zone", route.build("zone", "1.1", FILES))
    shutil.copy(tmp_path / "ledger.db", tmp_path / "backup.db")
    revision = route.build("zone", "1.2", FILES | {"c": b"gamma"})
    route.deliver("zone", revision)
    route.ledger.close()
    shutil.copy(tmp_path / "backup.db", tmp_path / "ledger.db")
    route.ledger = open_ledger(tmp_path / "ledger.db")
    assert "it had accepted order 2, and this ledger had given 1 at most" in look(route).doubts["zone"]
    assert is_due(route)
    route.__dict__["_watch"].ledger = route.ledger
    route.deliver("zone", revision)
    assert (route.ledger.state("oslo", "zone").extracted, look(route).doubts) == (revision, {})


def test_a_clone_in_the_place_of_its_original_is_noticed_when_they_alternate(route: Route) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision)
    look(route)
    clone = copied(route, "clone")
    original = in_its_place(route, clone)
    assert look(route) == Told({}, "")  # it has all that the original had: nothing to tell yet
    route.deliver("zone", route.build("zone", "1.2", FILES | {"c": b"gamma"}))
    clone = in_its_place(route, original)
    told = look(route)
    assert told.twins.startswith("two machines answered in turn as oslo: ")
    assert "it had accepted order 1 last, and a receipt had answered 2" in told.doubts["zone"]
    in_its_place(route, clone)
    assert look(route).twins != ""


def test_a_restart_of_the_machine_is_told_once_and_doubts_nothing(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    route.deliver("zone", route.build("zone", "1.1", FILES))
    for boot in ("boot-1", "boot-2", "boot-3"):
        monkeypatch.setattr("agents.identity._instance", lambda _, boot=boot: boot)  # its agents are forks of this process
        assert look(route) == Told({}, "")
    belief = route.ledger.known("hq", "oslo").belief
    assert belief is not None
    assert [each.instance for each in belief.machines[:3]] == ["boot-3", "boot-2", "boot-1"]


def test_a_look_is_one_event_and_no_read_back(route: Route) -> None:
    route.deliver("zone", route.build("zone", "1.1", FILES))
    before, events = route.ledger.state("oslo", "zone"), len(route.ledger.events())
    look(route)
    after = route.ledger.state("oslo", "zone")
    assert [each.event.kind for each in route.ledger.events()][events:] == [EventKind.SEEN]
    assert before.seen_at is not None
    assert after.seen_at is not None
    assert after.seen_at > before.seen_at
    assert (after.read_back_at, after.state, after.since) == (before.read_back_at, before.state, before.since)


def test_a_run_meanwhile_is_newer_than_what_was_heard_before(route: Route) -> None:
    """The call of a look began before an extraction ended: its old answer takes nothing back."""
    route.deliver("zone", route.build("zone", "1.1", FILES))
    contact = Contact(route.ledger, route.clock, "hq", route.subscriber)
    with closing(call_agent(route.subscriber, "hq", transport=route.transport, timeout=60)) as call:
        old = call.hello
    revision = route.build("zone", "1.2", FILES | {"c": b"gamma"})
    route.deliver("zone", revision)
    contact.heard(replace(old, distributions={}), looks=True)
    state = route.ledger.state("oslo", "zone")
    assert (state.extracted, state.doubt) == (revision, "")


def test_a_pair_that_another_distributor_took_over_meanwhile_is_left_alone(route: Route) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision, extract=False)
    contact = Contact(route.ledger, route.clock, "hq", route.subscriber)
    event = Event(route.clock.now(), EventKind.OFFERED, "branch", "zone", subscriber="oslo")
    route.ledger.record(event, lambda state: state.offer(revision, distributor="branch", channel="night", at=event.at))
    contact.forget("its agent was gone")
    assert route.ledger.state("oslo", "zone").doubt == ""


def test_what_is_forgotten_at_a_bootstrap_is_due(route: Route) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision)
    look(route)
    Contact(route.ledger, route.clock, "hq", route.subscriber).forget("it was bootstrapped with a new identity")
    state, known = route.ledger.state("oslo", "zone"), route.ledger.known("hq", "oslo")
    assert (state.held, state.extracted, state.sequence) == (None, None, 0)
    assert re.fullmatch(r"at [-0-9]{10} [:0-9]{8} UTC it was bootstrapped with a new identity", state.doubt)
    assert known.belief is None
    assert is_due(route)
    route.deliver("zone", revision)
    assert (route.ledger.state("oslo", "zone").state, look(route).doubts) == (State.INSTALLED, {})
