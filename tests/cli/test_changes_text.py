"""The text of a plan: old and new value of each field, within 80 columns, and no secret."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import time, timedelta
from typing import Any

import pytest

from cli.changes_text import changes_text
from infra.orchestrator.changes import Act, Change, Changes, ObjectKind, differences, in_order
from infra.orchestrator.shown import HIDDEN, shown
from sluice.distributor.plan.deployments import DeploymentSpec, deployments
from sluice.model.schedule import Kind, Schedule, Window
from tests.flows.sites import distribution, site

HOURLY = {"slug": "build", "active": True, "interval": 3600.0, "anchor_date": "2020-01-01T00:00:00Z", "timezone": "UTC"}
AT_TEN = {"slug": "build", "active": True, "cron": "0 22 * * *", "timezone": "Europe/Helsinki", "day_or": True}


def spec(**changes: object) -> DeploymentSpec:
    return next(s for s in deployments(site(distribution("zone", **changes))) if s.full_name == "build/zone")  # type: ignore[arg-type]


def update(name: str, found: dict[str, Any], wanted: dict[str, Any], of: DeploymentSpec | None = None) -> Change:
    differs = shown(differences(found, wanted), of or spec(), ours={"distribution", "HEARTBEAT"})
    return Change(Act.UPDATE, ObjectKind.DEPLOYMENT, name, differs)


def text(*changes: Change) -> str:
    written = changes_text(Changes(changes), done=False)
    assert all(len(line) <= 80 for line in written.splitlines()), written
    assert all(line.isprintable() for line in written.splitlines())
    return written


@pytest.mark.parametrize(
    ("found", "wanted", "line"),
    [
        ({"queue": "low"}, {"queue": "high"}, "priority: low -> high"),
        ({"limit": None}, {"limit": 2}, "concurrency: none -> 2"),
        ({"pool": "lab.build"}, {"pool": "hq.build"}, "work pool: lab.build -> hq.build"),
        ({"active": True}, {"active": False}, "active: yes -> no"),
        ({"description": "Zones"}, {"description": "All zones"}, "description: Zones -> All zones"),
        ({"description": None}, {"description": "All zones"}, "description: none -> All zones"),
        ({"tags": ["a", "b"]}, {"tags": ["b", "c"]}, "tags: -a +c"),
        ({"parameters": {"distribution": "old"}}, {"parameters": {"distribution": "new"}}, "parameters.distribution: old -> new"),
        ({"environment": {"HEARTBEAT": "60"}}, {"environment": {"HEARTBEAT": "30"}}, "environment.HEARTBEAT: 60 -> 30"),
        ({"collision": None}, {"collision": "ENQUEUE"}, "at its limit: none -> ENQUEUE"),
        ({"digest": "1234"}, {"digest": "5678"}, "digest: 1234 -> 5678"),
    ],
    ids=str,
)
def test_each_field_has_its_old_and_its_new_value(found: dict[str, Any], wanted: dict[str, Any], line: str) -> None:
    assert text(update("build/zone", found, wanted)) == f"update deployment build/zone\n    {line}\nin Prefect 1 to update"


def test_schedules_are_in_the_words_of_the_blueprint() -> None:
    at_ten = Schedule(Kind.DAILY, "Europe/Helsinki", window=Window(time(22), time(22)))
    night = Schedule(Kind.DAILY, "Europe/Helsinki", window=Window(time(22), time(4), random=True))
    to_ten, to_night = spec(build=at_ten), spec(build=night)
    assert "    schedule: every 1 h (UTC) -> daily 22:00 (Europe/Helsinki)\n" in text(
        update("build/zone", {"schedules": [HOURLY]}, {"schedules": [AT_TEN]}, to_ten)
    )
    long = text(update("build/zone", {"schedules": [HOURLY]}, {"schedules": [AT_TEN]}, to_night))
    assert "    schedule:\n      - every 1 h (UTC)\n      + daily 22:00 to 04:00 at random (Europe/Helsinki)\n" in long
    assert "schedule: every 1 h (UTC) -> every 1 h (UTC), switched off" in text(
        update("build/zone", {"schedules": [HOURLY]}, {"schedules": [HOURLY | {"active": False}]})
    )
    assert "schedule: every 1 h (UTC) -> none" in text(update("build/zone", {"schedules": [HOURLY]}, {"schedules": []}))


def test_a_window_of_which_prefect_knows_the_beginning_is_named_whole_if_it_stays() -> None:
    night = Schedule(Kind.DAILY, "Europe/Helsinki", window=Window(time(22), time(4), random=True))
    another = AT_TEN | {"slug": "mine"}
    written = text(update("build/zone", {"schedules": [AT_TEN, another]}, {"schedules": [AT_TEN]}, spec(build=night)))
    assert written.splitlines()[1:-1] == ["    schedule: daily 22:00 (Europe/Helsinki) -> none"]
    paused = text(update("build/zone", {"schedules": [AT_TEN | {"active": False}]}, {"schedules": [AT_TEN]}, spec(build=night)))
    assert "- daily 22:00 to 04:00 at random (Europe/Helsinki), switched off\n      + daily 22:00 to 04:00 at random (Europe" in paused


def test_a_schedule_that_somebody_made_in_prefect_and_nobody_can_read_is_named_as_one() -> None:
    odd = {"slug": "", "active": True, "cron": "0 22 * * *", "timezone": "Mars/Olympus"}
    assert "schedule: no schedule that Sluice knows -> none" in text(update("build/zone", {"schedules": [odd]}, {"schedules": []}))


def test_of_a_long_description_only_the_paragraphs_that_differ_are_shown() -> None:
    same = "Builds a new revision of **zone** (file) if its sources changed, and signs it."
    old, new = f"Zones of the world\n\n{same}\n\nPriority low, Channels: night.", f"{'All time zones there are ' * 6}\n\n{same}"
    written = text(update("build/zone", {"description": old}, {"description": new}))
    assert "      - Zones of the world\n      - Priority low, Channels: night.\n      + All time zones" in written
    assert same not in written


def test_what_somebody_keeps_in_parameters_or_variables_is_never_shown() -> None:
    secrets = {"password": "hunter2", "AWS_SECRET_ACCESS_KEY": "hunter2", "nested": {"token": "hunter2"}, "distribution": "zone"}
    for field in ("parameters", "environment", "job_variables"):
        for act, wanted in ((Act.UPDATE, {field: {"distribution": "zone"}}), (Act.DELETE, {})):
            differs = shown(differences({field: secrets}, wanted), None if act is Act.DELETE else spec(), ours={"distribution"})
            changes = Changes((Change(act, ObjectKind.DEPLOYMENT, "build/zone", differs),))
            assert "hunter2" not in changes_text(changes, done=False) + json.dumps(changes.as_json())
            assert HIDDEN in json.dumps(changes.as_json())


def test_changes_that_are_alike_have_their_fields_once() -> None:
    alike = [update(name, {"tags": ["site:hq"]}, {"tags": ["site:hq+lab"]}) for name in ("build/a", "build/b", "build/c")]
    assert text(*alike) == (
        "update deployment build/a\nupdate deployment build/b\nupdate deployment build/c\n"
        "    tags: -site:hq +site:hq+lab\nin Prefect 3 to update"
    )


def test_creations_name_their_schedule_and_deletions_only_themselves() -> None:
    made = replace(update("build/zone", {}, {"schedules": [HOURLY], "pool": "hq.build"}), act=Act.CREATE)
    gone = replace(update("build/old", {"schedules": [HOURLY], "pool": "hq.build"}, {}), act=Act.DELETE)
    assert text(*in_order([made, gone]).changes) == (
        "delete deployment build/old\ncreate deployment build/zone\n    schedule: every 1 h (UTC)\nin Prefect 1 to create, 1 to delete"
    )


def test_nothing_is_said_to_be_nothing_and_what_stays_is_named() -> None:
    assert changes_text(Changes(()), done=False) == "Prefect is in line with the site"
    assert changes_text(Changes(()), done=True) == "nothing to change in Prefect"
    kept = Changes((), kept=("work pool lab.send stays: deployments that aren't this site's use it: mine",))
    assert changes_text(kept, done=False).startswith("work pool lab.send stays: deployments")


def test_json_has_every_field_of_what_comes_and_goes() -> None:
    (row,) = Changes((Change(Act.CREATE, ObjectKind.POOL, "hq.send", differences({}, {"limit": 2})),)).as_json()["create"]
    assert row == {"kind": "pool", "name": "hq.send", "differs": {"limit": {"found": None, "wanted": 2}}}


def test_a_schedules_words_are_in_json_too() -> None:
    hourly = spec(build=Schedule(Kind.INTERVAL, interval=timedelta(hours=1)))
    differs = update("build/zone", {"schedules": [AT_TEN]}, {"schedules": [HOURLY]}, hourly).differs["schedules"]
    assert (differs["found"][0]["words"], differs["wanted"][0]["words"]) == ("daily 22:00 (Europe/Helsinki)", "every 1 h (UTC)")
