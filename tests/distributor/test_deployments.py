"""Which deployments, pools and schedules a site has."""

from dataclasses import replace

from sluice.distributor.plan.deployment_names import deployment_of, send_deployments
from sluice.distributor.plan.deployments import (
    BUILD_LIMIT,
    Collision,
    deployments,
    keeps_active,
    pools,
)
from sluice.distributor.plan.ownership import Owner, owner_of, site_tags
from sluice.model.schedule import IMMEDIATELY, Kind, Schedule
from tests.flows.sites import AT_NIGHT, AT_TEN, distribution, site


def by_name(found):
    return {spec.full_name: spec for spec in deployments(found)}


def test_every_object_has_its_deployment():
    assert list(by_name(site())) == ["build/zone", "distribute/zone", "extract/hq", "refresh/hq", "send/night"]


def test_a_deployment_is_found_by_import_path_and_names_no_path():
    for spec in deployments(site()):
        assert spec.entrypoint == f"flows.{spec.flow}.{spec.flow}"
        assert "/" not in "".join([*spec.parameters.values(), *spec.environment.values()])


def test_schedules_keep_their_time_zone_and_have_a_slug_each():
    specs = by_name(site())
    (send,) = specs["send/night"].schedules
    assert (send.slug, send.rule["timezone"], send.active) == ("send", "Europe/Helsinki", True)
    assert [s.slug for s in specs["build/zone"].schedules] == ["build"]
    assert [s.slug for s in specs["refresh/hq"].schedules] == ["refresh"]


def test_each_distinct_extract_schedule_is_one_schedule_whose_slug_stays_when_others_come():
    one = by_name(site())["extract/hq"].schedules
    two = by_name(site(extract={"a": AT_NIGHT, "b": AT_NIGHT, "c": AT_TEN, "d": IMMEDIATELY}))["extract/hq"].schedules
    assert len(one) == 1
    assert len(two) == 2
    assert one[0] in two


def test_what_is_never_or_immediately_has_no_schedule():
    quiet = distribution("zone", build=Schedule(Kind.NEVER))
    assert by_name(site(quiet))["build/zone"].schedules == ()
    assert by_name(site(extract={"a": IMMEDIATELY}))["extract/hq"].schedules == ()


def test_what_is_inactive_keeps_its_deployment_with_its_schedule_off():
    specs = by_name(site(distribution("zone", active=False), channel_active=False))
    for name in ("build/zone", "send/night"):
        assert [s.active for s in specs[name].schedules] == [False]
        assert "inactive" in specs[name].tags


def test_builds_run_in_a_limited_pool_by_priority_and_one_at_a_time():
    build, send = pools(site())
    spec = by_name(site())["build/zone"]
    assert (build.name, build.limit, build.queues) == ("hq.build", BUILD_LIMIT, {"high": 1, "medium": 2, "low": 3})
    assert (send.name, send.limit, send.queues) == ("hq.send", None, {})
    assert (spec.pool, spec.queue, spec.limit, spec.collision) == ("hq.build", "high", 1, Collision.ENQUEUE)


def test_a_channel_of_two_distributors_has_a_send_deployment_for_each():
    shared = site(distribution("zone"), distribution("tools", "branch"), distributors=("hq", "branch"))
    specs = by_name(shared)
    assert specs["send/night@hq"].pool == "hq.send"
    assert specs["send/night@branch"].parameters == {"channel": "night", "distributor": "branch"}
    assert "**tools**" in specs["send/night@branch"].description
    assert send_deployments(shared, "tools") == [("night", "send/night@branch")]


def test_the_send_deployments_of_a_distribution_leave_out_inactive_channels():
    assert send_deployments(site(), "zone") == [("night", "send/night")]
    assert send_deployments(site(channel_active=False), "zone") == []


def test_the_digest_changes_with_any_field_and_with_nothing_else():
    spec = by_name(site())["build/zone"]
    assert spec.digest == by_name(site())["build/zone"].digest
    assert spec.digest != replace(spec, description="other").digest
    assert f"digest:{spec.digest}" in spec.all_tags


def test_a_site_is_known_by_any_of_its_distributors():
    two = site(distributors=("hq", "branch"))
    names, ids = site_tags(two)
    assert names == "site:branch+hq"
    assert owner_of(site(), [names, ids]) is Owner.THIS
    assert owner_of(site(), [names]) is Owner.UNMARKED
    assert owner_of(site(), ["site:elsewhere", "sluice"]) is Owner.ANOTHER
    assert owner_of(site(), ["sluice", "mine"]) is Owner.NOBODY


def test_a_pause_made_in_prefect_is_kept_and_one_made_by_the_blueprint_ends_with_it():
    assert keeps_active(True, None, was_inactive=False)
    assert not keeps_active(True, False, was_inactive=False)
    assert keeps_active(True, False, was_inactive=True)
    assert not keeps_active(False, True, was_inactive=False)


def test_braces_of_a_description_are_no_template():
    spec = by_name(site(distribution("zone", description="for {{ DEST }}")))["build/zone"]
    assert "{{" not in spec.description


def test_a_run_is_of_the_deployment_with_its_parameters():
    shared = site(distribution("zone"), distribution("tools", distributor="branch"), distributors=("hq", "branch"))
    assert deployment_of(site(), "distribute", {"distribution": "zone", "to": ["a"]}) == "distribute/zone"
    assert deployment_of(site(), "refresh", {"distributor": "hq"}) == "refresh/hq"
    assert deployment_of(site(), "send", {"channel": "night", "distribution": ""}) == "send/night"
    assert deployment_of(site(), "send", {"channel": "night", "distribution": "zone"}) == ""
    assert deployment_of(shared, "send", {"channel": "night", "distributor": "branch"}) == "send/night@branch"
    assert deployment_of(shared, "send", {"channel": "night"}) == ""
    assert deployment_of(site(), "sign", {"distribution": "zone"}) == ""
