"""Locked targets (F2): looked for after the pre actions, waited for as the order says, and nothing is half replaced."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sluice.errors import LockedTargetError
from sluice.formats.orders import parse_receipt
from sluice.model.action import Script
from sluice.model.locked import FAILS_AT_ONCE, Locked
from sluice.model.order import Outcome, Receipt
from sluice.subscriber.extract.extraction import extract
from tests.conftest import missing
from tests.subscriber.faulty import FaultyFilesystem
from tests.subscriber.holder import EXCLUSIVE, SHARED, held
from tests.subscriber.host import shell
from tests.subscriber.test_extract_rollback import Scene

THREE = Locked(3, timedelta(seconds=20))
Event = tuple[str, int, int]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def run(
    scene: Scene, locked: Locked = FAILS_AT_ONCE, *, sleep: Callable[[float], None] = lambda _: None, pre: tuple[Script, ...] = ()
) -> tuple[Receipt, list[Event]]:
    """Extract; the receipt and what was told of locked targets."""
    events: list[Event] = []
    order = replace(scene.host.order(scene.second, (scene.target, scene.other), pre), locked=locked)
    host = replace(scene.host.context, sleep=sleep, event=lambda *event: events.append(event))
    receipt = parse_receipt(extract(host, order)["payload"].encode())
    return receipt, [event for event in events if event[0].startswith("locked")]


@pytest.mark.parametrize(("what", "how"), [*(("changed", how) for how in EXCLUSIVE), ("sub/sub/changed", "flock"), ("to-file/x", "flock")])
def test_a_file_that_a_process_holds_is_not_replaced_nor_removed_and_the_next_extract_is(scene: Scene, how: str, what: str) -> None:
    with held(scene.target / what, how) as holder:
        receipt, events = run(scene)
        assert receipt.failure is not None
        who = "a process" if how == "open file lock" else f"pid {holder.pid}"
        assert receipt.failure.message == f"locked: {scene.target / what} (held by {who})"
        assert (receipt.failure.code, receipt.failure.retryable) == ("LockedTargetError", True)
        assert events == [(receipt.failure.message, 1, 1)]
    scene.assert_untouched()  # which reads, and would wait for who has a lease
    assert run(scene)[0].outcome is Outcome.INSTALLED
    scene.assert_installed()


def test_what_is_only_read_there_is_replaced(scene: Scene) -> None:
    with ExitStack() as stack:
        for how in SHARED:
            stack.enter_context(held(scene.target / "changed", how))
        assert run(scene)[0].outcome is Outcome.INSTALLED
    scene.assert_installed()


def test_what_stays_may_be_held(scene: Scene) -> None:
    with held(scene.target / "stays"), held(scene.target / "mode-only"), held(scene.target / "foreign"):
        assert run(scene)[0].outcome is Outcome.INSTALLED


def test_a_pre_action_that_ends_the_holder_is_enough(scene: Scene) -> None:
    with held(scene.target / "changed") as holder:
        receipt, events = run(
            scene,
            pre=(
                shell(f"kill -9 {holder.pid}; while kill -0 {holder.pid} && ! grep -q '^State:.*Z' /proc/{holder.pid}/status; do :; done"),
            ),
        )
        assert (receipt.outcome, events) == (Outcome.INSTALLED, [])


def test_it_waits_as_the_order_says_and_goes_on_once_the_file_is_free(scene: Scene) -> None:
    waits: list[float] = []
    with held(scene.target / "changed") as holder:

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            assert (scene.target / "changed").read_text() == "before"
            if len(waits) == 2:
                holder.end()

        receipt, events = run(scene, THREE, sleep=sleep)
        message = f"locked: {scene.target}/changed (held by pid {holder.pid})"
        assert events == [(message, 1, 4), (message, 2, 4)]
    assert waits == [20.0, 20.0]
    assert receipt.outcome is Outcome.INSTALLED
    scene.assert_installed()


def test_after_the_last_look_everything_is_undone_the_pre_actions_too(scene: Scene) -> None:
    waits: list[float] = []
    log = scene.directory / "log"
    with held(scene.target / "changed"), held(scene.target / "sub/sub/changed"), held(scene.target / "to-file/x"):
        with held(scene.target / "to-link"):
            receipt, events = run(scene, THREE, sleep=waits.append, pre=(shell(f"echo did >>{log}", f"echo undid >>{log}"),))
        assert (waits, [event[1:] for event in events]) == ([20.0] * 3, [(1, 4), (2, 4), (3, 4), (4, 4)])
        assert receipt.failure is not None
        assert receipt.failure.message.startswith(f"locked: {scene.target}/")
        assert receipt.failure.message.count("held by pid") == 3
        assert receipt.failure.message.endswith(" and 1 more")
        assert log.read_text().split() == ["did", "undid"]
        scene.assert_untouched()


@pytest.mark.parametrize(
    ("what", "attribute"), [("changed", "i"), ("sub/sub", "i"), ("mode-only", "i"), ("to-file/x", "i"), ("", "a"), ("changed", "a")]
)
def test_an_attribute_locks_what_would_be_replaced_changed_or_removed(
    scene: Scene, real_part: Callable[[str], Path], what: str, attribute: str
) -> None:
    why = {"i": "immutable", "a": "append-only"}[attribute]
    chattr, path = real_part("chattr"), scene.target / what
    if subprocess.run([chattr, f"+{attribute}", path], capture_output=True, check=False).returncode:
        missing("a file system with immutable files, and the right to make them")
    try:
        receipt, events = run(scene)
        assert receipt.failure is not None
        assert f"{str(path).rstrip('/')}" in receipt.failure.message
        assert receipt.failure.message.startswith("locked: ")
        assert f"({why})" in receipt.failure.message
        assert [event[1:] for event in events] == [(1, 1)]
        scene.assert_untouched()
        command = receipt.failure.remedy.removeprefix("if nobody else relies on that, run on the host: ").partition("; ")[0]
        subprocess.run(shlex.split(command), check=True)
    finally:
        subprocess.run([chattr, f"-{attribute}", path], check=True)
    assert run(scene)[0].outcome is Outcome.INSTALLED
    scene.assert_installed()


def test_a_directory_that_staging_must_stand_in_is_named_itself(scene: Scene, real_part: Callable[[str], Path]) -> None:
    chattr = real_part("chattr")
    if subprocess.run([chattr, "+a", scene.directory], capture_output=True, check=False).returncode:
        missing("a file system with immutable files, and the right to make them")
    try:
        receipt, _ = run(scene, THREE)
        assert receipt.failure is not None
        assert receipt.failure.message == f"locked: {scene.directory} (append-only)"
    finally:
        subprocess.run([chattr, "-a", scene.directory], check=True)
    scene.assert_untouched()


def test_one_that_gets_locked_in_mid_swap_is_undone(scene: Scene) -> None:
    swaps = 0

    def lock(method: str, path: str) -> None:
        nonlocal swaps
        swaps += method == "swap"
        if method == "swap" and swaps == 3:
            raise LockedTargetError(f"locked: {path} (Operation not permitted)")

    scene.host.using(FaultyFilesystem(lock))
    receipt, _ = run(scene, THREE)
    assert receipt.failure is not None
    assert receipt.failure.message.startswith("locked: ")
    scene.assert_untouched()


@pytest.mark.parametrize("rollback", [True, False])
def test_an_agent_killed_while_it_waits_is_undone_by_the_next_start(tmp_path: Path, rollback: bool) -> None:
    scene = Scene(tmp_path, rollback=rollback)
    with held(scene.target / "changed"):
        pid = os.fork()
        if pid == 0:
            run(scene, THREE, sleep=lambda _: os.kill(os.getpid(), signal.SIGKILL))
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        assert scene.host.held.journal.exists()
        scene.host.recover()
        scene.assert_untouched()
        assert scene.host.receipts()[-1].outcome is Outcome.FAILED
