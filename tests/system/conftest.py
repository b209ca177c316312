"""What every test against real parts may take."""

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from infra.filesystem.local.mounts import is_mount_point
from infra.orchestrator.server_address import ServerAddress
from tests.conftest import missing
from tests.system.lab import OpenLab, site_lab
from tests.system.sshd import SshLab, lab
from tests.system.warm import Warm


@pytest.fixture
def ssh_lab(tmp_path_factory: pytest.TempPathFactory, real_part: Callable[[str], Path]) -> Iterator[SshLab]:
    """Real sshd hosts of this test's own: ``ssh_lab.host("helsinki-1").subscriber``."""
    with lab(tmp_path_factory.mktemp("ssh-lab"), real_part) as made:
        yield made


@pytest.fixture
def mount() -> Iterator[Callable[..., Path]]:
    """Mount something, and unmount everything at the end, last first, but what a test unmounted."""
    if os.geteuid() != 0:
        missing("root, to mount file systems")
    points: list[Path] = []

    def run(point: Path, *options: str) -> Path:
        done = subprocess.run(["mount", *options, str(point)], capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"the right to mount file systems: {done.stderr}")
        points.append(point)
        return point

    yield run
    for point in reversed(points):
        if is_mount_point(str(point)):
            subprocess.run(["umount", point], check=True)


@pytest.fixture(scope="session")
def open_lab(real_part: Callable[[str], Path], warm: Warm, server: ServerAddress, bundle_directory: Path) -> OpenLab:
    """``site_lab`` with the parts that all share: ``with open_lab(directory, "oslo") as lab``."""
    return partial(site_lab, real_part, warm, server.api_url, bundle_directory)
