"""A few generated cases, and the proof that broken code would be found out; ``python -m tests.trees`` tries a thousand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluice.model.change import Change, ChangeKind, Stop
from sluice.rules.excludes import Excludes
from sluice.subscriber.extract import extraction, planner, rehearse, undo
from sluice.subscriber.extract.changes import ChangeLog
from sluice.subscriber.extract.plan import Plan
from sluice.subscriber.extract.previous import PreviousState
from tests.conftest import missing
from tests.trees import subscriber
from tests.trees.case import Found, base_directory, try_case

CASES = 40
"""Always the first ones; ``make soak`` tries more."""
TRIED = 150
"""Cases within which a control must be caught, where the case that is known to catch it no longer does."""


@pytest.fixture
def base() -> Iterator[Path]:
    if os.geteuid() != 0:
        missing("root, for owners, devices and an agent that isn't root")
    with base_directory() as made:
        yield made


@pytest.mark.slow
def test_nothing_foreign_changes_that_the_dry_run_has_not_named_and_run_and_dry_run_agree(base: Path) -> None:
    whole = Found()
    for number in range(CASES):
        found = try_case(number, base)
        assert not found.violations, f"python -m tests.trees --first {number} --count 1: {found.violations}"
        whole.add(found)

    print(whole.text())
    assert whole.outcomes["installed"] > CASES  # each has two to four revisions, and most are extracted in the end
    assert whole.outcomes["DestinationError"] > CASES // 4
    assert whole.outcomes["ActionFailedError"] > 3
    assert whole.foreign_named > CASES // 2


# --- controls: broken on purpose, each must be found out, or the cases show nothing -------------------------------------


def _forgets(kind: ChangeKind) -> Callable[[pytest.MonkeyPatch], None]:
    def break_it(patch: pytest.MonkeyPatch) -> None:
        named = ChangeLog.named

        def without(log: ChangeLog) -> tuple[Change, ...]:
            log.counts.pop(kind, None)
            return tuple(each for each in named(log) if each.kind is not kind)

        patch.setattr(ChangeLog, "named", without)

    return break_it


def _takes_over_modes(patch: pytest.MonkeyPatch) -> None:
    """The run, and not its dry run, gives directories that stood the source's mode."""
    plan_extraction = planner.plan_extraction

    def taking_over(context: Any, destinations: Any, manifest: Any, known: Any) -> Plan:
        changed = tuple(replace(each, directory_mode="set") for each in manifest.destinations)
        return plan_extraction(context, destinations, replace(manifest, destinations=changed), known)

    patch.setattr(extraction, "plan_extraction", taking_over)


def _leaves_something(patch: pytest.MonkeyPatch) -> None:
    """A dry run makes a directory."""
    rehearsed = rehearse.rehearse_extraction

    def leaving(context: Any, question: Any) -> Any:
        Path(context.working_directory, "../host/tried").mkdir(exist_ok=True)
        return rehearsed(context, question)

    patch.setattr(subscriber, "rehearse_extraction", leaving)


def _removes_foreign_files(patch: pytest.MonkeyPatch) -> None:
    """What people put into a directory that goes is taken for ours."""
    patch.setattr(PreviousState, "has_placed", lambda _state, _path, kind: kind is not None)


CONTROLS: dict[str, tuple[int, str, Callable[[pytest.MonkeyPatch], None]]] = {
    "a dry run that forgets replacements": (6, "the dry run didn't name it", _forgets(ChangeKind.REPLACED)),
    "a dry run that forgets what is taken over": (29, "the dry run didn't name it", _forgets(ChangeKind.TAKEN_OVER)),
    "a dry run that forgets foreign removals": (9, "the dry run didn't name it", _forgets(ChangeKind.FOREIGN_REMOVED)),
    "a dry run that forgets removals": (9, "the dry run doesn't name as removed", _forgets(ChangeKind.REMOVED)),
    "a dry run that forgets times": (2, "the dry run didn't name it", _forgets(ChangeKind.TIME)),
    "a dry run that sees no obstacle": (
        1,
        "it stopped, and the dry run didn't say so",
        lambda patch: patch.setattr(rehearse, "_stops", lambda *_: []),
    ),
    "a dry run that cries wolf": (
        2,
        "the dry run says it would stop, and it ran",
        lambda patch: patch.setattr(rehearse, "_stops", lambda *_: [Stop("wolf")]),
    ),
    "a dry run that leaves something": (0, "the dry run of zone 1.1 left", _leaves_something),
    "a planner that takes over modes of foreign directories": (2, "a foreign directory isn't as it was", _takes_over_modes),
    "a planner that replaces foreign things by other kinds": (
        2,
        "a foreign ",
        lambda patch: patch.setattr(planner._Planner, "_check_replaceable", lambda *_: None),
    ),
    "a planner that takes everything for its own": (2, "the dry run didn't name it", _removes_foreign_files),
    "a mirror without its excludes": (
        25,
        "excluded from a mirror, and gone",
        lambda patch: patch.setattr(Excludes, "covers", lambda *_args, **_names: False),
    ),
    "an undo that restores no metadata": (
        25,
        "a failed run left",
        lambda patch: patch.setattr(undo, "_restore_metadata", lambda *_: None),
    ),
    "an undo that puts nothing back": (29, "a failed run left", lambda patch: patch.setattr(undo, "_put_back", lambda *_: None)),
    "a plan that never ends": (5, "the second run", lambda patch: patch.setattr(Plan, "is_empty", False)),
}
"""What is broken: a case known to find it out, what it says, and how it is broken."""


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS)
def test_broken_code_is_found_out(base: Path, monkeypatch: pytest.MonkeyPatch, control: str) -> None:
    known, expected, break_it = CONTROLS[control]
    break_it(monkeypatch)

    assert any(expected in each for number in (known, *range(TRIED)) for each in try_case(number, base).violations)
