"""Owner and extended attributes of what is extracted (B2), as the agent sets them where it is root and the blueprint asks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.model.manifest import Entry, EntryKind
from sluice.model.order import Outcome
from tests.ports.test_filesystem_owner import ACL_ACCESS, ACL_DEFAULT, CAPABILITY
from tests.soak.steps import killed_at
from tests.subscriber.faulty import FaultyFilesystem
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made, contents_of, made, make, tree_of

XATTRS = (("security.capability", CAPABILITY), ("user.origin", b"hq"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "sub").mkdir(parents=True)
    (top / "sub/tool").write_text("tool")
    (top / "sub/tool").chmod(0o4750)
    (top / "link").symlink_to("sub/tool")
    return top


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def revision(number: int, source: Path, change: Callable[[Entry], Entry]) -> Made:
    manifest = make(f"1.{number}", source).manifest
    destination = manifest.destinations[0]
    changed = replace(destination, entries=tuple(map(change, destination.entries)))
    return made(replace(manifest, destinations=(changed,)), contents_of(source))


def owned_by(owner: str, *, xattrs: tuple[tuple[str, bytes], ...] = ()) -> Callable[[Entry], Entry]:
    return lambda entry: replace(entry, owner=owner, xattrs=xattrs if entry.kind is EntryKind.FILE else ())


def rights(top: Path) -> dict[str, tuple[object, ...]]:
    """Owner, attributes and all else below a path."""
    found = {}
    for name, each in tree_of(top).items():
        path = top / name
        names = [] if path.is_symlink() else [n for n in os.listxattr(path) if n.startswith(("user.", "security.capability", "system."))]
        status = path.lstat()
        found[name] = (*each, status.st_uid, status.st_gid, sorted((n, os.getxattr(path, n)) for n in names))
    return found


def owners(top: Path) -> set[tuple[int, int]]:
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in [top, *top.rglob("*")]}


def test_everything_new_gets_its_owner_and_keeps_setuid_and_capability(host: Host, source: Path, tmp_path: Path) -> None:
    receipt = host.install(revision(1, source, owned_by("daemon:mail", xattrs=XATTRS)), tmp_path / "opt/zone")
    assert receipt.failure is None
    target = tmp_path / "opt/zone"
    assert owners(target) == {(1, 8)}
    assert (target / "sub/tool").stat().st_mode & 0o7777 == 0o4750
    assert os.getxattr(target / "sub/tool", "security.capability") == CAPABILITY
    assert os.getxattr(target / "sub/tool", "user.origin") == b"hq"
    assert host.install(revision(2, source, owned_by("daemon:mail", xattrs=XATTRS)), target).files_written == 0


def test_what_stands_gets_another_owner_without_being_written_anew_where_it_is_ours(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "zone"
    host.install(make("1.1", source), target)
    inode = (target / "sub/tool").stat().st_ino
    receipt = host.install(revision(2, source, owned_by("2:2", xattrs=XATTRS)), target)
    assert receipt.failure is None
    assert receipt.files_written == 0
    assert (target / "sub/tool").stat().st_ino == inode
    assert owners(target) == {(2, 2)}
    assert os.getxattr(target / "sub/tool", "security.capability") == CAPABILITY
    assert (target / "sub/tool").stat().st_mode & 0o7777 == 0o4750


def test_somebody_elses_file_is_replaced_and_never_given_rights(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "zone"
    host.install(revision(1, source, owned_by("2:2")), target)
    with (target / "sub/tool").open("r+b") as theirs:
        inode = os.fstat(theirs.fileno()).st_ino
        assert host.install(revision(2, source, owned_by("root:root", xattrs=XATTRS)), target).files_written == 1
        theirs.write(b"evil")
    assert (target / "sub/tool").stat().st_ino != inode
    assert (target / "sub/tool").read_text() == "tool"


def test_attributes_are_mended_and_go_with_the_last_that_the_revision_has(host: Host, source: Path, tmp_path: Path) -> None:
    target, xattrs = tmp_path / "zone", (("system.posix_acl_access", ACL_ACCESS), ("user.a", b"1"))
    (source / "sub/tool").chmod(0o640)
    host.install(revision(1, source, owned_by("root:root", xattrs=xattrs)), target)
    os.setxattr(target / "sub/tool", "user.a", b"changed")
    os.setxattr(target / "sub/tool", "user.b", b"added")
    host.install(revision(2, source, owned_by("root:root", xattrs=xattrs)), target)
    assert [(n, os.getxattr(target / "sub/tool", n)) for n in sorted(os.listxattr(target / "sub/tool"))] == list(xattrs)
    host.install(revision(3, source, owned_by("root:root")), target)
    assert os.listxattr(target / "sub/tool") == []
    os.setxattr(target / "sub/tool", "user.b", b"mine")
    host.install(revision(4, source, owned_by("root:root")), target)
    assert os.listxattr(target / "sub/tool") == ["user.b"]


def test_what_is_new_has_its_own_attributes_alone_whatever_its_directory_gives(host: Host, source: Path, tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    os.setxattr(tmp_path / "opt", "system.posix_acl_default", ACL_DEFAULT)
    (source / "plain").write_text("plain")
    target = tmp_path / "opt/on-the-way/zone"

    receipt = host.install(revision(1, source, lambda entry: replace(entry, xattrs=XATTRS if entry.path == "sub/tool" else ())), target)

    assert receipt.failure is None
    assert {path: found[-1] for path, found in rights(target).items() if found[-1]} == {"sub/tool": sorted(XATTRS)}
    assert "system.posix_acl_default" in os.listxattr(target.parent)


def test_an_unknown_user_is_named_with_the_file_before_anything_changes(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "zone"
    host.install(make("1.1", source), target)
    (source / "sub/tool").write_text("changed")
    before = rights(target)
    receipt = host.install(revision(2, source, owned_by("nobody-here:root")), target)
    assert receipt.outcome is Outcome.FAILED
    assert receipt.failure.code == "DestinationError"
    assert str(target) in receipt.failure.message
    assert "no user 'nobody-here'" in receipt.failure.message
    assert "create the user" in receipt.failure.remedy
    assert rights(target) == before
    assert host.leftovers(tmp_path) == []


def test_a_file_system_without_attributes_fails_before_anything_changes(
    host: Host, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "zone"

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", unsupported)
    receipt = host.install(revision(1, source, owned_by("", xattrs=XATTRS)), target)
    assert receipt.failure.code == "DestinationError"
    assert "doesn't keep the extended attribute security.capability" in receipt.failure.message
    assert not target.exists()
    assert host.leftovers(tmp_path) == []


class Scene:
    """1.1 has owners, attributes and a capability; 1.2 has others."""

    def __init__(self, directory: Path, source: Path) -> None:
        self.host, self.target, self.directory = Host(directory), directory / "zone", directory
        self.host.install(revision(1, source, owned_by("root:2", xattrs=XATTRS)), self.target)
        self.before = rights(self.target)
        self.second = revision(2, source, owned_by("3:4", xattrs=(("user.origin", b"other"),)))
        self.host.receive(self.second)

    def assert_untouched(self) -> None:
        assert rights(self.target) == self.before
        assert self.host.leftovers(self.directory) == []


def test_a_failure_brings_owners_and_attributes_back(tmp_path: Path, source: Path) -> None:
    scene = Scene(tmp_path / "scene", source)
    receipt = scene.host.extract(scene.second, scene.target, post=[shell("exit 1")])
    assert receipt.outcome is Outcome.FAILED
    scene.assert_untouched()


def test_every_failing_change_brings_them_back(tmp_path: Path, source: Path) -> None:
    for failing in range(30):
        scene, left = Scene(tmp_path / str(failing), source), failing

        def fail(name: str, _path: str) -> None:
            nonlocal left
            if name == "set_metadata":
                left -= 1
                if left == -1:
                    raise OSError(5, "Input/output error")

        receipt = scene.host.using(FaultyFilesystem(fail)).extract(scene.second, scene.target)
        if receipt.outcome is not Outcome.INSTALLED:
            scene.assert_untouched()
            continue
        assert owners(scene.target) == {(3, 4)}
        if left >= 0:
            return
        scene.host.recover()  # only the clean-up after the commit failed: the next start does that
        assert scene.host.leftovers(scene.directory) == []
    raise AssertionError("there was always another call")


@pytest.mark.slow
def test_a_kill_leaves_old_or_new(tmp_path: Path, source: Path) -> None:
    outcomes = set()
    for number in range(8, 80, 9):
        scene = Scene(tmp_path / str(number), source)
        if not killed_at(number, lambda scene=scene: scene.host.extract(scene.second, scene.target)):
            break
        scene.host.recover()
        outcomes.add(rights(scene.target) == scene.before)
        if rights(scene.target) == scene.before:
            scene.assert_untouched()
        else:
            assert owners(scene.target) == {(3, 4)}
    assert outcomes
