"""Draw the figures of ``bench.deltas``: bytes on the wire for each pair, as bars on a logarithmic scale, in plain SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from bench.deltas_table import Pair, figure, rsync_bytes, smallest
from bench.deltas_wire import CASYNC

_SERIES: Sequence[tuple[str, str, Callable[[Pair], float | None]]] = (
    ("casync", "#b8b8b8", lambda pair: figure(pair, "peers", CASYNC, "bytes")),
    ("rsync -az, the smaller of with and without --checksum", "#7f8fa6", rsync_bytes),
    ("smallest per-file method, with a file list", "#e1a33b", smallest),
    ("ours, default effort, everything counted", "#1f7a5c", lambda pair: figure(pair, "ours", "default", "bytes")),
)
_WIDTH, _LEFT, _RIGHT, _TOP = 960, 150, 90, 86
_BAR, _GAP = 11, 14
_UNITS = ((1e6, "MB"), (1e3, "KB"))


def svg(results: Mapping[str, Any]) -> str:
    """Draw the results of a run."""
    pairs = {name: pair for name, pair in results["pairs"].items() if pair["peers"] or pair["ours"]}
    values = [value for pair in pairs.values() for _, _, of in _SERIES if (value := of(pair))]
    low = 10 ** math.floor(math.log10(min(values, default=100)))
    high = 10 ** math.ceil(math.log10(max(values, default=1000)))
    height = _TOP + len(pairs) * (len(_SERIES) * _BAR + _GAP) + 30
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="11">'
    parts = [head, f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>', *_legend(), *_scale(low, high, height)]
    for number, (name, pair) in enumerate(pairs.items()):
        parts += _group(name, pair, _TOP + number * (len(_SERIES) * _BAR + _GAP), low, high)
    return "\n".join([*parts, "</svg>", ""])


def _legend() -> Iterator[str]:
    yield f'<text x="{_LEFT}" y="20" font-size="15" fill="#222">Bytes on the wire, both ways, old version to new (logarithmic)</text>'
    for number, (name, colour, _) in enumerate(_SERIES):
        x, y = _LEFT + number % 2 * 390, 34 + number // 2 * 16
        yield f'<rect x="{x}" y="{y}" width="11" height="11" fill="{colour}"/>'
        yield f'<text x="{x + 17}" y="{y + 10}" fill="#222">{escape(name)}</text>'


def _scale(low: float, high: float, height: int) -> Iterator[str]:
    value = low
    while value <= high:
        x = _x(value, low, high)
        yield f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{height - 24}" stroke="#dddddd"/>'
        yield f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle" fill="#555">{_size(value)}</text>'
        value *= 10


def _group(name: str, pair: Pair, y: int, low: float, high: float) -> Iterator[str]:
    middle = y + len(_SERIES) * _BAR / 2 + 4
    yield f'<text x="{_LEFT - 8}" y="{middle:.1f}" text-anchor="end" fill="#222">{escape(name)}</text>'
    for number, (_, colour, of) in enumerate(_SERIES):
        at = y + number * _BAR
        if value := of(pair):
            width = _x(value, low, high) - _LEFT
            yield f'<rect x="{_LEFT}" y="{at}" width="{max(1.0, width):.1f}" height="{_BAR - 2}" fill="{colour}"/>'
            yield f'<text x="{_LEFT + width + 4:.1f}" y="{at + 8}" font-size="9" fill="#555">{_size(value)}</text>'
        else:
            yield f'<text x="{_LEFT + 4}" y="{at + 8}" font-size="9" fill="#999">not measured</text>'


def _x(value: float, low: float, high: float) -> float:
    part = (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low))
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _size(value: float) -> str:
    unit, name = next((each for each in _UNITS if value >= each[0]), (1.0, "B"))
    return f"{value / unit:.3g} {name}"
