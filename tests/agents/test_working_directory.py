"""Whose working directory an agent believes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.working_directory import WorkingDirectory
from sluice.errors import TrustError
from tests.conftest import missing


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o1777, False), (0o755, False)])
def test_a_working_directory_whose_name_everybody_can_give_to_another_is_refused(tmp_path: Path, mode: int, refused: bool) -> None:
    around = tmp_path / "around"
    work = around / "sluice" / "here"
    work.mkdir(mode=0o700, parents=True)
    around.chmod(mode)
    if refused:
        with pytest.raises(TrustError, match="everybody"):
            WorkingDirectory(work)
    else:
        WorkingDirectory(work)


def test_a_working_directory_whose_name_another_user_can_give_to_another_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        missing("root, to give a directory away")
    home = tmp_path / "home"
    work = home / "root-s" / "sluice"
    work.mkdir(mode=0o700, parents=True)
    os.chown(home, 4242, 4242)
    with pytest.raises(TrustError, match="whose owner can give its name to another"):
        WorkingDirectory(work)
    os.chown(home, 0, 0)
    WorkingDirectory(work)
