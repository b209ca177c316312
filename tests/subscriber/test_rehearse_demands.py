"""A dry run answers what the same extraction does, whatever is demanded: a check, everything anew, or only what is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from infra.filesystem.local.root import LocalRoot
from sluice.formats.orders import parse_receipt
from sluice.formats.rehearsals import Question
from sluice.model.change import ChangeKind
from sluice.ports import PathStat
from sluice.subscriber.extract.extraction import extract
from sluice.subscriber.extract.rehearse import rehearse_extraction
from sluice.subscriber.held.stat_cache import EMPTY, StatCache
from tests.subscriber.host import Host
from tests.subscriber.revisions import make

WRITTEN = (ChangeKind.NEW, ChangeKind.CHANGED, ChangeKind.REPLACED)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    for name in ("a", "b", "c"):
        (top / name).write_text(name)
    return top


@pytest.mark.parametrize("copy", ["all", "differing"])
@pytest.mark.parametrize(("verify", "force"), [(True, False), (True, True), (False, True), (False, False)])
@pytest.mark.parametrize("damaged", [True, False])
def test_as_many_files_are_named_as_are_written(tmp_path: Path, source: Path, copy: str, verify: bool, force: bool, damaged: bool) -> None:
    host, target, made = Host(tmp_path), tmp_path / "opt/zone", make("1.1", source, copy=copy)
    host.install(made, target)
    if damaged:
        (target / "b").write_text("damaged")

    found = rehearse_extraction(host.context, Question(made.manifest, (str(target),), verify=verify, force=force))
    order = replace(host.order(made, (target,)), verify=verify, force=force)
    receipt = parse_receipt(extract(host.context, order)["payload"].encode())

    assert receipt.failure is None
    assert sum(found.counts.get(kind, 0) for kind in WRITTEN) == receipt.files_written
    assert receipt.files_written == (3 if force else int(verify and damaged))


@pytest.mark.parametrize("verify", [True, None])
def test_links_and_directories_that_are_made_again_are_counted_besides_files(tmp_path: Path, source: Path, verify: bool | None) -> None:
    (source / "empty").mkdir()
    (source / "link").symlink_to("a")
    host, target, made = Host(tmp_path), tmp_path / "opt/zone", make("1.1", source, verify=True)
    host.install(made, target)
    (target / "empty").rmdir()
    (target / "link").unlink()

    receipt = parse_receipt(extract(host.context, replace(host.order(made, (target,)), verify=verify))["payload"].encode())

    assert (receipt.files_written, receipt.paths_adjusted) == (0, 2 if verify else 0)
    assert (target / "link").is_symlink()
    assert (target / "empty").is_dir()


def test_no_more_names_are_read_of_a_directory_that_gives_way_than_are_counted(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, target, made = Host(tmp_path), tmp_path / "opt/zone", make("1.1", source, synchronize="mirror")
    (target / "a/deep").mkdir(parents=True)
    for number in range(100):
        (target / f"a/{number}").touch()
        (target / f"a/deep/{number}").touch()
    read, listed = list[int](), LocalRoot.list

    def counted(root: LocalRoot, path: str, most: int | None = None) -> Sequence[PathStat]:
        found = listed(root, path, most)
        read.append(len(found))
        return found

    monkeypatch.setattr(LocalRoot, "list", counted)
    monkeypatch.setattr("sluice.subscriber.extract.rehearse.COUNT_MAX", 110)
    found = rehearse_extraction(host.context, Question(made.manifest, (str(target),)))
    assert found.counts == {ChangeKind.FOREIGN_REMOVED: 111}
    assert sum(read) <= 110 + len(made.manifest.destinations[0].entries) + 1


@pytest.mark.parametrize(("asked", "by_blueprint"), [(True, False), (False, True)])
def test_a_check_reads_files_whose_stat_hides_their_damage(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, asked: bool, by_blueprint: bool
) -> None:
    host, target, made = Host(tmp_path), tmp_path / "opt/zone", make("1.1", source, verify=by_blueprint)
    host.install(made, target)
    right = {entry.path: entry.digest for entry in made.manifest.destinations[0].entries}
    # A failing disk changes no stat.
    monkeypatch.setattr(StatCache, "digest", lambda cache, path, _found: "" if cache is EMPTY else right[Path(path).name])
    (target / "b").write_text("x")
    found = rehearse_extraction(host.context, Question(made.manifest, (str(target),), verify=asked))
    assert [(each.kind, Path(each.path).name) for each in found.paths if each.kind in WRITTEN] == [(ChangeKind.CHANGED, "b")]
