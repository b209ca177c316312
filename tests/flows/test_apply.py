"""plan and apply against a real Prefect server, and prefect.yaml beside them."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, GlobalConcurrencyLimitCreate, VariableCreate, WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule

from infra.orchestrator import apply as orchestrator
from infra.orchestrator import embedded, heartbeat
from infra.orchestrator.apply import apply as infra_apply
from infra.orchestrator.apply import plan, remove_gone
from infra.orchestrator.changes import Act, Changes
from infra.orchestrator.project_file import project_file
from infra.orchestrator.reviewed import ReviewedPlan, plan_json
from infra.orchestrator.server_address import ServerAddress
from infra.orchestrator.server_objects import found_fields, read_deployments
from sluice.blueprint.read.site_id import read_site_id
from sluice.distributor.plan.deployments import deployments
from sluice.distributor.plan.ownership import site_tags
from sluice.errors import BlueprintError, NotConfirmedError, OrchestratorError
from sluice.model.site import Priority, Site
from tests.flows.applied import apply
from tests.flows.sites import distribution, site
from tests.rules.authored import accepted

pytestmark = pytest.mark.usefixtures("clean_server")
T = TypeVar("T")


def on_server(work: Callable[[PrefectClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with get_client() as client:
            return await work(client)

    return asyncio.run(run())


def found() -> dict[str, DeploymentResponse]:
    return on_server(lambda client: read_deployments(client, ["build", "send", "extract", "refresh", "distribute"]))


@pytest.fixture
def clean_server(server: ServerAddress) -> Iterator[None]:
    """Without deployments and pools before and after, whichever tests used the server."""

    async def empty(client: PrefectClient) -> None:
        for deployment in await client.read_deployments():
            await client.delete_deployment(deployment.id)
        for pool in await client.read_work_pools():
            await client.delete_work_pool(pool.name)

    on_server(empty)
    yield
    on_server(empty)


def foreign_deployment(flow: str, name: str, tags: list[str]) -> UUID:
    async def make(client: PrefectClient) -> UUID:
        flow_id = await client.create_flow_from_name(flow)
        return await client.create_deployment(flow_id, name, tags=tags)

    return on_server(make)


def test_apply_makes_everything_and_a_second_one_nothing() -> None:
    assert len(asyncio.run(plan(site())).as_json()["create"]) == len(asyncio.run(apply(site())).changes)
    assert sorted(found()) == [spec.full_name for spec in deployments(site())]
    assert not asyncio.run(plan(site()))
    before = {name: deployment.updated for name, deployment in found().items()}
    assert not asyncio.run(apply(site()))
    assert {name: deployment.updated for name, deployment in found().items()} == before


def test_schedules_of_every_kind_are_found_as_they_were_written() -> None:
    written = [
        {"every": "3 h"},
        {"every": "5 h", "starting": "2027-10-30 02:30", "timezone": "Europe/Oslo"},
        {"at": "2027-12-01 02:00"},
        {"daily": {"from": "01:00", "to": "05:00", "random": True}, "timezone": "Europe/Helsinki"},
        {"daily": {"at": "03:30"}, "timezone": "Europe/Helsinki"},
        {"weekly": {"days": ["mon", "thu"], "at": "02:00"}},
        {"monthly": {"days": [1, 31, "last"], "at": "03:15"}},
        {"yearly": {"days": ["02-29"], "at": "23:30"}, "timezone": "America/New_York"},
        {"cron": "0 2 1,15 * mon"},
        {"rrule": "FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-1;BYHOUR=3;BYMINUTE=30;BYSECOND=0"},
    ]
    schedules = [accepted(each) for each in written]
    assert None not in schedules
    every = site(*(distribution(f"d-{n}", build=schedule) for n, schedule in enumerate(schedules)))
    asyncio.run(apply(every))
    assert not asyncio.run(plan(every))


def test_queue_priorities_are_those_of_the_blueprint() -> None:
    asyncio.run(apply(site()))
    queues = on_server(lambda client: client.read_work_queues(work_pool_name="hq.build"))
    assert [q.name for q in sorted(queues, key=lambda q: q.priority or 0)][:3] == ["high", "medium", "low"]
    assert on_server(lambda client: client.read_work_pool("hq.build")).concurrency_limit == 2


def test_only_what_changed_is_sent_and_plan_says_what_differs() -> None:
    asyncio.run(apply(site()))
    changed = site(distribution("zone", description="all time zones"))
    (row,) = asyncio.run(plan(changed)).as_json()["update"][:1]
    assert row["name"] == "build/zone"
    assert list(row["differs"]) == ["description"]
    assert [c.name for c in asyncio.run(apply(changed)).changes] == ["build/zone", "distribute/zone"]


def test_a_change_that_somebody_made_in_prefect_is_told_and_taken_back() -> None:
    asyncio.run(apply(site()))
    theirs = found()["send/night"]
    changed = CronSchedule(cron="0 3 * * mon-fri", timezone="Europe/Oslo")
    on_server(lambda client: client.update_deployment_schedule(theirs.id, theirs.schedules[0].id, schedule=changed))
    secret = DeploymentUpdate(description="mine", job_variables={"env": {"TOKEN": "hunter2"}, "password": "hunter2"})
    on_server(lambda client: client.update_deployment(theirs.id, secret))

    (change,) = asyncio.run(plan(site())).changes
    words = {side: schedules[0]["words"] for side, schedules in change.differs["schedules"].items()}
    assert words == {"found": "cron 0 3 * * mon-fri (Europe/Oslo)", "wanted": "daily 22:00 (Europe/Helsinki)"}
    assert change.differs["description"]["found"] == "mine"
    assert change.differs["environment"]["found"] == {"TOKEN": "(not shown)"}
    assert change.differs["job_variables"] == {"found": {"password": "(not shown)"}, "wanted": {}}
    asyncio.run(apply(site()))
    assert not asyncio.run(plan(site()))


def test_whatever_is_decided_before_the_first_change_is_what_is_done() -> None:
    asyncio.run(apply(site(distribution("zone"), distribution("tools"))))
    after = site(distribution("fonts"))
    before = {name: deployment.updated for name, deployment in found().items()}

    def refuse(changes: Changes) -> Changes:
        raise NotConfirmedError(", ".join(change.name for change in changes.deletions))

    with pytest.raises(NotConfirmedError, match=r"^build/tools, build/zone, distribute/tools, distribute/zone$"):
        asyncio.run(infra_apply(after, decide=refuse))
    assert {name: deployment.updated for name, deployment in found().items()} == before

    kept = asyncio.run(infra_apply(after, decide=Changes.without_deletions))
    assert {change.act for change in kept.changes} == {Act.CREATE, Act.UPDATE}
    assert {"build/tools", "build/zone", "build/fonts"} <= found().keys()
    assert [change.act for change in asyncio.run(plan(after)).changes] == [Act.DELETE] * 4


class Killed(BaseException):
    """The process ends here."""


def test_an_apply_that_is_killed_at_each_change_ends_within_its_reviewed_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asyncio.run(apply(site(distribution("zone"), distribution("tools"))))
    wanted = site(distribution("zone", priority=Priority.LOW), distribution("fonts", "branch"), distributors=("hq", "branch"))
    (tmp_path / "plan.json").write_text(json.dumps(plan_json(asyncio.run(plan(wanted)))))
    reviewed = ReviewedPlan.read(tmp_path / "plan.json")
    carry_out = orchestrator._carry_out

    async def one(*args: Any) -> None:
        await carry_out(*args)
        raise Killed

    monkeypatch.setattr(orchestrator, "_carry_out", one)
    acts = set()
    while changes := asyncio.run(plan(wanted)):
        assert reviewed.beyond(changes) == ()
        acts.add(changes.changes[0].act)
        with pytest.raises(Killed):
            asyncio.run(apply(wanted))
    assert acts == set(Act)


def test_up_deletes_nothing_and_says_what_stays() -> None:
    asyncio.run(apply(site(distribution("zone"), distribution("tools"))))
    said: list[str] = []
    embedded._apply(site(distribution("fonts")), said.append)
    assert said[0].startswith("applied ")
    stay = "deployment build/tools, deployment build/zone, deployment distribute/tools, deployment distribute/zone"
    assert said[1:] == [f"left the site and stay in Prefect until `sluice apply` deletes them: {stay}"]
    assert {"build/tools", "build/zone", "build/fonts"} <= found().keys()


def test_a_pool_that_others_use_stays_and_says_whose() -> None:
    asyncio.run(apply(site(distribution("zone"), distribution("tools", "branch"), distributors=("hq", "branch"))))

    async def lodge(client: PrefectClient) -> UUID:
        return await client.create_deployment(await client.create_flow_from_name("report"), "weekly", work_pool_name="branch.send")

    lodger = on_server(lodge)
    changes = asyncio.run(apply(site()))
    assert changes.kept == ("work pool branch.send stays: deployments that aren't this site's use it: weekly",)
    assert {p.name for p in on_server(lambda client: client.read_work_pools())} == {"hq.build", "hq.send", "branch.send"}
    assert on_server(lambda client: client.read_deployment(lodger)).work_pool_name == "branch.send"
    assert not asyncio.run(plan(site()))
    on_server(lambda client: client.delete_deployment(lodger))
    assert [change.name for change in asyncio.run(apply(site())).changes] == ["branch.send"]


def test_nothing_of_others_goes_whatever_its_kind() -> None:
    asyncio.run(apply(site(distribution("zone"), distribution("tools"))))
    mine = heartbeat.heartbeat_automation().model_copy(update={"name": "mine"})

    async def add(client: PrefectClient) -> UUID:
        await client.create_work_queue("mine", work_pool_name="hq.build")
        await client.create_work_pool(WorkPoolCreate(name="hq.mine", type="process"))
        await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="hq", limit=1))
        await client.create_variable(VariableCreate(name="hq", value="1"))
        return await client.create_automation(mine)

    automation = on_server(add)
    asyncio.run(apply(site()))

    async def look(client: PrefectClient) -> None:
        assert "mine" in {queue.name for queue in await client.read_work_queues(work_pool_name="hq.build")}
        assert (await client.read_work_pool("hq.mine")).name == "hq.mine"
        assert (await client.read_global_concurrency_limit_by_name("hq")).limit == 1
        assert await client.read_variable_by_name("hq") is not None
        assert await client.find_automation(automation) is not None
        await client.delete_automation(automation)
        await client.delete_global_concurrency_limit_by_name("hq")
        await client.delete_variable_by_name("hq")

    on_server(look)


def test_of_the_automation_only_the_trigger_is_written() -> None:
    asyncio.run(apply(site()))
    (found_one,) = on_server(lambda client: client.read_automations_by_name(heartbeat.NAME))
    core = heartbeat.heartbeat_automation()
    trigger = core.trigger.model_copy(update={"within": timedelta(seconds=999)})
    theirs = core.model_copy(update={"enabled": False, "description": "off while we look", "trigger": trigger})
    on_server(lambda client: client.update_automation(found_one.id, theirs))
    (change,) = asyncio.run(apply(site())).changes
    assert (change.name, change.differs) == (heartbeat.NAME, {"within": {"found": 999.0, "wanted": 150.0}})
    (after,) = on_server(lambda client: client.read_automations_by_name(heartbeat.NAME))
    assert (after.enabled, after.description) == (False, "off while we look")
    assert not asyncio.run(plan(site()))
    on_server(lambda client: client.delete_automation(after.id))


def test_a_schedule_that_somebody_paused_stays_paused() -> None:
    asyncio.run(apply(site()))
    paused = found()["build/zone"]
    on_server(lambda client: client.update_deployment_schedule(paused.id, paused.schedules[0].id, active=False))
    assert not asyncio.run(plan(site())), "a pause is no difference"
    asyncio.run(apply(site(distribution("zone", description="changed"))))
    assert [s.active for s in found()["build/zone"].schedules] == [False]


def test_an_inactive_schedule_runs_again_once_its_object_is_active() -> None:
    asyncio.run(apply(site(distribution("zone", active=False))))
    assert [s.active for s in found()["build/zone"].schedules] == [False]
    asyncio.run(apply(site()))
    assert [s.active for s in found()["build/zone"].schedules] == [True]


def test_a_deployment_whose_object_is_gone_is_removed_and_nobody_elses_is_touched() -> None:
    others = {
        foreign_deployment("send", "newsletter", []),
        foreign_deployment("build", "kernel", ["sluice", "site:elsewhere", "distributor:elsewhere"]),
    }
    asyncio.run(apply(site(distribution("zone"), distribution("tools"))))
    assert [c.name for c in asyncio.run(plan(site())).changes if c.act == "delete"] == ["build/tools", "distribute/tools"]
    asyncio.run(apply(site()))
    left = found()
    assert "build/tools" not in left
    assert others <= {deployment.id for deployment in left.values()}


def test_a_name_that_somebody_else_has_is_refused_before_anything_is_written() -> None:
    foreign_deployment("send", "night", ["mine"])
    with pytest.raises(OrchestratorError, match="send/night on this Prefect server belongs to somebody else"):
        asyncio.run(apply(site()))
    assert list(found()) == ["send/night"]


def test_a_pool_that_somebody_else_has_is_refused_and_not_taken_over() -> None:
    mine = WorkPoolCreate(name="hq.send", type="process", description="mine", concurrency_limit=3)
    on_server(lambda client: client.create_work_pool(mine))
    with pytest.raises(OrchestratorError, match=r"work pool hq\.send on this Prefect server belongs to somebody else"):
        asyncio.run(apply(site()))
    assert on_server(lambda client: client.read_work_pool("hq.send")).concurrency_limit == 3


def test_a_foreign_id_is_quoted_in_the_command_that_names_it() -> None:
    pool = WorkPoolCreate(name="hq.send", type="process", description="site-id:$(id>x)")
    on_server(lambda client: client.create_work_pool(pool))
    with pytest.raises(OrchestratorError) as raised:
        asyncio.run(plan(site()))
    assert "if both are one site: echo '$(id>x)' >" in raised.value.remedy


def test_a_refresh_removes_gone_deployments_although_another_name_is_taken() -> None:
    """Otherwise signatures would expire because of somebody else's deployment."""
    asyncio.run(apply(site(distribution("zone"), distribution("tools"))))
    foreign_deployment("send", "night", ["mine"])
    assert asyncio.run(remove_gone(site(), "hq")) == ["build/tools", "distribute/tools"]


def test_a_distributor_that_left_takes_its_pools_along() -> None:
    asyncio.run(apply(site(distribution("zone"), distribution("tools", "branch"), distributors=("hq", "branch"))))
    on_server(lambda client: client.create_work_pool(WorkPoolCreate(name="branch.mine", type="process")))
    asyncio.run(apply(site()))
    assert {p.name for p in on_server(lambda client: client.read_work_pools())} == {"hq.build", "hq.send", "branch.mine"}
    assert "extract/branch" not in found()


def test_a_refresh_removes_gone_deployments_of_its_distributor_only() -> None:
    both = ("hq", "branch")
    asyncio.run(apply(site(distribution("zone"), distribution("tools"), distribution("fonts", "branch"), distributors=both)))
    left = site(distribution("zone"), distributors=both)
    assert asyncio.run(remove_gone(left, "hq")) == ["build/tools", "distribute/tools"]
    assert "build/fonts" in found()


def test_the_heartbeat_automation_exists_once() -> None:
    asyncio.run(apply(site()))
    asyncio.run(apply(site(distribution("zone", description="changed"))))
    (automation,) = on_server(lambda client: client.read_automations_by_name(heartbeat.NAME))
    assert automation.enabled
    assert "prefect.flow-run.heartbeat" in automation.trigger.after  # type: ignore[union-attr]


def test_prefect_deploy_of_the_project_file_equals_apply(tmp_path: Path, server: ServerAddress) -> None:
    asyncio.run(apply(site()))
    applied = {name: comparable(deployment) for name, deployment in found().items()}
    for deployment in found().values():
        on_server(lambda client, at=deployment.id: client.delete_deployment(at))  # type: ignore[misc]

    (tmp_path / "prefect.yaml").write_text(project_file(deployments(site())), encoding="utf-8")
    deployed = subprocess.run(
        [Path(sys.executable).with_name("prefect"), "--no-prompt", "deploy", "--all"],
        cwd=tmp_path,
        env=os.environ | {"PREFECT_API_URL": server.api_url},
        capture_output=True,
        text=True,
        check=False,
    )

    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    for name, deployment in found().items():
        assert comparable(deployment) == applied.pop(name)
    assert not applied
    assert not asyncio.run(plan(site()))


def comparable(deployment: DeploymentResponse) -> dict[str, Any]:
    return found_fields(deployment) | {
        "digest": sorted(deployment.tags),
        "version": deployment.version,
        "schema": deployment.parameter_openapi_schema,
        "enforced": deployment.enforce_parameter_schema,
        "pull": deployment.pull_steps,
        "paused": deployment.paused,
    }


def test_a_server_that_does_not_answer_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.orchestrator.environment import prefect_settings

    with prefect_settings("http://127.0.0.1:9/api"), pytest.raises(OrchestratorError, match=r"didn't answer.*run: sluice up"):
        asyncio.run(plan(site()))


A, B = "a" * 32, "b" * 32


def unmarked(name: str, *, flow: str = "build", names: str = "hq") -> UUID:
    """A deployment of Sluice's as it was made before sites had ids."""
    return foreign_deployment(flow, name, ["sluice", f"site:{names}", "distributor:hq", f"distribution:{name}"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(site(site_id=A), site(distribution("other"), site_id=B), id="both with ids"),
        pytest.param(site(), site(distribution("other"), at="/srv/elsewhere"), id="both without"),
        pytest.param(site(site_id=A), site(distribution("other"), at="/srv/elsewhere"), id="the second without"),
        pytest.param(site(), site(distribution("other"), at="/srv/elsewhere", site_id=B), id="the first without"),
        pytest.param(
            site(distributors=("hq", "branch"), site_id=A),
            site(distributors=("hq", "lab"), at="/srv/elsewhere"),
            id="one name of two is shared",
        ),
    ],
)
def test_a_site_whose_distributor_has_the_name_of_another_sites_changes_nothing_of_it(first: Site, second: Site) -> None:
    asyncio.run(apply(first))
    before = {name: (deployment.id, deployment.updated) for name, deployment in found().items()}

    for work in (plan, apply):
        with pytest.raises(OrchestratorError, match=r"work pool hq\.build.* belongs to another site \(site-id:"):
            asyncio.run(work(second))
    assert asyncio.run(remove_gone(second, "hq")) == []

    assert {name: (deployment.id, deployment.updated) for name, deployment in found().items()} == before
    assert not asyncio.run(plan(first))


def test_sites_with_other_names_live_on_one_server_and_each_removes_its_own_alone() -> None:
    ours, theirs = (
        site(distribution("zone"), distribution("tools"), site_id=A),
        site(distribution("fonts", "lab", channel="day"), distributors=("lab",), site_id=B),
    )
    theirs = replace(theirs, channels={"day": replace(theirs.channels["night"], name="day")})
    asyncio.run(apply(ours))
    asyncio.run(apply(theirs))
    assert [c.name for c in asyncio.run(apply(site(site_id=A))).changes if c.act == "delete"] == ["build/tools", "distribute/tools"]
    assert not asyncio.run(plan(theirs))


@pytest.mark.parametrize(
    ("first", "again"),
    [
        pytest.param(site(site_id=A), site(at="/srv/copy", site_id=A), id="copied with its id"),
        pytest.param(site(), site(site_id=A), id="given an id"),
        pytest.param(site(distributors=("hq", "branch")), site(), id="a Distributor left a site without an id"),
        pytest.param(
            site(site_id=site_tags(site())[1].removeprefix("site-id:")), site(), id="its file lost, which held the id it had before"
        ),
    ],
)
def test_a_site_stays_the_same(first: Site, again: Site) -> None:
    asyncio.run(apply(first))
    changes = asyncio.run(apply(again))
    assert not changes.adopted
    assert not asyncio.run(plan(again))
    assert sorted(found()) == [spec.full_name for spec in deployments(again)]


def test_a_site_that_moved_without_an_id_is_refused_and_the_remedy_works(tmp_path: Path) -> None:
    asyncio.run(apply(site()))
    moved = replace(site(at="/srv/moved"), directory=str(tmp_path))
    with pytest.raises(OrchestratorError) as refused:
        asyncio.run(apply(moved))
    remedy = refused.value.remedy.partition("if both are one site: ")[2]
    subprocess.run(["/bin/sh", "-c", remedy], check=True)

    errors: list[BlueprintError] = []
    found_id = read_site_id(tmp_path, errors)
    assert not errors
    asyncio.run(apply(replace(moved, id=found_id)))
    assert not asyncio.run(plan(replace(moved, id=found_id)))


def test_objects_from_before_sites_had_ids_are_adopted_once_and_said_and_others_of_them_stay() -> None:
    ours, gone = unmarked("zone"), unmarked("tools")
    foreign = unmarked("kernel", names="elsewhere")
    changes = asyncio.run(plan(site(site_id=A)))
    assert changes.adopted == ("deployment build/zone",)
    assert changes.as_json()["adopt"] == ["deployment build/zone"]

    assert asyncio.run(apply(site(site_id=A))).adopted == ("deployment build/zone",)
    assert asyncio.run(remove_gone(site(site_id=A), "hq")) == []

    after = found()
    assert after["build/zone"].id == ours
    assert (after["build/tools"].id, after["build/kernel"].id) == (gone, foreign)
    assert not asyncio.run(plan(site(site_id=A)))
    with pytest.raises(OrchestratorError, match="belongs to another site"):
        asyncio.run(plan(site(site_id=B, at="/srv/elsewhere")))


def test_a_database_of_prefects_that_was_moved_still_knows_the_site(server: ServerAddress) -> None:
    """The id is in the objects themselves: nothing on this machine is asked for it."""
    asyncio.run(apply(site(site_id=A)))
    pool = on_server(lambda client: client.read_work_pool("hq.send"))
    assert pool.description == f"Sends, extracts and refreshes of Distributor hq. site:hq site-id:{A}"
    assert all(f"site-id:{A}" in deployment.tags for deployment in found().values())
