"""The documents name paths, modules, classes, commands and make targets that exist.

docs/adr/ is history and keeps its names; its links must work all the same.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import click
import pytest

from cli.main import sluice
from sluice.blueprint.schema.not_yet import KINDS

ROOT = Path(__file__).parents[2]
ROOMS = "agents|bench|blueprints|cli|demo|deploy|docs|flows|infra|sluice|tasks|tests"
ALL = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LIVING = [path for path in ALL if path.parts[:2] != ("docs", "adr")]
PLANNED = {"cleanup", "reassign", "resend", "simulate"}
"""Commands that the documents promise for later, and say so."""

CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
A_PATH = re.compile(rf"(?:{ROOMS})/[\w.\-/*{{}},]*|[\w.\-/*{{}},]+\.py")
A_MODULE = re.compile(r"(?<![\w./-])(?:agents|bench|cli|flows|infra|sluice|tasks|tests)(?:\.[a-zA-Z_]\w*)+(?![\w/-])")
A_CLASS = re.compile(r"([A-Z][a-z]+[A-Z][a-z]\w+)(?:\.\w+)?")
A_TARGET = re.compile(r"^make ([a-z][a-z-]*)")
A_COMMAND = re.compile(r"^sluice((?: [a-z][a-z-]*)+)")
SUFFIXES = {"db", "yml", "yaml", "service", "env"}


def in_code(document: Path) -> Iterator[str]:
    """Text between backticks, which may be broken over lines of a paragraph, and the lines of fenced blocks."""
    for number, part in enumerate((ROOT / document).read_text().split("```")):
        if number % 2:
            yield from map(str.strip, part.splitlines())
        else:
            for paragraph in re.split(r"\n\s*\n", part):
                yield from (" ".join(code.split()) for code in CODE.findall(paragraph))


def expanded(pattern: str) -> Iterator[str]:
    """``a/{b,c}.py`` as a/b.py and a/c.py."""
    pieces = [piece.split(",") for piece in re.split(r"[{}]", pattern)]
    yield from ("".join(each) for each in product(*pieces))


@cache
def names_in(module: Path) -> frozenset[str]:
    """Classes, functions, constants and imported names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case (
                ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store())
            ):
                found.add(name)
            case ast.ImportFrom(names=names):
                found |= {alias.asname or alias.name for alias in names}
    return frozenset(found)


def module_exists(dotted: str) -> bool:
    """A package, a module, or a name that a module has."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path.is_dir() or module.is_file():
            return length == len(parts) or (module.is_file() and parts[length] in names_in(module))
    return False


@cache
def classes() -> frozenset[str]:
    """Every class of the six packages."""
    modules = [module for room in ("agents", "cli", "flows", "infra", "sluice", "tasks") for module in (ROOT / room).rglob("*.py")]
    return frozenset(name for module in modules for name in re.findall(r"^class (\w+)", module.read_text(), re.MULTILINE))


def command_exists(words: list[str]) -> bool:
    """Words up to the first that isn't a command's name; a group needs none after it."""
    command: click.Command = sluice
    for word in words:
        if not isinstance(command, click.Group):
            return True
        if word not in command.commands:
            return False
        command = command.commands[word]
    return True


@pytest.mark.parametrize("document", ALL, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    links = [link for link in LINK.findall((ROOT / document).read_text()) if not re.match(r"[a-z]+:", link)]
    assert [link for link in links if not (ROOT / document.parent / link).exists()] == []


@pytest.mark.parametrize("document", LIVING, ids=str)
def test_paths_modules_and_classes_exist(document: Path) -> None:
    code = list(in_code(document))
    paths = [each for text in code if (match := A_PATH.fullmatch(text.partition("::")[0])) for each in expanded(match[0])]
    named = {match[1] for text in code if (match := A_CLASS.fullmatch(text))}
    modules = [each for text in code for each in A_MODULE.findall(text) if each.rpartition(".")[2] not in SUFFIXES]
    assert [path for path in paths if not any(list(root.glob(path.rstrip("/"))) for root in (ROOT, ROOT / "tests"))] == []
    assert [module for module in modules if not module_exists(module)] == []
    openssh = set(re.findall(r"\w+", (ROOT / "docs/ssh.md").read_text()))  # its keywords
    assert named - classes() - KINDS.keys() - vars(builtins).keys() - openssh == set()


@pytest.mark.parametrize("document", LIVING, ids=str)
def test_commands_and_make_targets_exist(document: Path) -> None:
    code = list(in_code(document))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = [match[1] for text in code if (match := A_TARGET.match(text))]
    commands = [match[1].split() for text in code if (match := A_COMMAND.match(text))]
    assert set(made) - targets == set()
    assert [words for words in commands if not command_exists(words) and words[0] not in PLANNED] == []


def test_planned_commands_are_not_there_yet() -> None:
    assert set(sluice.commands) & PLANNED == set()
