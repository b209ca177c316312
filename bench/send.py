"""``python -m bench.send``: compare sends and builds with rsync, scp and ansible, interleaved, each on a fresh file system (docs/bench.md).

Every round runs every series once, in turn, so that a noisy minute hits all alike; the first round warms caches and isn't counted. Times
are of whole processes, connection included, up to durable on the host; what is measured apart says so in its name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Case, Target, machine
from bench.flow import measure_flow
from bench.ground import MIB, sync
from bench.lab import Lab, opened_lab
from bench.peers import ANSIBLE, commands, timed

BYTES_MOST = 200_000_000
"""Limit of memory in bytes, for sender and agent each."""
WHOLE = "sluice, whole process"
INSIDE = "sluice, without interpreter start and imports"
SENT = "sluice sent, whole process"
SENT_INSIDE = "sluice sent, without interpreter start and imports"
APART = "SLUICE_BENCH_APART"
"""Environment variable that is set within the mount namespace."""
AFTER = "(sync -f after sluice, in none of its figures)"

_PER_DIRECTORY = 100
_PIECE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of the cases."""

    files: int
    file_size: int
    big: int
    build_files: int
    sizes: tuple[int, int]
    """Bytes of the sender's and of the Subscriber's file system."""


FULL = Scale(files=10_000, file_size=4096, big=1024 * MIB, build_files=78_000, sizes=(6144 * MIB, 4096 * MIB))
QUICK = Scale(files=1_000, file_size=4096, big=64 * MIB, build_files=5_000, sizes=(1024 * MIB, 768 * MIB))
TINY = Scale(files=8, file_size=512, big=2 * MIB, build_files=20, sizes=(96 * MIB, 160 * MIB))
"""Sizes for a test that it works."""


def many(lab: Lab, scale: Scale, rounds: int) -> Case:
    """Measure many small files: sent, verified, extracted, durable."""
    targets = (Target(WHOLE, "rsync -a", 1.5), Target(INSIDE, "rsync -a", 1.5))
    case = Case("10k", f"{scale.files:,} files of {scale.file_size:,} bytes to one Subscriber", BYTES_MOST, targets)
    _many_files(lab.source("many"), scale.files, scale.file_size)
    _measure_sends(case, lab, "many", rounds, peers=("rsync -a", "scp", ANSIBLE))
    return case


def big(lab: Lab, scale: Scale, rounds: int) -> Case:
    """Measure one incompressible file: held and verified in the working directory, then extracted as well."""
    limits = {SENT: 1.2, SENT_INSIDE: 1.2, WHOLE: 2.0, INSIDE: 2.0}
    targets = [Target(what, "rsync -W", most) for what, most in limits.items()]
    case = Case("1g", f"one incompressible file of {scale.big:,} bytes to one Subscriber", BYTES_MOST, targets)
    _one_file(lab.source("big"), scale.big)
    _measure_sends(case, lab, "big", rounds, peers=("rsync -W", "rsync -W, AES-GCM", "scp", ANSIBLE))
    return case


def no_change(lab: Lab, scale: Scale, rounds: int) -> Case:
    """Measure a build of an unchanged tree, compared with rsync of it to an identical copy."""
    targets = (Target(WHOLE, "rsync -an", 1.3), Target(INSIDE, "rsync -an", 1.3))
    case = Case("build", f"a build of {scale.build_files:,} unchanged files", BYTES_MOST, targets)
    tree, copy = lab.source("tree"), lab.sender.mount / "copy"
    _many_files(tree, scale.build_files, 256)
    subprocess.run(["cp", "-a", str(tree), str(copy)], check=True)
    lab.add("tree")
    time.sleep(2.1)  # files changed within two seconds of a scan are read again by the next
    lab.build("tree")
    for _ in case.rounds(rounds):
        ended = lab.build("tree")
        marks = ended.figures
        compared, _ = timed(["rsync", "-an", f"{tree}/", f"{copy}/"], lab)
        runs = {
            WHOLE: ended.seconds,
            INSIDE: marks["closed"] - marks["imported"],
            "sluice, the scan and comparison alone": marks["built"] - marks["opened"],
            "rsync -an": compared.seconds,
        }
        case.add(runs, build=ended.peak)
    return case


def prefect(lab: Lab, scale: Scale, rounds: int) -> Case:
    """Measure the same send as a flow run, and Prefect's share of it."""
    case = Case("prefect", "100 small files to one Subscriber, sent and extracted as a flow run")
    _many_files(lab.source("few"), min(100, scale.files), 1024)
    lab.add("few")
    with measure_flow(lab, "few") as flow:
        for _ in case.rounds(rounds):
            lab.renew()
            ended, _ = lab.send("few")
            lab.renew()
            imported, ran = flow()
            alone = ended.figures["closed"] - ended.figures["imported"]
            runs = {
                "the send without Prefect, imports apart": alone,
                "the same as a flow run, imports apart": ran,
                "Prefect's own cost: the difference": ran - alone,
                "interpreter start and imports without Prefect": ended.figures["imported"] - ended.began,
                "interpreter start and imports of a flow run": imported,
            }
            case.add(runs)
    return case


CASES: dict[str, Callable[[Lab, Scale, int], Case]] = {"10k": many, "1g": big, "build": no_change, "prefect": prefect}


def _measure_sends(case: Case, lab: Lab, name: str, rounds: int, *, peers: tuple[str, ...]) -> None:
    lab.add(name)
    expected = _count_files(lab.source(name))
    found = commands(lab, lab.source(name), lab.destination(name))
    case.left_out = {peer: "not installed" for peer in peers if peer not in found}
    for number in case.rounds(rounds):
        lab.renew()
        ended, agent = lab.send(name)
        began = time.monotonic()
        sync(lab.receiver.mount)
        after = time.monotonic() - began
        _check(lab, name, expected)
        if number == 0:
            lab.keep_compiled()
        marks = ended.figures
        runs = {
            WHOLE: ended.seconds,
            INSIDE: marks["closed"] - marks["imported"],
            SENT: marks["sent"] - ended.began,
            SENT_INSIDE: marks["sent"] - marks["imported"],
            AFTER: after,
        }
        for peer in [peer for peer in peers if peer in found]:
            lab.renew()
            _, runs[peer] = timed(found[peer], lab)
            _check(lab, name, expected)
        case.add(runs, sender=ended.peak, agent=agent)


def _many_files(root: Path, count: int, size: int) -> None:
    """Make ``count`` files of ``size`` bytes, a hundred a directory."""
    for number in range(count):
        directory = root / f"d{number // (_PER_DIRECTORY * 20):03}" / f"e{number // _PER_DIRECTORY:04}"
        if number % _PER_DIRECTORY == 0:
            directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file-{number:06}").write_bytes(os.urandom(size))


def _one_file(root: Path, size: int) -> None:
    """Make one file of random bytes."""
    root.mkdir(parents=True)
    with open(root / "image.bin", "wb") as file:
        for at in range(0, size, _PIECE):
            file.write(os.urandom(min(_PIECE, size - at)))


def _count_files(root: Path) -> tuple[int, int]:
    """Count files below, and their bytes: enough to verify that a run did its work."""
    found = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    return len(found), sum(found)


def _check(lab: Lab, name: str, expected: tuple[int, int]) -> None:
    found = _count_files(lab.destination(name))
    if found != expected:
        raise RuntimeError(f"{name}: {found} files and bytes arrived, not {expected}: the time is not that of this case")


def main(arguments: list[str] | None = None) -> None:
    """Run cases, print and write the figures. A missed limit is shown, not returned: the figures are for people."""
    parser = argparse.ArgumentParser(prog="python -m bench.send", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="only this case; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each case (default 5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of all sizes, 2 rounds")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, 1 round: only to test that it works")
    parser.add_argument("--directory", type=Path, default=None, help="working directory (default: a temporary one)")
    parser.add_argument("--json", type=Path, default=None, help="write every number to this file")
    options = parser.parse_args(arguments)
    _go_apart()
    cases = options.case or list(CASES)
    scale, rounds = (TINY, 1) if options.tiny else (QUICK, 2) if options.quick else (FULL, options.rounds)
    results = run_cases(cases, scale, rounds, options.directory)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def _go_apart() -> None:
    """Restart in a mount namespace of our own: one that another process makes meanwhile would keep our file systems mounted."""
    unshare = shutil.which("unshare")
    if os.geteuid() == 0 and unshare and APART not in os.environ:
        os.execve(unshare, [unshare, "--mount", "--propagation", "private", sys.executable, *sys.orig_argv[1:]], os.environ | {APART: "1"})


def run_cases(names: list[str], scale: Scale, rounds: int, directory: Path | None = None) -> dict[str, object]:
    """Run and print the cases; return their JSON."""
    results: dict[str, object] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "rounds": rounds}
    found: dict[str, object] = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="sluice-bench-", dir=directory) as place, opened_lab(Path(place), scale.sizes) as lab:
            case = CASES[name](lab, scale, rounds)
            results["file_system"] = lab.receiver.kind
        found[name] = case.as_json()
        print("\n".join(case.lines()), flush=True)
    return results | {"cases": found}


if __name__ == "__main__":
    main()
