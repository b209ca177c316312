"""What every test against real parts may take."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.sshd import SshLab, lab


@pytest.fixture
def ssh_lab(tmp_path_factory: pytest.TempPathFactory, real_part: Callable[[str], Path]) -> Iterator[SshLab]:
    """Real sshd hosts of this test's own: ``ssh_lab.host("helsinki-1").subscriber``."""
    with lab(tmp_path_factory.mktemp("ssh-lab"), real_part) as made:
        yield made
