"""Two hundred of the generated blueprints; ``python -m tests.fuzz.blueprints --count 20000`` has the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.errors import BlueprintError, SiteError
from tests.fuzz import blueprints
from tests.fuzz.blueprints import CPU_MAX, SIZE_MAX, blueprint, judge_all, judged


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_generated_blueprint_is_a_site_or_refused_with_file_and_line_within_bounds() -> None:
    found = judge_all(range(200), workers=1, most=5 * CPU_MAX)  # a busy machine counts more seconds for the same work
    assert [f"seed {each.seed}: {each.failure}" for each in found if each.kind == "failed"] == []
    assert {"valid", "refused"} <= {each.kind for each in found}


def test_generated_blueprints_are_of_every_size_and_each_is_the_same_again() -> None:
    sizes = [len(blueprint(seed)) for seed in range(100)]
    assert min(sizes) < 1000
    assert SIZE_MAX - 100 < max(sizes) <= SIZE_MAX
    assert [len(blueprint(seed)) for seed in range(20)] == sizes[:20]


def _loops(directory: Path) -> None:
    while True:
        pass


def _hoards(directory: Path) -> None:
    assert len(bytearray(b"x") * (150 << 20)) > 0
    raise SiteError([BlueprintError("wrong", file=str(directory / "a.yaml"), line=1, remedy="mend it")])


def _fails(directory: Path) -> None:
    raise RecursionError("too deep")


def _has_no_place(directory: Path) -> None:
    raise SiteError([BlueprintError("wrong", file=str(directory), line=0, remedy="mend it")])


def _has_no_remedy(directory: Path) -> None:
    raise SiteError([BlueprintError("wrong", file=str(directory / "a.yaml"), line=1)])


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (_loops, "s of CPU"),
        (_hoards, "MiB of memory"),
        (_fails, "RecursionError: too deep"),
        (_has_no_place, "without file, line or remedy"),
        (_has_no_remedy, "without file, line or remedy"),
    ],
)
def test_every_kind_of_fault_would_be_found(fault: object, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blueprints, "load_site", fault)
    outcome = judged(0)
    assert outcome.kind == "failed"
    assert told in outcome.failure
