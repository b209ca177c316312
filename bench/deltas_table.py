"""Write the figures of ``bench.deltas`` as Markdown: bytes, ratios with their limits, costs, and missing figures with the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.deltas_files import METHODS
from bench.deltas_ours import EFFORTS
from bench.deltas_wire import CASYNC, RSYNC, RSYNC_CHECKSUM

NOTHING = "-"
"""A cell without a figure."""
WHOLE = (RSYNC, RSYNC_CHECKSUM, CASYNC)
PEERS = (*WHOLE, *METHODS)
SMALL = 4_000
"""Bytes below which a method is not compared with: ours takes as many in all, with signatures both ways, order and receipt."""
RATED = 16_000_000
"""Rebuilt bytes below which a rate means nothing."""
RATED_CPU = 0.1
"""Seconds of bsdiff below which a ratio means nothing."""
Pair = Mapping[str, Any]
"""One of the JSON's ``pairs``: ``about``, ``tree``, ``peers`` by name, ``ours`` by effort; a figure, or {"left_out": why}."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A ratio and its limits."""

    name: str
    of: Callable[[Pair], float | None]
    mean: float | None
    """Limit of the geometric mean of all pairs."""
    each: float | None
    """Limit of each pair."""


def figure(pair: Pair, side: str, name: str, what: str) -> float | None:
    """Return one number; None if it wasn't measured."""
    found = pair[side].get(name, {}).get(what)
    return None if found is None else float(found)


def rsync_bytes(pair: Pair) -> float | None:
    """Return the smaller of rsync's two ways."""
    return min(_measured(figure(pair, "peers", name, "bytes") for name in (RSYNC, RSYNC_CHECKSUM)), default=None)


def smallest(pair: Pair, what: str = "bytes") -> float | None:
    """Return the smallest of the per-file methods; ``bytes`` with the file list, ``patches`` without."""
    return min(_measured(figure(pair, "peers", name, what) for name in METHODS), default=None)


def _comparable(pair: Pair, what: str = "bytes") -> float | None:
    """Return ``smallest``; None if that is less than signatures, order and receipt of ours take for the smallest change."""
    found = smallest(pair, what)
    return found if found is not None and found >= SMALL else None


def _bsdiff_cpu(pair: Pair) -> float | None:
    """Return the seconds; None if they are too few to compare with."""
    found = figure(pair, "peers", "bsdiff", "cpu")
    return found if found is not None and found >= RATED_CPU else None


def _ours(pair: Pair, effort: str = "default", what: str = "bytes") -> float | None:
    return figure(pair, "ours", effort, what)


def ratio(one: float | None, other: float | None) -> float | None:
    """Divide; None if one of them is missing, or there is nothing to compare with."""
    return None if one is None or not other else one / other


def _rate(pair: Pair, what: str) -> float | None:
    """Return rebuilt bytes a CPU second; None if too little changed to tell."""
    plain = _ours(pair, what="plain")
    return ratio(plain, _ours(pair, what=what)) if plain and plain >= RATED else None


def _part_of_four_kb(pair: Pair) -> float | None:
    return ratio(_ours(pair), SMALL if smallest(pair) and not _comparable(pair) else None)


LIMITS = (
    Limit("ours / rsync", lambda pair: ratio(_ours(pair), rsync_bytes(pair)), 0.15, 0.80),
    Limit("ours / smallest per-file method", lambda pair: ratio(_ours(pair), _comparable(pair)), 0.70, 1.10),
    Limit("ours at effort max / smallest per-file method", lambda pair: ratio(_ours(pair, "max"), _comparable(pair)), None, 1.02),
    Limit("ours / smallest per-file method without its list", lambda pair: ratio(_ours(pair), _comparable(pair, "patches")), None, None),
    Limit("ours / 4 KB, if that method takes less", _part_of_four_kb, None, 1.0),
    Limit("CPU of the delta / CPU of bsdiff", lambda pair: ratio(_ours(pair, what="delta_cpu"), _bsdiff_cpu(pair)), None, 1.0),
)
COSTS: Mapping[str, Callable[[Pair], float | None]] = {
    "bsdiff, CPU s": lambda pair: figure(pair, "peers", "bsdiff", "cpu"),
    **{f"the delta, {effort}, CPU s": partial(_ours, effort=effort, what="delta_cpu") for effort in EFFORTS},
    "the whole build, CPU s": partial(_ours, what="build_cpu"),
    "the agent, CPU s": partial(_ours, what="agent_cpu"),
    "rebuilt MB": lambda pair: ratio(_ours(pair, what="plain"), 1e6),
    "rebuilt MB a CPU s": lambda pair: ratio(_rate(pair, "apply_cpu"), 1e6),
    "as part of a copy's": lambda pair: ratio(_rate(pair, "apply_cpu"), pair.get("copy_rate")),
    "the agent's MB a CPU s": lambda pair: ratio(_rate(pair, "agent_cpu"), 1e6),
    "agent's peak, MB": lambda pair: ratio(_ours(pair, what="agent_peak"), 1e6),
    "builder's peak, MB": lambda pair: ratio(_ours(pair, what="build_peak"), 1e6),
}
"""Columns of the table of costs."""


def geometric_mean(values: Sequence[float]) -> float | None:
    """Return the geometric mean; None if there are no values."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Write the whole page."""
    pairs: Mapping[str, Pair] = results["pairs"]
    columns = [("peers", peer) for peer in PEERS] + [("ours", effort) for effort in EFFORTS]
    heads = ["pair (files; changed, new, gone; times and modes only)", *PEERS, *(f"ours, {effort}" for effort in EFFORTS)]
    rows = [
        [f"{name}: {pair['about']}{_tree(pair)}", *(_kilobytes(figure(pair, side, each, "bytes")) for side, each in columns)]
        for name, pair in pairs.items()
    ]
    yield from _table("KB on the wire", heads, rows)
    rows = [[name, *(_judged(limit.of(pair), limit.each) for limit in LIMITS)] for name, pair in pairs.items()]
    means = [geometric_mean(_measured(limit.of(pair) for pair in pairs.values())) for limit in LIMITS]
    rows.append(["geometric mean", *(_judged(mean, limit.mean) for mean, limit in zip(means, LIMITS, strict=True))])
    rows.append(["limit of the mean", *("" if limit.mean is None else f"{limit.mean:.2f}" for limit in LIMITS)])
    rows.append(["limit of each pair", *("" if limit.each is None else f"{limit.each:.2f}" for limit in LIMITS)])
    yield from _table("Ratios and their limits", ["pair", *(limit.name for limit in LIMITS)], rows)
    rows = [[name, *(_number(cost(pair)) for cost in COSTS.values())] for name, pair in pairs.items()]
    yield from _table("CPU and memory", ["pair", *COSTS], rows)
    yield from _missing(pairs)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from (f"## {title}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|")
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _missing(pairs: Mapping[str, Pair]) -> Iterator[str]:
    missing = []
    for name, pair in pairs.items():
        if why := pair.get("left_out"):
            missing.append(f"- {name}: {why}")
        for side in ("peers", "ours"):
            missing += [f"- {name}, {each}: {found['left_out']}" for each, found in pair[side].items() if "left_out" in found]
    if missing:
        yield from ("## Not measured", "", *missing, "")


def _tree(pair: Pair) -> str:
    if not (tree := pair.get("tree")):
        return ""
    return f" ({tree['files']:,}; {tree['changed']:,}, {tree['added']:,}, {tree['removed']:,}; {tree['touched']:,})"


def _measured(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _kilobytes(size: float | None) -> str:
    return NOTHING if size is None else f"{size / 1000:,.1f}" if size < 100_000 else f"{size / 1000:,.0f}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def _judged(value: float | None, most: float | None) -> str:
    if value is None:
        return NOTHING
    shown = f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    return f"**{shown}**, above" if most is not None and value > most else shown
