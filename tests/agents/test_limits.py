"""What an agent keeps and tells stays within its limits, whoever fills it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.formats.canonical import canonical_bytes
from tests.agents.workbench import Raw, Workbench


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


def test_quarantine_does_not_fill_the_disk(bench: Workbench) -> None:
    with Raw(bench) as raw:
        raw.hello()
        files = {f"{number}.root.json": bytes([255]) * 100_000 for number in range(1, 201)}
        assert raw.metadata(bench, files)["type"] == "error"
    kept = list((bench.work / "distributors/hq/quarantine").iterdir())
    assert len(kept) == 1
    assert kept[0].stat().st_size < 1024 * 1024


@pytest.mark.slow
def test_more_receipts_than_fit_a_message_are_told_bit_by_bit(bench: Workbench) -> None:
    place = bench.held / "receipts"
    place.mkdir(parents=True)
    for number in range(1, 31):
        envelope = {"payload": f"{number}:" + "x" * 1_000_000, "signature": "", "key": "receipt"}
        (place / f"{number}.json").write_bytes(canonical_bytes(envelope))
    told: list[int] = []
    with Raw(bench) as raw:
        raw.hello()
        while found := raw.ask(type="receipts", distribution="zone")["envelopes"]:
            numbers = [int(each["payload"].partition(":")[0]) for each in found]
            told += numbers
            for number in numbers:
                assert raw.ask(type="acknowledge", distribution="zone", sequence=number)["type"] == "done"
    assert told == list(range(1, 31))
