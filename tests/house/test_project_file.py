"""pyproject.toml, requirements.lock and docs/dependencies.md say the same."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2]
LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
# One entry a requirement: the pin, then its hashes on continued lines.
LOCKED = [Requirement(line.removesuffix("\\").strip()) for line in LOCK.splitlines() if re.match(r"[a-z0-9]", line)]
PYTHONS = ["3.11.2", "3.12.3", "3.13.5"]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def direct(project: dict[str, Any]) -> list[Requirement]:
    """Every requirement that the project states itself, all extras included."""
    stated = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return [Requirement(line) for line in stated]


def applies(marker: Marker | None, python: str) -> bool:
    minor = ".".join(python.split(".")[:2])
    return marker is None or marker.evaluate({"python_version": minor, "python_full_version": python, "sys_platform": "linux"})


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_file_pins_each_direct_dependency_to_a_version_the_project_allows(project: dict[str, Any], python: str) -> None:
    pins = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in LOCKED if applies(pin.marker, python)}

    wrong = [
        str(requirement)
        for requirement in direct(project)
        if applies(requirement.marker, python) and not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    ]

    assert wrong == [], "run `make lock`"


def test_each_entry_of_the_lock_file_is_an_exact_version_with_hashes() -> None:
    entries = re.split(r"\n(?=[a-z0-9])", LOCK.strip())

    assert len(entries) == len(LOCKED)
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert [str(pin) for pin in LOCKED if not re.fullmatch(r"==[^*,]+", str(pin.specifier))] == []


def test_the_lock_file_names_no_address() -> None:
    assert re.findall(r"^-.*|^.*(?:://|@ ).*", LOCK, flags=re.MULTILINE) == []


def test_each_direct_dependency_has_its_row_in_the_documentation(project: dict[str, Any]) -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (PROJECT / "docs/dependencies.md").read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert sorted(map(canonicalize_name, rows)) == sorted(canonicalize_name(requirement.name) for requirement in direct(project))
