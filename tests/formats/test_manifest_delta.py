"""Manifest deltas: what comes out is the outline of what went in; what happens to many entries alike costs next to nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import StoreCorruptError
from sluice.formats.manifest import operations
from sluice.formats.manifest.columns import COLUMNS
from sluice.formats.manifest.delta import apply_manifest_delta, filled, manifest_delta, outline
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.varint import put
from sluice.formats.zstd import compress_frame
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from tests.formats.trees import EXTRAS, MODES, TEXTS, TIMES, Tree, trees, with_true_links

FIRST, SECOND = RevisionNumber(1, 1), RevisionNumber(1, 2)
YEAR = 365 * 86_400 * 10**9
START = 1_600_000_000 * 10**9


def new_digests(base: Manifest, new: Manifest) -> list[str]:
    held = {digest for digest, _ in base.contents()}
    return [digest for digest, _ in new.contents() if digest not in held]


def expected_outline(base: Manifest, new: Manifest) -> Manifest:
    """By the words of the format, without the code under test."""
    numbers = {digest: f"#{number}" for number, digest in enumerate(new_digests(base, new))}
    destinations = []
    for destination in new.destinations:
        entries = tuple(replace(entry, digest=numbers.get(entry.digest, entry.digest)) for entry in destination.entries)
        destinations.append(replace(destination, entries=entries))
    return replace(new, destinations=tuple(destinations))


def holds(base: Manifest, new: Manifest) -> bytes:
    data = manifest_delta(base, new)
    found = apply_manifest_delta(base, data)
    assert found == expected_outline(base, new) == outline(base, new)
    assert filled(found, new_digests(base, new)) == new
    return data


@given(trees(), trees(revision=SECOND))
def test_any_manifest_comes_from_any_other(old: Tree, new: Tree) -> None:
    holds(old.manifest, new.manifest)


Edit = Callable[[dict[str, Entry], st.DrawFn], dict[str, Entry]]


def _renamed(entries: dict[str, Entry], draw: st.DrawFn) -> dict[str, Entry]:
    old, new = draw(st.sampled_from(sorted(entries))), draw(st.sampled_from(["new", "0", "zz-1.1", "ü"]))
    if not old:
        return entries
    path = f"{old.rpartition('/')[0]}/{new}".strip("/")
    found = {}
    for entry in entries.values():
        moved = path + entry.path[len(old) :] if entry.path == old or entry.path.startswith(f"{old}/") else entry.path
        found[moved] = replace(entry, path=moved)
    return found if len(found) == len(entries) and all(p.rpartition("/")[0] in found or not p for p in found) else entries


def _removed(entries: dict[str, Entry], draw: st.DrawFn) -> dict[str, Entry]:
    gone = draw(st.sampled_from(sorted(entries)))
    return {path: entry for path, entry in entries.items() if not gone or (path != gone and not path.startswith(f"{gone}/"))}


def _retyped(entries: dict[str, Entry], draw: st.DrawFn) -> dict[str, Entry]:
    path = draw(st.sampled_from(sorted(entries)))
    if not path or any(each.startswith(f"{path}/") for each in entries):
        return entries
    data = draw(st.binary(max_size=5))
    owner, xattrs = draw(EXTRAS)
    become = {
        EntryKind.FILE: Entry(EntryKind.FILE, path, draw(MODES), draw(TIMES), len(data), blake3(data).hexdigest(), "", owner, xattrs),
        EntryKind.DIRECTORY: Entry(EntryKind.DIRECTORY, path, draw(MODES), draw(TIMES), owner=owner),
        EntryKind.SYMLINK: Entry(EntryKind.SYMLINK, path, draw(MODES), 0, target=draw(TEXTS)),
    }
    return entries | {path: become[draw(st.sampled_from(EntryKind))]}


def _alike(entries: dict[str, Entry], draw: st.DrawFn) -> dict[str, Entry]:
    shift, mode, (owner, xattrs) = draw(st.integers(-YEAR, YEAR)), draw(MODES), draw(EXTRAS)
    what = draw(st.integers(1, 7))

    def changed(entry: Entry) -> Entry:
        link = entry.kind is EntryKind.SYMLINK
        entry = replace(entry, mtime_ns=entry.mtime_ns + shift) if what & 1 and not link else entry
        entry = replace(entry, mode=mode) if what & 2 else entry
        return replace(entry, owner=owner, xattrs=() if link else xattrs) if what & 4 else entry

    return {path: changed(entry) for path, entry in entries.items()}


def _copied(entries: dict[str, Entry], draw: st.DrawFn) -> dict[str, Entry]:
    files = sorted(path for path, entry in entries.items() if entry.kind is EntryKind.FILE)
    if "copy" in entries or not files or entries[""].kind is not EntryKind.DIRECTORY:
        return entries
    return entries | {"copy": replace(entries[draw(st.sampled_from(files))], path="copy", mtime_ns=draw(TIMES))}


EDITS: list[Edit] = [_renamed, _removed, _retyped, _alike, _copied]


@st.composite
def evolved(draw: st.DrawFn) -> tuple[Manifest, Manifest]:
    """A manifest and what became of it."""
    base = draw(trees()).manifest
    destinations = []
    for destination in base.destinations:
        entries = {entry.path: entry for entry in destination.entries}
        for edit in draw(st.lists(st.sampled_from(EDITS), max_size=3)):
            if destination.is_directory:
                entries = edit(entries, draw)
        changed = replace(destination, entries=with_true_links(entries.values()))
        destinations.append(replace(changed, template=draw(TEXTS)) if draw(st.integers(0, 9)) == 0 else changed)
    match draw(st.integers(0, 5)):
        case 0:
            destinations.append(replace(draw(st.sampled_from(destinations)), template=draw(TEXTS)))
        case 1 if len(destinations) > 1:
            destinations.pop(draw(st.integers(0, len(destinations) - 1)))
        case 2:
            destinations.reverse()
        case _:
            pass
    # one content has one size: an edit may have drawn bytes of the tree's own
    return base, replace(base, revision=RevisionNumber(1, draw(st.integers(2, 9))), destinations=tuple(destinations))


@given(evolved())
def test_what_was_renamed_removed_retyped_shifted_and_copied_comes_out(pair: tuple[Manifest, Manifest]) -> None:
    holds(*pair)


def tree(count: int, *, top: str = "", of: int = 100) -> Manifest:
    """``count`` files in directories of ``of``, with sizes and times that have nothing in common."""
    chance, entries = random.Random(count), [Entry(EntryKind.DIRECTORY, "", 0o755, START)]
    above = f"{top}/" if top else ""
    if top:
        entries.append(Entry(EntryKind.DIRECTORY, top, 0o755, START))
    for number in range(count):
        if number % of == 0:
            entries.append(Entry(EntryKind.DIRECTORY, f"{above}{number // of:05}", 0o755, START + chance.randrange(YEAR)))
        path = f"{above}{number // of:05}/file-{number % of:03}.txt"
        digest = blake3(f"{number}".encode()).hexdigest()
        entries.append(Entry(EntryKind.FILE, path, 0o644, START + chance.randrange(YEAR), chance.randrange(10**6), digest))
    return Manifest("zone", FIRST, "file", (Destination("{{ DEST }}", True, tuple(entries)),))


def changed(base: Manifest, change: Callable[[Entry], Entry]) -> Manifest:
    [destination] = base.destinations
    entries = sorted(map(change, destination.entries), key=lambda entry: entry.path)
    return replace(base, revision=SECOND, destinations=(replace(destination, entries=tuple(entries)),))


def rewritten(entry: Entry, chance: random.Random, time: int) -> Entry:
    size = max(0, entry.size + chance.randrange(-300, 300))
    return replace(entry, size=size, digest=blake3(entry.path.encode()).hexdigest(), mtime_ns=time)


def cost(base: Manifest, new: Manifest) -> int:
    """Bytes as they travel."""
    return len(compress_frame(holds(base, new), level=19))


LARGE = tree(8_000)


def test_one_change_in_a_large_tree_costs_less_than_a_line() -> None:
    chance = random.Random(1)
    path = LARGE.destinations[0].entries[5_432].path
    new = changed(LARGE, lambda entry: rewritten(entry, chance, START + 2 * YEAR + 123_456_789) if entry.path == path else entry)
    assert cost(LARGE, new) < 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda entry: replace(entry, mtime_ns=entry.mtime_ns + 3600 * 10**9), id="an hour later"),
        pytest.param(lambda entry: replace(entry, mtime_ns=START), id="one time for all"),
        pytest.param(lambda entry: replace(entry, mtime_ns=START) if entry.digest else entry, id="one time for all files"),
        pytest.param(lambda entry: replace(entry, mode=entry.mode & 0o700), id="narrower modes"),
        pytest.param(lambda entry: replace(entry, owner="root:root", xattrs=(("user.a", b"a"),)), id="an owner and an attribute"),
        pytest.param(lambda entry: entry, id="nothing"),
    ],
)
def test_what_happens_to_all_alike_costs_dozens_of_bytes(change: Callable[[Entry], Entry]) -> None:
    assert cost(LARGE, changed(LARGE, change)) < 90


@pytest.mark.slow
def test_a_few_dozen_changes_of_thousands_cost_a_few_bytes_each() -> None:
    chance, base = random.Random(2), tree(6_759)
    paths = set(chance.sample([entry.path for entry in base.destinations[0].entries if entry.digest], 43))
    times = iter(range(START + 2 * YEAR, START + 3 * YEAR, 86_000_000))
    new = changed(base, lambda entry: rewritten(entry, chance, next(times)) if entry.path in paths else entry)
    assert cost(base, new) < 450


@pytest.mark.slow
def test_a_renamed_directory_costs_its_name() -> None:
    assert cost(tree(3_000, top="package-1.0"), replace(tree(3_000, top="package-1.1"), revision=SECOND)) < 120
    assert cost(tree(3_000, top="package"), replace(tree(3_000), revision=SECOND)) < 120, "to the top"
    assert cost(tree(3_000), replace(tree(3_000, top="package"), revision=SECOND)) < 120, "from the top"


def test_a_renamed_directory_in_which_something_changed_costs_its_name_and_that() -> None:
    chance, base = random.Random(3), tree(3_000, top="package-1.0")
    new = changed(
        tree(3_000, top="package-1.1"),
        lambda entry: rewritten(entry, chance, START) if entry.path.endswith("7/file-050.txt") else entry,
    )
    assert cost(base, new) < 200, "3 files"


def test_a_second_destination_with_the_same_tree_costs_its_template() -> None:
    base = tree(1_000)
    assert cost(base, replace(base, revision=SECOND, destinations=(*base.destinations, replace(base.destinations[0], template="/b")))) < 150


def test_a_content_is_new_once() -> None:
    top = Entry(EntryKind.DIRECTORY, "", 0o755, START)
    old = [Entry(EntryKind.FILE, name, 0o644, START, 1, blake3(name.encode()).hexdigest()) for name in "abc"]
    base = Manifest("zone", FIRST, "file", (Destination("/d", True, (top, *old)),))
    wanted = {"a": ("x", 7), "b": ("y", 9), "c": ("x", 7), "d": ("c", 1), "e": ("y", 9)}
    entries = [Entry(EntryKind.FILE, name, 0o644, START, size, blake3(text.encode()).hexdigest()) for name, (text, size) in wanted.items()]
    new = replace(base, revision=SECOND, destinations=(Destination("/d", True, (top, *entries)),))
    found = apply_manifest_delta(base, manifest_delta(base, new))
    assert [entry.digest for entry in found.destinations[0].entries[1:]] == ["#0", "#1", "#0", blake3(b"c").hexdigest(), "#1"]
    with pytest.raises(StoreCorruptError, match="2 new contents, not 1"):
        filled(found, ["0" * 64])


def test_a_delta_is_of_one_base() -> None:
    base = tree(100)
    data = manifest_delta(base, changed(base, lambda entry: replace(entry, mode=0o700)))
    for other in (replace(base, distribution="other"), replace(base, revision=SECOND), replace(base, revision=RevisionNumber(2, 1))):
        try:
            found = apply_manifest_delta(other, data)
        except StoreCorruptError:
            continue
        assert found.distribution == "other", "who knows the name compares it with the signed one"


def columns(**values: list[int]) -> bytes:
    """A delta of columns of numbers; the header's are the second revision and the base's own header."""
    parts = {name: bytearray() for name in COLUMNS}
    for name, numbers in values.items():
        for number in numbers:
            if name == "flags":
                parts[name].append(number)
            else:
                put(parts[name], number)
    out = bytearray()
    for part in parts.values():
        put(out, len(part))
    return bytes(out) + b"".join(parts.values())


def header_of(base: Manifest) -> list[int]:
    [destination] = base.destinations
    blank = replace(base, destinations=(replace(destination, entries=(), synchronize="yes"),))
    line = manifest_bytes(blank).split(b"\n")[0].replace(b'"yes"', b'"no"')
    return [1, 2, len(line), 0]


KEEP, CHANGE, DELETE, INSERT, MOVE, MOVED, MOVED_CHANGED, SKIP = range(8)


def op(kind: int, count: int) -> int:
    return count << 3 | kind


SMALL = tree(300)
ENTRIES = 304
HOSTILE: dict[str, dict[str, list[int]]] = {
    "no operations": {},
    "no such destination": {"operations": [2, 0]},
    "more than there is": {"operations": [1, op(KEEP, ENTRIES + 1), 0]},
    "a delete beyond the end": {"operations": [1, op(DELETE, ENTRIES + 1), 0]},
    "a change without flags": {"operations": [1, op(CHANGE, 1), 0]},
    "what is the same twice": {"operations": [1, op(KEEP, 5), op(MOVE, 0), 0, 0, op(MOVED, 5), 0], "shared": [0], "lengths": [0]},
    "moved without a place": {"operations": [1, op(MOVED, 1), 0]},
    "a place that isn't there": {"operations": [1, op(MOVE, 0), 2, 0, 0], "shared": [0], "lengths": [0]},
    "a place before the first": {"operations": [1, op(MOVE, 0), 0, 1, 0], "shared": [0], "lengths": [0]},
    "a place behind the last": {"operations": [1, op(MOVE, 0), 0, 2 * ENTRIES + 2, 0], "shared": [0], "lengths": [0]},
    "moved beyond the end": {"operations": [1, 0, op(MOVE, 0), 0, 0, op(MOVED, ENTRIES + 1), 0], "shared": [0], "lengths": [0]},
    "skipped beyond the end": {"operations": [1, op(MOVE, 0), 0, 0, op(SKIP, ENTRIES + 1), 0], "shared": [0], "lengths": [0]},
    "no entry at all": {"operations": [0, 0]},
    "all deleted": {"operations": [1, op(DELETE, ENTRIES), 0]},
    "more shared than there is": {"operations": [1, op(INSERT, 1), 0], "shared": [1], "lengths": [0], "flags": [1]},
    "a text that isn't there": {"operations": [1, op(KEEP, 1), op(INSERT, 1), 0], "shared": [0], "lengths": [3], "flags": [1]},
    "an entry of no kind": {"operations": [1, op(KEEP, 1), op(INSERT, 1), 0], "shared": [0], "lengths": [1], "texts": [33], "flags": [3]},
    "a file of no content": {"operations": [1, op(KEEP, 1), op(INSERT, 1), 0], "shared": [0], "lengths": [1], "texts": [33], "flags": [0]},
    "a content again that never was": {"operations": [1, op(KEEP, 2), op(CHANGE, 1), 0], "flags": [3 | 2 << 2], "contents": [0]},
    "a content that isn't there": {"operations": [1, op(KEEP, 2), op(CHANGE, 1), 0], "flags": [3 | 3 << 2], "contents": [600]},
    "a size below nothing": {"operations": [1, op(KEEP, 2), op(CHANGE, 1), 0], "flags": [3 | 1 << 2], "sizes": [2**40 + 1]},
    "a mode": {"operations": [1, op(KEEP, 2), op(CHANGE, 1), 0], "flags": [3 | 64], "modes": [0o10000]},
    "a time": {"operations": [1, op(KEEP, 2), op(CHANGE, 1), 0], "flags": [3 | 1 << 4], "times": [2**64 - 2]},
    "extras that never were": {"operations": [1, op(KEEP, 2), op(CHANGE, 1), 0], "flags": [3 | 128], "extras": [2]},
    "a number without end": {"operations": [1, 2**80]},
    "something left over": {"operations": [1, 0], "modes": [1]},
    "an unknown shift": {"operations": [1, 0], "shifts": [3, 0, 0]},
    "a shift of times beyond time": {"operations": [1, 0], "shifts": [1, 2**64 - 2, 0, 0]},
}


@pytest.mark.parametrize("values", HOSTILE.values(), ids=HOSTILE)
def test_a_delta_that_breaks_a_rule_is_refused(values: dict[str, list[int]]) -> None:
    with pytest.raises(StoreCorruptError):
        apply_manifest_delta(SMALL, columns(header=header_of(SMALL), **values))


def test_those_rules_are_what_is_wrong_with_them() -> None:
    found = apply_manifest_delta(SMALL, columns(header=header_of(SMALL), operations=[1, 0]))
    assert found == replace(SMALL, revision=SECOND)


@pytest.mark.parametrize(
    "header", [[], [1], [1, 1, 5, 0], [0, 0, 5, 0], [1, 2, 9999, 0], [1, 2, 5, 2**70], [1, 2, 5, 5]], ids=lambda numbers: str(numbers)
)
def test_a_header_that_breaks_a_rule_is_refused(header: list[int]) -> None:
    with pytest.raises(StoreCorruptError):
        apply_manifest_delta(SMALL, columns(header=header, operations=[1, 0]))


def test_what_a_delta_makes_is_bounded_while_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    data = columns(header=header_of(SMALL), operations=[1, 0])
    with monkeypatch.context() as patched:
        patched.setattr(operations, "ENTRIES_MAX", ENTRIES - 1)
        with pytest.raises(StoreCorruptError, match="more than a manifest may hold"):
            apply_manifest_delta(SMALL, data)
    with monkeypatch.context() as patched:
        patched.setattr(operations, "MANIFEST_MAX", 300 * len("00000/file-000.txt") // 2)
        with pytest.raises(StoreCorruptError, match="more than a manifest may hold"):
            apply_manifest_delta(SMALL, data)


def test_owners_beyond_what_is_shifted_alike_come_out_too() -> None:
    base = tree(2_700)
    numbered = {entry.path: replace(entry, owner=f"u{n // 9}:g") for n, entry in enumerate(base.destinations[0].entries)}
    before = replace(changed(base, lambda entry: numbered[entry.path]), revision=FIRST)
    holds(before, changed(before, lambda entry: replace(entry, owner=entry.owner.replace("u", "v"))))
