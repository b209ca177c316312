"""Owner and extended attributes on a real file system (B2): what is set stands, nothing is followed, what can't be is said."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.filesystem.local import LocalFilesystem
from sluice.errors import DestinationError, LockedTargetError
from sluice.ports import Root

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # vfs_cap_data version 2, effective: net_bind_service
ACL_ACCESS = bytes.fromhex("0200000001000600ffffffff020004000100000004000400ffffffff10000400ffffffff20000000ffffffff")
"""user::rw-, user:1:r--, group::r--, mask::r--, other::---."""
ACL_DEFAULT = bytes.fromhex("0200000001000700ffffffff020007000100000004000500ffffffff10000700ffffffff20000500ffffffff")
"""user::rwx, user:1:rwx, group::r-x, mask::rwx, other::r-x."""


@pytest.fixture
def top(tmp_path: Path) -> Path:
    found = tmp_path / "top"
    found.mkdir()
    return found


@pytest.fixture
def root(top: Path) -> Iterator[Root]:
    found = LocalFilesystem().open_root(str(top))
    yield found
    found.close()


def test_names_and_numbers_of_an_owner() -> None:
    filesystem = LocalFilesystem()
    assert filesystem.owner("root:root") == (0, 0)
    assert filesystem.owner("daemon:daemon") == (pwd.getpwnam("daemon").pw_uid, grp.getgrnam("daemon").gr_gid)
    assert filesystem.owner("54321:65000") == (54321, 65000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nobody-of-that-name:root", "no user 'nobody-of-that-name'"),
        ("root:no-such-group", "no group 'no-such-group'"),
        ("4294967295:0", "no user '4294967295'"),
        ("root:", "no group ''"),
        ("a\0b:root", "no user"),
    ],
)
def test_an_owner_who_isnt_there_is_named(text: str, said: str) -> None:
    with pytest.raises(DestinationError, match=said) as found:
        LocalFilesystem().owner(text)
    assert "create" in found.value.remedy


def test_a_file_gets_its_owner_and_keeps_its_setuid_bit_capability_and_acl(root: Root, top: Path) -> None:
    xattrs = (("security.capability", CAPABILITY), ("system.posix_acl_access", ACL_ACCESS), ("user.origin", b"hq\0"))
    root.write_file("file", [b"content"], mode=0o4640, mtime_ns=7, durable=True, owner=(1, 2), xattrs=xattrs)
    status = (top / "file").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_mtime_ns) == (1, 2, 0o4640, 7)
    assert root.xattrs("file") == xattrs
    found = root.find("file")
    assert found is not None
    assert found.owner == (1, 2)


def test_what_stands_gets_another_owner_and_exactly_the_attributes_given(root: Root, top: Path) -> None:
    (top / "file").write_text("x")
    os.setxattr(top / "file", "user.old", b"1")
    os.setxattr(top / "file", "user.both", b"1")
    os.setxattr(top / "file", "trusted.others", b"1")
    root.set_metadata("file", mode=0o2755, mtime_ns=5, owner=(3, 4), xattrs=(("user.both", b"2"), ("user.new", b"3")))
    status = (top / "file").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_mtime_ns) == (3, 4, 0o2755, 5)
    assert root.xattrs("file") == (("user.both", b"2"), ("user.new", b"3"))
    assert os.getxattr(top / "file", "trusted.others") == b"1"
    root.set_metadata("file", mode=0o600, mtime_ns=6)
    assert (top / "file").stat().st_uid == 3
    assert len(root.xattrs("file")) == 2
    root.set_metadata("file", mode=0o600, mtime_ns=6, xattrs=())
    assert root.xattrs("file") == ()


def test_a_directory_too(root: Root, top: Path) -> None:
    (top / "d").mkdir()
    root.set_metadata("d", mode=0o2750, mtime_ns=9, owner=(5, 6), xattrs=(("user.x", b"y"),))
    status = (top / "d").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_mtime_ns) == (5, 6, 0o2750, 9)
    assert root.xattrs("d") == (("user.x", b"y"),)


def test_a_links_owner_is_its_own(root: Root, top: Path) -> None:
    (top / "file").write_text("x")
    root.make_symlink("link", "file", owner=(7, 8))
    assert ((top / "link").lstat().st_uid, (top / "link").lstat().st_gid) == (7, 8)
    assert (top / "file").stat().st_uid == 0


def test_a_link_or_a_file_with_other_names_gets_nothing(root: Root, top: Path) -> None:
    (top / "file").write_text("x")
    (top / "link").symlink_to("file")
    os.link(top / "file", top / "name")
    for path in ("link", "name"):
        with pytest.raises(DestinationError):
            root.set_metadata(path, mode=0o777, mtime_ns=0, owner=(1, 1), xattrs=(("user.x", b"y"),))
    assert (top / "file").stat().st_uid == 0
    assert os.listxattr(top / "file") == []


def test_a_file_system_without_attributes_is_named(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", unsupported)
    monkeypatch.setattr(os, "listxattr", unsupported)
    with pytest.raises(DestinationError, match=r"file: its file system doesn't keep the extended attribute user\.x"):
        root.write_file("file", [b"x"], mode=0o600, mtime_ns=0, durable=False, xattrs=(("user.x", b"y"),))
    assert root.xattrs("file") == ()


def test_an_owner_refused_is_named_and_what_is_immutable_stays_locked(root: Root, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container without CAP_CHOWN refuses it."""
    (top / "file").write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    operations: dict[str, Callable[[], None]] = {
        "new": lambda: root.write_file("new", [b"x"], mode=0o600, mtime_ns=0, durable=False, owner=(3, 4)),
        "link": lambda: root.make_symlink("link", "new", owner=(3, 4)),
        "file": lambda: root.set_metadata("file", mode=0o600, mtime_ns=0, owner=(3, 4)),
    }
    monkeypatch.setattr(os, "chown", refuse)
    for name, operation in operations.items():
        with pytest.raises(DestinationError, match=f"{top}/{name} may not be given to user 3, group 4") as found:
            operation()
        assert "CAP_CHOWN" in found.value.remedy
    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(LockedTargetError):
        operations["file"]()


def test_an_attribute_that_somebody_else_removes_meanwhile_is_removed(root: Root, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / "file").write_text("x")
    os.setxattr(top / "file", "user.old", b"1")
    real = os.removexattr

    def twice(place: int | str, name: str) -> None:
        real(place, name)
        real(place, name)

    monkeypatch.setattr(os, "removexattr", twice)
    root.set_metadata("file", mode=0o640, mtime_ns=7, xattrs=())
    assert (root.xattrs("file"), (top / "file").stat().st_mode & 0o777) == ((), 0o640)
