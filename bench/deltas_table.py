"""Write the figures of ``bench.deltas`` as Markdown: bytes, ratios with their limits, costs, and missing figures with the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


def copied(pair: Pair, what: str) -> float | None:
    """Return rebuilt bytes a CPU second as a share of a plain copy's; None if too little changed to tell."""
    plain, spent, copy = _ours(pair, what="plain"), _ours(pair, what=what), pair.get("copy_rate")
    return None if not plain or plain < RATED or not spent or not copy else plain / spent / copy


LIMITS = (
    Limit("ours / rsync", lambda pair: ratio(_ours(pair), rsync_bytes(pair)), 0.15, 0.80),
    Limit("ours / smallest per-file method", lambda pair: ratio(_ours(pair), _comparable(pair)), 0.70, 1.10),
    Limit("ours at effort max / smallest per-file method", lambda pair: ratio(_ours(pair, "max"), _comparable(pair)), None, 1.02),
    Limit("ours / smallest per-file method without its list", lambda pair: ratio(_ours(pair), _comparable(pair, "patches")), None, None),
    Limit(
        "ours / 4 KB, if that method takes less",
        lambda pair: ratio(_ours(pair), SMALL if smallest(pair) and not _comparable(pair) else None),
        None,
        1.0,
    ),
    Limit(
        "CPU of the delta / CPU of bsdiff",
        lambda pair: ratio(_ours(pair, what="delta_cpu"), _bsdiff_cpu(pair)),
        None,
        1.0,
    ),
)


def geometric_mean(values: Sequence[float]) -> float | None:
    """Return the geometric mean; None if there are no values."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def lines(results: Mapping[str, Any]) -> Iterator[str]:
    """Write the whole page."""
    pairs: Mapping[str, Pair] = results["pairs"]
    yield from _bytes(pairs)
    yield from _ratios(pairs)
    yield from _costs(pairs)
    yield from _missing(pairs)


def _bytes(pairs: Mapping[str, Pair]) -> Iterator[str]:
    yield "## KB on the wire"
    yield ""
    heads = ("pair (files; changed, new, gone; times and modes only)", *PEERS, *(f"ours, {effort}" for effort in EFFORTS))
    yield f"| {' | '.join(heads)} |"
    yield "|---" * (1 + len(PEERS) + len(EFFORTS)) + "|"
    for name, pair in pairs.items():
        cells = [_kilobytes(figure(pair, "peers", peer, "bytes")) for peer in PEERS]
        cells += [_kilobytes(_ours(pair, effort)) for effort in EFFORTS]
        yield f"| {name}: {pair['about']}{_tree(pair)} | {' | '.join(cells)} |"
    yield ""


def _ratios(pairs: Mapping[str, Pair]) -> Iterator[str]:
    yield "## Ratios and their limits"
    yield ""
    yield f"| pair | {' | '.join(limit.name for limit in LIMITS)} |"
    yield "|---" * (1 + len(LIMITS)) + "|"
    for name, pair in pairs.items():
        yield f"| {name} | {' | '.join(_judged(limit.of(pair), limit.each) for limit in LIMITS)} |"
    means = [geometric_mean(_measured(limit.of(pair) for pair in pairs.values())) for limit in LIMITS]
    yield f"| geometric mean | {' | '.join(_judged(mean, limit.mean) for mean, limit in zip(means, LIMITS, strict=True))} |"
    yield f"| limit of the mean | {' | '.join('' if limit.mean is None else f'{limit.mean:.2f}' for limit in LIMITS)} |"
    yield f"| limit of each pair | {' | '.join('' if limit.each is None else f'{limit.each:.2f}' for limit in LIMITS)} |"
    yield ""


def _costs(pairs: Mapping[str, Pair]) -> Iterator[str]:
    yield "## CPU and memory"
    yield ""
    heads = ("bsdiff, CPU s", *(f"the delta, {effort}, CPU s" for effort in EFFORTS), "the whole build, CPU s", "the agent, CPU s")
    more = ("rebuilt MB", "rebuilt MB a CPU s", "as part of a copy's", "the agent's MB a CPU s", "agent's peak, MB", "builder's peak, MB")
    yield f"| pair | {' | '.join(heads + more)} |"
    yield "|---" * (1 + len(heads) + len(more)) + "|"
    for name, pair in pairs.items():
        cells = [_number(figure(pair, "peers", "bsdiff", "cpu"))]
        cells += [_number(_ours(pair, effort, "delta_cpu")) for effort in EFFORTS]
        cells += [_number(_ours(pair, what="build_cpu")), _number(_ours(pair, what="agent_cpu"))]
        plain = _ours(pair, what="plain")
        rated = plain if plain and plain >= RATED else None
        cells.append(_number(ratio(plain, 1e6)))
        cells.append(_number(ratio(ratio(rated, _ours(pair, what="apply_cpu")), 1e6)))
        cells.append(_number(copied(pair, "apply_cpu")))
        cells.append(_number(ratio(ratio(rated, _ours(pair, what="agent_cpu")), 1e6)))
        cells += [_number(ratio(_ours(pair, what=peak), 1e6)) for peak in ("agent_peak", "build_peak")]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def _missing(pairs: Mapping[str, Pair]) -> Iterator[str]:
    missing = []
    for name, pair in pairs.items():
        if why := pair.get("left_out"):
            missing.append(f"- {name}: {why}")
        for side in ("peers", "ours"):
            missing += [f"- {name}, {each}: {found['left_out']}" for each, found in pair[side].items() if "left_out" in found]
    if missing:
        yield "## Not measured"
        yield ""
        yield from missing
        yield ""


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
