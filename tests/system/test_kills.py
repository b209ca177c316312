"""kill -9 of the flow process, the agent and sshd's session, in mid-send and mid-extract, on a real sshd host.

A seeded sample: the whole matrix is for `make soak`. Each time a reader in a process of its own watches every destination file, which
must be the old or the new one, whole, at all times; and the repeat must converge and leave nothing behind.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.workplace import LEASE_VARIABLE
from sluice.model.event import EventKind
from tests.system import between
from tests.system.lab import OpenLab, SiteLab, two_trees, until, write_tree
from tests.system.warm import Command
from tests.system.watcher import allowed_contents, watching

pytestmark = pytest.mark.timeout(480)
MIB = 1024 * 1024
VICTIMS = ("flow", "agent", "sshd")
SOAK_SEEDS = range(100, 120)
PHASES = ("staging", "swapping", "swapped")
SHORT_LEASE = {LEASE_VARIABLE: "3"}
"""For a flow that is to be killed: the next one waits until its lease is over. While it lives nobody wants its place."""


def sample(**seeds: tuple[int, ...]) -> list[object]:
    """Victim and seed: a few always, many in the soak."""
    few = [pytest.param(victim, seed) for victim, some in seeds.items() for seed in some]
    return few + [pytest.param(victim, seed, marks=pytest.mark.soak) for victim in VICTIMS for seed in SOAK_SEEDS]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, open_lab: OpenLab) -> Iterator[SiteLab]:
    with open_lab(tmp_path_factory.mktemp("kills"), "oslo") as made:
        write_tree(made.source, two_trees(0)[0])
        made.sluice("distribute", "zone")
        yield made


def kill(victim: str, lab: SiteLab, flow: Command) -> None:
    """Without a chance to tidy up."""
    host = lab.hosts["oslo"]
    if victim == "flow":
        flow.kill()
    elif victim == "sshd":
        host.kill_sessions()
    else:
        for pid in host.command_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("victim", "seed"), sample(flow=(1,), agent=(2,), sshd=(3,)))
def test_killed_in_mid_send_it_goes_on_where_it_stopped_and_converges(victim: str, seed: int, lab: SiteLab, tmp_path: Path) -> None:
    old, new = files(lab.destination("oslo")), two_trees(seed)[0]
    write_tree(lab.source, new)
    lab.build()
    before = lab.rows()["oslo"]
    hold = tmp_path / "hold"
    hold.touch()
    stop_at = random.Random(seed).randrange(2, 5) * MIB
    between.install(lab.launcher("oslo"), hold=str(hold), hold_at=stop_at)
    try:
        with watching(allowed_contents(lab.destination("oslo"), old, old | new)):
            flow = lab.start("send", "zone", **SHORT_LEASE)
            until(lambda: (tmp_path / "held").exists() or flow.poll() is not None, "the send is under way")
            assert flow.poll() is None, lab.finish(flow, ok=None)
            until(lambda: lab.receiving("oslo") > MIB, "blocks have arrived")
            assert lab.rows()["oslo"]["held"] == before["held"]
            kill(victim, lab, flow)
            hold.unlink()
            lab.finish(flow, ok=victim != "flow")
            if victim == "flow":
                lab.sluice("send", "zone")
            lab.sluice("extract")
    finally:
        hold.unlink(missing_ok=True)
        between.remove(lab.launcher("oslo"))
    lab.assert_converged("oslo", kept=old)
    row = lab.rows()["oslo"]
    assert row["extracted"] == row["latest"] != before["extracted"]


@pytest.mark.parametrize(("victim", "seed"), sample(flow=(1,), agent=(2, 3), sshd=(4,)))
def test_killed_in_mid_extract_every_file_is_old_or_new_and_the_repeat_converges(victim: str, seed: int, lab: SiteLab) -> None:
    old, new = files(lab.destination("oslo")), two_trees(seed + 50, files=400, blob=2 * MIB)[0]
    write_tree(lab.source, new)
    lab.build()
    lab.sluice("send", "zone")
    phase, later = PHASES[seed % len(PHASES)], random.Random(seed).random() * 0.03
    state = lab.held("oslo") / "journal" / "state"
    wanted = {*PHASES[PHASES.index(phase) :], "committed"}  # a phase may be over before we look

    def reached() -> bool:
        with suppress(OSError):
            return state.read_text().strip() in wanted
        return False

    with watching(allowed_contents(lab.destination("oslo"), old, old | new)):
        flow = lab.start("extract", **SHORT_LEASE)
        until(lambda: reached() or flow.poll() is not None, f"the extraction is {phase}")
        time.sleep(later)  # not to wait for something: to hit another instruction with every seed
        kill(victim, lab, flow)
        lab.finish(flow, ok=None)
        lab.sluice("distribute", "zone")
    lab.assert_converged("oslo", kept=old)
    row = lab.rows()["oslo"]
    assert row["extracted"] == row["latest"]
    assert row["state"] == "installed"


def test_the_same_send_started_twice_transfers_once(lab: SiteLab, tmp_path: Path) -> None:
    old, new = files(lab.destination("oslo")), two_trees(9)[0]
    write_tree(lab.source, new)
    lab.build()
    before, mark = lab.rows()["oslo"]["bytes_sent"], lab.events(EventKind.BUILT)[-1].number
    hold = tmp_path / "hold"
    hold.touch()
    between.install(lab.launcher("oslo"), hold=str(hold), hold_at=2 * MIB)
    try:
        first = lab.start("send", "zone")
        until(lambda: (tmp_path / "held").exists() or first.poll() is not None, "the first send is under way")
        second = lab.start("send", "zone")
        assert second.stdout is not None
        heard = next((line for line in second.stdout if "already being sent" in line), "")
        hold.unlink()
        said = lab.finish(first) + lab.finish(second)
    finally:
        hold.unlink(missing_ok=True)
        between.remove(lab.launcher("oslo"))
    assert heard
    assert len(lab.events(EventKind.SENT, after=mark)) == 1, said
    assert lab.rows()["oslo"]["bytes_sent"] - before < 1.2 * len(new["blob"]) + sum(map(len, new.values())) - len(new["blob"])
    lab.sluice("extract")
    lab.assert_converged("oslo", kept=old)
