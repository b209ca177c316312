"""Good sites: what they become."""

from __future__ import annotations

from datetime import date, time, timedelta
from pathlib import Path, PurePosixPath

import pytest

from sluice.blueprint import load_site
from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.convert.addresses import parse_address
from sluice.blueprint.render.recipe import recipe, subscriber_variables
from sluice.blueprint.render.settings import effective_settings
from sluice.errors import BlueprintError, NotFoundError, SiteError
from sluice.model.action import Script, ScriptType, StartProcess, StopProcess
from sluice.model.locked import Locked
from sluice.model.schedule import IMMEDIATELY, NEVER, Kind
from sluice.model.site import Copy, Effort, Mail, Notify, Priority, RetryRule, Ssh, Subscription, Synchronize
from sluice.rules.excludes import Excludes
from tests.blueprint.conftest import SiteOf

DISTRIBUTION = """
kind: Distribution
name: d
distributor: hq
type: file
files: [{source: /srv/a, destination: /opt/a}]
"""


def test_what_is_left_out_has_the_defaults_of_the_model(site_of: SiteOf) -> None:
    site = site_of(DISTRIBUTION)
    distribution, subscriber, distributor = site.distributions["d"], site.subscribers["web-1"], site.distributors["hq"]
    assert distribution.priority is Priority.MEDIUM
    assert distribution.build == NEVER
    assert distribution.max_revisions == 10
    assert distribution.copy is Copy.DIFFERING
    assert distribution.rollback
    assert distribution.active
    assert not distribution.send_immediately
    assert subscriber.extract == IMMEDIATELY
    assert subscriber.connection_timeout is None
    assert distributor.max_concurrent is None
    assert distributor.retry == RetryRule(timedelta(minutes=2), timedelta(minutes=30))
    assert distributor.connection_timeout == timedelta(seconds=300)


def test_a_distribution_without_a_channel_is_fine(site_of: SiteOf) -> None:
    site = site_of(DISTRIBUTION)
    assert site.distributions["d"].channels == ()
    assert site.subscribers_of_distribution("d") == ()


def test_what_is_written_arrives(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Distribution
        name: d
        description: words
        distributor: hq
        type: file
        channels: []
        active: false
        priority: high
        build: {every: 1 hour}
        send: immediately
        extract: immediately
        max_revisions:
        platforms: [debian, ubuntu-24.04]
        verify: true
        encrypt: false
        copy: all
        rollback: false
        files:
          - {source: /srv/a, destination: /opt/a, exclude: ["*.tmp"], mode: "0644", synchronize: false}
          - {source: b, destination: "/opt/b/"}
        post_actions:
          - script: {type: python, run: "print(1)"}
          - script: {type: shell, path: /usr/bin/true, undo: "echo {{ NAME }}"}
    """)
    d = site.distributions["d"]
    assert (d.description, d.active, d.priority, d.max_revisions) == ("words", False, Priority.HIGH, None)
    assert (d.send_immediately, d.extract_immediately, d.verify, d.copy, d.rollback) == (True, True, True, Copy.ALL, False)
    assert d.case_sensitive_only
    assert d.files[0].exclude == ("*.tmp",)
    assert d.files[0].mode == "0644"
    assert d.files[1].source == PurePosixPath(site.directory) / "b"
    assert [a.undo for a in d.post_actions] == ["none", "echo {{ NAME }}"]


def test_what_files_ask_for_beyond_their_contents_arrives(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Distribution
        name: d
        distributor: hq
        type: file
        effort: max
        files:
          - {source: /srv/a, destination: /opt/a, synchronize: true, owner: keep, xattrs: keep}
          - {source: /srv/b, destination: /opt/b, synchronize: mirror, owner: "www-data:1000", xattrs: {user.origin: hq, user.empty: ""}}
          - {source: /srv/c, destination: /opt/c, synchronize: false}
    """)
    distribution = site.distributions["d"]
    first, second, third = distribution.files
    assert (first.synchronize, first.owner, first.xattrs) == (Synchronize.YES, "keep", "keep")
    assert (second.synchronize, second.owner) == (Synchronize.MIRROR, "www-data:1000")
    assert second.xattrs == {"user.origin": "hq", "user.empty": ""}
    assert (third.synchronize, third.owner, third.xattrs) == (Synchronize.NO, "", "")
    assert distribution.effort is Effort.MAX
    assert site_of(DISTRIBUTION).distributions["d"].effort is Effort.DEFAULT
    shown = {path: text for path, text, _ in effective_settings(site, "distribution", "d")}
    assert [shown[f"files[{n}].synchronize"] for n in range(3)] == ["true", "mirror", "false"]
    assert shown["files[1].owner"] == "www-data:1000"
    assert [shown[f"files[{n}].xattrs"] for n in range(3)] == ["keep", "user.empty: , user.origin: hq", "none"]
    assert shown["effort"] == "max"


MAILING = """
    kind: Distributor
    name: mailing
    working_directory: /var/lib/sluice/mailing
    mail: {server: "[2001:DB8::25]:587", from: sluice+hq@example.org}
    ---
    kind: Distribution
    name: told
    distributor: mailing
    type: file
    max_revisions: 3
    notify: {to: [ops@example.org, o'brien@mail.example.org, ops@example.org], when_left: 1}
    files: [{source: /srv/a, destination: /opt/a}]
"""


def test_mail_and_who_gets_it_arrive(site_of: SiteOf) -> None:
    site = site_of(MAILING)
    assert site.distributors["mailing"].mail == Mail("2001:DB8::25", 587, "sluice+hq@example.org")
    assert site.distributions["told"].notify == Notify(("ops@example.org", "o'brien@mail.example.org"), 1)
    distributor = {path: text for path, text, _ in effective_settings(site, "distributor", "mailing")}
    assert distributor["mail"] == "from sluice+hq@example.org through [2001:DB8::25]:587"
    distribution = {path: text for path, text, _ in effective_settings(site, "distribution", "told")}
    assert distribution["notify"] == "ops@example.org, o'brien@mail.example.org, when at most one is left until max_revisions"


def test_mail_comes_from_a_defaults_document_too(site_of: SiteOf) -> None:
    site = site_of('kind: Defaults\ndistributor: {mail: {server: "smtp.example.org:25", from: root@localhost}}\n')
    assert site.distributors["hq"].mail == Mail("smtp.example.org", 25, "root@localhost")


def test_a_mirror_beside_others_and_the_same_on_two_subscribers_of_a_machine_is_fine(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Channel
        name: c
        subscribers: [web-1, db-1]
        ---
        kind: Distribution
        name: d
        distributor: hq
        type: file
        channels: [c]
        files:
          - {source: /data/a, destination: "/shared/a", synchronize: mirror}
          - {source: /data/b, destination: "{{ DEST }}/b", synchronize: mirror}
          - {source: /data/c, destination: "/shared/ab"}
    """)
    assert [f.synchronize for f in site.distributions["d"].files] == [Synchronize.MIRROR, Synchronize.MIRROR, Synchronize.NO]


def test_relative_paths_of_this_machine_are_below_the_site(site_of: SiteOf, tmp_path: Path) -> None:
    site = site_of("""
        kind: Distributor
        name: near
        working_directory: var/near
        ---
        kind: Subscriber
        name: s
        address: local:./var/s
        working_directory: var/s/sluice
        ---
        kind: Subscriber
        name: far
        address: ssh://sluice@[2001:DB8::7]:2222
        host_keys: keys/known_hosts
        identity: ../keys/id
        working_directory: /var/lib/sluice
    """)
    assert site.distributors["near"].working_directory == PurePosixPath(tmp_path / "var/near")
    assert site.subscribers["s"].address.path == str(tmp_path / "var/s")
    assert site.subscribers["s"].working_directory == PurePosixPath(tmp_path / "var/s/sluice")
    far = site.subscribers["far"]
    assert far.host_keys == str(tmp_path / "keys/known_hosts")
    assert far.identity == str(tmp_path.parent / "keys/id")
    assert str(far.address) == "ssh://sluice@[2001:db8::7]:2222"
    assert far.ssh == Ssh()


def test_a_channel_joins_names_and_selectors_and_names_stand_above(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Channel
        name: c
        subscribers:
          - where: site == "helsinki"
          - {name: db-1, active: false}
    """)
    assert site.channels["c"].subscriptions == (Subscription("db-1", active=False), Subscription("web-1"))


def test_a_selector_that_means_nobody_yet_is_fine(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Channel
        name: c
        subscribers: [{where: site == "turku"}, {where: colour == "red"}]
    """)
    assert site.channels["c"].subscriptions == ()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("never", Kind.NEVER),
        ("{every: 3 h}", Kind.INTERVAL),
        ('{every: 2 days, starting: "2026-01-01 02:00", timezone: Europe/Helsinki}', Kind.INTERVAL),
        ('{at: "2026-12-01 02:00"}', Kind.AT),
        ("{at: 2026-12-01 02:00:00}", Kind.AT),
        ('{daily: {at: "22:00"}}', Kind.DAILY),
        ('{daily: {from: "22:00", to: "02:00", days: mon-fri, random: true}}', Kind.DAILY),
        ('{daily: {from: "08:00", to: "18:00", every: 15 min}}', Kind.DAILY),
        ('{weekly: {days: [sat, sun], at: "22:00"}}', Kind.WEEKLY),
        ('{monthly: {days: [1, last], at: "22:00"}}', Kind.MONTHLY),
        ('{yearly: {days: "12-24", at: "22:00"}}', Kind.YEARLY),
        ('{cron: "0  2 * * mon-fri"}', Kind.CRON),
        ('{rrule: "FREQ=MONTHLY;BYDAY=1MO"}', Kind.RRULE),
    ],
)
def test_every_kind_of_schedule_can_be_written(site_of: SiteOf, text: str, kind: Kind) -> None:
    site = site_of(f"kind: Channel\nname: c\nsend: {text}\n")
    assert site.channels["c"].send.kind is kind


def test_an_extraction_can_be_immediate_in_so_many_words(site_of: SiteOf) -> None:
    site = site_of("kind: Defaults\nsubscriber: {extract: immediately}\n")
    assert site.subscribers["web-1"].extract == IMMEDIATELY


def test_days_are_written_as_ranges_lists_and_words(site_of: SiteOf) -> None:
    def days(text: str) -> tuple[int, ...]:
        return site_of(f'kind: Channel\nname: c\nsend: {{daily: {{at: "22:00", days: {text}}}}}\n').channels["c"].send.weekdays

    assert days("mon-fri") == (0, 1, 2, 3, 4)
    assert days("sat-mon") == (0, 5, 6)
    assert days("[mon, Wed]") == (0, 2)
    assert days('"mon, fri"') == (0, 4)


def test_month_and_year_days_arrive(site_of: SiteOf) -> None:
    monthly = site_of('kind: Channel\nname: c\nsend: {monthly: {days: [last, 15, 1], at: "22:00"}}\n').channels["c"].send
    yearly = site_of('kind: Channel\nname: c\nsend: {yearly: {days: ["12-24", "02-29"], from: "22:00", to: "23:00"}}\n').channels["c"].send
    assert monthly.month_days == (1, 15, -1)
    assert yearly.year_days == (date(2000, 2, 29), date(2000, 12, 24))
    assert yearly.window is not None
    assert (yearly.window.start, yearly.window.end) == (time(22), time(23))


def test_many_documents_and_files_make_one_site_and_hidden_ones_do_not(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.yaml").write_text("kind: Channel\nname: a\n---\n---\nkind: Channel\nname: b\n")
    (tmp_path / "b" / "c.yml").write_text("kind: Channel\nname: c\n")
    for hidden in (".git", "files", "var", "keys"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "x.yaml").write_text("no: blueprint\n")
    (tmp_path / ".hidden.yaml").write_text("no: blueprint\n")
    (tmp_path / "readme.txt").write_text("kind: Nothing\n")
    assert sorted(load_site(tmp_path).channels) == ["a", "b", "c"]


def test_errors_come_in_file_and_line_order_and_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("kind: Channel\nname: a.b\n")
    (tmp_path / "a.yaml").write_text("kind: Chanel\nname: c\n---\nkind: Channel\nname: 7\nsend: daily\n")
    with pytest.raises(SiteError) as refusal:
        load_site(tmp_path)
    assert [(Path(e.file).name, e.line) for e in refusal.value.errors] == [("a.yaml", 1), ("a.yaml", 5), ("a.yaml", 6), ("b.yaml", 2)]


def test_a_file_that_is_no_yaml_hides_no_other_error_and_makes_none_up(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: [")
    (tmp_path / "b.yaml").write_text(
        DISTRIBUTION.replace("d\n", "d\nactve: true\n", 1) + "---" + DISTRIBUTION.replace("name: d", "name: e")
    )
    with pytest.raises(SiteError) as refusal:
        load_site(tmp_path)
    assert [Path(e.file).name for e in refusal.value.errors] == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x: " + b"a" * (1 << 20), "larger than 1 MiB"),
        (b"kind: Channel\nname: \xff\n", "is not UTF-8 text"),
        (b"kind: Channel\nname: \x07\n", "is not valid YAML: control characters are not allowed"),
        (b"---\nkind: Channel\n" * 5001, "more than 5000 documents"),
        (b"# nothing\n", None),
    ],
    ids=["size", "encoding", "control", "documents", "comment"],
)
def test_files_have_limits(tmp_path: Path, content: bytes, message: str | None) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    if message is None:
        assert load_site(tmp_path).channels == {}
        return
    with pytest.raises(SiteError) as refusal:
        load_site(tmp_path)
    [error] = [e for e in refusal.value.errors if e.message == message]
    assert error.remedy


def test_an_empty_or_missing_site_is_refused(tmp_path: Path) -> None:
    for directory, message in ((tmp_path, "contains no blueprints"), (tmp_path / "none", "no such directory")):
        with pytest.raises(SiteError, match=message):
            load_site(directory)


def test_defaults_supply_what_is_left_out_and_merge_variables_and_tags(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Defaults
        subscriber: {variables: {DEST: /never, PORT: "80"}, tags: {region: north}, description: from defaults}
        distributor: {connection_timeout: 60 s, retry: {every: 5 min}}
        ---
        kind: Defaults
        where: role == "db" and region == "north"
        subscriber: {variables: {PORT: "5432"}}
        ---
        kind: Channel
        name: c
        subscribers: [{where: region == "north"}]
    """)
    assert site.subscribers["web-1"].variables == {"DEST": "/opt", "PORT": "80"}
    assert site.subscribers["db-1"].variables == {"DEST": "/srv", "PORT": "5432"}
    assert site.subscribers["db-1"].tags == {"site": "helsinki", "role": "db", "region": "north"}
    assert site.distributors["hq"].retry == RetryRule(timedelta(minutes=5), timedelta(minutes=30))
    assert site.distributors["hq"].connection_timeout == timedelta(seconds=60)
    assert len(site.channels["c"].subscriptions) == 2


def test_every_setting_knows_where_it_came_from(site_of: SiteOf) -> None:
    site = site_of("kind: Defaults\nsubscriber: {variables: {PORT: '80'}}\n")
    origins = {path: Path(o.source).name for path, o in site.subscribers["web-1"].origins.items()}
    assert origins["variables.DEST"] == "around.yaml:12"
    assert origins["variables.PORT"] == "site.yaml:2"
    assert site.subscribers["web-1"].origins["variables.PORT"].source.startswith("defaults ")
    assert "extract" not in origins


def test_two_defaults_that_agree_are_fine(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Defaults
        where: site == "helsinki"
        subscriber: {variables: {PORT: "80"}}
        ---
        kind: Defaults
        where: role == "web"
        subscriber: {variables: {PORT: "80"}}
    """)
    assert site.subscribers["web-1"].variables["PORT"] == "80"


def test_a_blank_limit_stands_above_a_default(site_of: SiteOf) -> None:
    around = "kind: Distributor\nname: hq\nworking_directory: /var/hq\nmax_concurrent:\n"
    site = site_of("kind: Defaults\ndistributor: {max_concurrent: 5}\n", around=around)
    assert site.distributors["hq"].max_concurrent is None


def test_a_login_for_all_does_not_trouble_local_subscribers(site_of: SiteOf) -> None:
    site = site_of("kind: Defaults\nsubscriber: {identity: keys/id, host_keys: keys/known_hosts}\n")
    assert site.subscribers["web-1"].identity == ""


def test_ssh_merges_key_by_key_and_may_leave_the_rest_to_a_client_configuration(site_of: SiteOf, tmp_path: Path) -> None:
    site = site_of("""
        kind: Defaults
        subscriber: {ssh: {config: ssh/config, agent: true}, host_keys: known}
        ---
        kind: Subscriber
        name: far
        address: ssh://web-17
        ssh: {agent: false, jump: ["ops@bastion:2222", "ssh://[2001:db8::1]", other], passphrase: secret:HQ_KEY}
        working_directory: /var/lib/sluice
    """)
    assert site.subscribers["web-1"].ssh == Ssh()
    far = site.subscribers["far"]
    assert (far.ssh.config, far.ssh.agent, far.ssh.passphrase) == (str(tmp_path / "ssh/config"), False, "HQ_KEY")
    assert [str(each) for each in far.ssh.jump or ()] == ["ssh://ops@bastion:2222", "ssh://[2001:db8::1]", "ssh://other"]
    assert (str(far.address), far.address.port, far.identity) == ("ssh://web-17", 0, "")


@pytest.mark.parametrize("agent", ["true", "false"])
def test_an_agent_takes_the_place_of_an_identity(agent: str, site_of: SiteOf) -> None:
    text = f"""
        kind: Subscriber
        name: far
        address: ssh://deploy@far
        host_keys: known
        ssh: {{agent: {agent}}}
        working_directory: /var/lib/sluice
    """
    if agent == "true":
        assert site_of(text).subscribers["far"].ssh.agent
    else:
        with pytest.raises(SiteError, match="identity: missing"):
            site_of(text)


def test_a_recipe_fills_in_the_variables_of_one_subscriber(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Distribution
        name: d
        distributor: hq
        type: file
        files:
          - {source: /srv/a, destination: "{{ DEST }}//a/./b/"}
          - {source: /srv/b, destination: "{{ LOCAL_DIRECTORY }}/{{ NAME | upper }}"}
        pre_actions:
          - script: {type: shell, run: "echo {{ PLATFORM }}", undo: "echo {{ NAME }}"}
    """)
    made = recipe(site, "d", "db-1")
    assert made.destinations == ("/srv/a/b/", "/srv/db-1/DB-1")
    assert [(a.run, a.undo) for a in made.pre_actions] == [("echo debian-12", "echo db-1")]
    assert made.post_actions == ()
    with pytest.raises(NotFoundError):
        recipe(site, "d", "nobody")


def test_a_recipe_for_a_subscriber_that_no_channel_joins_can_fail_with_its_place(site_of: SiteOf) -> None:
    site = site_of(DISTRIBUTION.replace("/opt/a}", '"{{ ONLY_SOME }}/a"}'))
    with pytest.raises(BlueprintError, match="ONLY_SOME") as refusal:
        recipe(site, "d", "web-1")
    assert (Path(refusal.value.file).name, refusal.value.line) == ("site.yaml", 6)
    assert "web-1" in refusal.value.message


def test_variables_may_use_each_other_in_any_order(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Subscriber
        name: s
        address: local:/srv/s
        working_directory: /srv/s/sluice
        variables: {A: "{{ B }}/a", B: "{{ C }}/b", C: "/{{ NAME }}"}
    """)
    assert subscriber_variables(site.subscribers["s"])["A"] == "/s/b/a"


def test_a_host_that_a_distribution_is_not_for_needs_no_variables(site_of: SiteOf) -> None:
    site = site_of("""
        kind: Subscriber
        name: mac
        address: local:/srv/mac
        working_directory: /srv/mac/sluice
        platform: macos
        ---
        kind: Channel
        name: c
        subscribers: [mac, web-1]
        ---
        kind: Distribution
        name: d
        distributor: hq
        type: file
        platforms: [linux]
        channels: [c]
        files: [{source: /srv/a, destination: "{{ DEST }}/a"}]
    """)
    assert site.subscribers_of_distribution("d") == ("mac", "web-1")


def test_waits_for_locked_files_and_space_that_stays_free_reach_the_recipe(site_of: SiteOf) -> None:
    site = site_of(
        """
        kind: Distribution
        name: app
        distributor: hq
        type: file
        files: [{source: /srv/app, destination: /opt/app}]
        locked: {retries: 3, wait: 1.5 min}
        ---
        kind: Defaults
        subscriber: {min_free: 2 GiB}
        """
    )
    made = recipe(site, "app", "web-1")
    assert (made.locked, made.min_free) == (Locked(3, timedelta(seconds=90)), 2 * 1024**3)
    shown = {path: text for path, text, _ in effective_settings(site, "Distribution", "app")}
    assert shown["locked"] == "looks again up to 3 times, 90 s apart, then fails"
    shown = {path: text for path, text, _ in effective_settings(site, "Subscriber", "web-1")}
    assert shown["min_free"] == "2 GiB"


def test_processes_are_actions_with_the_subscribers_variables(site_of: SiteOf) -> None:
    site = site_of(
        """
        kind: Distribution
        name: app
        distributor: hq
        type: file
        files: [{source: /srv/app, destination: "{{ DEST }}/app"}]
        pre_actions:
          - stop_process: {name: "app-{{ NAME }}", wait: true, kill: true}
        post_actions:
          - start_process: {path: "{{ DEST }}/app/run", arguments: [--name, "{{ NAME }}", ""]}
          - start_process: {path: /usr/bin/check, wait: true, undo: "rm -f {{ DEST }}/checked"}
          - script: {type: perl, run: "#!/usr/bin/perl\\nprint 1", undo: none}
        """
    )
    made = recipe(site, "app", "web-1")
    assert made.pre_actions == (StopProcess("app-web-1", wait=True, kill=True),)
    assert made.post_actions == (
        StartProcess("/opt/app/run", ("--name", "web-1", "")),
        StartProcess("/usr/bin/check", wait=True, undo="rm -f /opt/checked"),
        Script(ScriptType.PERL, "none", run="#!/usr/bin/perl\nprint 1"),
    )
    shown = {path: text for path, text, _ in effective_settings(site, "Distribution", "app")}
    assert shown["pre_actions[0]"] == "stop process app-{{ NAME }}, waited for, killed if need be, undo: none"
    assert shown["post_actions[1]"] == "start process /usr/bin/check, waited for, undo: by script"


def test_excludes_have_as_many_characters_as_an_unsigned_question_may_have(site_of: SiteOf) -> None:
    text = DISTRIBUTION.replace("/opt/a}", "/opt/a, exclude: [{}]}")
    patterns = [f"{number:04}{'x' * 246}" for number in range(1000)]
    assert site_of(text.replace("{}", ", ".join(patterns))).distributions["d"].files[0].exclude == tuple(patterns)
    with pytest.raises(SiteError, match=r"files: has 250001 characters of excludes, more than 250000: exclude directories instead"):
        site_of(text.replace("{}", ", ".join([*patterns[1:], f"{patterns[0]}x"])))


@pytest.mark.parametrize("pattern", ["***", "/***", "?*", "*?", "**?**", "/**/?*", "***/**/*", "* "])
def test_a_pattern_that_matches_every_path_is_refused(site_of: SiteOf, pattern: str) -> None:
    assert all(Excludes([pattern]).match(name, is_directory=False) for name in ("a", ".b", "-", "\U0001f4a9", "two words", "a\nb"))
    with pytest.raises(SiteError, match="excludes everything: leave out the entry of files:, or exclude less"):
        site_of(DISTRIBUTION.replace("/opt/a}", f"/opt/a, exclude: ['{pattern}']}}"))


@pytest.mark.parametrize(
    ("pattern", "kept"), [("??*", "a"), ("[!a]*", "a"), ("*/*", "a"), ("?", "ab"), ("*a", "b"), (r"\*", "a"), ("**/a", "b"), ("[*]", "a")]
)
def test_a_pattern_that_leaves_a_path_is_not(site_of: SiteOf, pattern: str, kept: str) -> None:
    assert not Excludes([pattern]).match(kept, is_directory=False)
    site_of(DISTRIBUTION.replace("/opt/a}", f"/opt/a, exclude: ['{pattern}']}}"))


@pytest.mark.parametrize(
    ("char", "name"),
    [("200B", "ZERO WIDTH SPACE"), ("202E", "RIGHT-TO-LEFT OVERRIDE"), ("2066", "LEFT-TO-RIGHT ISOLATE"), ("AD", "SOFT HYPHEN")],
)
def test_a_character_that_is_not_to_be_seen_is_refused_in_an_exclude_by_its_name(site_of: SiteOf, char: str, name: str) -> None:
    code = f"\\u{char:0>4}".lower()
    said = f"'a{code if char != 'AD' else chr(92) + 'xad'}b' has a character that is not to be seen: {name} (U+{char:0>4}): leave it out"
    with pytest.raises(SiteError) as refused:
        site_of(DISTRIBUTION.replace("/opt/a}", f'/opt/a, exclude: ["a{code}b"]}}'))
    assert said in str(refused.value.errors[0])


def test_a_hundred_actions_are_the_most(site_of: SiteOf) -> None:
    action = "  - stop_process: {name: app, undo: none}\n"
    assert len(site_of(f"{DISTRIBUTION}pre_actions:\n{action * 100}").distributions["d"].pre_actions) == 100
    with pytest.raises(SiteError, match="pre_actions: has 101 entries: write at most 100"):
        site_of(f"{DISTRIBUTION}pre_actions:\n{action * 101}")


@pytest.mark.parametrize(
    ("written", "user", "shown"),
    [
        ("ted", "ted", "ted"),
        ("CORP\\anna", "CORP\\anna", "CORP\\anna"),
        ("anna@corp.example", "anna@corp.example", "anna@corp.example"),
        ("CORP%5Canna", "CORP\\anna", "CORP\\anna"),
        ("CORP%2Fanna", "CORP/anna", "CORP%2Fanna"),
        ("corp+anna", "corp+anna", "corp+anna"),
        ("anna maria", "anna maria", "anna%20maria"),
        ("50%25", "50%", "50%25"),
        ("a%3Ab", "a:b", "a%3Ab"),
        ("åsa$", "åsa$", "åsa$"),
    ],
)
def test_users_of_domains_are_written_as_they_are(written: str, user: str, shown: str, tmp_path: Path) -> None:
    found = parse_address(f"ssh://{written}@host.example:2222", tmp_path)
    assert (found.user, found.host, found.port) == (user, "host.example", 2222)
    assert str(found) == f"ssh://{shown}@host.example:2222"
    assert parse_address(str(found), tmp_path) == found


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "ssh://CORP/anna@host",
            "contains a path: end it after host and port; directories are keys of their own; write a / of the user's name as %2F",
        ),
        ("ssh://anna:secret@host", "the address contains a password: remove it, identity: names a private key; write a colon"),
        ("ssh://-oProxyCommand=x@host", "names no user"),
        ("ssh://%0Aanna@host", "names no user"),
        ("ssh://@host", "names no user"),
        ("ssh://anna@host/x@y", "contains a path"),
    ],
)
def test_users_that_cant_be_meant_are_refused_with_the_way_to_write_them(written: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(AuthorError) as caught:
        parse_address(written, tmp_path)
    assert said in f"{caught.value.what}: {caught.value.remedy}"


def test_sudo_is_written_in_a_document_or_in_defaults_and_shown(site_of: SiteOf) -> None:
    host = "kind: Subscriber\nname: far\naddress: ssh://ted@far\nhost_keys: known\nidentity: key\nworking_directory: /var/lib/sluice\n"
    site = site_of(host + "ssh: {become: sudo}\n---\nkind: Defaults\nsubscriber: {ssh: {become_password: secret:SUDO}}\n")
    assert site.subscribers["far"].ssh == Ssh(become="sudo", become_password="SUDO")
    shown = {path: text for path, text, _ in effective_settings(site, "Subscriber", "far")}
    assert shown["ssh.become"] == "sudo"
    assert shown["ssh.become_password"] == "secret:SUDO"
