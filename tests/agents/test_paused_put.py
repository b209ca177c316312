"""A put that pauses in mid-transfer (D10): its signs of life, and that it goes on in the same conversation with every byte sent once."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.distributor.send_queue.watch import SendCancelledError
from sluice.formats.protocol import HEADER
from sluice.formats.ted.index import BLOCK
from sluice.trust.roles import manifest_target, ted_target
from tests.agents.workbench import Raw, Workbench
from tests.subscriber.revisions import Made, make


class Pauses:
    """A turn that is told to pause before some of the blocks, and shows signs of life meanwhile."""

    def __init__(self, *before: int, signs: int, error: Exception | None = None) -> None:
        self._before, self._signs, self._error = before, signs, error
        self.asked = self.paused = 0

    @property
    def must_pause(self) -> bool:
        self.asked += 1
        return self.asked - 1 in self._before

    def pause(self, alive: Callable[[], None]) -> None:
        self.paused += 1
        for _ in range(self._signs):
            alive()
        if self._error is not None:
            raise self._error


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Of four blocks, the last one short."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/noise").write_bytes(random.Random(7).randbytes(3 * BLOCK + 1000))
    return make("1.1", tmp_path / "source")


def sent(bench: Workbench, made: Made, turn: Pauses) -> int:
    """Bytes that the put took."""
    bench.publish(made)
    conversation = bench.connect()
    bench.push_metadata(conversation)
    conversation.put_manifest(manifest_target("zone", made.manifest.revision), made.manifest_bytes)
    before = conversation.sent
    try:
        put = conversation.put_ted(ted_target("zone", made.manifest.revision, made.file), made.ted_file(bench.directory), pause=turn)
    finally:
        conversation.close()
    assert not put.again
    return conversation.sent - before


@pytest.mark.slow
def test_a_paused_put_goes_on_where_it_was_and_its_signs_of_life_are_bytes_it_needed_anyway(bench: Workbench, made: Made) -> None:
    turn = Pauses(0, 2, signs=5)
    with_pauses = sent(bench, made, turn)
    assert turn.paused == 2
    assert (bench.held / "revisions/1.1/distfile.ted").read_bytes() == made.ted
    plain = (bench.directory / "other").resolve()
    plain.mkdir()
    other = Workbench(plain)
    assert with_pauses - sent(other, made, Pauses(signs=0)) == 10 * HEADER.size, "ten more frames, and not one byte of payload twice"


def test_the_last_block_is_not_worth_a_pause(bench: Workbench, made: Made) -> None:
    turn = Pauses(*range(100), signs=1)
    sent(bench, made, turn)
    assert turn.paused == 3


def test_cancelled_in_a_pause_what_arrived_stays_and_the_next_try_goes_on(bench: Workbench, made: Made) -> None:
    with pytest.raises(SendCancelledError):
        sent(bench, made, Pauses(2, signs=3, error=SendCancelledError("night")))
    with Raw(bench) as raw:
        raw.hello()
        raw.metadata(bench)
        assert raw.put_manifest(made) == {"type": "held"}
        assert raw.begin_ted(made) == {"type": "ready", "offset": 2 * BLOCK}
        raw.data(made.payload[2 * BLOCK :])
        assert raw.reply() == {"type": "stored"}


def test_a_damaged_block_before_a_pause_is_asked_for_again_after_it(bench: Workbench, made: Made) -> None:
    bench.publish(made)
    bad = bytearray(made.payload[:BLOCK])
    bad[3] ^= 1
    with Raw(bench) as raw:
        raw.hello()
        raw.metadata(bench)
        raw.put_manifest(made)
        raw.begin_ted(made)
        raw.data(bytes(bad))
        for at in range(3):  # signs of life, before the answer is read
            raw.data(made.payload[BLOCK + at : BLOCK + at + 1])
        assert raw.reply() == {"type": "again", "offset": 0}
        raw.say(type="from", offset=0)
        raw.data(made.payload)
        assert raw.reply() == {"type": "stored"}
