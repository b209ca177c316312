"""What every operation under fault is asked: how it begins, what it does, and what must hold of the disk afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

from tests.soak.running import Runner, Told, Violation, Work


@dataclass(frozen=True, slots=True)
class Places:
    """``live``: what a fault may hit and a power cut may lose. ``outside``: what lies on another machine; nothing changes it."""

    live: Path
    outside: Path


@dataclass(frozen=True, slots=True)
class After:
    """What happened before the disk is looked at."""

    told: Told
    """What was confirmed before the end."""
    was_cut: bool
    """By a power cut: what nobody waited for may be gone."""
    is_first: bool = True
    """False where a second try ended too."""


class Case(Protocol):
    """One operation in one situation."""

    operation: str
    name: str
    may_repeat: bool
    """Whether ``work`` may be done twice without looking at the disk between."""

    def prepare(self, places: Places, chance: Random, runner: Runner) -> None:
        """Make what stands before the operation, in both places."""
        ...

    def work(self, places: Places) -> Work:
        """The operation, and its repetition after an end of any kind."""
        ...

    def check(self, places: Places, after: After) -> None:
        """See that the disk as it lies is consistent to every reader, and that nothing confirmed is lost. Raises Violation."""
        ...

    def recover(self, places: Places, runner: Runner, after: After) -> None:
        """Do what the next start and the next run do, undisturbed. Raises Violation."""
        ...

    def settled(self, places: Places) -> object:
        """What stands then, to be compared with what stands after an undisturbed operation. Raises Violation."""
        ...


def must(holds: object, what: str) -> None:
    """Raise Violation unless it holds."""
    if not holds:
        raise Violation(what)


def run_again(case: Case, places: Places, runner: Runner) -> Told:
    """The operation once more, which must succeed."""
    ended = runner.run(case.work(places))
    must(ended.code == 0, f"the repetition ended with {ended.code}: {ended.said}")
    return ended.told
