"""Verifying a store and mending it: from packs, from a whole ``.ted``, from the sources, and what is said where nothing helps (E4)."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.ledger.sql import open_ledger
from infra.sources.files import FilesSource
from infra.store.files import FileStore
from sluice.distributor.build.sign import sign
from sluice.distributor.repair.store import Verified, record_damage, verify_store
from sluice.formats.ted.file import open_ted, trailer
from sluice.formats.ted.index import index_bytes
from sluice.model.damage import Part
from sluice.model.event import EventKind
from sluice.model.revision import RevisionNumber
from sluice.ports import Scan
from sluice.trust.publish import Publisher
from tests.distributor.context import context_of, site_of
from tests.distributor.test_build import Site
from tests.soak.steps import killed_at

R11, R12 = RevisionNumber(1, 1), RevisionNumber(1, 2)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BLOB = random.Random(7).randbytes(3_000_000)


class Case:
    """A Distribution of two revisions with what verifying takes."""

    def __init__(self, directory: Path) -> None:
        self.site = Site(directory / "site")
        self.hq = directory / "site" / "hq"
        self.site.write("blob", BLOB)
        self.site.write("a", b"one" * 1000)
        self.site.build()
        self.site.write("a", b"two" * 1000)
        self.site.write("b", random.Random(8).randbytes(5000))
        self.site.build()
        self.publisher = Publisher(self.hq, distributor="hq")
        self.publisher.ensure_keys(NOW)
        sign(["zone"], store=self.store, publisher=self.publisher, now=NOW, longest_interval=timedelta(days=1))

    @property
    def store(self) -> FileStore:
        """As another process sees it."""
        return FileStore(self.hq)

    def verify(self, *names: str, repair: bool = False) -> Verified:
        return verify_store(self.context(), names, repair=repair)

    def context(self, **parts: Any) -> Any:
        known = {"site": site_of(self.site.distribution), "store": self.store, "source": FilesSource(), "publisher": self.publisher}
        return context_of(**{**known, **parts})

    def pack(self, part: str = "largest") -> Path:
        found = sorted((self.hq / "store/contents").glob("*.pack"), key=lambda path: path.stat().st_size)
        return found[-1] if part == "largest" else found[0]

    def ted(self, revision: str, name: str = "distfile.ted") -> Path:
        return self.hq / "store/distributions/zone/revisions" / revision / name


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def said(verified: Verified) -> list[tuple[Part, str]]:
    return [(verdict.damage.part, verdict.mended) for verdict in verified.verdicts]


def test_a_sound_store_says_nothing(case: Case) -> None:
    verified = case.verify(repair=True)
    assert verified.verdicts == ()
    assert (verified.examined.packs, verified.examined.manifests) == (2, 2)


def test_without_repair_nothing_is_changed_and_what_to_do_is_said(case: Case) -> None:
    flip(case.pack(), 1_000_000)
    before = case.site.snapshot()
    (verdict,) = case.verify().verdicts
    assert (verdict.damage.part, verdict.damage.concerns, verdict.mended) == (Part.PACK, (("zone", R11), ("zone", R12)), "")
    assert "--repair" in verdict.remedy
    assert case.site.snapshot() == before


def test_a_lost_content_is_taken_from_a_whole_ted_first(case: Case) -> None:
    flip(case.pack(), 1_000_000)
    (case.site.source / "blob").unlink()
    verified = case.verify(repair=True)
    assert said(verified) == [(Part.PACK, "1 content taken from a .ted")]
    assert case.verify().verdicts == ()


def test_a_lost_content_is_taken_from_its_source_however_old_that_looks(case: Case) -> None:
    flip(case.pack(), 1_000_000)
    case.ted("1.1").unlink()
    assert said(case.verify(repair=True)) == [(Part.PACK, "1 content taken from the source")]
    assert case.verify().verdicts == ()
    assert case.site.build().revision is None


def test_a_source_that_has_another_content_under_the_same_name_size_and_time_isnt_taken(case: Case) -> None:
    flip(case.pack(), 1_000_000)
    case.ted("1.1").unlink()
    path, status = case.site.source / "blob", (case.site.source / "blob").stat()
    path.write_bytes(BLOB[:-1] + b"?")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (verdict,) = case.verify(repair=True).verdicts
    assert verdict.mended == ""
    assert "1 content of 1 cannot be recovered" in verdict.damage.problem
    assert "--rebaseline" in verdict.remedy
    result = case.site.build(rebaseline=True)
    assert str(result.revision) == "2.1"
    assert case.verify().verdicts == ()


def test_only_files_that_may_hold_what_is_lost_are_read_again(case: Case) -> None:
    flip(case.pack(), 1_000_000)
    case.ted("1.1").unlink()
    scans: list[Scan] = []

    class Counted(FilesSource):
        def scan(self, *args: Any, **options: Any) -> Scan:
            scans.append(super().scan(*args, **options))
            return scans[-1]

    (verdict,) = verify_store(case.context(source=Counted()), repair=True).verdicts
    assert verdict.mended == "1 content taken from the source"
    assert [(scan.files, scan.files_read) for scan in scans] == [(3, 1)]


def test_a_source_that_is_gone_is_said(case: Case) -> None:
    flip(case.pack(), 1_000_000)
    case.ted("1.1").unlink()
    case.site.source.rename(case.site.source.with_name("elsewhere"))
    (verdict,) = case.verify(repair=True).verdicts
    assert "doesn't exist" in verdict.damage.problem
    assert verdict.mended == ""


def test_a_ted_that_isnt_what_its_place_and_name_say_is_set_aside_and_made_again(case: Case) -> None:
    delta, sound = case.ted("1.2", "from-1.1.ted"), case.ted("1.2", "from-1.1.ted").read_bytes()
    index, _ = open_ted(delta)
    for other in (replace(index, distribution="other"), replace(index, small=True)):
        delta.write_bytes(sound[: 8 + index.payload] + trailer(index_bytes(other)))
        assert said(case.verify(repair=True)) == [(Part.TED, "set aside as from-1.1.corrupt and made again")]
        assert (delta.read_bytes(), case.verify().verdicts) == (sound, ())


def test_a_damaged_ted_is_set_aside_and_made_again(case: Case) -> None:
    whole, delta = case.ted("1.1"), case.ted("1.2", "from-1.1.ted")
    wholes = whole.read_bytes(), delta.read_bytes()
    flip(whole, 1_000_000)
    flip(delta, 10)
    assert said(case.verify(repair=True)) == [
        (Part.TED, "set aside as distfile.corrupt and made again"),
        (Part.TED, "set aside as from-1.1.corrupt and made again"),
    ]
    assert (whole.read_bytes(), delta.read_bytes()) == wholes
    assert whole.with_name("distfile.corrupt").exists()
    assert case.verify(repair=True).verdicts == ()


def test_pack_index_and_ted_damaged_at_once_are_mended_together(case: Case) -> None:
    flip(case.pack(), 1_000_000)
    flip(case.pack("smallest").with_suffix(".idx"), 30)
    flip(case.ted("1.1"), 2_000_000)
    assert not case.verify(repair=True).unmended
    assert case.verify().verdicts == ()


def test_a_manifest_that_isnt_the_signed_one_is_named_and_a_new_baseline_takes_its_place(case: Case) -> None:
    path = case.ted("1.2", "manifest")
    path.write_bytes(path.read_bytes().replace(b",420,", b",421,"))
    (verdict,) = case.verify(repair=True).verdicts
    assert (verdict.damage.part, verdict.damage.concerns) == (Part.MANIFEST, (("zone", R12),))
    assert "signed" in verdict.damage.problem
    assert "--rebaseline" in verdict.remedy
    case.site.build(rebaseline=True)
    assert case.verify().verdicts == ()


def test_a_content_that_two_distributions_share_is_mended_for_both(case: Case, tmp_path: Path) -> None:
    from dataclasses import replace

    from sluice.distributor.build.build import build

    web = replace(case.site.distribution, name="web")
    build(web, store=case.store, source=FilesSource())
    flip(case.pack(), 1_000_000)
    (verdict,) = case.verify("web", repair=True).verdicts
    assert {name for name, _ in verdict.damage.concerns} == {"web"}
    assert verdict.mended
    assert case.verify().verdicts == ()


def test_the_ledger_hears_of_each_damage_and_each_mending(case: Case, tmp_path: Path) -> None:
    flip(case.pack(), 1_000_000)
    ledger = open_ledger(tmp_path / "ledger.db")
    context = case.context(ledger=ledger)
    record_damage(context, case.verify().verdicts)
    record_damage(context, case.verify(repair=True).verdicts)
    kinds = [(each.event.kind, each.event.revision) for each in ledger.events(distribution="zone")]
    assert kinds == [(kind, revision) for kind in (EventKind.DAMAGE_FOUND, EventKind.DAMAGE_MENDED) for revision in (R11, R12)]
    ledger.close()


@pytest.fixture
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What was written survives a killed process without fsync."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    return


@pytest.mark.slow
@pytest.mark.usefixtures("no_power_cuts")
@pytest.mark.parametrize("what", ["pack", "ted"])
def test_a_repair_killed_at_any_step_and_repeated_ends_with_all_sound(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.distributor.test_verify_store.BLOB", random.Random(7).randbytes(20_000))
    damage: dict[str, Callable[[Case], None]] = {
        "pack": lambda case: flip(case.pack(), 10_000),
        "ted": lambda case: flip(case.ted("1.1"), 10_000),
    }
    step = 0
    while True:
        case = Case(tmp_path / str(step))
        damage[what](case)
        killed = killed_at(step, lambda case=case: case.verify(repair=True))  # type: ignore[misc]
        case.verify(repair=True)
        assert case.verify().verdicts == ()
        if not killed:
            break
        step += 1
    assert step > 5
