"""A release on a Subscriber: nothing is remembered, no path is touched, and a kill anywhere leaves less remembered, never more."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sluice.subscriber.release
from sluice.errors import StoreLockedError
from sluice.formats.orders import order_bytes, parse_receipt, time_to_json
from sluice.model.order import Act, Order, Outcome, Receipt
from sluice.subscriber.extract.journal import Beginning
from sluice.subscriber.held.path_lists import RETAINED, STOOD
from sluice.subscriber.release import release
from tests.subscriber.host import Host
from tests.subscriber.revisions import make, tree_of


class Killed(BaseException):
    """In the place of a kill."""


class Installed:
    """1.1 with three files, then 1.2 without one of them, which is retained."""

    def __init__(self, directory: Path) -> None:
        self.host = Host(directory)
        self.source, self.target = directory / "source", directory / "opt/zone"
        (self.source / "sub").mkdir(parents=True)
        for name in ("a", "b", "sub/c"):
            (self.source / name).write_text(name)
        self.target.mkdir(parents=True)
        self.host.install(make("1.1", self.source), self.target)
        (self.source / "b").unlink()
        self.made = make("1.2", self.source)
        assert self.host.install(self.made, self.target).outcome is Outcome.INSTALLED
        assert RETAINED.read(self.host.held)

    def order(self) -> Order:
        return replace(self.host.order(self.made, ()), act=Act.RELEASE)

    def release(self) -> Receipt:
        return parse_receipt(release(self.host.context, self.order())["payload"].encode())


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


def test_it_is_answered_and_the_tree_stays(installed: Installed) -> None:
    before = tree_of(installed.target)
    receipt = installed.release()
    assert (receipt.outcome, receipt.revision, receipt.failure) == (Outcome.RELEASED, installed.made.manifest.revision, None)
    assert [each.outcome for each in installed.host.receipts()][-1] is Outcome.RELEASED
    assert tree_of(installed.target) == before
    assert RETAINED.read(installed.host.held) == {}
    status = installed.host.held.status()
    assert (status.received, status.extracted) == ({}, None)


def test_a_revision_with_synchronize_removes_nothing_of_before(installed: Installed) -> None:
    installed.release()
    shutil.rmtree(installed.source / "sub")
    receipt = installed.host.install(make("1.3", installed.source, synchronize="yes"), installed.target)
    assert (receipt.outcome, receipt.paths_removed) == (Outcome.INSTALLED, 0)
    assert sorted(path.name for path in installed.target.rglob("*")) == ["a", "b", "c", "sub"]


def test_an_older_revision_may_be_installed_again_after_it(installed: Installed) -> None:
    installed.release()
    assert installed.host.install(make("1.1", installed.source), installed.target).outcome is Outcome.INSTALLED


def test_one_that_was_never_held_is_released_as_well(tmp_path: Path) -> None:
    host, source = Host(tmp_path), tmp_path / "source"
    source.mkdir()
    order = replace(host.order(make("1.1", source), ()), act=Act.RELEASE)
    assert parse_receipt(release(host.context, order)["payload"].encode()).outcome is Outcome.RELEASED


def test_a_damaged_status_file_is_no_obstacle(installed: Installed) -> None:
    installed.host.held.status_path.write_text("{")
    assert installed.release().outcome is Outcome.RELEASED
    assert installed.host.held.status().extracted is None


STEPS = ("unlink", "rename", "fsync", "rmdir")


def _kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """End the release before its ``number``-th call that changes a disk; returns the calls."""
    calls: list[str] = []

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                raise Killed
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    return calls


def test_killed_before_any_change_of_the_disk_it_remembers_less_never_more_and_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 0
    while True:
        number += 1
        installed = Installed(tmp_path / str(number))
        before, retained = tree_of(installed.target), RETAINED.read(installed.host.held)
        assert set(STOOD.read(installed.host.held)) == {str(installed.target)}
        with monkeypatch.context() as patch:
            calls = _kill_at(patch, number)
            try:
                release(installed.host.context, installed.order())
                break
            except Killed:
                pass
        status = installed.host.held.status()
        left = RETAINED.read(installed.host.held)
        assert left in (retained, {})
        assert status.extracted is not None or not left, calls  # nothing can be removed by a tree that isn't known
        assert status.extracted is None or STOOD.read(installed.host.held), calls  # else the directory would count as placed
        assert not installed.host.receipts() or installed.host.receipts()[-1].outcome is not Outcome.RELEASED or status.extracted is None
        assert installed.release().outcome is Outcome.RELEASED
        assert sorted(path.name for path in installed.host.held.directory.iterdir()) == ["lock", "receipts", "status.json"]
        assert tree_of(installed.target) == before
    assert number > 10


def test_it_waits_for_an_extraction_under_way(installed: Installed) -> None:
    held, done = threading.Event(), threading.Event()
    answers: list[Receipt] = []

    def extracting() -> None:
        with installed.host.held.lock():
            held.set()
            done.wait(60)
            answers.append(installed.host.receipts()[-1])

    other = threading.Thread(target=extracting)
    other.start()
    assert held.wait(60)
    waiting = threading.Thread(target=lambda: answers.append(installed.release()))
    waiting.start()
    done.set()
    waiting.join(60)
    other.join(60)
    assert [each.outcome for each in answers] == [Outcome.INSTALLED, Outcome.RELEASED]


def test_after_its_wait_it_says_that_something_has_the_distribution(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sluice.subscriber.release, "WAIT", 0.0)
    with installed.host.held.lock(), pytest.raises(StoreLockedError, match="Distribution zone is locked"):
        installed.release()
    assert installed.host.held.status().extracted is not None


def test_a_killed_extraction_is_ended_first(installed: Installed) -> None:
    made = make("1.3", installed.source)
    order = installed.host.order(made, (installed.target,))
    installed.host.context.journal.begin(Beginning(order_bytes(order).decode(), time_to_json(order.issued), True, ()))
    assert installed.release().outcome is Outcome.RELEASED
    assert not installed.host.held.journal.exists()
    assert [each.outcome for each in installed.host.receipts()][-2:] == [Outcome.FAILED, Outcome.RELEASED]
