"""What was done and found, of one worker or of all, and how it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.soak.matrix import KILLS, Tally

OPERATIONS = ("build", "sign", "receive", "extract", "ledger")


@dataclass
class Report:
    """Sums."""

    kills: Counter[str] = field(default_factory=Counter)
    """By operation; likewise below."""
    errors: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    points: set[str] = field(default_factory=set)
    """Every call there is: ``build/first/rename:3``."""
    killed_at: set[str] = field(default_factory=set)
    failed_at: set[str] = field(default_factory=set)
    controls: dict[str, int | None] = field(default_factory=dict)
    """After how many trials each was caught."""
    violations: list[str] = field(default_factory=list)
    seeds: set[int] = field(default_factory=set)
    cpu_seconds: float = 0.0

    def add(self, tally: Tally) -> None:
        """Count one trial in."""
        self.kills += tally.kills
        self.errors += tally.errors
        self.cuts += tally.cuts
        self.missed += tally.missed
        for trial in tally.reached:
            (self.killed_at if trial.kind in KILLS else self.failed_at).add(f"{trial.case}/{trial.point}")

    @property
    def is_good(self) -> bool:
        """Whether nothing was violated and every control caught."""
        return not self.violations and None not in self.controls.values()

    def values(self) -> dict[str, Any]:
        """For the way to another process."""
        return {name: sorted(value) if isinstance(value, set) else value for name, value in vars(self).items()}

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Report:
        """The same back."""
        empty = vars(cls())
        return cls(**{name: type(empty[name])(value) for name, value in values.items()})

    @classmethod
    def merged(cls, reports: Iterable[Report]) -> Report:
        """Of all workers."""
        whole = cls()
        for each in reports:
            for counts, more in ((whole.kills, each.kills), (whole.errors, each.errors), (whole.cuts, each.cuts)):
                counts.update(more)
            for places, others in ((whole.points, each.points), (whole.killed_at, each.killed_at), (whole.failed_at, each.failed_at)):
                places.update(others)
            whole.missed += each.missed
            whole.controls.update(each.controls)
            whole.violations += each.violations
            whole.seeds |= each.seeds
            whole.cpu_seconds += each.cpu_seconds
        return whole

    def text(self, seed: int, seconds: float) -> str:
        """The table, the spread by call, the controls, and the sums last."""
        lines = [f"{'operation':10} {'kills':>7} {'errors':>7} {'cuts':>7}   calls   killed at   failed at"]
        for operation in OPERATIONS:
            counts = f"{self.kills[operation]:7} {self.errors[operation]:7} {self.cuts[operation]:7}"
            here = [len(_of(places, operation)) for places in (self.points, self.killed_at, self.failed_at)]
            lines.append(f"{operation:10} {counts} {here[0]:7} {here[1]:11} {here[2]:11}")
        lines += ["", "calls killed at, of all there are:", *self._spread(), ""]
        for name, after in sorted(self.controls.items()):
            lines.append(f"control: {name}: " + ("NOT CAUGHT" if after is None else f"caught by trial {after}"))
        lines += [f"VIOLATION {each.splitlines()[0][:300]}" for each in self.violations]
        first = min(self.seeds, default=seed)
        killable = len(self.points)
        lines.append(
            f"soak: {self.kills.total()} kills, {self.errors.total()} failing calls, {self.cuts.total()} power cuts"
            f" in {seconds / 60:.1f} minutes, {self.cpu_seconds:.0f} s of CPU;"
            f" killed at {len(self.killed_at)} of {killable} calls, failed at {len(self.failed_at)}, {self.missed} not reached again;"
            f" seeds {first} to {max(self.seeds, default=seed)};"
            f" {sum(each is not None for each in self.controls.values())} of {len(self.controls)} controls caught;"
            f" {len(self.violations)} violations"
        )
        return "\n".join(lines)

    def _spread(self) -> Iterable[str]:
        """``rename 120/120``, by operation."""
        for operation in OPERATIONS:
            there, hit = _by_call(_of(self.points, operation)), _by_call(_of(self.killed_at, operation))
            yield f"  {operation:8} " + " ".join(f"{name} {hit[name]}/{number}" for name, number in sorted(there.items()))


def _of(places: set[str], operation: str) -> list[str]:
    return [place for place in places if place.startswith(f"{operation}/")]


def _by_call(places: list[str]) -> Counter[str]:
    return Counter(place.rpartition("/")[2].rpartition(":")[0] for place in places)
