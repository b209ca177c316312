"""Advice: where it is given, what it says, and where it is kept back."""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sluice.blueprint.check.advice import advice
from sluice.model.schedule import Kind, Schedule
from sluice.rules.due import last_start
from tests.blueprint.conftest import NOW, SiteOf

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
    found = advice(site_of(HEAD + textwrap.dedent(actions)), NOW)
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
    remedy = "write ssh: {become: sudo} in its document, or root in its address, or leave owner: out"
    said = f"b and 1 more, reached as ted, cannot set owners, so nothing is sent there: {remedy}"
    assert [str(each).partition("advice: ")[2] for each in advice(site_of(joined), NOW)] == []
    assert [str(each).partition("advice: ")[2] for each in advice(site_of(owned), NOW)] == [f"files[0].owner: {said}"]
    by_sudo = owned.replace("ssh://ted@b,", "ssh://ted@b, ssh: {become: sudo},").replace("ssh://x@c,", "ssh://x@c, ssh: {become: sudo},")
    assert [str(each) for each in advice(site_of(by_sudo), NOW)] == []


def test_platforms_that_no_joined_subscriber_has_are_told_with_those_it_would_go_to(site_of: SiteOf) -> None:
    hosts = "".join(
        f"---\n{{kind: Subscriber, name: {n}, address: 'local:/srv/{n}', working_directory: /srv/{n}/w{platform}}}\n"
        for n, platform in (("a", ""), ("b", ", platform: ubuntu-24.04"), ("c", ""), ("d", ""))
    )
    channel = "---\n{kind: Channel, name: all, subscribers: [a, b, c, d]}\n---\n{kind: Channel, name: none, subscribers: []}\n"

    def found(platforms: str, channels: str = "all") -> list[str]:
        site = site_of(f"{HEAD}channels: [{channels}]\nplatforms: {platforms}\n{hosts}{channel}")
        return [str(each).partition("site.yaml:")[2] for each in advice(site, NOW)]

    first = "a (no platform), b (ubuntu-24.04), c (no platform) and 1 more"
    what = f"no Subscriber of its Channels is windows or debian-12, so nothing is ever sent to {first}"
    remedy = "write platform: in their documents, or other platforms:, or leave it blank"
    assert found("[windows, debian-12]") == [f"8: advice: platforms: {what}: {remedy}"]
    assert found("[linux]") == found("") == found("[ubuntu-24.04, windows]") == []
    assert found("[windows]", "none") == found("[windows]", "") == []


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
    found = [str(each).partition("advice: ")[2] for each in advice(site_of(text.replace("distributor: hq", "distributor: mailing")), NOW)]
    assert found == ([] if remedy is None else [f"notify: sends mail for every revision: {remedy}"])


def test_advice_comes_by_line_and_reads_like_an_error(site_of: SiteOf) -> None:
    site = site_of(HEAD + "pre_actions:\n  - stop_process: {name: serve}\n  - stop_process: {name: other}\n")
    found = [str(each) for each in advice(site, NOW)]
    assert [text.partition("site.yaml:")[2].partition(": ")[0] for text in found] == ["8", "8", "9", "9"]
    assert ": advice: pre_actions[0].stop_process: may still run" in found[0]


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        ('{at: "2026-02-28 02:00", timezone: Europe/Helsinki}', "2026-02-28 00:00"),
        ('{at: "2026-03-02 02:00"}', None),
        ('{rrule: "DTSTART:20260101T010000 RRULE:FREQ=DAILY;COUNT=3"}', "2026-01-03 01:00"),
        ('{rrule: "DTSTART:20260101T010000 RRULE:FREQ=DAILY;COUNT=300"}', None),
        ('{rrule: "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3;BYMINUTE=0;BYSECOND=0;UNTIL=20260331T000000"}', "2026-03-01 03:00"),
        ('{rrule: "FREQ=MONTHLY;BYMONTHDAY=2;BYHOUR=3;BYMINUTE=0;BYSECOND=0;UNTIL=20260331T000000"}', None),
        ('{rrule: "FREQ=YEARLY;INTERVAL=20;BYHOUR=4;BYMINUTE=0;BYSECOND=0"}', "2020-01-01 04:00"),
        ('{rrule: "FREQ=DAILY;COUNT=1000000"}', None),
        ('{cron: "0 0 29 2 *"}', None),
        ("{every: 400 days}", None),
        ('{yearly: {days: "02-29", at: "02:00"}}', None),
        ("never", None),
    ],
)
def test_a_schedule_that_has_had_its_last_start_is_named_with_it(site_of: SiteOf, schedule: str, last: str | None) -> None:
    message = f"has had no start since {last} UTC, and has none ahead: write a later time, or never"
    assert told(site_of, f"build: {schedule}\n") == ([] if last is None else [f"7: build: {message}"])


def test_a_schedule_that_is_over_is_told_wherever_it_stands_once_and_only_of_what_is_active(site_of: SiteOf, tmp_path: Path) -> None:
    over = '{at: "2020-01-01 00:00"}'
    text = f"{{kind: Channel, name: c, send: {over}}}\n---\n{{kind: Channel, name: quiet, active: false, send: {over}}}\n---\n"
    text += f"{{kind: Distributor, name: d, working_directory: /srv/d, refresh: {over}}}\n---\n"
    text += f"{{kind: Defaults, subscriber: {{extract: {over}}}}}\n"  # of two Subscribers
    found = [str(each).partition("site.yaml:")[2] for each in advice(site_of(text), NOW)]
    message = "has had no start since 2020-01-01 00:00 UTC, and has none ahead: write a later time, or never"
    assert found == [f"{line}: advice: {path}: {message}" for line, path in ((1, "send"), (5, "refresh"), (7, "extract"))]


def test_of_a_long_rule_its_end_is_told_without_counting_all_its_starts() -> None:
    hours = ",".join(map(str, range(24)))
    rule = f"DTSTART:20000101T000000 RRULE:FREQ=DAILY;BYHOUR={hours};BYMINUTE=0,30;BYSECOND=0;UNTIL=20251231T000000"
    schedule = Schedule(Kind.RRULE, rrule=rule)
    assert last_start(schedule, NOW) == datetime(2025, 12, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("$HOME/x", "has a variable"),
        ("${CACHE}", "has a variable"),
        ("*.$EXT", "has a variable"),
        ("%TEMP%/x", "has a variable"),
        ("a,b", "no list"),
        ("*.tmp, *.bak", "no list"),
        ("*.tmp;*.bak", "no list"),
        ("*.tmp *.bak", "no list"),
        ("re:.*cache", "begins as for borg"),
        ("glob:*.o", "begins as for borg"),
        ("(?d).DS_Store", "begins as for borg, Mercurial or Syncthing"),
        ("a/!(keep)", "a shell's extended pattern"),
        ("+(a|b).log", "a shell's extended pattern"),
        ("?(x)y", "a shell's extended pattern"),
        ("@(x).c", "a shell's extended pattern"),
        (r"a\!(1)", None),
        (r"a\?(1)", None),
        ("[+](a)", None),
        ("!(keep)", None),
        ("- *.tmp", "is a rule of rsync"),
        ("+ /keep", "is a rule of rsync"),
        ("! *.tmp", None),
        (":!secret", "is a rule of rsync"),
        ("--exclude=*.tmp", "is an option"),
        ("^cache", "regular expression"),
        ("tmp$", "regular expression"),
        (".*/cache", "regular expression"),
        ("[0-9]+", "regular expression"),
        ("(a|b)", "regular expression"),
        ("logs/***", "which stays"),
        ("**/", "every directory"),
        ("*.*", "a period"),
        ("'*.tmp'", "quotes twice"),
        ("*.tmp # old", "no comment"),
        ("srv/app/x", "the source's own path"),
        ("*,v", None),
        ("$RECYCLE.BIN", None),
        ("~$*.docx", None),
        (".*.swp", None),
        ("a/.*", None),
        ("**/tmp/", None),
        ("Program Files", None),
        ("Lady (1).txt", None),
        ("C++", None),
        (r"\$HOME/x", None),
        (r"a\,b", None),
    ],
)
def test_excludes_in_the_syntax_of_other_tools_are_told(site_of: SiteOf, pattern: str, told: str | None) -> None:
    quoted = json.dumps([pattern] if not pattern.startswith("!") else ["*.log", pattern])
    found = advice(site_of(HEAD.replace("/opt/app}", f"/opt/app, exclude: {quoted}}}")), NOW)
    assert [told in each.message if told else each for each in found] == ([True] if told else [])
    assert all(str(each).partition("site.yaml:")[2].startswith("6: advice: files[0].exclude[0]: ") for each in found)


def test_a_pattern_for_everything_may_be_meant_if_something_is_included_again(site_of: SiteOf) -> None:
    kept = HEAD.replace("/opt/app}", '/opt/app, exclude: ["*/", "!keep/"]}')
    assert advice(site_of(kept), NOW) == []


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ("/opt/${NAME}/a", "${NAME} is taken as it stands: write {{ NAME }} if a variable is meant"),
        ("/opt/$NAME/a", "$NAME is taken as it stands: write {{ NAME }} if a variable is meant"),
        ("/opt/%NAME%/a", "%NAME% is taken as it stands: write {{ NAME }} if a variable is meant"),
        ("/opt/{NAME}/a", "{NAME} is taken as it stands: write {{ NAME }} if a variable is meant"),
        ("/opt/${var.dest}/a", "${var.dest} is taken as it stands: write {{ dest }} if a variable is meant"),
        ("/opt/{{ NAME }}/a", ""),
        ("/opt/cost$/100%", ""),
        ("/opt/$1/{}", ""),
    ],
)
def test_a_variable_as_other_tools_write_it_is_told_to_stay_as_it_is(site_of: SiteOf, destination: str, said: str) -> None:
    found = advice(site_of(HEAD.replace("/opt/app", f'"{destination}"')), NOW)
    assert [f"{each.path}: {each.message}: {each.remedy}" for each in found] == ([f"files[0].destination: {said}"] if said else [])


def test_a_template_in_an_extended_attribute_is_told_to_stay_as_it_is(site_of: SiteOf) -> None:
    for text, number in (("{{ NAME }}", 1), ("hq", 0)):
        given = HEAD.replace("/opt/app}", f'/opt/app, xattrs: {{user.origin: "{text}"}}}}')
        assert [each.path for each in advice(site_of(given), NOW)] == ["files[0].xattrs.user.origin"] * number
