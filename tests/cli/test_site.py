"""``init``, ``validate`` and ``show`` on a site's files."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.session import utc
from cli.tables import moment
from sluice.blueprint import load_site
from sluice.distributor.plan.extractions import begins
from tests.cli.conftest import Sluice


def test_init_writes_a_site_that_validates_and_makes_keys(sluice: Sluice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = sluice("init", "mysite")
    assert result.code == 0
    assert "sluice --site mysite validate" in result.err
    keys = list(tmp_path.glob("mysite/**/keys/*.pem"))
    assert sorted(key.name for key in keys) == ["online.pem", "root.pem"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert sluice("--site", "mysite", "validate").code == 0


def test_init_replaces_nothing(sluice: Sluice, site: Path) -> None:
    before = (site / "site.yaml").read_bytes()
    result = sluice("init", site)
    assert result.code == 2
    assert (site / "site.yaml").read_bytes() == before
    assert not (site / "var").exists()


def test_init_dry_run_writes_nothing(sluice: Sluice, tmp_path: Path) -> None:
    assert sluice("init", tmp_path / "new", "--dry-run").code == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_init_where_a_site_is_is_wrong_usage_and_says_what_stands_there(sluice: Sluice, site: Path, words: tuple[str, ...]) -> None:
    result = sluice("init", site, *words)
    assert result.code == 2
    assert f"sluice: {site} has site.yaml already: name a new directory, or add to that site by hand; nothing was written\n" in result.err


@pytest.mark.parametrize(
    ("disturb", "name"),
    [("mine.yml", "mine.yml"), ("files/greeting/welcome.txt", "files/greeting/welcome.txt"), ("distributor.yaml", "distributor.yaml")],
)
def test_init_writes_nothing_beside_a_file_of_somebodys(sluice: Sluice, tmp_path: Path, disturb: str, name: str) -> None:
    (tmp_path / "new" / disturb).parent.mkdir(parents=True)
    (tmp_path / "new" / disturb).write_text("mine")
    result = sluice("init", tmp_path / "new")
    assert (result.code, f"has {name} already" in result.err) == (2, True)
    assert [path for path in (tmp_path / "new").rglob("*") if path.is_file()] == [tmp_path / "new" / disturb]


def test_an_interrupted_init_is_repeated_and_an_edited_site_is_not(sluice: Sluice, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert sluice("init", new).code == 0
    whole = {path: path.read_bytes() for path in new.rglob("*") if path.is_file()}
    for lost in ("channels.yaml", "files/greeting/welcome.txt"):
        (new / lost).unlink()
    assert sluice("init", new).code == 0
    assert {path: path.read_bytes() for path in new.rglob("*") if path.is_file()} == whole, "the id and the keys stay"
    (new / "channels.yaml").write_text("kind: Channel\nname: c\n")
    assert sluice("init", new).code == 2


def test_ted_show_of_another_file_never_says_to_delete_it(sluice: Sluice, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0\n")
    result = sluice("ted", "show", tmp_path / "passwd")
    assert result.code == 5
    remedy = (
        "name a whole .ted file: `sluice revisions NAME` prints the paths; "
        "if a Distributor keeps this one, run: sluice store verify --repair"
    )
    assert result.err == f"sluice: {tmp_path}/passwd isn't a whole .ted file: {remedy}\n"


def test_validate_counts_what_there_is(sluice: Sluice, site: Path) -> None:
    assert sluice("validate").out == f"{site}: no errors in 1 Distributor, 2 Subscribers, 1 Channel, 2 Distributions\n"
    assert sluice("validate", "--json").json == {
        "site": str(site),
        "distributors": 1,
        "subscribers": 2,
        "channels": 1,
        "distributions": 2,
        "advice": [],
    }


def test_validate_gives_advice_and_fails_nothing(sluice: Sluice, site: Path) -> None:
    path = site / "advised.yaml"
    path.write_text(
        "kind: Distribution\nname: app\ndistributor: hq\ntype: file\nfiles: [{source: /srv/app, destination: /opt/app}]\n"
        "pre_actions: [{stop_process: {name: serve, undo: none}}]\n"
    )
    result = sluice("validate")
    said = f"{path}:6: advice: pre_actions[0].stop_process: may still run when files are replaced: add wait: true"
    assert (result.code, result.out.splitlines()[0]) == (0, said)
    assert "no errors" in result.out
    assert sluice("validate", "--json").json["advice"] == [
        {
            "file": str(path),
            "line": 6,
            "path": "pre_actions[0].stop_process",
            "message": "may still run when files are replaced",
            "remedy": "add wait: true",
        }
    ]


def test_validate_prints_every_error_and_exits_3(sluice: Sluice, site: Path) -> None:
    text = (site / "site.yaml").read_text().replace("name: zone", "name: zo.ne").replace("every: 1 day", "every: 1 min")
    (site / "site.yaml").write_text(text)
    result = sluice("validate")
    lines = result.err.splitlines()
    assert (result.code, result.out) == (3, "")
    assert lines[-1] == "sluice: 2 errors in the site"
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"{site}/site.yaml:4", f"{site}/site.yaml:26"]
    found = sluice("validate", "--json").json["error"]
    assert (found["code"], found["exit"], len(found["errors"])) == ("SiteError", 3, 2)
    assert {"file", "line", "path", "message", "remedy"} <= found["errors"][0].keys()


def test_show_prints_settings_with_their_origin(sluice: Sluice, site: Path) -> None:
    rows = {row["setting"]: row for row in sluice("show", "distributor", "hq", "--json").json["settings"]}
    assert rows["refresh"]["origin"].endswith("site.yaml:4")
    assert rows["max_concurrent"] == {"setting": "max_concurrent", "value": "unlimited (64 at once in a process)", "origin": "built-in"}
    assert sluice("show", "hq").out == sluice("show", "Distributor", "hq").out


def test_show_of_an_unknown_name_lists_those_there_are(sluice: Sluice, site: Path) -> None:
    result = sluice("show", "nosuch")
    assert result.code == 2
    assert result.err == "sluice: nothing is named 'nosuch': the site has: daily, far, hq, near, unlisted, zone\n"


def test_show_asks_which_of_two_with_the_same_name(sluice: Sluice, site: Path) -> None:
    (site / "site.yaml").write_text((site / "site.yaml").read_text().replace("name: daily", "name: zone").replace("[daily]", "[zone]"))
    result = sluice("show", "zone")
    assert (result.code, result.err) == (2, "sluice: zone is a channel and a distribution: say which: `sluice show channel zone`\n")


def test_show_schedules_lists_the_next_time_of_each_stage(sluice: Sluice, site: Path, at_noon: datetime) -> None:
    rows = sluice("show", "schedules", "--json").json["schedules"]
    assert [(row["stage"], row["name"], row["next"]) for row in rows] == [
        ("refresh", "hq", "2026-03-02T00:00:00Z"),
        ("build", "unlisted", None),
        ("build", "zone", "2026-03-01T13:00:00Z"),
        ("send", "daily", "2026-03-01T22:00:00Z"),
        ("extract", "far", None),
        ("extract", "near", None),
    ]
    assert "send     daily     daily 22:00 (UTC)" in sluice("show", "schedules").out


def test_show_schedules_gives_the_instants_that_hosts_have_in_random_windows(sluice: Sluice, site: Path, at_noon: datetime) -> None:
    """Extract: the host's own. Send: the run's, which Prefect starts with the window, and from the first to the last of its hosts."""
    text = (site / "site.yaml").read_text()
    night = '{daily: {from: "01:00", to: "05:00", random: true}, timezone: Europe/Helsinki}'
    names = [f"host-{n}" for n in range(5)]
    host = "---\nkind: Subscriber\nname: {0}\naddress: local:/srv/{0}\nworking_directory: /srv/{0}/work\nextract: {1}\n"
    hosts = "".join(host.format(name, night) for name in names)
    channel = f"---\nkind: Channel\nname: nightly\nsend: {night}\nsubscribers: [{', '.join(names)}]\n"
    build = f"---\nkind: Distribution\nname: big\ndistributor: hq\ntype: file\nbuild: {night}\n"
    build += "files: [{source: /srv/app, destination: /opt/app}]\n"
    (site / "site.yaml").write_text(text + hosts + channel + build)

    rows = {(row["stage"], row["name"]): row for row in sluice("show", "schedules", "--json").json["schedules"]}

    begin = datetime(2026, 3, 1, 23, tzinfo=UTC)  # 01:00 in Helsinki
    schedule = load_site(site).subscriber("host-0").extract
    instants = {name: begins(schedule, begin, begin, seed=name) for name in names}  # what a run that starts with the window waits for
    assert {name: rows["extract", name]["next"] for name in names} == {name: utc(instant) for name, instant in instants.items()}
    whole = {"begin": "2026-03-01T23:00:00Z", "end": "2026-03-02T03:00:00Z"}
    assert all(rows["extract", name]["window"] == whole for name in names)
    found = sorted(instant for instant in instants.values() if instant is not None)
    send = rows["send", "nightly"]
    assert (send["next"], send["window"]) == ("2026-03-01T23:00:00Z", whole)
    assert send["instants"] == {"first": utc(found[0]), "last": utc(found[-1])}
    assert rows["build", "big"]["next"] == "2026-03-01T23:00:00Z"
    told = f"2026-03-01 23:00:00, to Subscribers from {moment(found[0])} to {moment(found[-1])}"
    assert told in sluice("show", "schedules").out


@pytest.mark.slow
def test_plan_and_apply_name_schedules_that_are_over(sluice: Sluice, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (site / "site.yaml").read_text()
    (site / "site.yaml").write_text(text.replace("build: {every: 1 hour}", 'build: {at: "2020-01-01 02:00"}'))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    for command in ("plan", "apply"):
        done = sluice(command)
        assert done.code == 11  # nothing answers there
        assert "advice: build: has had no start since 2020-01-01 02:00 UTC, and has none ahead: write a later time, or never" in done.err


def test_validate_names_the_lines_of_a_client_configuration_that_cannot_be_honoured(sluice: Sluice, site: Path) -> None:
    text = (site / "site.yaml").read_text()
    address = "address: ssh://web\nssh: {config: ssh_config}\n"
    text = text.replace("address: local:var/near\nworking_directory: var/near/sluice\n", f"{address}working_directory: /srv/sluice\n")
    (site / "site.yaml").write_text(text.replace("{{ LOCAL_DIRECTORY }}/out", "/srv/out"))
    (site / "ssh_config").write_text(
        "IdentityFile i\nUserKnownHostsFile k\nHost web\n User u\n ControlMaster auto\n Frobnicate 1\nHost db\n ProxyCommand nc\n"
    )
    result = sluice("validate")
    assert result.code == 3
    assert [line.partition(": ")[0] for line in result.err.splitlines()][:2] == [f"{site}/ssh_config:5", f"{site}/ssh_config:6"]
    (site / "ssh_config").write_text("Host web\n User u\n IdentityFile i\n UserKnownHostsFile k\n")
    assert sluice("validate").code == 0
