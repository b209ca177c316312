"""What commands print: nothing that moves a cursor, in columns that a terminal counts as well, and no error if nobody reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.changes_text import changes_text
from cli.failures import report
from cli.session import emit, out, say
from cli.tables import Row, fitted, table
from cli.terminal import cells, cut, wrapped
from demo.screen import Terminal
from infra.orchestrator.changes import Act, Change, Changes, ObjectKind
from sluice.errors import SourceError, StoreError

PROJECT = Path(__file__).parents[2]
HOSTILE = ["\x1b[2J", "\x9b2J", "\x1b]0;owned\x07", "\r", "\x08\x08", "\x7f", "\u202e", "\u2028", "\udcff"]
"""Clears the screen, in 7 and in 8 bits; sets the title; overwrites; deletes; turns the writing round; ends a line; is no character."""


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_nothing_that_is_printed_can_move_the_cursor(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # of the traceback
    change = Change(
        Act.UPDATE, ObjectKind.DEPLOYMENT, name, {name: {"found": name, "wanted": "b"}, "environment": {"found": {name: "x"}, "wanted": {}}}
    )
    for print_it in (
        lambda: out(f"a{name}\nb"),
        lambda: out([(f"a{name}", "red")]),
        lambda: say(name),
        lambda: out(table(["x"], [[name]])),
        lambda: out(changes_text(Changes((change,)), done=False)),
        lambda: report(SourceError(f"/srv/{name}", remedy=name), as_json=False, debug=False),
        lambda: report(OSError(2, "gone", f"/srv/{name}"), as_json=False, debug=False),
        lambda: report(ValueError(name), as_json=False, debug=True),
        lambda: emit({name: name}),
    ):
        print_it()
        printed = "".join(capsys.readouterr())
        assert printed.replace("\n", "").isprintable(), printed


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_json_holds_what_it_does_not_show(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    emit({"é": f"漢{name}"})
    text = capsys.readouterr().out
    assert json.loads(text) == {"é": f"漢{name}"}
    assert "é" in text
    assert "漢" in text


@pytest.mark.parametrize(
    ("text", "shown"), [("a\x1b[2Jb", r"a\x1b[2Jb"), ("a\u202eb", r"a\u202eb"), ("caf\udce9", r"caf\udce9"), ("ä\nb", "ä\nb")]
)
def test_an_error_names_what_it_is_about_without_control_characters(text: str, shown: str) -> None:
    error = StoreError(text, remedy=text)
    assert (error.message, error.remedy) == (shown, shown)


@pytest.mark.parametrize(
    ("text", "columns"),
    [("zone", 4), ("zöne", 4), ("zo\u0308ne", 4), ("漢字", 4), ("한글.txt", 8), ("😀", 2), ("ﾊﾝ", 2), ("\uff21\uff22", 4)],
)
def test_a_wide_character_has_two_columns_and_one_that_combines_none(text: str, columns: int) -> None:
    assert cells(text) == columns
    assert cut(text, columns) == text
    for width in range(1, columns):
        assert (cells(cut(text, width)) <= width, cut(text, width)[-1]) == (True, "…")


@pytest.mark.parametrize("text", ["漢字" * 30, "a漢" * 40, "Jos\u0301e " * 20, "😀 " * 50, "x" * 99])
@pytest.mark.parametrize("width", [20, 41, 80])
def test_what_is_wrapped_fits_and_nothing_is_lost(text: str, width: int) -> None:
    lines = wrapped(text, width, hanging="  ")
    assert max(map(cells, lines)) <= width
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("name", ["漢字かな", "naïve", "😀😀"])
def test_columns_stand_below_each_other(name: str) -> None:
    lines = table(["file", "size"], [[name, "1"], ["plain-name", "2"]]).splitlines()
    assert {cells(line[: line.rindex(last)]) for line, last in zip(lines, ["SIZE", "1", "2"], strict=True)} == {12}


@pytest.mark.parametrize("names", [("h" * 64, "d" * 64), ("host", "漢" * 70), ("h" * 40, "d" * 39)])
@pytest.mark.parametrize("width", [80, 40])
def test_rows_of_long_names_are_broken_between_them(names: tuple[str, str], width: int) -> None:
    lines = fitted(["subscriber", "distribution", "state", "reason"], [Row([*names, "failed"], "it is " + "漢字" * 40)], width=width)
    assert max(cells(text) for text, _ in lines) <= width
    told = "".join(text for text, _ in lines).replace(" ", "")
    assert all(name in told for name in (*names, "failed", "漢字" * 40))


STUCK = """
import threading
from types import SimpleNamespace
from cli.hosts import on_each
on_each([SimpleNamespace(name=name) for name in "abc"], lambda host: threading.Event().wait())
"""


def test_ctrl_c_waits_for_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    terminal = Terminal([sys.executable, "-c", STUCK], columns=80, rows=24, environment=environment)
    terminal.wait_for(lambda screen: "0 of 3 Subscribers done, waiting for a, b, c" in screen.text)
    terminal.type(b"\x03")
    assert terminal.end() == 130
    assert "waiting for" not in terminal.screen.text


PRINTING = """
import os, sys
from cli.session import out, say
from cli.terminal import is_read
os.read(0, 1)  # the reader has left
was_read = is_read(sys.stdout)
for number in range(3):
    out("x" * 100_000)
    say("y" * 100_000)
with open(sys.argv[1], "w") as file:
    file.write(f"{was_read} {is_read(sys.stdout)}")
sys.exit(7)
"""


@pytest.mark.parametrize("merged", [True, False])
def test_a_reader_who_left_changes_neither_what_is_done_nor_the_exit_code(merged: bool, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    errors = subprocess.STDOUT if merged else subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", PRINTING, str(tmp_path / "end")], cwd=PROJECT, stdin=subprocess.PIPE, stdout=theirs, stderr=errors
    ) as process:
        os.close(theirs)
        os.close(ours)
        _, told = process.communicate(b".")
    assert (process.returncode, (tmp_path / "end").read_text()) == (7, "False False")
    assert merged or told == (b"y" * 100_000 + b"\n") * 3


FULL = """
import sys
from cli.failures import report
from cli.session import out
try:
    out("x")
except OSError as error:
    sys.exit(report(error, as_json=False, debug=False))
"""


@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("words", [["-c", FULL], ["-m", "cli.main", "--help"]])
def test_a_full_disk_is_told(words: list[str], unbuffered: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | unbuffered
    with open("/dev/full", "w") as full:
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=PROJECT, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "make room" in done.stderr) == (5, True), done.stderr


HOSTS = """
import sys
from types import SimpleNamespace
from cli.hosts import on_each
from cli.session import out, say
def work(host):
    if host.name == "riga":
        open(sys.argv[1]).read()
hosts = [SimpleNamespace(name=name) for name in ("oslo", "riga", "pori")]
on_each(hosts, work, show=lambda done: say(f"{done.subscriber.name}: looked at"))
out("over")
"""


def test_commands_that_log_in_to_hosts_say_for_whom_they_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    os.mkfifo(tmp_path / "pipe")
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    terminal = Terminal([sys.executable, "-c", HOSTS, str(tmp_path / "pipe")], columns=80, rows=24, environment=environment)
    seen = ["oslo: looked at", "2 of 3 Subscribers done, waiting for riga"]
    terminal.wait_for(lambda screen: screen.text.splitlines() == seen)
    (tmp_path / "pipe").write_text("")
    assert terminal.end() == 0
    assert terminal.screen.text.splitlines() == [seen[0], "riga: looked at", "pori: looked at", "over"]
