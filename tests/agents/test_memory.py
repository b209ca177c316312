"""What an agent says of its memory: the least of what the machine has and of every limit on it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from agents.memory import memory

MIB = 1024 * 1024
PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def limited(top: Path, lines: str, files: dict[str, str]) -> int:
    (top / "cgroup").write_text(lines)
    for name, text in files.items():
        path = top / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return memory(process=top / "cgroup", mounted=top / "mounted")


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{300 * MIB}\n", "memory.max": "max\n"}, 300 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": f"{200 * MIB}\n", "a/memory.max": f"{300 * MIB}\n"}, 200 * MIB),
        ("0::/\n", {"memory.max": f"{64 * MIB}\n"}, 64 * MIB),
        ("9:cpu,cpuacct:/x\n7:memory:/x/y\n", {"memory/x/memory.limit_in_bytes": f"{128 * MIB}\n"}, 128 * MIB),
        ("7:memory:/x\n", {"memory/x/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, PHYSICAL),
        ("0::/a\n", {"a/memory.max": "no number\n"}, PHYSICAL),
        ("no line of a cgroup\n", {}, PHYSICAL),
    ],
)
def test_the_limit_of_a_control_group_or_one_above_it_counts(tmp_path: Path, lines: str, files: dict[str, str], expected: int) -> None:
    assert limited(tmp_path, lines, files) == expected


def test_without_control_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert memory(process=tmp_path / "missing", mounted=tmp_path / "missing") == PHYSICAL


def test_the_limit_of_the_process_counts() -> None:
    program = "import sys; from agents.memory import memory; print(memory())"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (500 * MIB, resource.RLIM_INFINITY))

    said = subprocess.run([sys.executable, "-c", program], preexec_fn=limit, capture_output=True, check=True, cwd=Path(__file__).parents[2])
    assert int(said.stdout) == 500 * MIB
