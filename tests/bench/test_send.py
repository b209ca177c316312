"""The benchmark works: a few files against the peers that are here. What it measures isn't judged in a test."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(360)


def test_sends_and_builds_are_measured_beside_rsync_and_nothing_is_left(tmp_path: Path, real_part: Callable[[str], Path]) -> None:
    for name in ("sshd", "ssh", "rsync"):
        real_part(name)
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "bench.send", "--tiny", "--case", "10k", "--case", "build", "--directory", str(tmp_path)]
    ended = subprocess.run([*command, "--json", str(results)], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    cases = json.loads(results.read_text())["cases"]
    assert {"sluice, whole process", "rsync -a"} <= cases["10k"]["seconds"].keys()
    assert {"sluice, whole process", "rsync -an"} <= cases["build"]["seconds"].keys()
    assert all(len(runs) == 1 and min(runs) > 0 for case in cases.values() for runs in case["seconds"].values())
    assert all(ratio["ratio"] > 0 for case in cases.values() for ratio in case["targets"])
    assert set(cases["10k"]["peak_bytes"]) == {"sender", "agent"}
    assert "rsync -a" in ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
