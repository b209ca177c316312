"""A build that fails, or the signing after it, is seen in status, why and doctor until one succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.workplace import open_workplace
from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.errors import SluiceError, SourceMissingError
from tests.cli.conftest import Sluice


def build(site: Path) -> None:
    with open_workplace(site, "hq") as work:
        build_recorded(work, "zone")


@pytest.mark.parametrize("is_built", [True, False])
def test_a_build_that_fails_is_seen_until_one_succeeds(sluice: Sluice, site: Path, *, is_built: bool) -> None:
    assert sluice("trust", "init", "hq").code == 0
    if is_built:
        build(site)
    source = site / "payload"
    source.rename(source.with_name("away"))
    for _ in range(2):
        with pytest.raises(SourceMissingError):
            build(site)
    (row,) = sluice("status", "zone", "--subscriber", "near", "--json").json["rows"]
    assert (row["state"], row["build_failure"]["code"]) == ("waiting" if is_built else "not built", "SourceMissingError")
    assert row["build_failure"]["next_try"] is not None
    assert ("builds fail since" in row["reason"], str(source) in row["reason"]) == (True, True)
    said = sluice("why", "near", "zone").out
    assert (str(source) in said, "the next try is at" in said) == (True, True)
    found = sluice("doctor", "--no-subscribers", "--json").json["findings"]
    assert [(each["object"], each["health"]) for each in found if each["area"] == "build"] == [("zone", "failed")]
    assert (str(source), "failed") in [(each["object"], each["health"]) for each in found if each["area"] == "source"]

    source.with_name("away").rename(source)
    build(site)
    (row,) = sluice("status", "zone", "--subscriber", "near", "--json").json["rows"]
    assert (row["build_failure"], "builds fail" in row["reason"]) == (None, False)
    assert [each for each in sluice("doctor", "--no-subscribers", "--json").json["findings"] if each["area"] == "build"] == []


def test_a_signing_that_fails_is_seen_until_one_succeeds(sluice: Sluice, site: Path) -> None:
    assert sluice("trust", "init", "hq").code == 0
    build(site)
    (manifest,) = (site / "var/hq").rglob("1.1/manifest")
    manifest.rename(manifest.with_name("away"))
    with open_workplace(site, "hq") as work, pytest.raises(SluiceError) as error:
        sign_recorded(work, ["zone"])
    (row,) = sluice("status", "zone", "--subscriber", "near", "--json").json["rows"]
    assert (row["build_failure"]["operation"], row["build_failure"]["code"]) == ("sign", error.value.code)
    said = sluice("why", "near", "zone").out
    assert ("signing fails since" in said, error.value.message in said, "the next try is at" in said) == (True, True, True)
    found = sluice("doctor", "--no-subscribers", "--json").json["findings"]
    assert [(each["object"], each["health"]) for each in found if each["area"] == "sign"] == [("zone", "failed")]

    manifest.with_name("away").rename(manifest)
    with open_workplace(site, "hq") as work:
        sign_recorded(work, ["zone"])
    assert sluice("status", "zone", "--subscriber", "near", "--json").json["rows"][0]["build_failure"] is None
