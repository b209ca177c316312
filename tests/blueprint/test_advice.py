"""Advice on actions: where it is given, what it says, and where it is kept back."""

from __future__ import annotations

import textwrap

import pytest

from sluice.blueprint.check.advice import advice
from tests.blueprint.conftest import SiteOf

HEAD = """
kind: Distribution
name: app
distributor: hq
type: file
files: [{source: /srv/app, destination: /opt/app}]
"""

DISTRIBUTOR = """
kind: Distributor
name: mailing
working_directory: /var/lib/sluice/mailing
mail: {server: "smtp.example.org:25", from: sluice@example.org}
"""

START = "start_process: {path: /opt/app/serve}"
PUT_STOP = "put stop_process: {name: serve, wait: true} before it, unless it asks its user before it ends"


def told(site_of: SiteOf, actions: str) -> list[str]:
    found = advice(site_of(HEAD + textwrap.dedent(actions)))
    return [f"{each.line}: {each.path}: {each.message}: {each.remedy}" for each in found]


def test_a_start_with_no_stop_before_it_fails_where_it_runs(site_of: SiteOf) -> None:
    advised = [f"7: post_actions[0].start_process: fails if it is already running: {PUT_STOP}"]
    assert told(site_of, f"post_actions: [{{{START}}}]\n") == advised
    assert told(site_of, f"pre_actions: [{{stop_process: {{name: serve, wait: true, undo: none}}}}]\npost_actions: [{{{START}}}]\n") == []
    other = f"pre_actions: [{{stop_process: {{name: served, wait: true, undo: none}}}}]\npost_actions: [{{{START}}}]\n"
    assert told(site_of, other) == [f"8: post_actions[0].start_process: fails if it is already running: {PUT_STOP}"]


@pytest.mark.parametrize("name", ["sshd", "sluice-agent"])
def test_a_stop_of_what_the_agent_runs_under_is_told_to_fail(site_of: SiteOf, name: str) -> None:
    actions = f"pre_actions: [{{stop_process: {{name: {name}, wait: true, undo: none}}}}]\n"
    said = "fails if the agent runs under it: such a program is never stopped: stop the service with a script"
    assert told(site_of, actions) == [f"7: pre_actions[0].stop_process: {said}"]
    assert told(site_of, actions.replace(name, f"{name}s")) == []


@pytest.mark.parametrize("action", ["{path: /opt/app/setup, wait: true, undo: none}", '{path: "{{ DEST }}/{{ NAME }}"}'])
def test_no_stop_is_proposed_for_what_ends_by_itself_or_has_a_name_only_the_host_knows(site_of: SiteOf, action: str) -> None:
    assert told(site_of, f"post_actions: [{{start_process: {action}}}]\n") == []


def test_what_is_stopped_without_undo_stays_stopped_after_a_rollback(site_of: SiteOf) -> None:
    stop = "pre_actions: [{stop_process: {name: serve, wait: true}}]\n"
    said = "pre_actions[0].stop_process: stays stopped after a rollback: add undo: with a script that starts it again, or undo: none"
    assert told(site_of, stop) == [f"7: {said}"]
    assert told(site_of, f"rollback: false\n{stop}") == []


def test_what_is_not_waited_for_may_still_run(site_of: SiteOf) -> None:
    quick = "stop_process: {name: serve, undo: none}"
    replaced = "pre_actions[0].stop_process: may still run when files are replaced: add wait: true"
    assert told(site_of, f"pre_actions: [{{{quick}}}]\n") == [f"7: {replaced}"]
    assert told(site_of, f"post_actions: [{{{quick}}}]\n") == []
    again = "post_actions[0].stop_process: may still run when it is started again: add wait: true"
    assert told(site_of, f"post_actions: [{{{quick}}}, {{{START}}}]\n") == [f"7: {again}"]
    assert told(site_of, "pre_actions: [{stop_process: {name: serve, kill: true, undo: none}}]\n") == []


def test_a_script_that_names_another_shell_runs_by_sh_all_the_same(site_of: SiteOf) -> None:
    script = 'pre_actions: [{script: {type: shell, run: "#!/bin/bash\\ntrue", undo: none}}]\n'
    remedy = "use only what /bin/sh understands, or run it with start_process"
    assert told(site_of, script) == [f"7: pre_actions[0].script.run: its first line names bash, but /bin/sh runs it: {remedy}"]
    assert told(site_of, script.replace("bash", "sh")) == []


def test_owners_take_an_agent_that_runs_as_root(site_of: SiteOf) -> None:
    key = "host_keys: known, identity: key, working_directory: /var/lib/sluice"
    hosts = "".join(
        f"---\n{{kind: Subscriber, name: {n}, address: ssh://{u}@{n}, {key}}}\n" for n, u in (("a", "root"), ("b", "ted"), ("c", "x"))
    )
    joined = f"{HEAD}channels: [all]\n{hosts}---\nkind: Channel\nname: all\nsubscribers: [a, b, c, web-1]\n"
    assert told(site_of, "") == []
    owned = joined.replace("/opt/app}", '/opt/app, owner: "app:app"}')
    said = "b and 1 more, reached as ted, cannot set owners, so nothing is sent there: write root in its address, or leave owner: out"
    assert [str(each).partition("advice: ")[2] for each in advice(site_of(joined))] == []
    assert [str(each).partition("advice: ")[2] for each in advice(site_of(owned))] == [f"files[0].owner: {said}"]


@pytest.mark.parametrize(
    ("limit", "left", "remedy"),
    [
        (5, 3, None),
        (5, 4, "write when_left: 3 or less"),
        (2, 1, "write when_left: 0 or less"),
        (1, 0, "write a larger max_revisions, or leave notify: out"),
    ],
)
def test_mail_for_every_revision_tells_nothing(site_of: SiteOf, limit: int, left: int, remedy: str | None) -> None:
    text = f"{HEAD}max_revisions: {limit}\nnotify: {{to: [ops@example.org], when_left: {left}}}\n---\n{DISTRIBUTOR}"
    found = [str(each).partition("advice: ")[2] for each in advice(site_of(text.replace("distributor: hq", "distributor: mailing")))]
    assert found == ([] if remedy is None else [f"notify: sends mail for every revision: {remedy}"])


def test_advice_comes_by_line_and_reads_like_an_error(site_of: SiteOf) -> None:
    site = site_of(HEAD + "pre_actions:\n  - stop_process: {name: serve}\n  - stop_process: {name: other}\n")
    found = [str(each) for each in advice(site)]
    assert [text.partition("site.yaml:")[2].partition(": ")[0] for text in found] == ["8", "8", "9", "9"]
    assert ": advice: pre_actions[0].stop_process: may still run" in found[0]
