"""What one worker tries, and in which order: controls first, then rounds over all situations, each round with trees of its own.

A round's faults are the same for all workers, shuffled by its seed; each takes its share. Every call is killed at once in every round; of
the rest, which is more, every third has its turn, so that three rounds have all; between them come power cuts.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

from tests.soak.controls import CONTROLS, Control, caught_after
from tests.soak.disk import own_mounts
from tests.soak.host_cases import OnHost
from tests.soak.matrix import KILLS, Prepared, Tally, Trial, all_cases
from tests.soak.report import Report
from tests.soak.running import Violation

FAULTS_PER_CUT = 30
"""Kills and failing calls between two runs with power cuts."""
KEPT = 5
"""Disks that a worker keeps to be looked at."""
SAMPLED = {"kill": 2, "half": 1, "twice": 1, "ENOSPC": 1, "EIO": 1, "EACCES": 1, "full": 1}
"""Trials of each situation in a sample, besides one run with power cuts; kills are more where a situation says so."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What all workers keep to."""

    seed: int
    workers: int
    until: float
    """On the monotonic clock; a sample and single trials end when they are done."""
    sample: int = 0
    """How many times SAMPLED of each situation, and no more; 0: until the time is over."""
    only: tuple[str, ...] = ()
    """Trials, or with ``sample`` situations (``build/delta``)."""


class Worker:
    """One process's share."""

    def __init__(self, number: int, limits: Limits, base: Path) -> None:
        self._number, self._limits, self._base = number, limits, base
        self._report = Report()
        self._is_over = False
        self._kept = 0

    def run(self) -> Report:
        """Do it all; what was done and found."""
        own_mounts(self._base)
        signal.signal(signal.SIGTERM, self._stop)
        if self._limits.sample:
            self._sample()
        elif self._limits.only:
            self._only()
        else:
            self._controls()
            self._rounds()
        self._report.cpu_seconds = sum(os.times()[:4])
        return self._report

    def _stop(self, _number: int, _frame: object) -> None:
        self._is_over = True

    @property
    def _goes_on(self) -> bool:
        return not self._is_over and time.monotonic() < self._limits.until

    def _mine(self, number: int) -> bool:
        return number % self._limits.workers == self._number

    def _controls(self) -> None:
        cases = {f"{case.operation}/{case.name}": case for case in all_cases()}
        for number, control in enumerate(CONTROLS):
            if self._mine(number) and not self._is_over:
                self._control(control, Prepared(cases[control.case], self._base, self._limits.seed))

    def _control(self, control: Control, prepared: Prepared) -> None:
        found = caught_after(control, prepared, Random(f"{self._limits.seed}/{control}"))
        self._report.controls[str(control)] = found
        if found is None:
            print(f"soak: CONTROL NOT CAUGHT: {control}", flush=True)

    def _prepared(self, seed: int) -> list[Prepared]:
        found = []
        for case in all_cases():
            try:
                prepared = Prepared(case, self._base, seed)
            except Violation as error:
                self._violation(f"seed {seed}: {error}", "")
                continue
            self._report.points.update(f"{prepared.name}/{point}" for point in prepared.points)
            found.append(prepared)
        return found

    def _rounds(self) -> None:
        for number in count():
            if not self._goes_on:
                return
            seed = self._limits.seed + number
            self._report.seeds.add(seed)
            prepared = {each.name: each for each in self._prepared(seed)}
            for trial in self._plan(list(prepared.values()), seed, number):
                if not self._goes_on:
                    return
                self._try(trial, prepared[trial.case], seed)

    def _plan(self, prepared: list[Prepared], seed: int, number: int) -> Iterator[Trial]:
        chance = Random(seed)
        faults = [trial for each in prepared for trial in each.trials()]
        kills = [trial for trial in faults if trial.kind == "kill"]
        others = [trial for trial in faults if trial.kind != "kill"][number % 3 :: 3]
        chosen = chance.sample([*kills, *others], len(kills) + len(others))
        for at, trial in enumerate(chosen[self._number :: self._limits.workers]):
            if at % FAULTS_PER_CUT == 0:
                yield Trial("cut", chance.choice(prepared).name, f"{self._number}{at}")
            yield trial

    def _sample(self) -> None:
        seed = self._limits.seed
        self._report.seeds.add(seed)
        controls = {control.case: control for control in Random(seed).sample(CONTROLS, len(CONTROLS))}
        chosen = [case for case in all_cases() if not self._limits.only or f"{case.operation}/{case.name}" in self._limits.only]
        for number, case in enumerate(chosen):
            if not self._mine(number) or self._is_over:
                continue
            prepared = Prepared(case, self._base, seed)
            self._report.points.update(f"{prepared.name}/{point}" for point in prepared.points)
            chance = Random(f"{seed}/{prepared.name}")
            trials = prepared.trials()
            for kind, some in SAMPLED.items():
                of_kind = [trial for trial in trials if trial.kind == kind]
                most = max(some, case.kills) if kind in KILLS and isinstance(case, OnHost) else some
                for trial in chance.sample(of_kind, min(most * self._limits.sample, len(of_kind))):
                    self._try(trial, prepared, seed)
            for cut in range(self._limits.sample):
                self._try(Trial("cut", prepared.name, str(seed + cut)), prepared, seed)
            if prepared.name in controls and not self._is_over:
                self._control(controls[prepared.name], prepared)

    def _only(self) -> None:
        self._report.seeds.add(self._limits.seed)
        for text in self._limits.only:
            trial = Trial.parse(text)
            case = next(case for case in all_cases() if f"{case.operation}/{case.name}" == trial.case)
            self._try(trial, Prepared(case, self._base, self._limits.seed), self._limits.seed)

    def _try(self, trial: Trial, prepared: Prepared, seed: int) -> None:
        if self._is_over:
            return
        places: list[Path] = []
        prepared.on_violation = lambda: places.extend(self._keep(prepared))
        tally = Tally()
        try:
            prepared.run(trial, tally)
        except Violation as error:
            self._violation(f"{trial}: {error}", f"{_again(trial, seed)}{_kept_at(places)}")
        prepared.on_violation = lambda: None  # a control's are no finding
        self._report.add(tally)

    def _keep(self, prepared: Prepared) -> list[Path]:
        if self._kept >= KEPT:
            return []
        self._kept += 1
        place = Path(tempfile.mkdtemp(prefix="sluice-soak-kept-"))
        shutil.copytree(prepared.places.live, place / "live", symlinks=True)
        return [place]

    def _violation(self, what: str, where: str) -> None:
        self._report.violations.append(what)
        print(f"soak: VIOLATION {what}\n  {where}", flush=True)


def _again(trial: Trial, seed: int) -> str:
    return f"again: python -m tests.soak --seed {seed} --only '{trial}'"


def _kept_at(places: list[Path]) -> str:
    return "".join(f"; the disk is kept in {place}" for place in places)
