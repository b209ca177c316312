"""Receiving: verified as it comes, resumed where it stopped, held whole or not at all."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.durable import replace_atomically
from sluice.errors import (
    BaseDiffersError,
    NoSpaceError,
    NotFoundError,
    SluiceError,
    StoreCorruptError,
    TamperedError,
    TruncatedError,
)
from sluice.formats.ted.file import verify_payload
from sluice.formats.ted.index import BLOCK, DELTA_INDEX_MAX
from sluice.formats.zstd import compress_frame
from sluice.model.revision import RevisionNumber
from sluice.subscriber.held.directory import TED
from sluice.subscriber.receive import blocks as receive_blocks
from sluice.subscriber.receive.blocks import AGAIN_MAX
from sluice.subscriber.receive.receivers import ManifestReceiver, TargetPath, TedReceiver, check_index_length
from sluice.trust.targets import Target
from tests.soak.steps import killed_at
from tests.subscriber.host import NOW, Host
from tests.subscriber.revisions import Made, make

FIRST = RevisionNumber(1, 1)
SEED = 7


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    with host.held.lock():
        pass
    return host


@pytest.fixture
def big(tmp_path: Path) -> Made:
    """Of five blocks, the last of them short."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/noise").write_bytes(random.Random(SEED).randbytes(4 * BLOCK + 12_345))
    return make("1.1", tmp_path / "source")


def put_manifest(host: Host, made: Made) -> None:
    data = compress_frame(made.manifest_bytes)
    receiver = ManifestReceiver(host.held, named(made, "manifest"), Target.of(made.manifest_bytes), length=len(data))
    assert receiver.feed(data)


def named(made: Made, file: str = "") -> TargetPath:
    return TargetPath("zone", made.manifest.revision, file or made.file)


def begin(host: Host, made: Made) -> TedReceiver:
    receiver = TedReceiver(host.held, named(made))
    receiver.begin(made.index_bytes, made.index.payload, Target.of(made.index_bytes))
    return receiver


def assert_held(host: Host, made: Made) -> None:
    place = host.held.revision(made.manifest.revision)
    assert (place / TED).read_bytes() == made.ted
    assert (place / "manifest").read_bytes() == made.manifest_bytes
    assert sorted(path.name for path in place.iterdir()) == [TED, "manifest"]
    assert list((host.held.directory / "receiving").iterdir()) == []
    verify_payload(place / TED)
    assert TedReceiver(host.held, named(made)).is_held()
    assert host.held.newest_held(host.held.status()) == made.manifest.revision


def test_what_came_in_pieces_of_any_size_is_held_whole(host: Host, big: Made) -> None:
    put_manifest(host, big)
    receiver, chance, at = begin(host, big), random.Random(SEED), 0
    while at < len(big.payload):
        size = chance.choice([1, 1000, 65_536, BLOCK - 1, BLOCK])
        assert receiver.feed(big.payload[at : at + size])
        at += size
        assert not host.held.revision(FIRST).exists()
    assert receiver.is_complete
    receiver.finish(NOW)
    assert_held(host, big)


@pytest.mark.parametrize("cut", [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 17, 4 * BLOCK + 12_000])
def test_a_cut_transfer_goes_on_at_the_last_whole_block(host: Host, big: Made, cut: int) -> None:
    put_manifest(host, big)
    receiver = begin(host, big)
    receiver.feed(big.payload[:cut])
    receiver.close()

    again = begin(host, big)

    assert again.offset == cut // BLOCK * BLOCK
    again.feed(big.payload[again.offset :])
    again.finish(NOW)
    assert_held(host, big)


def test_what_was_damaged_between_two_tries_is_found_and_sent_again(host: Host, big: Made) -> None:
    put_manifest(host, big)
    receiver = begin(host, big)
    receiver.feed(big.payload[: 3 * BLOCK])
    receiver.close()
    part = host.held.receiving(FIRST) / "distfile.ted.part"
    data = bytearray(part.read_bytes())
    data[8 + BLOCK + 5] ^= 1
    part.write_bytes(data + b"more than was sent")

    again = begin(host, big)

    assert again.offset == BLOCK
    again.feed(big.payload[BLOCK:])
    again.finish(NOW)
    assert_held(host, big)


def test_a_bad_block_is_asked_for_again_and_what_follows_it_is_not_kept(host: Host, big: Made) -> None:
    put_manifest(host, big)
    receiver = begin(host, big)
    bad = bytearray(big.payload)
    bad[2 * BLOCK + 7] ^= 1
    assert not receiver.feed(bytes(bad))
    assert receiver.offset == 2 * BLOCK
    assert receiver.feed(big.payload[2 * BLOCK :])
    receiver.finish(NOW)
    assert_held(host, big)


def test_blocks_that_stay_bad_end_the_put(host: Host, big: Made) -> None:
    put_manifest(host, big)
    receiver = begin(host, big)
    for _ in range(AGAIN_MAX):
        assert not receiver.feed(bytes(BLOCK))
    with pytest.raises(TamperedError, match="block 0"):
        receiver.feed(bytes(BLOCK))


def test_more_bytes_than_signed_are_refused(host: Host, big: Made) -> None:
    put_manifest(host, big)
    with pytest.raises(TamperedError, match="more bytes"):
        begin(host, big).feed(big.payload + b"x")


def test_a_payload_of_nothing_is_complete_at_once(host: Host, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    made = make("1.1", tmp_path / "source")
    put_manifest(host, made)
    receiver = begin(host, made)
    assert receiver.is_complete
    receiver.finish(NOW)
    assert_held(host, made)


def other_index(made: Made, **changes: object) -> tuple[bytes, int, Target]:
    from sluice.formats.ted.index import index_bytes

    data = index_bytes(replace(made.index, **changes))  # type: ignore[arg-type]
    return data, made.index.payload, Target.of(data)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"distribution": "other"}, TamperedError),
        ({"revision": RevisionNumber(1, 2)}, TamperedError),
        ({"base": RevisionNumber(1, 9)}, TamperedError),
        ({"plain": 5}, StoreCorruptError),
        ({"blocks": ()}, StoreCorruptError),
    ],
)
def test_a_signed_index_of_something_else_is_refused(host: Host, big: Made, changes: dict[str, object], error: type[SluiceError]) -> None:
    put_manifest(host, big)
    with pytest.raises(error):
        TedReceiver(host.held, named(big)).begin(*other_index(big, **changes))
    assert [path.name for path in host.held.receiving(FIRST).iterdir()] == ["manifest"]


def test_an_index_that_is_not_the_signed_one_is_refused(host: Host, big: Made) -> None:
    put_manifest(host, big)
    with pytest.raises(TamperedError, match="isn't what its Distributor signed"):
        TedReceiver(host.held, named(big)).begin(big.index_bytes, big.index.payload, Target.of(b"other"))
    with pytest.raises(TamperedError):
        TedReceiver(host.held, named(big)).begin(big.index_bytes, big.index.payload + 1, Target.of(big.index_bytes))


def test_the_length_of_an_index_is_judged_before_it_is_read() -> None:
    signed = Target.of(b"x" * 100)
    with pytest.raises(TruncatedError):
        check_index_length(99, signed, is_whole=True)
    with pytest.raises(TamperedError):
        check_index_length(101, signed, is_whole=True)
    check_index_length(100, signed, is_whole=True)
    large = Target.of(bytes(DELTA_INDEX_MAX + 1))
    check_index_length(large.length, large, is_whole=True)
    with pytest.raises(TamperedError):
        check_index_length(large.length, large, is_whole=False)


def test_a_ted_without_its_manifest_waits_for_it(host: Host, big: Made) -> None:
    with pytest.raises(NotFoundError):
        begin(host, big)


def test_a_delta_on_what_is_not_here_is_refused(host: Host, big: Made, tmp_path: Path) -> None:
    second = make("1.2", tmp_path / "source", base=big)
    put_manifest(host, second)
    with pytest.raises(BaseDiffersError, match=r"1\.1"):
        begin(host, second)


def test_another_file_of_the_same_revision_starts_anew(host: Host, big: Made, tmp_path: Path) -> None:
    host.receive(big)
    (tmp_path / "source/more").write_bytes(random.Random(1).randbytes(2 * BLOCK))
    delta, whole = make("1.2", tmp_path / "source", base=big), make("1.2", tmp_path / "source")
    put_manifest(host, delta)
    receiver = begin(host, delta)
    receiver.feed(delta.payload[:BLOCK])
    receiver.close()

    host.receive(whole)

    assert_held(host, whole)


# --- manifests --------------------------------------------------------------------------------------------------------


def manifest_receiver(host: Host, made: Made, data: bytes, signed: bytes | None = None) -> ManifestReceiver:
    return ManifestReceiver(host.held, named(made, "manifest"), Target.of(signed or made.manifest_bytes), length=len(data))


def test_a_manifest_comes_in_pieces_and_is_known_afterwards(host: Host, big: Made) -> None:
    data = compress_frame(big.manifest_bytes)
    receiver = manifest_receiver(host, big, data)
    assert not receiver.is_held()
    assert not receiver.feed(data[:10])
    assert receiver.feed(data[10:])
    assert manifest_receiver(host, big, data).is_held()
    host.receive(big)
    assert manifest_receiver(host, big, data).is_held()
    assert not manifest_receiver(host, big, data, signed=b"another").is_held()


@pytest.mark.parametrize(
    "damage", ["cut frame", "cut plaintext", "other plaintext", "bomb", "no zstd", "two frames", "more than announced", "trailing"]
)
def test_a_manifest_that_is_not_what_was_signed_is_refused(host: Host, big: Made, damage: str) -> None:
    plain = big.manifest_bytes
    data = {
        "cut frame": compress_frame(plain)[:-3],
        "cut plaintext": compress_frame(plain[:-5]),
        "other plaintext": compress_frame(plain.replace(b"noise", b"nois3")),
        "bomb": compress_frame(bytes(10_000_000)),
        "no zstd": b"x" * 100,
        "two frames": compress_frame(plain) + compress_frame(b"x"),
        "more than announced": compress_frame(plain),
        "trailing": compress_frame(plain) + b"\0",
    }[damage]
    receiver = manifest_receiver(host, big, data[:-1] if damage == "more than announced" else data)
    with pytest.raises(TamperedError):
        receiver.feed(data)
    assert not manifest_receiver(host, big, data).is_held()
    assert not host.held.receiving(FIRST).exists()


def test_a_manifest_that_claims_to_be_huge_is_refused_before_it_comes(host: Host, big: Made) -> None:
    with pytest.raises(TamperedError):
        ManifestReceiver(host.held, named(big, "manifest"), Target.of(b"x"), length=10**9)
    with pytest.raises(TamperedError):
        ManifestReceiver(host.held, named(big, "manifest"), Target(10**12, "0" * 64), length=10)


def test_a_signed_manifest_of_another_revision_is_refused(host: Host, big: Made) -> None:
    data = compress_frame(big.manifest_bytes)
    other = TargetPath("zone", RevisionNumber(1, 2), "manifest")
    with pytest.raises(TamperedError):
        ManifestReceiver(host.held, other, Target.of(big.manifest_bytes), length=len(data)).feed(data)


@pytest.mark.parametrize(
    "path",
    [
        *("", "zone", "zone/1.1", "zone/1.1/x", "zone/1.1/manifest/x", "/1.1/manifest", "../1.1/manifest", "zone/../manifest"),
        *("zone/1.1/../manifest", "zone/1/manifest", "zone/01.1/manifest", "zone/1.1/from-.ted", "zone/1.1/from-../x.ted"),
        *("zone/1.1/from-1.0.ted", "zone/1.1/from-1.1.ted.part", "a.b/1.1/manifest", "zone/1.1/MANIFEST", "zone\\1.1\\manifest"),
    ],
)
def test_what_is_no_target_is_refused(path: str) -> None:
    with pytest.raises(TamperedError):
        TargetPath.parse(path)


def test_targets_are_taken_apart() -> None:
    assert TargetPath.parse("zone/1.2/from-1.1.ted") == TargetPath("zone", RevisionNumber(1, 2), "from-1.1.ted")
    assert TargetPath.parse("zone/1.2/manifest").file == "manifest"


# --- space and kills --------------------------------------------------------------------------------------------------


def test_too_little_space_is_said_with_figures_before_anything_comes(host: Host, big: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    put_manifest(host, big)
    real = os.statvfs

    class Full:
        f_blocks, f_bavail, f_frsize = 10**6, 100, 10

    monkeypatch.setattr(receive_blocks.os, "statvfs", lambda path: Full if str(path) == str(host.held.directory) else real(path))
    with pytest.raises(NoSpaceError, match="1000 B is free there and 16 MiB must stay free"):
        begin(host, big)
    with pytest.raises(NoSpaceError):
        put_manifest(host, big)


def test_what_must_stay_free_is_more_than_the_least(host: Host, big: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    put_manifest(host, big)
    needed = big.index.payload + len(big.index_bytes)
    ted = TedReceiver(host.held, TargetPath("zone", big.manifest.revision, big.file))

    class Left:
        f_blocks, f_bavail, f_frsize = 2**40, needed + 64 * BLOCK - 1, 1

    monkeypatch.setattr(receive_blocks.os, "statvfs", lambda _: Left)
    with pytest.raises(NoSpaceError, match=r"64 MiB must stay free: 1 B too little"):
        ted.begin(big.index_bytes, big.index.payload, Target.of(big.index_bytes), min_free=64 * BLOCK)
    ted.close()
    begin(host, big)  # 16 MiB stay free anyway


@pytest.mark.slow
def test_a_receive_killed_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "noise").write_bytes(random.Random(SEED).randbytes(BLOCK + 100))
    first = make("1.1", source)
    (source / "noise").write_bytes(random.Random(SEED + 1).randbytes(BLOCK + 100))
    second = make("1.2", source)
    for number in random.Random(SEED).sample(range(70), 14):
        host = Host(tmp_path / str(number))
        host.receive(first)
        killed_at(number, lambda host=host: host.receive(second))

        status = host.held.status()
        assert host.held.holds(status, FIRST)
        if host.held.holds(status, RevisionNumber(1, 2)):
            verify_payload(host.held.revision(RevisionNumber(1, 2)) / TED)
        host.receive(second)

        assert_held(host, second)
        assert host.leftovers() == []


def test_a_damaged_status_file_is_an_error_that_says_what_to_do(host: Host, big: Made) -> None:
    host.receive(big)
    for data in (b"", b"{}", b"[]", b'{"version":2}', host.held.status_path.read_bytes()[:-5]):
        replace_atomically(host.held.status_path, data)
        with pytest.raises(StoreCorruptError, match="delete it"):
            host.held.status()
