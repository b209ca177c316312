"""Somebody else who may write in the destination works against an extraction: between two looks at a file, or after a kill."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from infra.filesystem.local import LocalFilesystem
from infra.filesystem.local.root import LocalRoot
from sluice.errors import UndoFailedError
from sluice.formats.orders import order_bytes
from sluice.model.order import Outcome
from sluice.subscriber.extract.journal import AreaRecord, Beginning, Journal, JournalState
from sluice.subscriber.extract.steps import SwapStep
from sluice.subscriber.held.paths import hash_file
from tests.subscriber.faulty import FaultyFilesystem
from tests.subscriber.host import Host
from tests.subscriber.revisions import make


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    (top / "kept").write_text("kept")
    (top / "changed").write_text("one")
    return top


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_the_tree_lends_is_verified_as_it_is_copied(host: Host, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    first = make("1.1", source)
    host.install(first, target)
    (source / "copy").write_text("kept")  # its content is only in the tree
    second = make("1.2", source, base=first)
    host.receive(second)
    real, reads, swapped = LocalRoot.read, 0, list[str]()

    def read(root: LocalRoot, path: str) -> Any:
        nonlocal reads
        if path == "target/kept":
            reads += 1
            if reads == 3:  # compared, found right for the copy, and now exchanged for something secret of the same length
                (target / "kept").write_text("HIDE")
        return real(root, path)

    monkeypatch.setattr(LocalRoot, "read", read)
    host.using(FaultyFilesystem(lambda method, path: swapped.append(path) if method == "swap" else None))
    receipt = host.extract(second, target)
    assert (receipt.outcome, receipt.failure.code if receipt.failure else "") == (Outcome.FAILED, "BaseDiffersError")
    assert swapped == []


def test_a_file_that_grew_without_end_is_not_read_to_its_end(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    first = make("1.1", source)
    host.install(first, target)
    (source / "copy").write_text("kept")
    second = make("1.2", source, base=first)
    host.receive(second)
    os.truncate(target / "kept", 1 << 42)  # with holes: reading it would take the better part of an hour
    receipt = host.extract(second, target)
    assert receipt.failure is not None
    assert receipt.failure.code == "BaseDiffersError"


def test_a_file_that_grows_while_it_is_read_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    root = LocalFilesystem().open_root(str(tmp_path))
    os.truncate(tmp_path / "file", 1 << 42)
    assert hash_file(root, "file", 100) != blake3(b"x" * 100).hexdigest()
    root.close()


def test_a_mended_file_that_became_a_name_of_another_keeps_its_mode(host: Host, source: Path, tmp_path: Path) -> None:
    target, secret = tmp_path / "target", tmp_path / "secret"
    host.install(make("1.1", source), target)
    secret.write_text("secret")
    secret.chmod(0o600)
    (source / "kept").chmod(0o644)
    (target / "kept").chmod(0o640)

    def before(method: str, path: str) -> None:
        if method == "set_metadata" and path == "target/kept" and secret.stat().st_nlink == 1:
            (target / "kept").unlink()
            (target / "kept").hardlink_to(secret)

    second = make("1.2", source)
    host.receive(second)
    host.using(FaultyFilesystem(before))
    receipt = host.extract(second, target)
    assert receipt.failure is not None
    assert secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("as_root")
def test_a_file_of_somebody_else_is_replaced_and_not_given_a_mode(host: Host, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept").write_text("kept")
    os.chown(target / "kept", 1234, 0)
    (source / "kept").chmod(0o2755)
    receipt = host.install(make("1.1", source), target)
    assert receipt.failure is None
    found = (target / "kept").stat()
    assert (found.st_uid, found.st_mode & 0o7777) == (0, 0o2755)


@pytest.mark.parametrize("weakness", ["mode", "link"])
def test_nothing_is_taken_back_out_of_a_staging_directory_that_others_made(host: Host, source: Path, tmp_path: Path, weakness: str) -> None:
    made, target = make("1.1", source), tmp_path / "target"
    host.install(made, target)
    staging, order = tmp_path / ".sluice-oslo.hq.zone", host.order(made, [target])
    journal = Journal(host.held.journal)

    journal.begin(Beginning(order_bytes(order).decode(), "2026-03-01T12:00:00.000000Z", True, (AreaRecord(str(tmp_path), staging.name),)))
    journal.write_plan([SwapStep(0, "0", "target/kept", 1, "f")])
    journal.enter(JournalState.SWAPPING)
    fake = tmp_path / "fake" if weakness == "link" else staging
    fake.mkdir()
    fake.chmod(0o777)
    (fake / "0").write_text("theirs")
    if weakness == "link":
        staging.symlink_to(fake)
    with pytest.raises(UndoFailedError):
        host.recover()
    assert (target / "kept").read_text() == "kept"
