"""``sluice store verify``, ``sluice revisions`` and the disk that is shown wherever a Distribution is (C6, E4)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.store.files import FileStore
from infra.workplace import open_workplace
from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.model.revision import RevisionNumber
from sluice.ports import TedFile
from tests.cli.conftest import Sluice


@pytest.fixture
def built(site: Path) -> Path:
    """The site with two revisions of ``zone`` and one of ``unlisted``, signed."""
    (site / "payload" / "blob").write_bytes(random.Random(1).randbytes(300_000))
    build(site, "zone")
    (site / "payload" / "a.txt").write_text("changed\n")
    build(site, "zone", "unlisted")
    return site


def build(site: Path, *names: str, **options: Any) -> None:
    with open_workplace(site, "hq") as work:
        work.publisher.ensure_keys(work.clock.now())
        for name in names:
            build_recorded(work, name, **options)
            sign_recorded(work, (name,))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_sound_store_is_one_line_and_exit_code_0(built: Path, sluice: Sluice) -> None:
    result = sluice("store", "verify")
    assert (result.code, len(result.out.splitlines())) == (0, 1)
    assert result.out.startswith("hq: 2 packs, 3 contents, 3 manifests, 3 .ted files, ")
    assert result.out.endswith("read: all sound\n")
    assert sluice("store", "verify", "zone", "--json").json["distributors"][0]["damages"] == []
    assert sluice("store", "verify", "nobody").code == 2


def test_before_anything_is_built_there_is_nothing_to_verify(site: Path, sluice: Sluice) -> None:
    for words in ((), ("zone",)):
        assert sluice("store", "verify", *words).out == "there is no store on this machine: nothing is built yet\n"
    assert not (site / "var").exists()


def test_damage_is_named_with_whom_it_concerns_and_what_to_do_and_then_mended(built: Path, sluice: Sluice) -> None:
    pack = max((built / "var/hq/store/contents").glob("*.pack"), key=lambda path: path.stat().st_size)
    ted = built / "var/hq/store/distributions/zone/revisions/1.1/distfile.ted"
    flip(pack)
    flip(ted)
    for words in (("store", "verify"), ("store", "verify", "--repair", "--dry-run")):
        found = sluice(*words)
        assert found.code == 5
        assert f"pack {pack}: " in found.out
        assert "concerns: unlisted 1.1; zone 1.1, 1.2" in found.out
        assert "to do: `sluice store verify --repair` " in found.out
        assert ("damaged; --repair would try to mend 2 of them\n" in found.out) is ("--dry-run" in words)

    repaired = sluice("store", "verify", "--repair")
    assert repaired.code == 0, repaired.out
    assert "2 damaged, 2 of them mended" in repaired.out
    assert "mended: set aside as distfile.corrupt and made again" in repaired.out
    assert "mended: 1 content taken from " in repaired.out
    assert sluice("store", "verify").code == 0


def test_what_cant_be_mended_is_exit_code_5_and_its_remedy_works(built: Path, sluice: Sluice) -> None:
    flip(max((built / "var/hq/store/contents").glob("*.pack"), key=lambda path: path.stat().st_size))
    for ted in built.glob("var/hq/store/distributions/*/revisions/*/distfile.ted"):
        ted.unlink()
    (built / "payload" / "blob").write_bytes(b"another")
    result = sluice("store", "verify", "--repair", "--json")
    assert result.code == 5
    (damage,) = [each for each in result.json["distributors"][0]["damages"] if each["mended"] is None]
    assert damage["remedy"].startswith("`sluice build NAME --rebaseline` for unlisted, zone")
    assert {"distribution": "zone", "revision": "1.2"} in damage["concerns"]
    build(built, "zone", "unlisted", rebaseline=True)
    assert sluice("store", "verify").code == 0


def test_revisions_shows_what_each_file_is_made_of_beside_the_whole_and_the_disk(built: Path, sluice: Sluice) -> None:
    shown = sluice("revisions", "zone", "--json").json
    assert (shown["effort"], shown["max_revisions"]) == ("default", 10)
    (whole,), (delta,) = (revision["teds"] for revision in shown["revisions"])
    assert (whole["base"], whole["small"], whole["of_whole"]) == (None, False, 1.0)
    assert (delta["base"], delta["whole"], whole["whole"]) == ("1.1", "1.1", "1.1")
    assert delta["of_whole"] == round(delta["payload"] / whole["payload"], 6) < 0.01
    assert sum(delta["frames"].values()) == 1
    assert delta["made"].endswith("Z")
    disk = shown["disk"]
    assert disk["contents"] > 300_000 > disk["own_contents"] == 0
    text = sluice("revisions", "zone").out
    assert "none: whole" in text
    assert f"{delta['of_whole']:.2%} of 1.1  " in text
    kept = f"at most 10 revisions are kept; effort default; 1.2 from 1.1 is {delta['of_whole']:.2%} of 1.1 whole"
    assert f"of them shared with other Distributions\n{kept}" in text


def test_a_damaged_manifest_hides_no_other_revision(built: Path, sluice: Sluice) -> None:
    revisions = built / "var/hq/store/distributions/zone/revisions"
    (revisions / "1.1/manifest").write_bytes(b"{}")
    found = sluice("revisions", "zone")
    assert found.code == 5
    assert "damaged" in next(line for line in found.out.splitlines() if line.startswith("1.1 "))
    assert "1.1 is damaged: the manifest of zone 1.1 is damaged: " in found.out
    assert "run `sluice build zone --rebaseline`" in found.out
    (revisions / "1.1/manifest").unlink()
    shown = sluice("revisions", "zone", "--json").json["revisions"]
    assert [(row["revision"], row["files"]) for row in shown] == [("1.1", None), ("1.2", 2)]
    assert shown[0]["damage"].startswith("its manifest is gone: ")


def test_a_ted_that_is_set_aside_meanwhile_is_left_out(built: Path, sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    teds = FileStore.teds

    def aside(self: FileStore, distribution: str, revision: RevisionNumber) -> Sequence[TedFile]:
        found = teds(self, distribution, revision)
        for ted in found:
            if ted.base is None:
                Path(ted.path).rename(Path(ted.path).with_suffix(".corrupt"))
        return found

    monkeypatch.setattr(FileStore, "teds", aside)
    found = sluice("revisions", "zone", "--json")
    assert [len(row["teds"]) for row in found.json["revisions"]] == [0, 1]


def test_the_disk_a_distribution_uses_is_shown_with_its_status_and_its_settings(built: Path, sluice: Sluice) -> None:
    disk = sluice("revisions", "zone", "--json").json["disk"]
    assert sluice("status", "--json").json["disk"]["zone"] == disk
    assert sluice("show", "distribution", "zone", "--json").json["disk"] == disk
    assert "zone on the Distributor's disk 6" in sluice("status").out
    assert "on the Distributor's disk 6" in sluice("show", "distribution", "zone").out
