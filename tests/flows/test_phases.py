"""The phases of an extraction as task runs on a real Prefect server, with a real agent."""

import asyncio
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from sluice.errors import ConnectionLostError
from sluice.model.feature import Feature
from sluice.sender.conversation import Conversation
from tests.cli.real_site import RealSite, forked_site
from tests.flows.seen import Seen, as_seen
from tests.subscriber.holder import held

pytestmark = pytest.mark.usefixtures("server")

SITE = """\
---
kind: Distribution
name: d
distributor: hq
type: file
channels: [web]
extract: immediately
{actions}
files:
  - {{source: src, destination: "{{{{ LOCAL_DIRECTORY }}}}/tree"}}
"""
BOTH = """\
pre_actions:
  - script: {{type: shell, run: "echo before; {pre}", undo: "echo undone"}}
post_actions:
  - script: {{type: shell, run: "echo after; {post}", undo: none}}
"""


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealSite:
    return forked_site(tmp_path, monkeypatch, a="a")


def with_actions(real: RealSite, *, pre: str = "true", post: str = "true") -> None:
    real.write(SITE.format(actions=BOTH.format(pre=pre, post=post)))


def distribute(tasks: int) -> tuple[State[Any], Seen]:
    async def run() -> State[Any]:
        state: State[Any] = await import_module("flows.distribute").distribute(distribution="d", return_state=True)
        return state

    state = asyncio.run(run())
    return state, as_seen(state, tasks=tasks)


def test_each_phase_is_a_task_run_after_the_one_before(real: RealSite) -> None:
    with_actions(real)
    state, seen = distribute(tasks=7)
    assert (state.type.value, state.name) == ("COMPLETED", "Installed")
    names = ["build d", "sign d", "send d 1.1 to s1", "stage d 1.1 on s1", "pre actions d 1.1 on s1", "extract d 1.1 on s1"]
    names.append("post actions d 1.1 on s1")
    ends = ["Completed", "Completed", "Received", "Completed", "Completed", "Completed", "Installed"]
    assert seen.ends == [(name, "COMPLETED", end) for name, end in zip(names, ends, strict=True)]
    assert [seen.before(name) for name in names] == [set(), *({name} for name in names[:-1])]
    assert seen.says("pre ", "pre actions d 1.1 on s1")
    assert seen.says(": before, 0.", "pre actions d 1.1 on s1")
    assert seen.says(": after, 0.", "post actions d 1.1 on s1")


def test_a_failed_pre_action_is_red_with_its_output_and_what_never_came_is_grey(real: RealSite) -> None:
    with_actions(real, pre="echo the disk of webd is gone >&2; exit 3")
    state, seen = distribute(tasks=8)
    assert (state.type.value, state.name) == ("FAILED", "Failed")
    assert seen.ends[3:] == [
        ("stage d 1.1 on s1", "COMPLETED", "Completed"),
        ("pre actions d 1.1 on s1", "FAILED", "Failed"),
        ("roll back d 1.1 on s1", "COMPLETED", "Rolled back"),
        ("extract d 1.1 on s1", "CANCELLED", "Skipped"),
        ("post actions d 1.1 on s1", "CANCELLED", "Skipped"),
    ]
    for later in ("roll back", "extract", "post actions"):
        assert seen.before(f"{later} d 1.1 on s1") == {"pre actions d 1.1 on s1"}
    assert seen.says("the disk of webd is gone", "pre actions d 1.1 on s1")
    assert seen.says("exit code 3", "pre actions d 1.1 on s1")
    assert seen.says(": undone, ", "roll back d 1.1 on s1")
    assert not (real.host / "tree").exists()


def test_a_failed_post_action_is_red_and_what_was_taken_back_is_told(real: RealSite) -> None:
    with_actions(real, post="exit 4")
    _, seen = distribute(tasks=8)
    assert seen.ends[5:] == [
        ("extract d 1.1 on s1", "COMPLETED", "Completed"),
        ("post actions d 1.1 on s1", "FAILED", "Failed"),
        ("roll back d 1.1 on s1", "COMPLETED", "Rolled back"),
    ]
    assert seen.says(" taken back", "roll back d 1.1 on s1")


def test_a_phase_that_a_distribution_lacks_is_not_shown(real: RealSite) -> None:
    real.write(SITE.format(actions=""))
    _, seen = distribute(tasks=5)
    assert [name for name, _, _ in seen.ends[2:]] == ["send d 1.1 to s1", "stage d 1.1 on s1", "extract d 1.1 on s1"]


def test_an_agent_that_tells_no_phases_has_one_bar(real: RealSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.features.Feature", [each for each in Feature if each != "phases"])
    monkeypatch.setattr("agents.frame_channel.Events.tell", lambda *_: None)
    with_actions(real)
    _, seen = distribute(tasks=4)
    assert seen.ends[2:] == [("send d 1.1 to s1", "COMPLETED", "Received"), ("extract d 1.1 on s1", "COMPLETED", "Installed")]


def test_a_locked_file_is_named_as_such_and_nothing_was_taken_back(real: RealSite) -> None:
    with_actions(real)
    distribute(tasks=7)
    (real.directory / "src/a").write_text("changed")
    with held(real.host / "tree/a"):
        state, seen = distribute(tasks=8)
    assert (state.type.value, state.name) == ("FAILED", "Locked")
    assert seen.ends[3:] == [
        ("stage d 1.2 on s1", "COMPLETED", "Completed"),
        ("pre actions d 1.2 on s1", "COMPLETED", "Completed"),
        ("extract d 1.2 on s1", "FAILED", "Locked"),
        ("roll back d 1.2 on s1", "COMPLETED", "Rolled back"),
        ("post actions d 1.2 on s1", "CANCELLED", "Skipped"),
    ]


def test_what_cannot_be_ordered_is_red_before_any_phase(real: RealSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line breaks as the order is given; the retry finds it held and extracts."""
    with_actions(real)
    give, broken = Conversation.order, [1]

    def order(conversation: Conversation, *arguments: Any) -> Any:
        if broken.pop() if broken else 0:
            raise ConnectionLostError("s1: the line broke")
        return give(conversation, *arguments)

    monkeypatch.setattr(Conversation, "order", order)
    monkeypatch.setattr("tasks.send_revision.wait_until", lambda _: asyncio.sleep(0))
    state, seen = distribute(tasks=12)
    assert (state.type.value, state.name) == ("COMPLETED", "Installed")
    assert seen.ends[2:7] == [
        ("send d 1.1 to s1", "COMPLETED", "Received"),
        ("stage d 1.1 on s1", "FAILED", "Failed"),
        *((f"{phase} d 1.1 on s1", "CANCELLED", "Skipped") for phase in ("pre actions", "extract", "post actions")),
    ]
    (retry,) = (name for name, _, _ in seen.ends if name.startswith("retry 1 of 15 to s1 at "))
    assert seen.before(retry) == {"stage d 1.1 on s1"}
    assert seen.ends[7:] == [
        (retry, "COMPLETED", "Already held"),
        *((f"{phase} d 1.1 on s1", "COMPLETED", "Completed") for phase in ("stage", "pre actions", "extract")),
        ("post actions d 1.1 on s1", "COMPLETED", "Installed"),
    ]


def test_beyond_some_hosts_only_what_fails_or_lasts_is_shown(real: RealSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.phases.FULL_UP_TO", 0)
    with_actions(real)
    _, seen = distribute(tasks=3)
    assert [name for name, _, _ in seen.ends] == ["build d", "sign d", "send d 1.1 to s1"]
    assert seen.says("s1 ← d 1.1: installed; 1 file written, 0 unchanged")
    (real.directory / "src/a").write_text("changed")
    with_actions(real, post="exit 4")
    _, seen = distribute(tasks=5)
    assert seen.ends[3:] == [
        ("post actions d 1.2 on s1", "FAILED", "Failed"),
    ]
    assert seen.says("began at ", "post actions d 1.2 on s1")


@pytest.mark.parametrize(("shown", "count"), [("always", 4), ("never", 0)])
def test_a_distribution_says_what_is_shown(shown: str, count: int, real: RealSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.phases.FULL_UP_TO", 0 if count else 100)
    real.write(SITE.format(actions=f"phases: {shown}\n{BOTH.format(pre='true', post='true')}"))
    _, seen = distribute(tasks=3 + count)
    assert len(seen.tasks) == 3 + count
