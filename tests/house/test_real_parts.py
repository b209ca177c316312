"""A real part that isn't here fails CI and is skipped, with the reason, elsewhere; nothing of the user's environment gets in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def outcome(folder: Path, test: str, **environment: str) -> str:
    """What pytest prints for one test under the project's conftest."""
    (folder / "conftest.py").write_bytes(CONFTEST.read_bytes())
    (folder / "test_it.py").write_text(test, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "test_it.py"]
    return subprocess.run(command, cwd=folder, env=kept | environment, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "expected"), [("true", "1 failed"), ("", "1 skipped")])
def test_a_missing_real_part_is_an_error_in_ci_and_a_skip_elsewhere(tmp_path: Path, ci: str, expected: str) -> None:
    shown = outcome(tmp_path, "def test_it(real_part): real_part('no-such-daemon')", CI=ci)

    assert expected in shown
    assert "no-such-daemon" in shown


@pytest.mark.slow
def test_a_real_part_that_is_here_is_found(tmp_path: Path) -> None:
    assert "1 passed" in outcome(tmp_path, "def test_it(real_part): assert real_part('sh').is_absolute()", CI="true")


@pytest.mark.slow
def test_the_users_own_server_and_site_are_not_seen(tmp_path: Path) -> None:
    test = "import os\ndef test_it():\n    assert not {'PREFECT_API_URL', 'SLUICE_SITE'} & set(os.environ)\n"

    assert "1 passed" in outcome(tmp_path, test, PREFECT_API_URL="http://192.0.2.1/api", SLUICE_SITE="/nowhere")
