"""Files that survive a crash, and locks: what is seen by others, what is left, and which error says what."""

from __future__ import annotations

import errno
import multiprocessing
import multiprocessing.synchronize
import os
from pathlib import Path

import pytest

from sluice import durable
from sluice.durable import locked, no_space, replace_atomically, sweep, temporary, write_early
from sluice.errors import NoSpaceError, StoreError, StoreLockedError


def test_a_hint_to_write_early_changes_nothing_and_fails_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with open(path, "w+b", buffering=0) as file:
        file.write(b"x" * 10_000)
        write_early(file.fileno(), 0, 10_000)
        write_early(file.fileno(), 1 << 40, 10_000)
        assert file.tell() == 10_000
    assert path.read_bytes() == b"x" * 10_000
    write_early(-1, 0, 10_000)


def test_a_failed_replacement_leaves_the_old_content_and_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    replace_atomically(path, b"old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpaceError, match="no space left for"):
        replace_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_what_is_renamed_was_synced_and_the_directory_is_synced_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(fd: int) -> None:
        done.append("directory" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")
        fsync(fd)

    def renamed(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    replace_atomically(tmp_path / "state", b"new")
    assert done == ["file", "rename", "directory"]


def test_a_disk_without_room_for_one_more_name_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(durable.os, "open", full)
        with pytest.raises(NoSpaceError), temporary(tmp_path):
            pass
        with pytest.raises(NoSpaceError), locked(tmp_path / "lock", what="it"):
            pass


def test_a_lock_that_cant_be_opened_is_a_store_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with (
        pytest.raises(StoreError, match=r"^Distribution zone: .*/lock: Is a directory"),
        locked(tmp_path / "lock", what="Distribution zone"),
    ):
        pass


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EACCES, "run the command as that account"), (errno.EPERM, "run the command as that account")]
    + [(number, "how its disk is mounted") for number in (errno.EROFS, errno.ENOENT, errno.EIO, errno.ESTALE)],
)
def test_only_a_right_that_lacks_is_said_to_be_an_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(StoreError, match=os.strerror(number)) as caught, locked(tmp_path / "lock", what="it"):
        pass
    assert caught.value.remedy.endswith(remedy)


def _hold(path: Path, held: multiprocessing.synchronize.Event) -> None:
    with locked(path, what="it"):
        held.set()
        multiprocessing.Event().wait()


def test_a_lock_is_refused_while_held_and_free_once_its_holder_is_killed(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    holder = spawn.Process(target=_hold, args=(tmp_path / "lock", held))
    holder.start()
    assert held.wait(30)
    with pytest.raises(StoreLockedError, match="it is locked by another process"), locked(tmp_path / "lock", what="it", wait=0.1):
        pass
    holder.kill()
    with locked(tmp_path / "lock", what="it", wait=10):
        pass
    holder.join()


def test_leftovers_go_and_nothing_else(tmp_path: Path) -> None:
    for name in (".tmp-1-1", "kept", ".hidden"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "kept"]
    sweep(tmp_path / "missing")


@pytest.mark.parametrize(
    ("number", "inodes", "told", "remedy"),
    [
        (errno.ENOSPC, (0, 0), "no space left for ", "free some space"),  # it doesn't count its files
        (errno.ENOSPC, (100, 3), "no space left for ", "free some space"),
        (errno.ENOSPC, (100, 0), "no inodes left for ", "remove files"),
        (errno.EDQUOT, (100, 0), "within the account's quota", "raise the quota"),
    ],
)
def test_no_space_says_which_room_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, inodes: tuple[int, int], told: str, remedy: str
) -> None:
    class Found:
        f_files, f_favail = inodes

    monkeypatch.setattr(os, "statvfs", lambda _: Found)
    found = no_space(OSError(number, os.strerror(number)), tmp_path / "gone/file")
    assert found is not None
    assert told in found.message
    assert str(tmp_path / "gone/file") in found.message
    assert remedy in found.remedy


def test_another_error_is_no_lack_of_space(tmp_path: Path) -> None:
    assert no_space(OSError(errno.EIO, "text"), tmp_path) is None
