"""The command as a whole: help, exit codes, how errors come out, and what it doesn't import."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli import failures, main
from sluice import errors
from tests.cli.conftest import Sluice

HEAVY = ("prefect", "sqlalchemy", "paramiko", "cryptography", "tuf", "pydantic", "jinja2", "yaml")
PROJECT = Path(__file__).parents[2]


def loaded_after(*words: str, site: Path | None = None) -> set[str]:
    """Top-level modules in a fresh interpreter after one command."""
    code = (
        "import sys; from cli.main import run; code = run(sys.argv[1:]); "
        "print('\\n'.join(sorted({m.partition('.')[0] for m in sys.modules})), file=sys.stderr); sys.exit(code)"
    )
    environment = {**os.environ, "SLUICE_SITE": str(site)} if site else dict(os.environ)
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=PROJECT, env=environment, check=True)
    return set(done.stderr.split())


@pytest.mark.slow
def test_help_imports_nothing_heavy() -> None:
    assert loaded_after("--help").isdisjoint(HEAVY)


@pytest.mark.slow
def test_help_of_a_command_that_needs_prefect_imports_nothing_heavy() -> None:
    assert loaded_after("apply", "--help").isdisjoint(HEAVY)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("validate",), ("show", "zone"), ("show", "schedules")])
def test_reading_the_site_imports_no_prefect_database_or_ssh(words: tuple[str, ...], site: Path) -> None:
    assert loaded_after(*words, site=site).isdisjoint({"prefect", "sqlalchemy", "paramiko"})


@pytest.mark.slow
def test_status_imports_no_prefect_and_no_ssh(site: Path) -> None:
    assert loaded_after("status", site=site).isdisjoint({"prefect", "paramiko"})


def commands(group: click.Group, *before: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found += commands(command, *before, name) if isinstance(command, click.Group) else [(*before, name)]
    return found


@pytest.mark.parametrize("words", commands(main.sluice), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], sluice: Sluice) -> None:
    result = sluice(*words, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: sluice {' '.join(words)} ")
    assert "--json" in result.out or "--dry-run" in result.out or words == ("up",)


def test_help_lists_every_exit_code_that_an_error_has(sluice: Sluice) -> None:
    listed = {code for code, _ in failures.EXIT_CODES}
    found = {leaf.exit_code for leaf in leaves(errors.SluiceError)}
    assert found <= listed
    text = sluice("--help").out
    assert all(f"\n  {code} " in text for code in listed)


def leaves(cls: type[errors.SluiceError]) -> list[type[errors.SluiceError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in leaves(sub))]


def test_an_unknown_command_or_option_is_a_usage_error(sluice: Sluice) -> None:
    assert sluice("nosuch").code == 2
    result = sluice("validate", "--nosuch")
    assert (result.code, result.out) == (2, "")
    assert result.err == "sluice: No such option '--nosuch'.\nSee `sluice validate --help`.\n"


def test_a_usage_error_is_json_too(sluice: Sluice) -> None:
    result = sluice("validate", "--json", "--nosuch")
    assert result.code == 2
    assert result.json == {"error": {"code": "UsageError", "message": "No such option '--nosuch'.", "remedy": "see --help", "exit": 2}}


def test_without_a_site_the_message_says_how_to_name_one(sluice: Sluice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = sluice("validate")
    assert result.code == 2
    assert result.err == (
        f"sluice: there is no site directory {tmp_path}/blueprints: "
        "name it with `sluice --site DIR` or SLUICE_SITE, or create one with `sluice init DIR`\n"
    )


def test_site_option_beats_the_environment(sluice: Sluice, site: Path, tmp_path: Path) -> None:
    assert sluice("--site", tmp_path / "nosuch", "validate").code == 2
    assert sluice("validate").code == 0


def test_an_expected_error_has_no_traceback_unless_asked_for(sluice: Sluice, site: Path) -> None:
    assert "Traceback" not in sluice("show", "distribution", "nosuch").err
    assert "Traceback" in sluice("--debug", "show", "distribution", "nosuch").err


def test_an_unexpected_error_says_where_its_traceback_is(
    sluice: Sluice, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sluice.distributor.plan.next_times.schedule_rows", lambda *_: 1 / 0)
    result = sluice("show", "schedules")
    (written,) = tmp_path.glob("sluice-traceback-*.txt")
    assert (result.code, result.out) == (70, "")
    assert result.err == (
        f"sluice: an unexpected error: ZeroDivisionError: division by zero: the traceback is in {written}; please report it\n"
    )
    assert "schedule_rows" in written.read_text()
    assert written.stat().st_mode & 0o777 == 0o600
    assert sluice("show", "schedules", "--json").json["error"]["code"] == "UnexpectedError"


def test_a_file_this_account_may_not_read_is_an_expected_error(sluice: Sluice, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/srv/hq/ledger.db")

    monkeypatch.setattr("cli.status.site_snapshot", refused)
    for words in (("status",), ("why", "near", "zone")):
        result = sluice(*words)
        assert (result.code, result.out) == (5, "")
        assert result.err.startswith(
            "sluice: /srv/hq/ledger.db: Permission denied: run it as the account that owns the Distributor's working"
        )
    assert sluice("status", "--json").json["error"]["code"] == "StoreError"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/site"), 5),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", b"/site"), 5),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), 70),
        (TimeoutError("timed out"), 70),
    ],
    ids=str,
)
def test_what_the_system_says_of_a_file_is_expected_and_of_anything_else_not(
    error: OSError, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert failures.report(error, as_json=False, debug=False) == code


def test_a_site_where_nothing_can_be_written_is_an_expected_error(sluice: Sluice, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = sluice("init", tmp_path / "file" / "site")
    assert result.code == 5
    assert result.err.startswith(f"sluice: {tmp_path}/file/site")
    assert "Not a directory" in result.err


def test_an_interrupt_is_clean(sluice: Sluice, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sluice.distributor.plan.next_times.schedule_rows", interrupted)
    result = sluice("show", "schedules")
    assert (result.code, result.out) == (130, "")
    assert result.err == "\nsluice: interrupted; every step may be repeated\n"


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error(site: Path) -> None:
    command = f"{sys.executable} -m cli.main show schedules | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=PROJECT, env=dict(os.environ), check=False)
    assert done.stderr == ""


def test_exit_code_of_several_failures() -> None:
    assert failures.worst_exit([]) == 0
    assert failures.worst_exit(["UnreachableError", "HostKeyError"]) == 7
    assert failures.worst_exit(["UnreachableError", "LockedTargetError"]) == 1


def test_who_gives_to_where_subscribers_are_arguments_is_told_so(sluice: Sluice) -> None:
    result = sluice("extract", "--to", "far")
    assert result.code == 2
    assert result.err.startswith("sluice: No such option '--to': Subscribers are arguments here: `sluice extract [SUBSCRIBER]...`\n")
