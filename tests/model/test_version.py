"""The version that both ends say is the project's."""

import tomllib
from pathlib import Path

from sluice.model.version import VERSION


def test_the_version_said_on_the_wire_is_the_project_files() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
