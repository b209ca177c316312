"""Two trees that have much in common, by Hypothesis: one, and what becomes of it by renames, moves, edits and changes of kind."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

from hypothesis import strategies as st

SECOND = 10**9


@dataclass(frozen=True)
class File:
    """A regular file."""

    content: bytes
    mode: int
    mtime_ns: int


@dataclass(frozen=True)
class Directory:
    """A directory; what is in it stands in the tree by its own path."""

    mode: int
    mtime_ns: int


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


Node: TypeAlias = File | Directory | Link
Tree: TypeAlias = dict[str, Node]
"""By path below the top, which is the empty path; parents are there."""

PARTS = (
    st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs", "Cn"]), min_size=1, max_size=6)
    .map(lambda text: unicodedata.normalize("NFC", text))
    .filter(lambda text: text not in {".", ".."} and not text.startswith(".sluice-") and len(text.encode()) < 200)
)
NAMES = st.sampled_from(["a", "b", "ab", "a b", "ä", "日本", "a.txt", "-", "~", "a-", "a0", "a\\x2db.mount", "\\"]) | PARTS
TIMES = st.sampled_from([0, 1, 1_700_000_000 * SECOND, 1_700_000_001 * SECOND]) | st.integers(0, 2**31 * SECOND)
FILE_MODES = st.sampled_from([0o644, 0o755, 0o600, 0o444, 0o000]) | st.integers(0, 0o777)
DIRECTORY_MODES = st.sampled_from([0o755, 0o750, 0o700, 0o555, 0o1777])
TARGETS = st.sampled_from(["a", "../a", "/nowhere", "a/b"]) | PARTS


def _noise(seed: int, size: int) -> bytes:
    return Random(seed).randbytes(size)


CONTENTS = st.one_of(
    st.just(b""),
    st.sampled_from([b"x", b"the same everywhere", b"\n" * 9000]),
    st.binary(max_size=60),
    st.builds(lambda unit, size: (unit * size)[:size], st.binary(min_size=1, max_size=9), st.sampled_from([100, 9000, 200_000])),
    st.builds(_noise, st.integers(0, 99), st.sampled_from([1, 31, 5000, 70_000])),
)


@st.composite
def _edited(draw: st.DrawFn, content: bytes) -> bytes:
    """A content that resembles another."""
    at = draw(st.integers(0, len(content)))
    piece = draw(st.binary(max_size=12))
    match draw(st.integers(0, 4)):
        case 0:
            return content[:at] + piece + content[at:]
        case 1:
            return content[:at] + piece + content[at + len(piece) :]
        case 2:
            return content[:at] + content[at + draw(st.sampled_from([1, 50, 3000])) :]
        case 3:
            return content[at:] + content[:at]
        case _:
            return content + content[: draw(st.sampled_from([1, 4000]))]


@st.composite
def _node(draw: st.DrawFn) -> Node:
    kind = draw(st.sampled_from([File, File, File, Directory, Link]))
    if kind is File:
        return File(draw(CONTENTS), draw(FILE_MODES), draw(TIMES))
    return Directory(draw(DIRECTORY_MODES), draw(TIMES)) if kind is Directory else Link(draw(TARGETS))


def _free(tree: Tree, above: str, name: str) -> str | None:
    """A new path in a directory; None where it is taken."""
    path = f"{above}/{name}" if above else name
    return path if path not in tree and len(path.encode()) < 1000 and path.count("/") < 6 else None


def _below(path: str, tree: Tree) -> list[str]:
    return [each for each in tree if each == path or each.startswith(f"{path}/")]


@st.composite
def _grown(draw: st.DrawFn, tree: Tree, most: int) -> None:
    for _ in range(draw(st.integers(0, most))):
        directories = sorted(path for path, node in tree.items() if isinstance(node, Directory))
        path = _free(tree, draw(st.sampled_from(directories)), draw(NAMES))
        if path is not None:
            tree[path] = draw(_node())


@st.composite
def _one_change(draw: st.DrawFn, tree: Tree) -> None:
    paths = sorted(path for path in tree if path)
    if not paths:
        return
    path = draw(st.sampled_from(paths))
    node = tree[path]
    what = draw(st.sampled_from(["edit", "edit", "move", "move", "copy", "remove", "kind", "mode", "time"]))
    directories = sorted(each for each, found in tree.items() if isinstance(found, Directory) and each not in _below(path, tree))
    if what in ("move", "copy"):
        new = _free(tree, draw(st.sampled_from(directories)), draw(NAMES))
        if new is not None:
            moved = {new + each[len(path) :]: tree[each] for each in _below(path, tree)}
            if what == "move":
                for each in _below(path, tree):
                    del tree[each]
            tree.update(moved)
    elif what in ("remove", "kind"):
        for each in _below(path, tree):
            del tree[each]
        if what == "kind":
            tree[path] = draw(_node().filter(lambda found: type(found) is not type(node)))
    elif isinstance(node, File):
        content = draw(_edited(node.content)) if what == "edit" else node.content
        mode = draw(FILE_MODES) if what == "mode" else node.mode
        tree[path] = File(content, mode, draw(TIMES) if what in ("time", "edit") else node.mtime_ns)
    elif isinstance(node, Directory):
        tree[path] = Directory(draw(DIRECTORY_MODES), draw(TIMES))
    else:
        tree[path] = Link(draw(TARGETS))


@st.composite
def tree_pairs(draw: st.DrawFn) -> tuple[Tree, Tree]:
    """Two trees, the second made of the first."""
    first: Tree = {"": Directory(0o755, draw(TIMES))}
    draw(_grown(first, 12))
    second = dict(first)
    for _ in range(draw(st.integers(0, 8))):
        draw(_one_change(second))
    draw(_grown(second, 3))
    return first, second


def write_tree(top: Path, tree: Tree) -> None:
    """Onto an empty place of a disk."""
    for path in sorted(tree):
        node, place = tree[path], top / path if path else top
        if isinstance(node, Directory):
            place.mkdir()
        elif isinstance(node, Link):
            place.symlink_to(node.target)
        else:
            place.write_bytes(node.content)
            place.chmod(node.mode)
            os.utime(place, ns=(node.mtime_ns, node.mtime_ns))
    for path in sorted(tree, reverse=True):
        if isinstance(node := tree[path], Directory):
            place = top / path if path else top
            place.chmod(node.mode)
            os.utime(place, ns=(node.mtime_ns, node.mtime_ns))
