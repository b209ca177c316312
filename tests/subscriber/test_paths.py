"""Paths below a root and below each other, and whose they are, also at the root directory."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from infra.filesystem.local import LocalFilesystem
from sluice.formats.manifest.document import manifest_bytes
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from sluice.subscriber.extract.others import OtherDestination
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.subscriber.held.paths import below, full, is_below, overlap, parents


def test_paths_are_joined_with_one_slash() -> None:
    assert below("/", "etc/zone") == "/etc/zone"
    assert below("/opt", "zone") == "/opt/zone"
    assert (below("", "zone"), below("opt", ""), below("/", ""), below("", "")) == ("zone", "opt", "/", "")


def test_a_directory_that_is_itself_the_root_is_named_without_a_slash_at_its_end(tmp_path: Path) -> None:
    filesystem = LocalFilesystem()
    with closing(filesystem.open_root(str(tmp_path))) as root, closing(filesystem.open_root("/")) as top:
        assert (full(root, ""), full(root, "a/b")) == (str(tmp_path), f"{tmp_path}/a/b")
        assert (full(top, ""), full(top, "etc")) == ("/", "/etc")


def test_a_path_overlaps_itself_and_those_below_or_above_it() -> None:
    assert is_below("/opt/zone", "/opt")
    assert is_below("/opt", "/")
    assert not is_below("/opt", "/opt")
    assert overlap("/opt", "/opt/zone")
    assert overlap("/opt/zone", "/")
    assert not overlap("/opt", "/optional")
    assert list(parents("/opt/zone")) == ["/opt", "/"]


def test_a_path_that_another_distribution_placed_from_the_root_directory_is_its_own(tmp_path: Path) -> None:
    held = DistributionDirectory(tmp_path / "zone")
    held.directory.mkdir()
    entries = (Entry(EntryKind.DIRECTORY, "", 0o755, 1), Entry(EntryKind.DIRECTORY, "etc", 0o755, 1))
    manifest = Manifest("zone", RevisionNumber(1, 1), "file", (Destination("/", True, entries),))
    held.manifest_path.write_bytes(manifest_bytes(manifest))
    other = OtherDestination("/", held, 0, [("8:1/", "/")])
    assert [other.path_of(place) for place in ("8:1/", "8:1/etc", "8:1/opt", "8:2/etc")] == ["/", "/etc", None, None]
