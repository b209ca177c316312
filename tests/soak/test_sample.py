"""A few kills, failing calls and power cuts of every situation, with controls; the long run of the same is ``make soak``."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import IN_CI, missing
from tests.soak.calls import is_supported

PROJECT = Path(__file__).parents[2]
SEED = 20261120
"""In CI always the same; elsewhere another each time, which the output names."""

pytestmark = pytest.mark.timeout(720)


@pytest.fixture
def soak(tmp_path: Path, real_part: Callable[[str], Path]) -> Callable[..., subprocess.Popen[str]]:
    for name in ("mkfs.ext4", "mount", "cp"):
        real_part(name)
    if os.geteuid() != 0 or not is_supported():
        missing("root on x86-64, for loop mounts and the watching of calls")
    if not Path("/dev/loop-control").exists():
        missing("loop devices")

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.soak", *arguments]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        return subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    return start


def assert_nothing_is_left(directory: Path) -> None:
    assert list(directory.iterdir()) == []
    assert str(directory) not in Path("/proc/self/mountinfo").read_text()
    assert not [file for file in Path("/sys/block").glob("loop*/loop/backing_file") if str(directory) in file.read_text()]


def test_a_few_faults_of_every_kind_leave_all_whole_and_controls_are_caught(
    soak: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    seed = SEED if IN_CI else random.SystemRandom().randrange(10**6)
    process = soak("--sample", "--seed", str(seed))
    said, _ = process.communicate(timeout=600)
    print(said)

    assert process.returncode == 0, said
    last = said.splitlines()[-1]
    assert "0 violations" in last
    assert_nothing_is_left(tmp_path)


def test_an_interrupted_run_ends_and_leaves_nothing(soak: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    process = soak("--sample", "--seed", "1")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("soak: seed 1")
    assert process.stdout.readline() == "soak: under way\n"

    process.send_signal(signal.SIGINT)

    said, _ = process.communicate(timeout=240)
    assert process.returncode == 130, said
    assert_nothing_is_left(tmp_path)
