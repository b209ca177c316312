"""``python -m bench.deltas``: compare a change's bytes on the wire with rsync, casync and per-file deltas (docs/bench.md).

Two versions of a tree are fetched or made; every peer and Sluice bring the old one to the new one. All bytes count, both ways, except
SSH's own. CPU time is user and system time: on a machine with other load it is noisy; sizes don't depend on it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import deltas_files, deltas_ours, deltas_wire
from bench.deltas_chart import svg
from bench.deltas_fetch import NotFetchedError
from bench.deltas_pairs import Pair, chosen
from bench.deltas_table import PEERS, lines
from bench.deltas_trees import Changes, compare
from bench.deltas_wire import CASYNC, RSYNC, RSYNC_CHECKSUM
from bench.figures import machine
from bench.lab import program
from tests.system.sshd import Sshd, lab

SECONDS = 300
"""Seconds of CPU time that a per-file method may take for one pair."""


def measure(pair: Pair, directory: Path, downloads: Path, peers: list[str], efforts: list[str], seconds: int, host: Sshd) -> dict[str, Any]:
    """Measure everything about one pair, in an empty directory; a missing figure has a reason in its place."""
    found: dict[str, Any] = {"about": pair.about, "at": _now(), "peers": {}, "ours": {}}
    old, new = directory / "old", directory / "new"
    try:
        pair.make(downloads, old, new)
    except NotFetchedError as error:
        return found | {"left_out": f"cannot be fetched: {error}"}
    changes = compare(old, new)
    found["tree"] = _about(changes)
    found["copy_rate"] = deltas_ours.copy_rate(new, directory)
    for effort in efforts:
        found["ours"][effort] = _ours(old, new, directory, effort)
        _say(pair, f"ours, {effort}", found["ours"][effort])
    for peer in peers:
        found["peers"][peer] = _peer(peer, changes, old, new, directory, seconds, host)
        _say(pair, peer, found["peers"][peer])
    return found


def _ours(old: Path, new: Path, directory: Path, effort: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ours-", dir=directory) as site:
        try:
            return asdict(deltas_ours.measure(old, new, Path(site), effort))
        except RuntimeError as error:
            return {"left_out": str(error).strip().splitlines()[-1][:300]}


def _peer(peer: str, changes: Changes, old: Path, new: Path, directory: Path, seconds: int, host: Sshd) -> dict[str, Any]:
    if peer in deltas_files.METHODS:
        made = deltas_files.measure(peer, changes, old, new, seconds=seconds)
        return {"left_out": made} if isinstance(made, str) else asdict(made) | {"bytes": made.patches + made.list}
    with tempfile.TemporaryDirectory(prefix="peer-", dir=directory) as empty:
        try:
            crossed = {
                RSYNC: lambda: deltas_wire.rsync(old, new, Path(empty), host),
                RSYNC_CHECKSUM: lambda: deltas_wire.rsync(old, new, Path(empty), host, "--checksum"),
                CASYNC: lambda: deltas_wire.casync(old, new, Path(empty)),
            }[peer]()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            crossed = f"{type(error).__name__} of {peer}"
    return {"left_out": crossed} if isinstance(crossed, str) else {"bytes": crossed}


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


def _say(pair: Pair, what: str, found: Mapping[str, Any]) -> None:
    print(f"{pair.name}: {what}: {found['bytes']:,} bytes" if "bytes" in found else f"{pair.name}: {what}: {found['left_out']}", flush=True)


def merged(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Join the results of two runs; the later one's figures replace the earlier one's."""
    pairs = {name: dict(pair) for name, pair in earlier.get("pairs", {}).items()}
    for name, pair in later["pairs"].items():
        before = pairs.get(name, {"peers": {}, "ours": {}})
        before.pop("left_out", None)
        pairs[name] = {**before, **pair, **{side: {**before[side], **pair[side]} for side in ("peers", "ours")}}
    return {**later, "pairs": pairs}


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    """Use the given directory, which is kept, or a temporary one."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as made:
        yield Path(made)


def _listed(known: tuple[str, ...]) -> Any:
    def parse(text: str) -> list[str]:
        names = list(known) if text == "all" else [] if text == "none" else text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; there are: all, none, {', '.join(known)}")
        return names

    return parse


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and write it. A missed limit is shown, not returned: the figures are for people."""
    parser = argparse.ArgumentParser(prog="python -m bench.deltas", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", default="all", help="all, small, or names separated by commas")
    parser.add_argument("--peers", type=_listed(PEERS), default=list(PEERS), help="all, none, or names separated by commas")
    parser.add_argument("--efforts", type=_listed(deltas_ours.EFFORTS), default=["default"], help="all, none, or some of fast,default,max")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"CPU time of a per-file method for one pair (default {SECONDS})")
    parser.add_argument("--downloads", type=Path, default=None, help="directory that keeps fetched packages (default: they are not kept)")
    parser.add_argument("--directory", type=Path, default=None, help="working directory (default: a temporary one)")
    parser.add_argument(
        "--json", type=Path, default=None, help="write every number to this file; the table and the chart beside it, as .md and .svg"
    )
    parser.add_argument("--add", action="store_true", help="keep figures of the JSON file that this run doesn't measure")
    options = parser.parse_args(arguments)
    earlier = json.loads(options.json.read_text()) if options.add and options.json and options.json.exists() else {}
    results: dict[str, Any] = {"at": _now(), "machine": machine(), "pairs": {}}
    pairs = chosen(options.pairs.split(","))
    with _directory(options.downloads) as downloads, tempfile.TemporaryDirectory(prefix="sluice-bench-", dir=options.directory) as work:
        (Path(work) / "ssh").mkdir()
        with lab(Path(work) / "ssh", program) as hosts:
            host = hosts.host("host")
            for pair in pairs:
                with tempfile.TemporaryDirectory(prefix="pair-", dir=work) as directory:
                    found = measure(pair, Path(directory), downloads, options.peers, options.efforts, options.seconds, host)
                results["pairs"][pair.name] = found
                if options.json:
                    _write(merged(earlier, results), options.json)
    print("\n".join(lines(merged(earlier, results))))


def _write(results: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text("\n".join(_page(results, path)))
    path.with_suffix(".svg").write_text(svg(results))


def _page(results: Mapping[str, Any], path: Path) -> Iterator[str]:
    about = results["machine"]
    yield "# Deltas: what a change costs on the wire"
    yield ""
    yield "Written by `python -m bench.deltas` (docs/bench.md says what is measured and how). 1 KB is 1,000 bytes."
    yield f"{about['cores']} cores, Linux {about['kernel']}, Python {about['python']}; {results['at'][:10]}."
    yield ""
    yield f"![bytes on the wire]({path.with_suffix('.svg').name})"
    yield ""
    yield from lines(results)


if __name__ == "__main__":
    main()
