"""Subscribers on the command line: names and selectors, for every command alike; names completed in a shell; examples of every command."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import BashComplete

from cli import main
from cli.examples import EXAMPLES
from tests.cli.conftest import Sluice
from tests.cli.test_main import commands

ROLES = {"near": "{role: web, rack: '1'}", "far": "{role: web, rack: '2'}"}


@pytest.fixture
def tagged(site: Path) -> Path:
    """The site with tags on both Subscribers, and a third one that is inactive."""
    text = (site / "site.yaml").read_text()
    for name, tags in ROLES.items():
        text = text.replace(f"working_directory: var/{name}/sluice", f"working_directory: var/{name}/sluice\ntags: {tags}")
    idle = "---\nkind: Subscriber\nname: idle\nactive: false\naddress: local:var/idle\nworking_directory: var/idle/sluice\n"
    (site / "site.yaml").write_text(f"{text}{idle}tags: {{role: web, rack: '3'}}\nvariables: {{DEST: /x}}\n")
    return site


def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note what a flow would be run with, instead of running it."""
    seen: list[Any] = []
    monkeypatch.setattr("cli.runs.Call.carry_out", lambda _, wanted: seen.append(wanted) or 0)
    return seen


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["role == 'web'"], ["far", "near"]),
        (['rack == "2"'], ["far"]),
        (["near", "rack in ('1', '2')"], ["near", "far"]),
        (["not rack == '1'"], ["far"]),
        (["name != 'near'", "far"], ["far"]),
        (["idle"], ["idle"]),
        (["name in ('near', 'far')"], ["far", "near"]),
        (["(role == 'web' and rack == '1')"], ["near"]),
        (["platform=='linux'"], ["far", "near"]),
    ],
)
def test_a_selector_stands_wherever_a_name_does(
    words: list[str], names: list[str], sluice: Sluice, tagged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = called(monkeypatch)
    to = [word for each in words for word in ("--to", each)]
    for command in (["send", "zone", *to], ["distribute", "zone", *to], ["send", "daily", *to], ["extract", *words], ["verify", *words]):
        assert sluice(*command).code == 0, command
        parameters = seen[-1].runs[0][1] if seen[-1].runs else {"to": names}
        assert (parameters.get("to") or parameters.get("subscribers")) == names, command
    rows = sluice("status", *(word for each in words for word in ("--subscriber", each)), "--json").json["rows"]
    assert {row["subscriber"] for row in rows} == set(names) - {"idle"}


HOST_COMMANDS = ("bootstrap", "check", "remove")


@pytest.mark.parametrize("command", HOST_COMMANDS)
def test_commands_for_hosts_take_selectors_too(command: str, sluice: Sluice, tagged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for module in ("subscriber", "removal"):
        monkeypatch.setattr(f"cli.{module}.on_each", lambda hosts, _, show=None: seen.extend(each.name for each in hosts) or [])
    monkeypatch.setattr("cli.removal.publishers_here", lambda *_: {})
    assert sluice("subscriber", command, "role == 'web'", *(("--dry-run",) if command != "check" else ())).code == 0
    assert seen == ["far", "near"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["send", "zone", "--to", "role == 'db'"],
            "no active Subscriber matches role == 'db': the site has far (platform=debian-12, rack=2",
        ),
        (["extract", "rack == '3'"], "no active Subscriber matches rack == '3'"),
        (["status", "--subscriber", "rack == '9'"], "idle (inactive, rack=3, role=web)"),
        (["subscriber", "check", "site == 'x'"], "no active Subscriber matches site == 'x'"),
        (["distribute", "zone", "--to", "nobody"], "no Subscriber is named 'nobody': the site has: far, idle, near"),
        (["send", "zone", "--to", "near,far"], "name each by itself, or write \"name in ('near', 'far')\""),
        (["extract", "near, far"], "name each by itself, or write \"name in ('near', 'far')\""),
        (["verify", "role = 'web'"], "'=' at character 6 is not a comparison: write =="),
        (["release", "zone", "--to", "role == web"], "found 'web': write \"web\""),
    ],
)
def test_nobody_chosen_is_an_error_that_lists_what_there_is(words: list[str], told: str, sluice: Sluice, tagged: Path) -> None:
    result = sluice(*words)
    assert result.code == 2
    assert told in result.err


def test_subscribers_is_another_way_to_write_subscriber(sluice: Sluice, tagged: Path) -> None:
    assert sluice("subscribers", "list", "--json").json == sluice("subscriber", "list", "--json").json
    assert sluice("subscribers", "check", "--help").code == 0
    assert "subscribers" not in main.sluice.commands


def test_validate_takes_the_site_as_its_argument(sluice: Sluice, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sluice("validate", site).out == sluice("--site", site, "validate").out
    monkeypatch.chdir(site.parent)
    assert sluice("validate", "site").out == sluice("validate").out
    assert sluice("validate", site.parent / "nosuch").err.startswith(f"sluice: there is no site directory {site.parent}/nosuch")
    assert "named twice" in sluice("--site", site, "validate", site).err


@pytest.mark.parametrize("words", commands(main.sluice), ids=" ".join)
def test_every_command_has_examples_that_are_understood_as_written(
    words: tuple[str, ...], sluice: Sluice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is parsed with all its options, and nothing runs."""
    examples = EXAMPLES[" ".join(words)]
    assert 1 <= len(examples) <= 3
    shown = sluice(*words, "--help").out
    assert all(f"\n    {example}\n" in shown for example in examples)
    command: click.Command = main.sluice
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    parsed: list[dict[str, Any]] = []
    monkeypatch.setattr(command, "callback", lambda **arguments: parsed.append(arguments))
    for example in examples:
        program, *typed = shlex.split(example)
        assert program == "sluice"
        assert [word for word in typed if not word.startswith("-") and word != "site"][: len(words)] == list(words)
        assert sluice(*typed).code == 0
    assert len(parsed) == len(examples)


READING = ("validate", "show", "status", "why", "revisions", "subscriber list", "cancel", "trust export", "store verify")


def test_examples_work_on_the_site_that_init_writes(sluice: Sluice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for example in EXAMPLES["init"]:
        assert sluice(*shlex.split(example)[1:]).code == 0
    monkeypatch.setenv("SLUICE_SITE", "site")
    for words in READING:
        for example in EXAMPLES[words]:
            result = sluice(*shlex.split(example)[1:])
            assert result.code == 0, (example, result.err)


COMPLETED = [
    (["send", ""], ["daily", "unlisted", "zone"]),
    (["build", "z"], ["zone"]),
    (["distribute", "zone", "--to", ""], ["far", "near"]),
    (["extract", "near", "f"], ["far"]),
    (["subscriber", "check", "n"], ["near"]),
    (["refresh", ""], ["hq"]),
    (["status", "da"], ["daily"]),
    (["subscr"], ["subscriber"]),
    (["--site", "NAMED", "cancel", "u"], ["unlisted"]),
]


@pytest.mark.parametrize(("words", "names"), COMPLETED, ids=lambda each: " ".join(each))
def test_names_of_the_site_are_completed(words: list[str], names: list[str], site: Path) -> None:
    *typed, begun = (word.replace("NAMED", str(site)) for word in words)
    found = BashComplete(main.sluice, {}, "sluice", "_SLUICE_COMPLETE").get_completions(typed, begun)
    assert [each.value for each in found] == names


def test_nothing_is_completed_in_a_site_with_errors(site: Path) -> None:
    (site / "site.yaml").write_text("kind: Nothing\n")
    assert BashComplete(main.sluice, {}, "sluice", "_SLUICE_COMPLETE").get_completions(["send"], "") == []


@pytest.mark.slow
def test_bash_completes_commands_and_the_names_of_the_site(site: Path, tmp_path: Path) -> None:
    """By bash itself, with the line that the README gives."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    line = 'eval "$(_SLUICE_COMPLETE=bash_source sluice)"'
    assert line in readme
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "sluice"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from cli.main import main; main()" "$@"\n')
    program.chmod(0o755)
    script = [line]
    for words, _ in COMPLETED[:2]:
        typed = " ".join(map(shlex.quote, ["sluice", *words]))
        script += [f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; COMPREPLY=(); _sluice_completion sluice", 'echo "${COMPREPLY[@]}"']
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-c", "\n".join(script)], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
    assert [sorted(each.split()) for each in done.stdout.splitlines()] == [names for _, names in COMPLETED[:2]]
