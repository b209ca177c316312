"""``python -m bench.deltas``: compare a change's bytes on the wire with rsync, casync and per-file deltas (docs/bench.md).

Two versions of a tree are fetched or made; every peer and Sluice bring the old one to the new one. All bytes count, both ways, except
SSH's own. CPU time is user and system time: on a machine with other load it is noisy; sizes don't depend on it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import deltas_files, deltas_ours, deltas_wire
from bench.deltas_chart import svg
from bench.deltas_ours import EFFORTS
from bench.deltas_pairs import PAIRS, Pair
from bench.deltas_table import PEERS, lines
from bench.deltas_trees import Changes, compare
from bench.deltas_wire import CASYNC
from bench.figures import machine
from bench.lab import program
from bench.processes import NotMeasuredError, last_line
from tests.system.sshd import Sshd, lab

SECONDS = 300
"""Seconds of CPU time that a per-file method may take for one pair."""


def measure(pair: Pair, directory: Path, downloads: Path, host: Sshd, options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything about one pair, in an empty directory; a missing figure is replaced by its reason."""
    found: dict[str, Any] = {"about": pair.about, "at": _now(), "peers": {}, "ours": {}}
    old, new = directory / "old", directory / "new"
    try:
        pair.make(downloads, old, new)
    except NotMeasuredError as error:
        return found | {"left_out": f"cannot be fetched: {last_line(str(error))}"}
    changes = compare(old, new)
    found["tree"] = _about(changes)
    found["copy_rate"] = deltas_ours.copy_rate(new, directory)
    for effort in options.efforts:
        ours = partial(deltas_ours.measure, old, new, effort=effort)
        found["ours"][effort] = _figures(f"{pair.name}: ours, {effort}", directory, ours)
    for peer in options.peers:
        found["peers"][peer] = _figures(f"{pair.name}: {peer}", directory, partial(_peer, peer, changes, old, new, host, options.seconds))
    return found


def _peer(peer: str, changes: Changes, old: Path, new: Path, host: Sshd, seconds: int, scratch: Path) -> Mapping[str, Any]:
    if peer in deltas_files.METHODS:
        return deltas_files.measure(peer, changes, old, new, seconds=seconds)
    crossed = deltas_wire.casync(old, new, scratch) if peer == CASYNC else deltas_wire.rsync(peer, old, new, scratch, host)
    return {"bytes": crossed}


def _figures(what: str, directory: Path, method: Callable[[Path], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Measure in a new directory, and print the bytes, or why there are none."""
    found: Mapping[str, Any]
    with tempfile.TemporaryDirectory(prefix="method-", dir=directory) as empty:
        try:
            found = method(Path(empty))
        except NotMeasuredError as error:
            found = {"left_out": last_line(str(error))}
    print(f"{what}: {found['bytes']:,} bytes" if "bytes" in found else f"{what}: {found['left_out']}", flush=True)
    return found


def _about(changes: Changes) -> dict[str, int]:
    return {
        "files": sum(node.kind == "f" for node in changes.new.values()),
        "bytes": sum(node.size for node in changes.new.values()),
        "changed": len(changes.changed),
        "changed_bytes": changes.changed_bytes,
        "added": len(changes.added),
        "removed": len(changes.removed),
        "touched": len(changes.touched),
    }


def merged(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Join the results of two runs; the later one's figures replace the earlier one's."""
    pairs = {name: dict(pair) for name, pair in earlier.get("pairs", {}).items()}
    for name, pair in later["pairs"].items():
        before = pairs.get(name, {"peers": {}, "ours": {}})
        before.pop("left_out", None)
        pairs[name] = {**before, **pair, **{side: {**before[side], **pair[side]} for side in ("peers", "ours")}}
    return {**later, "pairs": pairs}


def _listed(known: Collection[str], **groups: Collection[str]) -> Callable[[str], list[str]]:
    """Return a parser of names separated by commas; the name of a group, or ``all`` or ``none``, stands for its members."""
    groups |= {"all": known, "none": ()}

    def parse(text: str) -> list[str]:
        names = dict.fromkeys(name for word in text.split(",") for name in groups.get(word, (word,)))
        if unknown := sorted(names.keys() - set(known)):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are: {', '.join((*groups, *known))}")
        return list(names)

    return parse


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and write it. A missed limit is shown, not returned: the figures are for people."""
    parser = argparse.ArgumentParser(prog="python -m bench.deltas", description=__doc__.splitlines()[0] if __doc__ else "")
    pairs = {pair.name: pair for pair in PAIRS}
    small = [pair.name for pair in PAIRS if pair.is_small]
    parser.add_argument("--pairs", type=_listed(pairs, small=small), default="all", help="all, small, or names separated by commas")
    parser.add_argument("--peers", type=_listed(PEERS), default="all", help="all, none, or names separated by commas")
    parser.add_argument("--efforts", type=_listed(EFFORTS), default="default", help="all, none, or some of fast,default,max")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"CPU time of a per-file method for one pair (default {SECONDS})")
    parser.add_argument("--downloads", type=Path, help="directory that keeps fetched packages (default: they are not kept)")
    parser.add_argument("--directory", type=Path, help="working directory (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write every number to this file; the table and the chart beside it, as .md and .svg")
    parser.add_argument("--add", action="store_true", help="keep figures of the JSON file that this run doesn't measure")
    options = parser.parse_args(arguments)
    earlier = json.loads(options.json.read_text()) if options.add and options.json and options.json.exists() else {}
    about = {"at": _now(), "machine": machine()}
    results = merged(earlier, {**about, "pairs": {}})
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", dir=options.directory) as work:
        downloads = (options.downloads or Path(work, "downloads")).resolve()
        Path(work, "ssh").mkdir()
        with lab(Path(work, "ssh"), program) as hosts:
            host = hosts.host("host")
            for name in options.pairs:
                with tempfile.TemporaryDirectory(prefix="pair-", dir=work) as directory:
                    found = measure(pairs[name], Path(directory), downloads, host, options)
                results = merged(results, {**about, "pairs": {name: found}})
                if options.json:
                    _write(results, options.json)
    print("\n".join(lines(results)))


def _write(results: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text("\n".join(_page(results, path)))
    path.with_suffix(".svg").write_text(svg(results))


def _page(results: Mapping[str, Any], path: Path) -> Iterator[str]:
    about = results["machine"]
    yield from ("# Deltas: what a change costs on the wire", "")
    yield "Written by `python -m bench.deltas` (docs/bench.md says what is measured and how). 1 KB is 1,000 bytes."
    yield f"{about['cores']} cores, Linux {about['kernel']}, Python {about['python']}; {results['at'][:10]}."
    yield from ("", f"![bytes on the wire]({path.with_suffix('.svg').name})", "")
    yield from lines(results)


if __name__ == "__main__":
    main()
