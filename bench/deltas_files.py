"""Measure the per-file methods: one patch for each changed file, new files as zstd -19, each method as a process of its own with limits.

``python -m bench.deltas_files METHOD OLD NEW SECONDS`` reads paths as JSON and prints {"sizes": {path: bytes}, "cpu": seconds}. Patches are
what the program makes when it is set to leave out parts that a list or a signature replaces: no checksums, no file names. A program's start
isn't counted as its CPU time: what one takes for next to nothing is taken off for each file.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from backports import zstd

from bench.deltas_trees import LEVEL, Changes, file_list, sent_files
from bench.processes import NotMeasuredError, cpu, last_line, run_tool

MEMORY_MOST = 10 * 1024**3
"""Bytes of address space that a method may take."""
_WALL = 4
"""Wall time in multiples of the CPU limit: the machine may have other load."""
_CALIBRATIONS = 9
Patch = Callable[[Path, Path, Path], int]
"""(old, new, scratch file): bytes of the patch."""


def measure(name: str, changes: Changes, old: Path, new: Path, *, seconds: int) -> dict[str, float]:
    """Measure one method on one pair. Raises NotMeasuredError.

    Args:
        seconds: CPU time that it may take.
    Returns:
        Bytes of the patches, of the file list, and of both; user and system seconds.
    """
    paths = json.dumps([*sent_files(changes)])
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as scratch:  # removed here: the limit kills the other process
        command = [sys.executable, "-m", "bench.deltas_files", name, str(old), str(new), scratch, str(seconds)]
        try:
            ended = subprocess.run(command, input=paths, capture_output=True, text=True, timeout=seconds * _WALL, check=False)
        except subprocess.TimeoutExpired:
            raise NotMeasuredError(f"more than {seconds * _WALL} s") from None
    if ended.returncode != 0:
        raise NotMeasuredError(_too_long(seconds) if ended.returncode == -signal.SIGXCPU else last_line(ended.stderr))
    found = json.loads(ended.stdout)
    sizes: Mapping[str, int] = found["sizes"]
    patches, listed = sum(sizes.values()), len(file_list(changes, sizes))
    return {"patches": patches, "list": listed, "cpu": found["cpu"], "bytes": patches + listed}


def _bsdiff(old: Path, new: Path, scratch: Path) -> int:
    return _made(["bsdiff", str(old), str(new), str(scratch)], scratch)


def _xdelta3(old: Path, new: Path, scratch: Path) -> int:
    window = str(max(1024 * 1024, old.stat().st_size))
    return _made(["xdelta3", "-e", "-9", "-f", "-n", "-A", "-B", window, "-s", str(old), str(new), str(scratch)], scratch)


def _hdiffpatch(old: Path, new: Path, _: Path) -> int:
    """Return the smaller of HDiffPatch's own compression, stream by stream, and one frame around an uncompressed patch."""
    import hdiffpatch

    before, after = old.read_bytes(), new.read_bytes()
    patch = hdiffpatch.diff(before, after, validate=False)
    own = hdiffpatch.recompress(patch, hdiffpatch.ZStdConfig(level=LEVEL))
    return min(len(own), len(_compressed(patch)))


def _prefix(level: int) -> Callable[[Path, Path, Path], int]:
    def patch(old: Path, new: Path, _: Path) -> int:
        before, after = old.read_bytes(), new.read_bytes()
        window = min(31, max(10, (len(before) + len(after)).bit_length()))
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: level,
            zstd.CompressionParameter.window_log: window,
            # As the program does for --patch-from: long matches if the window is larger than the level's own tables cover.
            zstd.CompressionParameter.enable_long_distance_matching: int(window >= 24),
            # As the program's default; without it level 19 would lose nearly all long matches.
            zstd.CompressionParameter.nb_workers: 1,
        }
        return len(zstd.compress(after, options=options, zstd_dict=zstd.ZstdDict(before, is_raw=True).as_prefix))

    return patch


METHODS: Mapping[str, Patch] = {
    "bsdiff": _bsdiff,
    "xdelta3 -9": _xdelta3,
    "HDiffPatch": _hdiffpatch,
    "zstd --patch-from -9": _prefix(9),
    "zstd --patch-from -19": _prefix(19),
}
_PROGRAMS = (_bsdiff, _xdelta3)
"""Methods that start a program for each file."""


def _made(command: list[str], scratch: Path) -> int:
    run_tool(command, seconds=resource.getrlimit(resource.RLIMIT_CPU)[0] * _WALL)
    return scratch.stat().st_size


def _compressed(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.compression_level: LEVEL})


def _cpu() -> float:
    return cpu(resource.RUSAGE_SELF) + cpu(resource.RUSAGE_CHILDREN)


def _too_long(seconds: int) -> str:
    return f"more than {seconds} s of CPU"


def _start(patch: Patch, scratch: Path) -> float:
    """Return CPU seconds of starting the program for a tiny file; 0 for a method that runs in this process."""
    if patch not in _PROGRAMS:
        return 0.0
    tiny = scratch / "tiny"
    tiny.write_bytes(b"\n")
    spent = []
    for _ in range(_CALIBRATIONS):
        began = _cpu()
        patch(tiny, tiny, scratch / "patch")
        spent.append(_cpu() - began)
    return median(spent)


def _run(patch: Patch, old: Path, new: Path, scratch: Path, paths: list[tuple[str, bool]], seconds: int) -> dict[str, object]:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MOST, MEMORY_MOST))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    sizes = {}
    start = _start(patch, scratch)
    began, started = _cpu(), 0
    for path, is_new in paths:
        if is_new or not (old / path).stat().st_size or not (new / path).stat().st_size:  # bsdiff opens no empty file
            sizes[path] = len(_compressed((new / path).read_bytes()))
        else:
            sizes[path] = patch(old / path, new / path, scratch / "patch")
            started += 1
        if _cpu() - began > seconds:
            raise NotMeasuredError(_too_long(seconds))
    return {"sizes": sizes, "cpu": max(0.0, _cpu() - began - started * start)}


def main(arguments: list[str]) -> None:
    """Measure one method on one pair, in this process."""
    name, old, new, scratch, seconds = arguments
    try:
        print(json.dumps(_run(METHODS[name], Path(old), Path(new), Path(scratch), json.load(sys.stdin), int(seconds))))
    except MemoryError:
        raise SystemExit(f"more than {MEMORY_MOST // 1024**3} GiB of memory") from None
    except NotMeasuredError as error:
        ended = error.__cause__
        is_killed = isinstance(ended, subprocess.CalledProcessError) and ended.returncode < 0
        raise SystemExit(_too_long(int(seconds)) if is_killed else str(error)) from error


if __name__ == "__main__":
    main(sys.argv[1:])
