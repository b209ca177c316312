"""What an agent must be able to do (F10): by what its order will say, no more."""

from dataclasses import replace
from datetime import timedelta
from pathlib import PurePosixPath

import pytest

from sluice.model.action import Action, Script, ScriptType, StartProcess, StopProcess
from sluice.model.feature import Feature, counted, named
from sluice.model.locked import Locked
from sluice.model.recipe import RenderedRecipe
from sluice.model.removals import RemovalLimit
from sluice.model.site import DirectoryMode, Distribution, DistributionType, FileSource, Synchronize
from sluice.rules.features import needed_features

FEW = RemovalLimit(percent=5, files=0)
PLAIN = Distribution("zone", "hq", DistributionType.FILE)
RECIPE = RenderedRecipe(("/opt/zone",))


@pytest.mark.parametrize("asking", [PLAIN, RECIPE])
@pytest.mark.parametrize(
    ("action", "needed"),
    [
        (Script(ScriptType.SHELL, "none", run="true"), {"script"}),
        (Script(ScriptType.PYTHON, "none", path="/a"), {"script"}),
        (Script(ScriptType.PERL, "none", run="1"), {"script", "perl"}),
        (StartProcess("/bin/named"), {"start process"}),
        (StopProcess("named"), {"stop process"}),
    ],
)
def test_each_kind_of_action_needs_its_feature_before_and_after(
    asking: Distribution | RenderedRecipe, action: Action, needed: set[str]
) -> None:
    assert needed_features(asking, min_free=0) == frozenset()
    assert needed_features(replace(asking, pre_actions=(action,)), min_free=0) == needed
    assert needed_features(replace(asking, post_actions=(action,)), min_free=0) == needed


def test_waiting_for_locked_targets_and_keeping_space_free_are_needed_where_they_are_asked_for() -> None:
    waits = replace(RECIPE, locked=Locked(3, timedelta(seconds=1)), post_actions=(StopProcess("named"),))
    assert needed_features(waits, min_free=1) == {"locked", "min free", "stop process"}
    assert needed_features(PLAIN, min_free=0) == frozenset()


@pytest.mark.parametrize(
    ("entry", "needed"),
    [
        (FileSource(PurePosixPath("/srv/a"), "/opt/a"), set()),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", synchronize=Synchronize.YES), {"synchronize"}),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", synchronize=Synchronize.MIRROR), {"synchronize"}),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", exclude=("b",), synchronize=Synchronize.YES), {"synchronize"}),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", exclude=("b",), synchronize=Synchronize.MIRROR), {"synchronize", "removals"}),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", synchronize=Synchronize.YES, max_removals=FEW), {"synchronize", "removals"}),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", exclude=("b",), max_removals=FEW), set()),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a/", directory_mode=DirectoryMode.SET), {"directory mode"}),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", directory_mode=DirectoryMode.KEEP), set()),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", owner="keep"), {"owner"}),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", owner="www:www", xattrs="keep"), {"owner", "xattrs"}),
        (FileSource(PurePosixPath("/srv/a"), "/opt/a", xattrs={"user.a": "b"}), {"xattrs"}),
    ],
)
def test_removal_owners_and_extended_attributes_are_needed_where_any_entry_asks_for_them(entry: FileSource, needed: set[str]) -> None:
    plain = FileSource(PurePosixPath("/srv/b"), "/opt/b")
    assert needed_features(replace(PLAIN, files=(plain, entry)), min_free=0) == needed


def test_features_are_never_renamed_nor_moved() -> None:
    """Agents that are out there name and count them."""
    known = [
        *("script", "perl", "start process", "stop process", "rehearse", "locked", "min free", "delta", "synchronize", "owner", "xattrs"),
        *("removals", "hard links", "backslash", "rename", "release", "directory mode", "templates", "verify", "stop codes", "dry run"),
    ]
    assert [feature.value for feature in Feature][: len(known)] == known


@pytest.mark.parametrize("lacking", [set(), {"owner"}, {"start process", "stop process"}, set(Feature)])
def test_counted_features_are_those_that_were_counted(lacking: set[str]) -> None:
    first, without = counted(set(Feature) - lacking)
    assert named(first, without) == set(Feature) - lacking


def test_of_a_later_agents_features_an_older_sender_knows_its_own() -> None:
    assert named(len(Feature) + 2, ["owner", "teleport"]) == set(Feature) - {"owner"}
    assert named(2, []) == {"script", "perl"}
