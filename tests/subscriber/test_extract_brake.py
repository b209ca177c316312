"""The brake on removals: an extraction that would take most of a destination away stops until it is allowed (C9)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.formats.orders import parse_receipt
from sluice.formats.rehearsals import Question
from sluice.model.change import ChangeKind
from sluice.model.order import Outcome, Receipt
from sluice.model.removals import USUAL, RemovalLimit
from sluice.subscriber.extract.extraction import extract
from sluice.subscriber.extract.rehearse import rehearse_extraction
from tests.subscriber.host import Host
from tests.subscriber.revisions import Made, made, make, tree_of


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def fill(top: Path, number: int) -> Path:
    shutil.rmtree(top, ignore_errors=True)
    (top / "sub").mkdir(parents=True)
    for each in range(number):
        (top / ("sub" if each % 2 else ".") / f"f{each}").write_text(str(each))
    return top


def revision(number: int, source: Path, synchronize: str, limit: RemovalLimit = USUAL, exclude: tuple[str, ...] = ()) -> Made:
    plain = make(f"1.{number}", source, synchronize=synchronize)
    destinations = tuple(replace(each, max_removals=limit, exclude=exclude) for each in plain.manifest.destinations)
    return made(replace(plain.manifest, destinations=destinations), dict(plain.contents))


def install(host: Host, of: Made, *targets: Path, allow: bool = False) -> Receipt:
    host.receive(of)
    envelope = extract(host.context, replace(host.order(of, targets), allow_removals=allow))
    return parse_receipt(envelope["payload"].encode())


@pytest.mark.parametrize("synchronize", ["yes", "mirror"])
def test_an_emptied_source_stops_with_the_figures_and_goes_on_if_it_is_allowed(host: Host, tmp_path: Path, synchronize: str) -> None:
    source, target = fill(tmp_path / "source", 200), tmp_path / "target"
    install(host, revision(1, source, synchronize), target)
    before = tree_of(target)
    emptied = revision(2, fill(source, 2), synchronize)

    foretold = rehearse_extraction(host.context, Question(emptied.manifest, (str(target),)))
    receipt = install(host, emptied, target)

    assert receipt.outcome is Outcome.FAILED
    assert receipt.failure is not None
    assert (receipt.failure.code, receipt.failure.message) == (
        "RemovalsError",
        f"would remove 198 of 200 files from {target}, more than 50 % and more than 10: nothing was changed",
    )
    assert "sluice extract oslo --distribution zone --allow-removals" in receipt.failure.remedy
    assert [stop.message for stop in foretold.stops] == [receipt.failure.message]
    going = {str(target / path) for path in before} - {str(target / path) for path in tree_of(source)}
    assert {each.path for each in foretold.paths if each.kind is ChangeKind.REMOVED} == going
    assert foretold.counts[ChangeKind.REMOVED] == len(going) == 198
    assert tree_of(target) == before
    allowed = rehearse_extraction(host.context, Question(emptied.manifest, (str(target),), allow_removals=True))
    assert (allowed.stops, allowed.counts[ChangeKind.REMOVED]) == ((), 198)
    assert install(host, emptied, target, allow=True).paths_removed == 198
    assert tree_of(target) == tree_of(source)


@pytest.mark.parametrize(
    ("there", "left", "limit", "goes_on"),
    [
        (20, 10, USUAL, True),  # half
        (20, 9, USUAL, False),
        (10, 0, USUAL, True),  # no more than ten
        (30, 27, RemovalLimit(0, 2), False),
        (30, 28, RemovalLimit(0, 2), True),
        (100, 89, RemovalLimit(10, 0), False),
        (100, 90, RemovalLimit(10, 0), True),
        (100, 0, RemovalLimit(100, 0), True),
    ],
)
def test_the_limit_is_a_share_or_a_number_whichever_is_more(
    host: Host, tmp_path: Path, there: int, left: int, limit: RemovalLimit, goes_on: bool
) -> None:
    source, target = fill(tmp_path / "source", there), tmp_path / "target"
    install(host, revision(1, source, "yes"), target)
    assert (install(host, revision(2, fill(source, left), "yes", limit), target).failure is None) is goes_on


def test_the_first_mirror_of_a_directory_full_of_foreign_files_is_stopped(host: Host, tmp_path: Path) -> None:
    source, target = fill(tmp_path / "source", 3), fill(tmp_path / "target", 40)
    receipt = install(host, revision(1, source, "mirror"), target)
    assert receipt.failure is not None
    assert "would remove 37 of 40 files" in receipt.failure.message
    assert install(host, revision(1, source, "mirror"), target, allow=True).paths_removed == 37


def test_a_destination_that_the_blueprint_lost_is_stopped_too(host: Host, tmp_path: Path) -> None:
    one, two = fill(tmp_path / "one", 20), fill(tmp_path / "two", 20)
    plain = make("1.1", one, two, synchronize="yes")
    install(host, plain, tmp_path / "a", tmp_path / "b")
    receipt = install(host, make("1.2", one, synchronize="yes"), tmp_path / "a")
    assert receipt.failure is not None
    assert f"would remove 20 of 20 files from {tmp_path}/b" in receipt.failure.message


def test_without_synchronize_nothing_is_removed_and_nothing_stopped(host: Host, tmp_path: Path) -> None:
    source, target = fill(tmp_path / "source", 50), tmp_path / "target"
    install(host, revision(1, source, "no"), target)
    receipt = install(host, revision(2, fill(source, 1), "no"), target)
    assert (receipt.failure, receipt.paths_removed) == (None, 0)


@pytest.mark.parametrize("pattern", ["keep*", "/sub/keep", "logs/", "*.d/"])
def test_excluded_paths_are_protected_from_a_mirror(host: Host, tmp_path: Path, pattern: str) -> None:
    source, target = fill(tmp_path / "source", 3), tmp_path / "target"
    install(host, revision(1, source, "mirror"), target)
    for name in ("keep", "sub/keep", "logs/deep/x", "a.d/y"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text("theirs")
    stays = {"keep*": ["keep", "sub/keep"], "/sub/keep": ["sub/keep"], "logs/": ["logs/deep/x"], "*.d/": ["a.d/y"]}[pattern]

    receipt = install(host, revision(2, source, "mirror", exclude=(pattern,)), target)

    assert receipt.failure is None
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {"f0", "f2", "sub/f1", *stays}


def test_a_placed_file_that_is_excluded_by_now_stays_in_a_mirror_and_is_still_known_as_placed(host: Host, tmp_path: Path) -> None:
    source, target = fill(tmp_path / "source", 3), tmp_path / "target"
    (source / "own.conf").write_text("1")
    install(host, revision(1, source, "mirror"), target)
    (source / "own.conf").unlink()
    install(host, revision(2, source, "mirror", exclude=("own.conf",)), target)
    assert (target / "own.conf").read_text() == "1"
    assert install(host, revision(3, source, "mirror"), target).paths_removed == 1


def test_what_goes_with_a_directory_that_gives_way_in_a_mirror_is_named_and_counted(host: Host, tmp_path: Path) -> None:
    source, target = fill(tmp_path / "source", 3), tmp_path / "target"
    install(host, revision(1, source, "mirror"), target)
    fill(target / "new", 20)
    (source / "new").write_text("a file now")
    second = revision(2, source, "mirror")

    stopped = rehearse_extraction(host.context, Question(second.manifest, (str(target),)))
    foretold = rehearse_extraction(host.context, Question(second.manifest, (str(target),), allow_removals=True))
    receipt = install(host, second, target)

    assert receipt.failure is not None
    assert "would remove 20 of 23 files" in receipt.failure.message
    assert [stop.message for stop in stopped.stops] == [receipt.failure.message]
    lost = {str(path) for path in (target / "new").rglob("*")}
    assert {each.path for each in foretold.paths if each.kind is ChangeKind.FOREIGN_REMOVED} == lost
    assert {each.path for each in foretold.paths if each.kind is ChangeKind.REPLACED} == {str(target / "new")}
    assert install(host, second, target, allow=True).failure is None
    assert (target / "new").read_text() == "a file now"
