"""Generated manifests whose contents are known: what the laws of manifests, packs and ``.ted`` files are stated over."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from blake3 import blake3
from hypothesis import strategies as st

from sluice.model.action import Script, ScriptType
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.removals import USUAL, RemovalLimit
from sluice.model.revision import RevisionNumber
from sluice.model.site import Synchronize

Extras: TypeAlias = tuple[str, tuple[tuple[str, bytes], ...]]

FIRST = RevisionNumber(1, 1)
EXCLUDES = st.sampled_from(["*.tmp", "!a.tmp", "/é\\ ", "a/**/[b-d]?", "cache/"])
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
PARTS = (
    st.text(st.characters(exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1, max_size=12)
    .map(lambda text: unicodedata.normalize("NFC", text))
    .filter(lambda text: text not in {".", ".."} and "/" not in text and "\\" not in text)
)
MODES = st.integers(0, 0o7777)
TIMES = st.integers(-(2**62), 2**62)
CONTENTS = st.binary(max_size=40) | st.builds(
    lambda seed, size: (seed * size)[:size], st.binary(min_size=1, max_size=9), st.integers(0, 9000)
)
SCRIPTS = st.builds(Script, st.sampled_from(ScriptType), TEXTS, run=TEXTS)
NO_EXTRAS: st.SearchStrategy[Extras] = st.just(("", ()))
NAMES = TEXTS.map("user.{}".format) | st.sampled_from(["security.capability", "system.posix_acl_access", "system.posix_acl_default"])
EXTRAS: st.SearchStrategy[Extras] = st.tuples(
    st.sampled_from(["", "root:root", "www-data:1000", "_a$:B.-"]),
    st.dictionaries(NAMES, st.binary(max_size=9), max_size=3).map(lambda found: tuple(sorted(found.items()))),
)
ACTIONS = st.lists(SCRIPTS, max_size=2).map(tuple)


@dataclass(frozen=True)
class Tree:
    """A manifest, and the contents it names by digest."""

    manifest: Manifest
    contents: dict[str, bytes]


def with_true_links(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Sorted, and without hard links that are none any more after an edit."""
    found: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda each: each.path):
        is_link = entry.link in found and found[entry.link] == replace(entry, path=entry.link, link="")
        found[entry.path] = entry if is_link else replace(entry, link="")
    return tuple(found.values())


@st.composite
def destinations(draw: st.DrawFn, contents: dict[str, bytes], extras: st.SearchStrategy[Extras]) -> Destination:
    def file(path: str) -> Entry:
        data = draw(CONTENTS)
        digest = blake3(data).hexdigest()
        contents[digest] = data
        return Entry(EntryKind.FILE, path, draw(MODES), draw(TIMES), len(data), digest, "", *draw(extras))

    template = draw(TEXTS)
    synchronize = (Synchronize.NO if extras is NO_EXTRAS else draw(st.sampled_from(Synchronize))).value
    exclude = tuple(draw(st.lists(EXCLUDES, max_size=2))) if synchronize == Synchronize.MIRROR else ()
    limit = draw(st.builds(RemovalLimit, st.integers(0, 100), st.integers(0, 20))) if synchronize != Synchronize.NO else USUAL
    if draw(st.integers(0, 4)) == 0:
        return Destination(template, False, (file(""),))
    entries = {"": Entry(EntryKind.DIRECTORY, "", draw(MODES), draw(TIMES), 0, "", "", *draw(extras))}
    directories = [""]
    for _ in range(draw(st.integers(0, 8))):
        above = draw(st.sampled_from(directories))
        path = f"{above}/{draw(PARTS)}" if above else draw(PARTS)
        if path in entries:
            continue
        kind = draw(st.sampled_from(EntryKind))
        firsts = [] if extras is NO_EXTRAS else [e.path for e in entries.values() if e.digest and not e.link and e.path < path]
        if kind is EntryKind.FILE and firsts and draw(st.booleans()):
            first = draw(st.sampled_from(sorted(firsts)))
            entries[path] = replace(entries[first], path=path, link=first)
        elif kind is EntryKind.FILE:
            entries[path] = file(path)
        elif kind is EntryKind.SYMLINK:
            entries[path] = Entry(kind, path, draw(MODES), 0, target=draw(TEXTS), owner=draw(extras)[0])
        else:
            entries[path] = Entry(kind, path, draw(MODES), draw(TIMES), 0, "", "", *draw(extras))
            directories.append(path)
    return Destination(template, True, tuple(entries[path] for path in sorted(entries)), synchronize, exclude, limit)


@st.composite
def trees(draw: st.DrawFn, *, revision: RevisionNumber = FIRST) -> Tree:
    contents: dict[str, bytes] = {}
    extras = draw(st.sampled_from([NO_EXTRAS, EXTRAS]))
    manifest = Manifest(
        distribution="zone",
        revision=revision,
        type="file",
        destinations=tuple(draw(st.lists(destinations(contents, extras), min_size=1, max_size=3))),
        pre_actions=draw(ACTIONS),
        post_actions=draw(ACTIONS),
        copy=draw(st.sampled_from(["differing", "all"])),
        rollback=draw(st.booleans()),
        verify=draw(st.booleans()),
        max_revisions=draw(st.none() | st.integers(1, 100)),
        renamed_from="" if extras is NO_EXTRAS else draw(st.sampled_from(["", "old"])),
    )
    return Tree(manifest, contents)
