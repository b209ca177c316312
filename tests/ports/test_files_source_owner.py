"""Owner and extended attributes of a source (B2): what the blueprint asks for is in the entries, and its change is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluice.errors import SourceError
from sluice.model.site import Synchronize
from tests.ports.test_files_source import Tree
from tests.ports.test_filesystem_owner import ACL_ACCESS, CAPABILITY


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    found = Tree(tmp_path / "src")
    found.write("sub/file", b"content").chmod(0o640)
    (found.path / "link").symlink_to("sub/file")
    os.chown(found.path / "sub", 1, 8)
    os.chown(found.path / "link", 54321, 0, follow_symlinks=False)
    for name, value in (
        ("user.b", b"\0\xff"),
        ("user.a", b""),
        ("security.capability", CAPABILITY),
        ("system.posix_acl_access", ACL_ACCESS),
    ):
        os.setxattr(found.path / "sub/file", name, value)
    os.setxattr(found.path / "sub/file", "trusted.x", b"not ours")
    os.setxattr(found.path / "sub", "user.d", b"directory")
    return found


def test_nothing_is_looked_at_unless_asked(tree: Tree) -> None:
    assert {(entry.owner, entry.xattrs) for entry in tree.entries().values()} == {("", ())}


def test_kept_owners_are_names_and_numbers_where_there_is_none(tree: Tree) -> None:
    found = {path: entry.owner for path, entry in tree.entries(owner="keep").items()}
    assert found == {"": "root:root", "sub": "daemon:mail", "sub/file": "root:root", "link": "54321:root"}


def test_kept_attributes_are_those_of_users_capabilities_and_acls(tree: Tree) -> None:
    found = {path: entry.xattrs for path, entry in tree.entries(xattrs="keep").items()}
    kept = (("security.capability", CAPABILITY), ("system.posix_acl_access", ACL_ACCESS), ("user.a", b""), ("user.b", b"\0\xff"))
    assert found == {"": (), "sub": (("user.d", b"directory"),), "sub/file": kept, "link": ()}


def test_given_ones_are_everythings_and_every_files(tree: Tree) -> None:
    found = {
        path: (entry.owner, entry.xattrs) for path, entry in tree.entries(owner="web:web", xattrs={"user.z": "ü", "user.o": "hq"}).items()
    }
    given = (("user.o", b"hq"), ("user.z", "ü".encode()))
    assert found == {"": ("web:web", ()), "sub": ("web:web", ()), "sub/file": ("web:web", given), "link": ("web:web", ())}


def test_a_mode_of_the_blueprint_leaves_no_acl_that_says_another(tree: Tree) -> None:
    names = [name for name, _ in tree.entries(xattrs="keep", mode="0600")["sub/file"].xattrs]
    assert names == ["security.capability", "user.a", "user.b"]


@pytest.mark.parametrize("path", ["sub/file", "sub", "link", ""])
def test_another_owner_is_a_change_that_reads_no_content_twice(tree: Tree, path: str) -> None:
    tree.scan(owner="keep")
    assert tree.scan(owner="keep").destinations is None
    os.chown(tree.path / path, 3, 3, follow_symlinks=False)
    scan = tree.scan(owner="keep")
    assert scan.destinations is not None
    assert {entry.path: entry.owner for entry in scan.destinations[0].entries}[path] == "sys:sys"


def test_another_attribute_is_a_change(tree: Tree) -> None:
    tree.scan(xattrs="keep")
    os.setxattr(tree.path / "sub/file", "user.a", b"changed")
    scan = tree.scan(xattrs="keep")
    assert scan.destinations is not None
    assert dict({entry.path: entry for entry in scan.destinations[0].entries}["sub/file"].xattrs)["user.a"] == b"changed"


def test_a_single_file_too(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "src")
    file = tree.write("only", b"x")
    os.chown(file, 1, 1)
    os.setxattr(file, "user.a", b"1")
    tree.path = file
    entry = tree.entries(owner="keep", xattrs="keep")[""]
    assert (entry.owner, entry.xattrs) == ("daemon:daemon", (("user.a", b"1"),))


def test_synchronize_is_the_destinations(tree: Tree) -> None:
    assert tree.scan().destinations[0].synchronize == "no"  # type: ignore[index]
    scan = tree.scan(synchronize=Synchronize.MIRROR)
    assert scan.destinations is not None
    assert scan.destinations[0].synchronize == "mirror"


def test_an_attribute_whose_name_is_no_utf8_is_named(tree: Tree) -> None:
    os.setxattr(tree.path / "sub/file", b"user.\xff", b"x")
    with pytest.raises(SourceError, match="sub/file has an extended attribute"):
        tree.scan(xattrs="keep")
