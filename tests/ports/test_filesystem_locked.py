"""The Filesystem port: what can't be replaced now (F2), with real locks of other processes, attributes and mounts."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.filesystem.local import LocalFilesystem, calls, locks
from sluice.errors import DestinationError, LockedTargetError
from sluice.ports import LockedPath, Root
from tests.conftest import missing
from tests.subscriber.holder import EXCLUSIVE, SHARED, held


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    (top / "directory").mkdir(parents=True)
    for name in ("directory/file", "other"):
        (top / name).write_text(name)
    return top


@pytest.fixture
def root(top: Path) -> Iterator[Root]:
    opened = LocalFilesystem().open_root(str(top))
    yield opened
    opened.close()


@pytest.fixture
def cleaned() -> Iterator[ExitStack]:
    """Takes back at the end what a test did to the machine."""
    with ExitStack() as stack:
        yield stack


def mount(cleaned: ExitStack, *arguments: str | Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode:
        missing("the right to mount file systems")
    cleaned.callback(subprocess.run, ["umount", arguments[-1]], check=True)


@pytest.mark.parametrize("how", EXCLUSIVE)
def test_what_a_process_holds_for_itself_is_locked_and_names_it(root: Root, top: Path, how: str) -> None:
    with held(top / "directory/file", how) as holder:
        # The kernel doesn't say who holds the lock of an open file: several processes may.
        who = "a process" if how == "open file lock" else f"pid {holder.pid}"
        assert root.locked(["other", "directory/file"], replaced=True) == [LockedPath("directory/file", f"held by {who}")]
        assert root.locked(["other", "directory/file"], replaced=False) == []
    assert root.locked(["directory/file"], replaced=True) == []


@pytest.mark.parametrize("how", SHARED)
def test_what_processes_share_is_not_locked(root: Root, top: Path, how: str) -> None:
    with held(top / "other", how):
        assert root.locked(["other"], replaced=True) == []


def test_who_waits_for_a_lock_holds_none(root: Root, top: Path) -> None:
    with held(top / "other", "shared flock"), held(top / "other", "waits") as waiting:
        deadline = time.monotonic() + 90
        while f"{waiting.pid} ".encode() not in locks.LOCKS.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert b"->" in locks.LOCKS.read_bytes()
        assert root.locked(["other"], replaced=True) == []


def test_a_lease_that_is_broken_by_reading_is_locked_still(root: Root, top: Path) -> None:
    with held(top / "other", "lease") as holder:
        with pytest.raises(LockedTargetError, match=f"^locked: {top}/other"):
            list(root.read("other"))
        assert b"BREAKING" in locks.LOCKS.read_bytes()
        assert root.locked(["other"], replaced=True) == [LockedPath("other", f"held by pid {holder.pid}")]


@pytest.mark.parametrize(("attribute", "why"), [("i", "immutable"), ("a", "append-only")])
@pytest.mark.parametrize("what", ["other", "directory"])
def test_an_attribute_that_forbids_changes_locks_whether_replaced_or_changed(
    root: Root, top: Path, real_part: Callable[[str], Path], cleaned: ExitStack, attribute: str, why: str, what: str
) -> None:
    chattr = real_part("chattr")
    if subprocess.run([chattr, f"+{attribute}", top / what], capture_output=True, check=False).returncode:
        missing("a file system with immutable files, and the right to make them")
    cleaned.callback(subprocess.run, [chattr, f"-{attribute}", top / what], check=True)
    for replaced in (True, False):
        assert root.locked(["directory/file", what], replaced=replaced) == [LockedPath(what, why)]


def test_a_mount_point_is_locked_where_it_would_be_replaced(root: Root, top: Path, cleaned: ExitStack) -> None:
    mount(cleaned, "--bind", top / "directory/file", top / "other")
    assert root.locked(["other"], replaced=True) == [LockedPath("other", "a mount point")]
    assert root.locked(["other"], replaced=False) == []


def test_a_lock_is_found_where_stat_and_the_kernel_name_devices_differently(tmp_path: Path, top: Path, cleaned: ExitStack) -> None:
    """On an overlay whose layers are of two file systems, a file's st_dev isn't the device of its mount (so it is on btrfs too)."""
    upper, merged = tmp_path / "upper", tmp_path / "merged"
    upper.mkdir()
    merged.mkdir()
    mount(cleaned, "-t", "tmpfs", "tmpfs", upper)
    for name in ("new", "work"):
        (upper / name).mkdir()
    mount(cleaned, "-t", "overlay", "-o", f"lowerdir={top},upperdir={upper}/new,workdir={upper}/work", "overlay", merged)
    (merged / "written").write_text("above")
    assert (merged / "written").stat().st_dev != merged.stat().st_dev
    opened = LocalFilesystem().open_root(str(merged))
    cleaned.callback(opened.close)
    with held(merged / "written") as holder:
        assert opened.locked(["written"], replaced=True) == [LockedPath("written", f"held by pid {holder.pid}")]


def test_what_is_gone_is_passed_over(root: Root, top: Path) -> None:
    with held(top / "other"):
        assert root.locked(["nothing", "directory/nothing", "other/nothing"], replaced=True) == []


def test_a_kernel_without_statx_still_tells_of_locks(root: Root, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_libc", SimpleNamespace())
    monkeypatch.setattr(calls, "_STATX", {})
    with held(top / "other") as holder:
        assert root.locked(["other"], replaced=True) == [LockedPath("other", f"held by pid {holder.pid}")]


def test_a_kernel_without_locks_tells_of_none(root: Root, top: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locks, "LOCKS", tmp_path / "nothing")
    with held(top / "other"):
        assert root.locked(["other"], replaced=True) == []


def test_lines_of_other_kernels_are_passed_over(root: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "locks"
    table.write_text("1: POSIX  ADVISORY  WRITE 7 <none>:0 0 EOF\n2: ACCESS\n\n3: FLOCK  ADVISORY  WRITE 0 08:01:5 0 EOF\n")
    monkeypatch.setattr(locks, "LOCKS", table)
    assert locks.exclusive_locks() == {(8, 1, 5): 0}


def test_a_failing_look_is_an_error_of_ours(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(locks, "attributes", fail)
    with pytest.raises(DestinationError, match="Input/output error"):
        root.locked(["other"], replaced=True)
