"""The fault matrix: every situation of every operation, every call in it, and what becomes of the call.

A trial has a name, ``KIND/OPERATION/SITUATION/POINT``, that with the seed says all about it, so that it can be repeated alone:
``kill`` and ``half`` (killed before the call, or after half of its write), ``twice`` (killed there, and the next try at a call that is
chance), ``ENOSPC``, ``EIO``, ``EACCES`` (the call fails), ``full`` (from the call on there is no space for anything), ``cut`` (power
cuts at calls chosen by the number that stands for the point, and at the end).
"""

from __future__ import annotations

import errno
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from tests.soak.case import After, Case, Places, must
from tests.soak.disk import Image, commit, empty, replace_tree
from tests.soak.distributor_cases import distributor_cases
from tests.soak.host_cases import host_cases
from tests.soak.ledger_cases import ledger_cases
from tests.soak.process import FAILED
from tests.soak.running import Answer, Decide, Ended, Fail, Kill, Point, Runner, Skip, Told, Violation
from tests.soak.subscriber_cases import subscriber_cases

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}
FULL = "full"
KILLS = ("kill", "half", "twice")
FREEING = ("unlink", "unlinkat", "rmdir", "say")
"""Calls that a full disk doesn't refuse."""
CUTS = 4
"""Power cuts of one run of an operation, besides the one at its end."""
SYNCED = ("fsync", "fdatasync", "syncfs", "fsync-dir", "syncfs-dir")
FAILING = 0.3
"""Of the runs with power cuts: in these one sync fails, and what it was for isn't on the device. Not among them is SQLite's of a
directory: it doesn't look at how that ended."""
COMMITS = 0.3
"""Of the calls of every other such run: a commit of the file system's journal, which takes no file's data along, comes before it."""


def all_cases() -> list[Case]:
    """Every situation of every operation."""
    return [*distributor_cases(), *subscriber_cases(), *host_cases(), *ledger_cases()]


@dataclass(frozen=True, slots=True, order=True)
class Trial:
    """One fault."""

    kind: str
    case: str
    """``build/first``."""
    point: str
    """``rename:3``; a number for ``cut``."""

    def __str__(self) -> str:
        return f"{self.kind}/{self.case}/{self.point}"

    @classmethod
    def parse(cls, text: str) -> Trial:
        kind, operation, name, point = text.split("/", 3)
        return cls(kind, f"{operation}/{name}", point)


@dataclass
class Tally:
    """What was done and found."""

    kills: Counter[str] = field(default_factory=Counter)
    """By operation; likewise below."""
    errors: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    """Trials whose point the operation didn't reach this time."""
    reached: set[Trial] = field(default_factory=set)
    """Faults at single calls, each once."""


class Prepared:
    """One situation, ready to be put under fault any number of times."""

    def __init__(self, case: Case, base: Path, seed: int) -> None:
        """Made by ``seed``; ``base`` is on a file system of its own. Runs the operation undisturbed once."""
        self.case = case
        self.name = f"{case.operation}/{case.name}"
        self._base = base
        place = base / "cases" / case.operation / case.name
        self.places = Places(base / "live", place / "outside")
        self._template, self._image = place / "template", place / "image"
        self.runner = Runner()
        shutil.rmtree(place, ignore_errors=True)
        self.places.outside.mkdir(parents=True)
        self._template.mkdir()
        empty(self.places.live)
        case.prepare(self.places, Random(f"{seed}/{self.name}"), self.runner)
        replace_tree(self.places.live, self._template)
        self.measure()
        self.expected = case.settled(self.places)
        self.on_violation: Callable[[], None] = lambda: None
        """Called while the disk that shows it is still there."""
        self._made: Image | None = None

    def measure(self) -> None:
        """Run the operation undisturbed: its points are those of what it does now."""
        replace_tree(self._template, self.places.live)
        ended = self.runner.run(self.case.work(self.places), lambda _point, _told: None)
        must(ended.code == 0, f"{self.name}, undisturbed, ends with {ended.code}: {ended.said}")
        must(not [each for each in ended.told if "error" in each or "over" in each], f"{self.name}, undisturbed: {ended.told}")
        self.points = ended.points

    def trials(self) -> list[Trial]:
        """Every fault at every call, but for power cuts, of which there is no end."""
        found = []
        for point in self.points:
            found.append(Trial("kill", self.name, str(point)))
            if point.name in ("write", "pwrite64"):
                found.append(Trial("half", self.name, str(point)))
            if self.case.may_repeat:
                found.append(Trial("twice", self.name, str(point)))
            if point.name != "say" and not point.name.startswith("action:"):
                found += [Trial(kind, self.name, str(point)) for kind in (*ERRORS, FULL)]
        return found

    def run(self, trial: Trial, tally: Tally, *, skipped: Iterable[str] = ()) -> None:
        """Do it. ``skipped``: calls that do nothing, for a control. Raises Violation, with the disk left as it is."""
        if trial.kind == "cut":
            self._cut(trial, tally, frozenset(skipped))
            return
        replace_tree(self._template, self.places.live)
        ended = self.runner.run(self.case.work(self.places), _fault(trial))
        if not ended.was_reached:
            tally.missed += 1
            return
        tally.reached.add(trial)
        (tally.kills if trial.kind in KILLS else tally.errors)[self.case.operation] += 1
        told = ended.told
        if trial.kind not in KILLS:
            self._check_refusal(ended)
        if trial.kind == "twice":
            again = self.runner.run(self.case.work(self.places), _kill_at(Random(f"{trial}").randrange(len(self.points))))
            tally.kills[self.case.operation] += again.was_reached
            told = [*told, *again.told]
        self._judge(After(told, was_cut=False, is_first=trial.kind != "twice"))

    def _check_refusal(self, ended: Ended) -> None:
        """It said what is wrong in its own words, or could do without."""
        must(ended.code != FAILED and ended.code >= 0, f"it fell over with {ended.code}: {ended.said}")
        unnamed = [each for each in ended.told if each.get("error") == "SluiceError"]
        must(not unnamed, f"the agent doesn't know its own error: {unnamed}: {ended.said}")

    def _judge(self, after: After) -> None:
        try:
            self.case.check(self.places, after)
            self.case.recover(self.places, self.runner, after)
            self.runner.check_alone()
            must(self.case.settled(self.places) == self.expected, "what stands after the recovery isn't what stands undisturbed")
        except Violation:
            self.on_violation()
            raise
        except Exception as error:  # what reads a disk as nobody expected it is a finding too
            self.on_violation()
            raise Violation(traceback.format_exc()) from error

    def _cut(self, trial: Trial, tally: Tally, skipped: frozenset[str]) -> None:
        chance = Random(f"{trial}")
        when = set(chance.sample(range(len(self.points)), min(CUTS, len(self.points))))
        is_committing = chance.random() < 0.5
        syncs = [str(point) for point in self.points if point.name in SYNCED]
        failing = chance.choice(syncs) if chance.random() < FAILING and not skipped else ""
        for image, told in self._taken(when, skipped, is_committing, failing, chance):
            tally.cuts[self.case.operation] += 1
            with image.mounted(self.places.live):
                self._judge(After(told, was_cut=True))

    def _taken(
        self, when: set[int], skipped: frozenset[str], is_committing: bool, failing: str, chance: Random
    ) -> list[tuple[Image, Told]]:
        """Run it on an image; what the device held each time, and what had been confirmed."""
        empty(self.places.live)
        if self._made is None:
            self._made = Image.of(self._template, self._image, self.places.live)
        taken: list[tuple[Image, Told]] = []
        used = self._made.copy(self._base / "used")
        seen = 0

        def decide(point: Point, told: Told) -> Answer:
            nonlocal seen
            if is_committing and chance.random() < COMMITS:
                commit(self.places.live)
            if seen in when:
                taken.append((used.copy(self._base / f"cut-{len(taken)}"), told))
            seen += 1
            if str(point) == failing:
                return Fail(errno.EIO)
            return Skip() if point.name.removeprefix("action:") in skipped else None

        def at_end(ended: Ended) -> None:
            taken.append((used.copy(self._base / f"cut-{len(taken)}"), ended.told))

        with used.mounted(self.places.live):
            self.runner.run(self.case.work(self.places), decide, on_end=at_end)
            self.runner.check_alone()
        return taken


def _fault(trial: Trial) -> Decide:
    """What happens to each call."""
    if trial.kind != FULL:
        answer = Fail(ERRORS[trial.kind]) if trial.kind in ERRORS else Kill(half=trial.kind == "half")
        return lambda point, _: answer if str(point) == trial.point else None
    is_full = False

    def decide(point: Point, _: Told) -> Answer:
        nonlocal is_full
        is_full |= str(point) == trial.point
        return Fail(errno.ENOSPC) if is_full and point.name not in FREEING else None

    return decide


def _kill_at(number: int) -> Decide:
    calls = count()
    return lambda _point, _told: Kill() if next(calls) == number else None
