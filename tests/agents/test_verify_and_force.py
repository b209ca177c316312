"""What is placed and then changed by hand: found and repaired when a person asks, and never called verified otherwise (C10, X2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluice.distributor.deliver.extraction import Extraction
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.errors import SluiceError
from sluice.model.assignment import Assignment
from sluice.model.event import EventKind
from sluice.model.order import Demand
from sluice.model.revision import RevisionNumber
from sluice.model.state import State
from tests.agents.route import Route

pytestmark = pytest.mark.slow

FILES = {"a": b"alpha", "b": b"beta" * 1000, "c": b""}


@pytest.fixture
def route(tmp_path: Path) -> Iterator[Route]:
    route = Route(tmp_path)
    yield route
    route.close()


def extract(route: Route, revision: RevisionNumber, *, check: bool = True, demand: Demand = Demand.DUE) -> DeliveryResult:
    """By itself, as `sluice extract` and Extract schedules do."""
    context = route.context_in("by hand")
    watch = QueueWatch("hq", None, ledger=route.ledger, clock=route.clock)
    recipe = route.recipe("zone")
    assignment = Assignment("oslo", "zone", revision)
    extraction = Extraction(context, watch, route.sender, route.subscriber, assignment, lambda: recipe, check, demand)
    assert extraction.enter() is None
    try:
        return extraction.settled() or extraction.extract()
    finally:
        extraction.leave()


def damage(route: Route, how: str) -> None:
    path = route.tree / "zone" / "b"
    match how:
        case "edited":
            path.write_bytes(b"Beta" * 1000)
        case "deleted":
            path.unlink()
        case "truncated":
            path.write_bytes(b"")
        case "a link instead":
            path.unlink()
            path.symlink_to("a")


def kinds(route: Route) -> list[EventKind]:
    return [each.event.kind for each in route.ledger.events(subscriber="oslo", distribution="zone")]


@pytest.mark.parametrize("how", ["edited", "deleted", "truncated"])
@pytest.mark.parametrize("by", ["extract", "distribute"])
@pytest.mark.parametrize("demand", [Demand.VERIFY, Demand.FORCE])
def test_a_placed_file_changed_by_hand_is_repaired_when_a_person_asks(route: Route, how: str, by: str, demand: Demand) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision)
    damage(route, how)
    done = extract(route, revision, demand=demand) if by == "extract" else route.deliver("zone", revision, demand=demand).delivered
    assert done.state is State.INSTALLED
    anew = "3 written anew" if demand is Demand.FORCE else "1 repaired"
    assert done.reason == f"verified: 3 files read back, {anew}"
    assert {path.name: path.read_bytes() for path in (route.tree / "zone").iterdir()} == FILES
    state = route.ledger.state("oslo", "zone")
    assert state.reason == ("1.1 is installed, 3 files written anew" if demand is Demand.FORCE else "1.1 is installed, 1 file repaired")
    assert kinds(route)[-1] is EventKind.VERIFIED


@pytest.mark.parametrize("demand", [Demand.VERIFY, Demand.FORCE])
def test_a_link_in_the_place_of_a_file_is_somebodys_and_nothing_is_called_verified(route: Route, demand: Demand) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision)
    before = route.ledger.state("oslo", "zone")
    damage(route, "a link instead")
    done = extract(route, revision, demand=demand)
    assert (done.state, str(route.tree / "zone" / "b") in done.reason) == (State.FAILED, True)
    assert (route.tree / "zone" / "b").is_symlink()
    state = route.ledger.state("oslo", "zone")
    assert (state.state, state.read_back_at) == (State.FAILED, before.read_back_at)
    assert EventKind.VERIFIED not in kinds(route)


def test_a_sound_tree_is_read_back_and_left_alone(route: Route) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision)
    first, before = route.ledger.state("oslo", "zone"), (route.tree / "zone" / "a").stat()
    done = extract(route, revision, demand=Demand.VERIFY)
    assert done.reason == "verified: 3 files read back, 0 repaired"
    now, after = route.ledger.state("oslo", "zone"), (route.tree / "zone" / "a").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert first.read_back_at is not None
    assert now.read_back_at is not None
    assert now.read_back_at > first.read_back_at


@pytest.mark.parametrize(
    ("damage_it", "put_right"),
    [
        (lambda zone: (zone / "a").chmod(0), "1 other path"),
        (lambda zone: os.utime(zone / "a", (0, 0)), "1 other path"),
        (lambda zone: [(zone / name).chmod(0o777) for name in ("a", "b")], "2 other paths"),
        (lambda zone: zone.chmod(0o700), "1 other path"),
    ],
)
def test_what_is_set_right_besides_contents_is_counted(route: Route, damage_it: Callable[[Path], object], put_right: str) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision)
    zone = route.tree / "zone"
    before = {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in (zone, *zone.iterdir())}
    damage_it(zone)

    done = extract(route, revision, demand=Demand.VERIFY)

    assert done.reason == f"verified: 3 files read back, 0 repaired, {put_right} set right"
    assert route.ledger.state("oslo", "zone").reason == f"1.1 is installed, {put_right} set right"
    assert {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in (zone, *zone.iterdir())} == before
    assert extract(route, revision, demand=Demand.VERIFY).reason == "verified: 3 files read back, 0 repaired"


def test_force_writes_every_file_anew(route: Route) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision)
    before = {path.name: path.stat().st_ino for path in (route.tree / "zone").iterdir()}
    held = [open(path, "rb") for path in (route.tree / "zone").iterdir()]  # noqa: SIM115 # so that no inode is given again
    try:
        extract(route, revision, demand=Demand.FORCE)
        after = {path.name: path.stat().st_ino for path in (route.tree / "zone").iterdir()}
    finally:
        for each in held:
            each.close()
    assert set(before.values()).isdisjoint(after.values())


def test_a_check_asked_for_after_the_build_reads_and_repairs(route: Route) -> None:
    """The manifest on the host doesn't say `verify`: the blueprint does since."""
    revision = route.build("zone", "1.1", FILES, verify=False)
    route.deliver("zone", revision)
    damage(route, "edited")
    assert extract(route, revision, check=True).reason == "verified: 3 files read back, 1 repaired"
    assert (route.tree / "zone" / "b").read_bytes() == FILES["b"]


def test_without_the_feature_a_check_is_not_called_verified_and_a_demand_is_refused(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.features.features", lambda: ["delta", "script"])
    monkeypatch.setattr("agents.serve.features", lambda: ["delta", "script"])  # its agents are forks of this process
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision)
    damage(route, "edited")
    done = extract(route, revision, check=True)
    assert "verified" not in done.reason
    assert EventKind.VERIFIED not in kinds(route)
    with pytest.raises(SluiceError, match="verify") as refused:
        extract(route, revision, demand=Demand.VERIFY)
    assert refused.value.remedy == "run: sluice subscriber bootstrap oslo"


def test_a_plain_distribution_reads_nothing_back_and_says_when_it_was(route: Route) -> None:
    route.deliver("zone", route.build("zone", "1.1", FILES))
    first = route.ledger.state("oslo", "zone").read_back_at
    (route.bench.held / "seen").exists()
    revision = route.build("zone", "1.2", FILES | {"d": b"delta"})
    route.deliver("zone", revision)
    state = route.ledger.state("oslo", "zone")
    assert (str(state.extracted), first is not None) == ("1.2", True)
    assert state.read_back_at is not None
