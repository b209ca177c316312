"""Everything that Sluice put on a host can be taken away again, and nothing else goes with it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.hosts import host_crontab, host_removal
from infra.hosts.login import host_program
from tests.system.typed import Bench, bench
from tests.system.warm import Warm

__all__ = ["bench"]
pytestmark = [pytest.mark.real, pytest.mark.timeout(480)]
MINE = "# mine\n0 3 * * * backup\n"
CRONTAB = """\
#!/bin/sh
# Reads and writes a table as a whole, as cron's own does, only slower; -l and - alone.
if [ "$1" = -l ]; then cat {table} 2>/dev/null || {{ echo no crontab for me >&2; exit 1; }}; exit; fi
cat >{table}.$$; sleep 0.02; mv {table}.$$ {table}
"""


@pytest.fixture
def crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A crontab of the test's own, in place of that of whoever runs the tests."""
    programs, table = tmp_path / "bin", tmp_path / "table"
    programs.mkdir()
    (programs / "crontab").write_text(CRONTAB.format(table=table))
    (programs / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    table.write_text(MINE)
    return table


def at_once(verb: str, directories: list[str], *more: str) -> None:
    """Run the host's program for several Subscribers of one account at once, as several bootstraps do."""
    started = [
        subprocess.Popen([sys.executable, "-I", "-c", host_program(), verb, each, *more], stdout=subprocess.PIPE) for each in directories
    ]
    assert [each.communicate()[0] and each.returncode for each in started] == [0] * len(started)


def test_bootstraps_of_one_account_at_once_lose_no_line_of_its_crontab_and_removals_leave_none(crontab: Path) -> None:
    directories = [f"/var/lib/sluice {number}%" for number in range(24)]
    at_once("hook", directories)
    lines = crontab.read_text().splitlines()
    assert lines[:2] == MINE.splitlines()
    assert sorted(lines[2:]) == sorted(map(host_crontab.hook_line, directories))
    at_once("hook", directories)
    assert crontab.read_text().splitlines() == lines
    at_once("remove", directories, "any", "no")
    assert crontab.read_text() == MINE


def test_a_line_that_a_broken_crontab_command_loses_is_told(crontab: Path, tmp_path: Path) -> None:
    (tmp_path / "bin/crontab").write_text(f'#!/bin/sh\n[ "$1" = -l ] && cat {crontab} || cat >/dev/null\n')
    with pytest.raises(OSError, match="the new line isn't in it"):
        host_crontab.hook("/var/lib/sluice")


@pytest.fixture
def host(tmp_path: Path, crontab: Path) -> Path:
    """A working directory as bootstrap and agent leave it, made by hand, and its line in the crontab."""
    directory = tmp_path / "sluice"
    for name, content in {
        "agent/sluice-agent": "#!/bin/sh\n",
        f"agent/{'a' * 64}/start.py": "",
        "agent/.tmp-7/half": "",
        f"agent/{'b' * 64}/bundle.json": '{"files":["start.py","lib/sluice/main.py"]}',
        f"agent/{'b' * 64}/start.py": "",
        f"agent/{'b' * 64}/lib/sluice/main.py": "",
        f"agent/{'b' * 64}/lib/sluice/__pycache__/main.cpython-311.pyc": "",
        "identity/subscriber.json": '{"name":"near","version":1}',
        "identity/receipt.pem": "secret",
        "identity/lock": "",
        "distributors/hq/lock": "",
        "distributors/hq/trust/root.json": "{}",
        "distributors/hq/distributions/zone/lock": "",
        "distributors/hq/distributions/zone/status.json": '{"extracted":{"destinations":["/srv/zone"]}}',
        "distributors/hq/trust/metadata/distribution.zone.json": "{}",
        "distributors/hq/trust/scratch/metadata/root_history/1.root.json": "{}",
        "distributors/hq/quarantine/17.json": "{}",
        "distributors/hq/distributions/zone/receipts/4.json": "{}",
        "distributors/hq/distributions/zone/receiving/1.2/distfile.ted.part": "",
        "distributors/hq/distributions/zone/receiving/1.2/.tmp-manifest-7": "",
        "distributors/hq/distributions/zone/revisions/1.1/manifest": "",
        "distributors/hq/distributions/zone/revisions/1.1/lent-1.ted": "",
        "distributors/hq/distributions/journal/lock": "",  # a Distribution of that name
        "distributors/hq/distributions/lock/status.json": "{}",
    }.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / name).write_text(content)
    host_crontab.hook(str(directory))
    return directory


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_dry_run_says_what_is_there_and_a_removal_leaves_nothing_of_it(host: Path, crontab: Path) -> None:
    before, table = names(host), crontab.read_text()
    found = host_removal.remove(str(host), "near", "yes")
    assert found == {"hook": True, "directory": True, "stay": ["/srv/zone"]}
    assert (names(host), crontab.read_text()) == (before, table)
    assert host_removal.remove(str(host), "near", "no") == found
    assert not host.exists()
    assert crontab.read_text() == MINE
    assert host_removal.remove(str(host), "near", "no") == {"hook": False, "directory": False, "stay": []}


def write(path: str) -> Callable[[Path], object]:
    return lambda host: (host / path).write_text("mine")


def linked(path: str) -> Callable[[Path], object]:
    def link(host: Path) -> None:
        (host / path).rename(host.parent / "elsewhere")
        (host / path).symlink_to(host.parent / "elsewhere")

    return link


@pytest.mark.parametrize(
    ("disturb", "told"),
    [
        pytest.param(write("notes.txt"), "notes.txt", id="a file of somebody's"),
        pytest.param(write("identity/id_ed25519"), "identity/id_ed25519", id="a key of somebody's"),
        pytest.param(write("agent/backup.sh"), "agent/backup.sh", id="a program of somebody's"),
        pytest.param(write("distributors/notes"), "distributors/notes", id="a file beside the Distributors"),
        pytest.param(write("distributors/hq/notes"), "distributors/hq/notes", id="a file of a Distributor's that it doesn't know"),
        pytest.param(write(".tmp-mine"), ".tmp-mine", id="a file that somebody named as a temporary one"),
        pytest.param(write("distributors/hq/distributions/zone/notes"), "zone/notes", id="a file in a Distribution's directory"),
        pytest.param(write("distributors/hq/distributions/notes"), "distributions/notes", id="a file beside the Distributions"),
        pytest.param(linked("distributors/hq/distributions/zone"), "/zone", id="a link in place of a Distribution's"),
        pytest.param(lambda host: (host / "out").mkdir(), "/out", id="an empty directory"),
        pytest.param(linked("distributors"), "/distributors", id="a link to a directory on another disk"),
        pytest.param(write(f"agent/{'a' * 64}/notes"), "/notes", id="a file in an unpacked bundle"),
        pytest.param(write(f"agent/{'b' * 64}/lib/sluice/notes.py"), "/notes.py", id="a file deep in a bundle that lists its own"),
        pytest.param(lambda host: (host / "agent" / ("b" * 64) / "lib/mine").mkdir(), "lib/mine", id="a directory in such a bundle"),
        pytest.param(write("distributors/hq/trust/metadata/notes.json"), "metadata/notes.json", id="a file among metadata"),
        pytest.param(write("distributors/hq/distributions/zone/revisions/notes"), "revisions/notes", id="a file among revisions"),
        pytest.param(write("distributors/hq/distributions/zone/revisions/1.1/notes"), "1.1/notes", id="a file in a revision"),
        pytest.param(linked("distributors/hq/distributions/zone/revisions/1.1/manifest"), "1.1/manifest", id="a link in place of a file"),
        pytest.param(linked("distributors/hq"), "/distributors/hq", id="a link in place of a Distributor's"),
    ],
)
def test_what_isnt_ours_is_named_and_nothing_is_removed(
    host: Path, crontab: Path, capsys: pytest.CaptureFixture[str], disturb: Callable[[Path], object], told: str
) -> None:
    disturb(host)
    before, table = names(host), crontab.read_text()
    for dry_run in ("yes", "no"):
        with pytest.raises(SystemExit):
            host_removal.remove(str(host), "near", dry_run)
        said = capsys.readouterr().err
        assert "nothing was removed" in said
        assert told in said
    assert (names(host), crontab.read_text()) == (before, table)


def test_more_names_than_are_looked_at_are_said_and_nothing_is_removed(
    host: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(host)
    monkeypatch.setattr(host_removal, "LOOKED_AT_MAX", 20)
    with pytest.raises(SystemExit):
        host_removal.remove(str(host), "near", "no")
    assert "has more than 20 names: not all were looked at, nothing was removed" in capsys.readouterr().err
    assert names(host) == before


def test_a_file_system_that_is_mounted_in_it_is_named_and_stays(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() != 0:
        from tests.conftest import missing

        missing("root, for a mount")
    place = host / "distributors/hq/distributions/zone/revisions"
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        (place / "mine").write_text("")
        with pytest.raises(SystemExit):
            host_removal.remove(str(host), "near", "no")
        assert str(place) in capsys.readouterr().err
        assert (place / "mine").exists()
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_directory_that_a_file_system_is_mounted_on_is_emptied_and_that_is_all_of_it(host: Path, crontab: Path) -> None:
    if os.geteuid() != 0:
        from tests.conftest import missing

        missing("root, for a mount")
    kept = shutil.copytree(host, host.parent / "kept")
    subprocess.run(["mount", "-t", "tmpfs", "none", host], check=True)
    try:
        shutil.copytree(kept, host, dirs_exist_ok=True)
        assert host_removal.remove(str(host), "near", "no")["directory"]
        assert list(host.iterdir()) == []
        assert host_removal.remove(str(host), "near", "yes") == {"hook": False, "directory": False, "stay": []}
        assert host_removal.remove(str(host), "near", "no") == {"hook": False, "directory": False, "stay": []}
        assert host.is_dir()
    finally:
        subprocess.run(["umount", host], check=True)


def test_a_directory_in_a_place_of_another_accounts_is_emptied_and_that_is_all_of_it(
    host: Path, crontab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, asked = str(host.parent), os.access
    monkeypatch.setattr(os, "access", lambda path, *rest: str(path) != place and asked(path, *rest))  # as for any account but root

    def refuses(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    for each in ("yes", "no"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "rmdir", lambda path, usual=os.rmdir, **more: refuses(path) if path == str(host) else usual(path, **more))
            assert host_removal.remove(str(host), "near", each)["directory"]
    assert list(host.iterdir()) == []
    assert host_removal.remove(str(host), "near", "no") == {"hook": False, "directory": False, "stay": []}


def test_another_subscribers_directory_is_left_alone(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        host_removal.remove(str(host), "far", "no")
    assert f"{host} belongs to Subscriber near, not to far" in capsys.readouterr().err
    assert (host / "identity/receipt.pem").exists()


@pytest.mark.parametrize("lock", ["distributors/hq/lock", "distributors/hq/distributions/zone/lock"])
def test_nothing_is_removed_while_an_agent_receives_or_extracts(host: Path, capsys: pytest.CaptureFixture[str], lock: str) -> None:
    with (host / lock).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SystemExit):
            host_removal.remove(str(host), "near", "no")
        assert f"the agent works in {(host / lock).parent}: wait" in capsys.readouterr().err
    host_removal.remove(str(host), "near", "no")
    assert not host.exists()


def test_an_interrupted_extraction_is_ended_first(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (host / "distributors/hq/distributions/zone/journal").mkdir()
    host = host.rename(host.with_name("its own"))
    with pytest.raises(SystemExit):
        host_removal.remove(str(host), "near", "no")
    assert f"run there: '{host}/agent/sluice-agent' run --directory '{host}'; then" in capsys.readouterr().err
    assert (host / "identity/receipt.pem").exists()


def test_a_removal_that_was_killed_anywhere_is_finished_by_the_next(host: Path, crontab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each unlink, rmdir and command of a removal is the last one of some try."""
    calls = 0

    class Killed(BaseException):
        pass

    def killing(function: Callable[..., object], at: int) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == at:
                raise Killed
            return function(*arguments, **named)

        return call

    kept = shutil.copytree(host, host.parent / "kept", symlinks=True)
    for at in range(1, 200):
        shutil.rmtree(host, ignore_errors=True)
        shutil.copytree(kept, host, symlinks=True)
        host_crontab.hook(str(host))
        calls, killed = 0, False
        with monkeypatch.context() as patch:
            for name in ("unlink", "rmdir"):
                patch.setattr(os, name, killing(getattr(os, name), at))
            patch.setattr(subprocess, "run", killing(subprocess.run, at))
            try:
                host_removal.remove(str(host), "near", "no")
            except Killed:
                killed = True
        if not killed:
            break
        host_removal.remove(str(host), "near", "no")
        assert not host.exists()
        assert crontab.read_text() == MINE
    assert at > len(names(kept)), "it was killed at each path and each command"


def test_a_distributed_tree_stays_and_the_host_can_be_made_a_subscriber_again(bench: Bench, warm: Warm) -> None:
    bench = replace(bench, program=warm.program)
    bench.begin()
    assert bench.sluice("distribute", "zone").returncode == 0
    tree = {path: data for path, data in bench.distributed().items() if path.startswith("near/out")}

    asked = bench.sluice("subscriber", "remove", "near")
    assert (asked.returncode, "give --yes" in asked.stderr) == (14, True)
    looked = json.loads(bench.sluice("subscriber", "remove", "near", "--dry-run", "--json").stdout)
    assert (bench.home / "near/sluice/identity").exists()
    done = bench.sluice("subscriber", "remove", "near", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == looked
    (row,) = looked["subscribers"]
    assert row["stay"] == [f"{bench.home}/near/out/zone"]
    assert row["steps"] == [
        f"remove agent, identity, trust and revisions: {bench.home}/near/sluice",
        "forget that it has zone of Distributor hq",
        "forget its receipt key in the trust of Distributor hq",
    ]
    assert not (bench.home / "near/sluice").exists()
    assert not (bench.home / "hq/trust/subscribers/near.pub").exists()
    assert {path: data for path, data in bench.distributed().items() if path.startswith("near/out")} == tree
    (state,) = json.loads(bench.sluice("status", "--json").stdout)["rows"]
    assert (state["held"], state["extracted"]) == (None, None)
    again = bench.sluice("subscriber", "remove", "near", "--yes")
    assert (again.returncode, "nothing of Sluice's is there" in again.stderr) == (0, True)

    assert bench.sluice("subscriber", "bootstrap", "near").returncode == 0
    assert bench.sluice("distribute", "zone").returncode == 0
    (state,) = json.loads(bench.sluice("status", "--json").stdout)["rows"]
    assert state["state"] == "installed"

    # The host is gone, and so is its document: only what is known here goes.
    gone = bench.sluice("subscriber", "remove", "near", "--forget", "--yes")
    assert (gone.returncode, "forget its receipt key" in gone.stderr) == (0, True)
    assert (bench.home / "near/sluice/identity").exists()
    assert not (bench.home / "hq/trust/subscribers/near.pub").exists()
