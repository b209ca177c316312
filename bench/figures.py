"""Collect runs, their medians and spread, and their limits, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

WORST = "min to max"


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio of two medians and its limit."""

    what: str
    """Name of a series of the case."""
    against: str
    """Name of the series to divide by."""
    most: float


@dataclass(slots=True)
class Case:
    """All series of one case: names and numbers."""

    name: str
    about: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    bytes: dict[str, list[int]] = field(default_factory=dict)
    """Peak memory."""
    bytes_most: int = 0
    """Limit of each; 0: no limit."""
    targets: Sequence[Target] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    """Peers that couldn't run, and the reason."""
    loads: list[float] = field(default_factory=list)
    """The machine's one-minute load before each round."""

    def add(self, series: str, seconds: float) -> None:
        """Add a run."""
        self.seconds.setdefault(series, []).append(seconds)

    def add_bytes(self, series: str, peak: int) -> None:
        """Add a run's memory."""
        self.bytes.setdefault(series, []).append(peak)

    def ratio(self, what: str, against: str) -> float | None:
        """Divide two medians; None if one of them wasn't measured."""
        if what not in self.seconds or against not in self.seconds:
            return None
        return median(self.seconds[what]) / median(self.seconds[against])

    def as_json(self) -> dict[str, Any]:
        """Return every number and the results."""
        return {
            "about": self.about,
            "seconds": self.seconds,
            "medians": {name: round(median(values), 4) for name, values in self.seconds.items()},
            "peak_bytes": self.bytes,
            "left_out": self.left_out,
            "loads": self.loads,
            "targets": [
                {"what": t.what, "against": t.against, "most": t.most, "ratio": self.ratio(t.what, t.against)} for t in self.targets
            ],
        }

    def lines(self) -> Iterable[str]:
        """Write the table as Markdown."""
        yield f"### {self.name}: {self.about}"
        yield ""
        yield f"| | median s | {WORST} | runs |"
        yield "|---|---|---|---|"
        for name, values in self.seconds.items():
            yield f"| {name} | {median(values):.2f} | {min(values):.2f} to {max(values):.2f} | {len(values)} |"
        for name, reason in self.left_out.items():
            yield f"| {name} | left out: {reason} | | |"
        yield ""
        for target in self.targets:
            ratio = self.ratio(target.what, target.against)
            shown = "not measured" if ratio is None else f"{ratio:.2f}, {_verdict(ratio <= target.most)} of at most {target.most:g}"
            yield f"- {target.what} / {target.against}: {shown}"
        for name, peaks in self.bytes.items():
            limit = f", {_verdict(max(peaks) < self.bytes_most)} of under {self.bytes_most / 1e6:.0f}" if self.bytes_most else ""
            yield f"- peak memory of the {name}: {max(peaks) / 1e6:.0f} MB{limit}"
        yield f"- load of the machine before the rounds: {min(self.loads):.1f} to {max(self.loads):.1f}"
        yield ""


def machine() -> dict[str, Any]:
    """Describe the machine that the figures are from."""
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _verdict(holds: bool) -> str:
    return "within the limit" if holds else "ABOVE the limit"
