"""What runs on a host before there is an agent, and what is believed of its answers."""

import errno
import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from infra.hosts import host_crontab, host_program
from infra.hosts.agent_bundle import Bundle, Platform
from infra.hosts.bootstrap import Act, Installation, Step
from infra.hosts.login import Host, probe
from sluice.errors import ConnectionLostError, NoSpaceError, NotFoundError
from sluice.model.site import Address, Subscriber

OSLO = Subscriber("oslo", Address("local", path="/x"), PurePosixPath("/var/lib/sluice"))


@pytest.fixture
def crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A crontab of the test's own; while there is a file ``broken``, it can't be read."""
    programs, table = tmp_path / "bin", tmp_path / "table"
    programs.mkdir()
    program = programs / "crontab"
    program.write_text(
        f"#!/bin/sh\nif [ -e {tmp_path}/broken ]; then echo 'cannot open spool' >&2; exit 1; fi\n"
        f"if [ \"$1\" = -l ]; then [ -e {table} ] || {{ echo 'no crontab for me' >&2; exit 1; }}; cat {table}; else cat >{table}; fi\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return table


def test_the_hook_leaves_every_byte_of_a_crontab_as_it_was(crontab: Path) -> None:
    before = b"# p\xe4iv\xe4\x0c\xe2\x80\xa8 one line\n\n0 3 * * * backup\n"
    crontab.write_bytes(before)
    host_crontab.hook("/var/lib/sluice")
    assert crontab.read_bytes() == before + host_crontab.hook_line("/var/lib/sluice").encode() + b"\n"
    host_crontab.hook("/var/lib/sluice")
    assert crontab.read_bytes().count(b"@reboot") == 1


def test_an_account_without_a_crontab_gets_one(crontab: Path) -> None:
    host_crontab.hook("/var/lib/sluice")
    assert crontab.read_text().startswith("@reboot")


def test_a_crontab_that_cannot_be_read_is_not_written_over(crontab: Path, tmp_path: Path) -> None:
    crontab.write_text("0 3 * * * backup\n")
    (tmp_path / "broken").touch()
    with pytest.raises(OSError, match="cannot open spool"):
        host_crontab.hook("/var/lib/sluice")
    assert host_program.probe("/var/lib/sluice")["hook"] is False
    assert crontab.read_text() == "0 3 * * * backup\n"


def test_a_directory_that_others_could_fill_is_not_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "work"
    place.mkdir()
    place.chmod(0o777)
    host_program.make_directory(str(place))
    assert place.stat().st_mode & 0o777 == 0o700
    (place / "distributors").mkdir()
    place.chmod(0o777)
    with pytest.raises(SystemExit):
        host_program.make_directory(str(place))
    assert "others could write" in capsys.readouterr().err


class Login:
    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def run(self, *_: Any) -> tuple[int, bytes, bytes]:
        return 0, self.answer, b""

    def close(self) -> None: ...


def answer(**changes: Any) -> bytes:
    found = {
        "executable": "/usr/bin/python3",
        "python": [3, 11, 2],
        "machine": "x86_64",
        "libc": "glibc",
        "directory": {"mode": 448, "is_directory": True, "ours": True},
        "digest": "",
        "name": "oslo",
        "receipt_pub": "-----BEGIN\nabc\n",
        "roots": {},
        "crontab": False,
        "hook": False,
        "time": 1.5e9,
        "noexec": "",
    }
    return json.dumps(found | changes).encode() + b"\n"


def test_what_a_host_says_of_itself_moves_no_cursor() -> None:
    host = probe(Login(answer(name="\x1b[2Joslo", machine="x\x1b]0;y\x07", roots={"\x1b[1m": "ab"})), OSLO)
    assert host.name == "?[2Joslo"
    assert "\x1b" not in repr([str(platform) for platform in host.pythons]) + repr(dict(host.roots))
    assert host.receipt_pub == b"-----BEGIN\nabc\n"


@pytest.mark.parametrize(
    "changes",
    [{"directory": 7}, {"directory": {"mode": "x"}}, {"roots": 7}, {"python": []}, {"python": [float("inf"), 1]}, {"time": "noon"}],
    ids=str,
)
def test_a_host_that_answers_nonsense_is_said_to(changes: dict[str, Any]) -> None:
    with pytest.raises(ConnectionLostError, match="nonsense"):
        probe(Login(answer(**changes)), OSLO)
    with pytest.raises(NotFoundError):
        probe(Login(b"[" * 200_000), OSLO)


def test_a_full_disk_is_named_with_what_the_agent_needs_and_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(host_program, "unpack", full)
    with pytest.raises(SystemExit) as ended:
        host_program.install(str(tmp_path / "sluice"), "a" * 64, "1", str(8 * 1024**2))
    assert ended.value.code == host_program.NO_SPACE
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path}/sluice: No space left on device: the agent needs 8.0 MiB there, ")
    assert said.endswith(" MiB are free\n")


class FullHost:
    """A host whose disk is full; notes what it was asked to run."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def run(self, command: Sequence[str], stdin: bytes | Iterable[bytes] = b"") -> tuple[int, bytes, bytes]:
        self.asked = list(command[-3:])
        return host_program.NO_SPACE, b"", b"/var/lib/sluice: No space left on device\n"

    def close(self) -> None:
        pass


def test_a_bootstrap_for_which_there_is_no_room_says_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bundle", "w") as archive:
        archive.writestr("start.py", b"x" * 1000)
    size = (tmp_path / "bundle").stat().st_size
    platform = Platform((3, 11), "x86_64", "glibc")
    host = Host({platform: "/usr/bin/python3"}, None, "", "", b"", {}, False, False, 0.0, "")
    bundle = Bundle(tmp_path / "bundle", platform, "a" * 64, size, "")
    login = FullHost()
    with pytest.raises(NoSpaceError, match=r"oslo \(.*\): /var/lib/sluice: No space left on device") as caught:
        Installation(OSLO, {}, login, host, bundle).run([Step(Act.AGENT, "install")])
    assert "make room there" in caught.value.remedy
    assert login.asked == ["a" * 64, str(size), str(size + 1000)]
