"""Removals that somebody must allow, and what a manifest says of them."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.removals import USUAL, RemovalLimit
from sluice.model.revision import RevisionNumber
from sluice.model.site import FileSource, Synchronize
from sluice.rules.destinations import destination_of
from sluice.rules.removals import UnusualRemoval, unusual_removals

SYNCHRONIZED = FileSource(PurePosixPath("/srv/a"), "/opt/a", synchronize=Synchronize.YES)


def manifest(*destinations: tuple[str, int]) -> Manifest:
    """Destinations with so many files, named by number, in a directory."""
    made = []
    for template, files in destinations:
        entries = [Entry(EntryKind.DIRECTORY, path, 0o755, 0) for path in ("", "d")]
        entries += [Entry(EntryKind.FILE, f"d/{number:04}", 0o644, 0, 1, "a" * 64) for number in range(files)]
        made.append(Destination(template, True, tuple(entries)))
    return Manifest("zone", RevisionNumber(1, 1), "file", tuple(made))


@pytest.mark.parametrize(
    ("limit", "removed", "of", "allowed"),
    [
        (USUAL, 10, 10, True),
        (USUAL, 11, 11, False),
        (USUAL, 11, 22, True),
        (USUAL, 12, 23, False),
        (RemovalLimit(percent=20, files=0), 1, 5, True),
        (RemovalLimit(percent=20, files=0), 1, 4, False),
        (RemovalLimit(percent=0, files=200), 200, 200, True),
        (RemovalLimit(percent=0, files=200), 201, 10**6, False),
        (RemovalLimit(percent=0, files=0), 0, 0, True),
        (RemovalLimit(percent=0, files=0), 1, 10**6, False),
        (RemovalLimit(percent=100, files=0), 10**6, 10**6, True),
    ],
)
def test_a_limit_allows_its_share_or_its_number(limit: RemovalLimit, removed: int, of: int, allowed: bool) -> None:
    assert limit.allows(removed, of=of) is allowed


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (200, 200, []),
        (200, 100, []),
        (200, 99, [UnusualRemoval(0, 101, 200, False)]),
        (200, 0, [UnusualRemoval(0, 200, 200, True)]),
        (3, 0, [UnusualRemoval(0, 3, 3, True)]),  # empty is unusual however few they were
        (0, 0, []),
        (0, 5, []),
        (10, 1, []),
    ],
)
def test_more_than_the_limit_or_everything_is_unusual(before: int, after: int, found: list[UnusualRemoval]) -> None:
    assert list(unusual_removals([SYNCHRONIZED], manifest(("/opt/a/", before)), manifest(("/opt/a", after)))) == found


def test_without_synchronize_only_an_emptied_source_is_unusual() -> None:
    source = FileSource(PurePosixPath("/srv/a"), "/opt/a")
    assert list(unusual_removals([source], manifest(("/opt/a", 200)), manifest(("/opt/a", 1)))) == []
    assert list(unusual_removals([source], manifest(("/opt/a", 200)), manifest(("/opt/a", 0)))) == [UnusualRemoval(0, 200, 200, True)]


def test_a_source_that_may_lose_everything_may_become_empty() -> None:
    source = FileSource(PurePosixPath("/srv/a"), "/opt/a", max_removals=RemovalLimit(percent=100, files=0))
    assert list(unusual_removals([source], manifest(("/opt/a", 200)), manifest(("/opt/a", 0)))) == []


def test_each_of_two_sources_of_one_destination_is_looked_at() -> None:
    sources = [SYNCHRONIZED, SYNCHRONIZED]
    before = manifest(("/opt/a", 0), ("/opt/a", 30))
    assert list(unusual_removals(sources, before, manifest(("/opt/a", 0), ("/opt/a", 0)))) == [UnusualRemoval(1, 30, 30, True)]
    swapped = manifest(("/opt/a", 30), ("/opt/a", 1))
    assert list(unusual_removals(sources, before, swapped)) == []  # nothing goes, whichever source has it now


def test_a_destination_that_left_the_blueprint_is_its_authors_word() -> None:
    assert list(unusual_removals([SYNCHRONIZED], manifest(("/opt/old", 200)), manifest(("/opt/a", 0)))) == []


def test_a_manifest_has_excludes_of_mirrors_and_limits_of_what_removes() -> None:
    few = RemovalLimit(percent=5, files=0)
    for synchronize, exclude, limit in [(Synchronize.NO, (), USUAL), (Synchronize.YES, (), few), (Synchronize.MIRROR, ("*.tmp",), few)]:
        source = FileSource(PurePosixPath("/srv/a"), "/opt/a", exclude=("*.tmp",), synchronize=synchronize, max_removals=few)
        assert destination_of(source) == Destination("/opt/a", True, (), synchronize.value, exclude, limit)
