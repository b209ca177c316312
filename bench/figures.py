"""Collect runs, their medians and spread, and their limits, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


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
    bytes_most: int = 0
    """Limit of peak memory; 0: no limit."""
    targets: Sequence[Target] = ()
    seconds: dict[str, list[float]] = field(default_factory=dict)
    bytes: dict[str, list[int]] = field(default_factory=dict)
    """Peak memory."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Peers that couldn't run, and the reason."""
    loads: list[float] = field(default_factory=list)
    """The machine's one-minute load before each round."""

    def rounds(self, count: int) -> Iterator[int]:
        """Run all rounds; the figures of round 0, which warms caches, are dropped."""
        for number in range(count + 1):
            self.loads.append(round(os.getloadavg()[0], 2))
            yield number
            if number == 0:
                self.seconds.clear()
                self.bytes.clear()

    def add(self, seconds: Mapping[str, float], **peaks: int) -> None:
        """Add the figures of a round: seconds of each series, peak memory of each process."""
        for name, value in seconds.items():
            self.seconds.setdefault(name, []).append(value)
        for name, peak in peaks.items():
            self.bytes.setdefault(name, []).append(peak)

    def ratio(self, target: Target) -> float | None:
        """Divide two medians; None if one of them wasn't measured."""
        if not self.seconds.keys() >= {target.what, target.against}:
            return None
        return median(self.seconds[target.what]) / median(self.seconds[target.against])

    def as_json(self) -> dict[str, Any]:
        """Return every number and the results."""
        return {
            "about": self.about,
            "seconds": self.seconds,
            "medians": {name: round(median(values), 4) for name, values in self.seconds.items()},
            "peak_bytes": self.bytes,
            "left_out": self.left_out,
            "loads": self.loads,
            "targets": [{**asdict(target), "ratio": self.ratio(target)} for target in self.targets],
        }

    def lines(self) -> Iterator[str]:
        """Write the table as Markdown."""
        yield from (f"### {self.name}: {self.about}", "", "| | median s | min to max | runs |", "|---|---|---|---|")
        for name, values in self.seconds.items():
            yield f"| {name} | {median(values):.2f} | {min(values):.2f} to {max(values):.2f} | {len(values)} |"
        for name, reason in self.left_out.items():
            yield f"| {name} | left out: {reason} | | |"
        yield ""
        for target in self.targets:
            ratio = self.ratio(target)
            shown = "not measured" if ratio is None else f"{ratio:.2f}, {_verdict(ratio <= target.most)} of at most {target.most:g}"
            yield f"- {target.what} / {target.against}: {shown}"
        for name, peaks in self.bytes.items():
            limit = f", {_verdict(max(peaks) < self.bytes_most)} of under {self.bytes_most / 1e6:.0f}" if self.bytes_most else ""
            yield f"- peak memory of the {name}: {max(peaks) / 1e6:.0f} MB{limit}"
        yield from (f"- load of the machine before the rounds: {min(self.loads):.1f} to {max(self.loads):.1f}", "")


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
