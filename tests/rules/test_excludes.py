"""``exclude:`` leaves out what git would ignore with the same lines, shown by git itself."""

from __future__ import annotations

import os
import random
import subprocess
import unicodedata
from pathlib import Path

import pytest

from sluice.rules.excludes import ExcludeError, Excludes

ATOMS = ["a", "b", "ab", "c", "*", "?", "[ab]", "[!a]", "[a-c]", "[^b]", "[]a]", "[!-b]", "[\\]a]", "[a\\-c]", "[+-9]", "[[:alpha:]]"]
ATOMS += ["[[:digit:][:punct:]]", "\\*", "\\a", "\\ ", " ", "-", "!", "#", ".", "1"]
NAMES = ["a", "b", "ab", "abc", "c", "*", "a b", "a ", "!a", "#a", "]", "-", "cab", "a]", "aab", ".a", "1"]


def pattern(chance: random.Random) -> str:
    parts = [
        chance.choice(["**", "**", "a", "b", "*"]) if chance.random() < 0.4 else "".join(chance.choices(ATOMS, k=chance.randint(1, 3)))
        for _ in range(chance.choice([1, 1, 1, 2, 2, 3, 4]))
    ]
    begin, end = chance.choice(["", "", "/", "!", "!/"]), chance.choice(["", "", "/", " ", "/ "])
    return begin + "/".join(parts) + end


def plant(top: Path, chance: random.Random) -> list[tuple[str, bool]]:
    """Make a tree; return its paths, and whether each is a directory."""
    top.mkdir()
    for _ in range(40):
        path = top.joinpath(*chance.choices(NAMES, k=chance.randint(1, 4)))
        if not any(parent.is_file() for parent in path.parents) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if chance.random() < 0.3 else path.touch()
    (top / "link").symlink_to(".")
    return [(os.path.relpath(os.path.join(at, n), top), n in names) for at, names, files in os.walk(top) for n in (*names, *files)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_what_git_ignores_is_excluded_and_nothing_else(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    paths = plant(tmp_path / "tree", chance)
    subprocess.run(["git", "init", "-q", tmp_path / "tree"], check=True)
    kinds = dict(paths) | {"link": False}  # for git as for us a link is no directory
    asked = "\0".join(kinds).encode()
    compared = matched = 0
    while compared < 25:
        patterns = [pattern(chance) for _ in range(chance.randint(1, 4))]
        try:
            excludes = Excludes(patterns)
        except ExcludeError:
            continue
        (tmp_path / "patterns").write_text("\n".join(patterns) + "\n")
        command = ["git", "-C", tmp_path / "tree", "-c", f"core.excludesFile={tmp_path}/patterns"]
        command += ["check-ignore", "-z", "--stdin", "--no-index"]
        ignored = set(subprocess.run(command, input=asked, capture_output=True, check=False).stdout.decode().split("\0")) - {""}
        assert {path for path, is_directory in kinds.items() if excludes.covers(path, is_directory=is_directory)} == ignored, patterns
        compared, matched = compared + 1, matched + bool(ignored)
    assert matched > 5


@pytest.mark.parametrize(
    ("patterns", "path", "is_excluded"),
    [
        (["*.log", "!keep.log"], "keep.log", False),
        (["!keep.log", "*.log"], "keep.log", True),  # the last decides
        (["logs/", "!logs/keep.log"], "logs/keep.log", True),  # nothing comes back below an excluded directory
        (["logs/*", "!logs/keep.log"], "logs/keep.log", False),
        (["/secret"], "a/secret", False),
        (["a/secret"], "b/a/secret", False),
        (["secret"], "b/a/secret", True),
        (["a/**/z"], "a/z", True),
        (["a/**/z"], "a/b/c/z", True),
        (["a/*/z"], "a/b/c/z", False),
        (["a/**"], "a", False),
        (["**/a/**"], "x/a/y", True),
        (["/**"], "x/y", True),
        ([r"\!a"], "!a", True),
        ([r"\#a"], "#a", True),
        (["a  "], "a", True),
        ([r"a\ "], "a ", True),
        ([r"a\ "], "a", False),
        ([r"a\\x2db.mount"], r"a\x2db.mount", True),
        (["[[:upper:]]*"], "Abc", True),
        (["[[:upper:]]*"], "abc", False),
        (["a?c"], "aéc", True),  # one character, not one byte
        (["*.TMP"], "a.tmp", False),
        (["a.b"], "axb", False),
        (["a\nb"], "a\nb", True),
    ],
)
def test_a_pattern_means_what_gitignore_says(patterns: list[str], path: str, is_excluded: bool) -> None:
    assert Excludes(patterns).covers(path, is_directory=False) is is_excluded


@pytest.mark.parametrize("name", ["café", "ångström/ö.tmp", "가/각.txt"])
def test_names_and_patterns_are_compared_in_one_normal_form(name: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    assert composed != decomposed
    for text in (composed, decomposed):
        for path in (composed, decomposed):
            assert Excludes([f"/{text}"]).covers(path, is_directory=False)
            assert Excludes(["*", f"!{text.rpartition('/')[2]}"]).match(path, is_directory=False) is False


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "matches nothing"),
        ("*a" * 2048 + "b", "has 4097 characters, more than any path"),
        ("!" + "a" * 4096, "more than any path"),
        ("/", "matches nothing"),
        ("!", "matches nothing"),
        ("  ", "matches nothing"),
        ("#a", "is a comment"),
        ("a//b", "has //"),
        ("[a", r"has a \[ without"),
        ("[]", r"has a \[ without"),
        ("[z-a]", "is empty"),
        ("[[:letter:]]", "no class"),
        ("a\\", "nothing behind it"),
        ("a/b**", r"\*\* within a part"),
        ("a\\/b", "nothing behind it"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(ExcludeError, match=problem):
        Excludes(["*.tmp", text])


def test_patterns_that_matched_nothing_are_known() -> None:
    excludes = Excludes(["*.tmp", "a.tmp", "b.tmp", "c/", "!d.tmp", "*.tmp"])
    assert excludes.match("x/a.tmp", is_directory=False)
    assert not excludes.match("c", is_directory=False)
    assert excludes.unmatched() == ("b.tmp", "c/", "!d.tmp")
    assert Excludes([]).unmatched() == ()


@pytest.mark.parametrize("text", ["*a" * 100 + "b", "**/a/" * 60 + "b", "/" + "*/" * 100 + "b", "?*" * 100 + "z", "[ab]*" * 100 + "c"])
def test_no_pattern_takes_longer_than_its_length_times_the_paths(text: str) -> None:
    """Each of them would take years if a star were tried again at every place."""
    excludes = Excludes([text])
    assert not excludes.match("a" * 255, is_directory=False)
    assert not excludes.match("/".join(["a"] * 120) + "/c", is_directory=False)
