"""Damage between a Distributor and a real sshd host: changed host keys, flipped bytes on the way and at rest.

Each is either noticed and mended, or refused with words that name it; nothing damaged is ever extracted.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from infra.workplace import open_workplace
from sluice.model.event import EventKind
from sluice.model.revision import RevisionNumber
from tests.system import between
from tests.system.lab import OpenLab, SiteLab, described, two_trees, write_tree
from tests.system.sshd import Sshd

pytestmark = pytest.mark.timeout(480)
KEPT = {*two_trees(0)[0], "added"}
"""Files that stay where they were placed although later revisions lack them."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, open_lab: OpenLab) -> Iterator[SiteLab]:
    with open_lab(tmp_path_factory.mktemp("damage"), "oslo") as made:
        write_tree(made.source, two_trees(0)[0])
        made.sluice("distribute", "zone")
        yield made


def new_revision(lab: SiteLab, seed: int) -> None:
    """Another tree, built and signed."""
    write_tree(lab.source, two_trees(seed)[0])
    lab.build()


def flip(path: Path, at: int | None = None) -> None:
    """One byte, in the middle unless said otherwise; size and time stay."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(status.st_size // 2 if at is None else at)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextmanager
def flipping_proxy(host: Sshd, at: int) -> Iterator[int]:
    """A port before a host whose first connection has one byte flipped after ``at`` bytes to the host: below SSH, as a bad link does."""
    listening, behind = socket.create_server(("127.0.0.1", 0)), host.port
    flipped = threading.Event()
    opened: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket, *, damages: bool) -> None:
        seen = 0
        with suppress(OSError):
            while data := bytearray(source.recv(65536)):
                if damages and seen <= at < seen + len(data) and not flipped.is_set():
                    flipped.set()
                    data[at - seen] ^= 4
                seen += len(data)
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                incoming, _ = listening.accept()
                opened.append(incoming)
                outgoing = socket.create_connection(("127.0.0.1", behind))
                opened.append(outgoing)
                threading.Thread(target=pump, args=(incoming, outgoing), kwargs={"damages": True}, daemon=True).start()
                threading.Thread(target=pump, args=(outgoing, incoming), kwargs={"damages": False}, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
        assert flipped.is_set(), "nothing was flipped"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        for each in (listening, *opened):
            each.close()


def test_a_byte_flipped_below_ssh_breaks_the_connection_and_the_retry_goes_on_where_it_stopped(lab: SiteLab) -> None:
    new_revision(lab, 11)
    host = lab.hosts["oslo"]
    own, mark = host.port, _last(lab)
    with flipping_proxy(host, 3 * 1024 * 1024) as port:
        lab.move("oslo", port)
        try:
            lab.sluice("send", "zone")
        finally:
            lab.move("oslo", own)
    lab.sluice("extract")
    lab.assert_converged("oslo", kept=KEPT)
    assert len(lab.events(EventKind.SEND_FAILED, after=mark)) == 1
    (sent,) = lab.events(EventKind.SENT, after=mark)
    assert int(str(sent.event.data["resumed"])) >= 1024 * 1024


def test_a_byte_flipped_behind_ssh_is_refetched_by_its_block(lab: SiteLab) -> None:
    new_revision(lab, 12)
    before, mark = lab.rows()["oslo"]["bytes_sent"], _last(lab)
    between.install(lab.launcher("oslo"), flip=2, flips=1)
    try:
        lab.sluice("send", "zone")
    finally:
        between.remove(lab.launcher("oslo"))
    lab.sluice("extract")
    lab.assert_converged("oslo", kept=KEPT)
    assert not lab.events(EventKind.SEND_FAILED, after=mark)
    assert 5 * 1024 * 1024 < lab.rows()["oslo"]["bytes_sent"] - before < 14 * 1024 * 1024


def test_blocks_that_come_damaged_for_ever_are_given_up_with_a_reason_and_nothing_is_extracted(lab: SiteLab) -> None:
    standing = described(lab.destination("oslo"))
    new_revision(lab, 13)
    between.install(lab.launcher("oslo"), flip_every=True)
    try:
        said = lab.sluice("send", "zone", ok=False)
    finally:
        between.remove(lab.launcher("oslo"))
    assert "damaged" in said
    assert described(lab.destination("oslo")) == standing
    lab.sluice("distribute", "zone")
    lab.assert_converged("oslo", kept=KEPT)


def test_a_byte_flipped_at_rest_on_the_host_is_found_set_aside_and_mended_by_the_next_send(lab: SiteLab) -> None:
    standing = described(lab.destination("oslo"))
    new_revision(lab, 14)
    lab.sluice("send", "zone")
    (ted,) = lab.held("oslo").glob(f"revisions/{lab.rows()['oslo']['held']}/distfile.ted")
    flip(ted)

    said = lab.sluice("extract", ok=False)

    assert "distfile.corrupt" in said or "digest" in said
    assert described(lab.destination("oslo")) == standing
    assert ted.with_name("distfile.corrupt").exists()
    assert lab.rows()["oslo"]["state"] != "installed"
    lab.sluice("send", "zone")
    lab.sluice("extract")
    lab.assert_converged("oslo", kept=KEPT)


@pytest.mark.parametrize("at_once", [True, False], ids=["distributed at once", "sent, then extracted"])
def test_a_tree_that_somebody_changed_is_mended_although_the_difference_builds_on_it(lab: SiteLab, at_once: bool) -> None:
    (lab.source / "added").write_bytes(os.urandom(1000))
    lab.build()
    if at_once:
        (lab.destination("oslo") / "blob").write_bytes(b"mine")
        lab.sluice("distribute", "zone")
    else:
        lab.sluice("send", "zone")
        (lab.destination("oslo") / "blob").write_bytes(b"mine")
        said = lab.sluice("extract", ok=False)
        assert "blob" in said
        lab.sluice("send", "zone")
        lab.sluice("extract")
    lab.assert_converged("oslo", kept=KEPT)


def test_a_byte_flipped_at_rest_at_the_distributor_has_the_file_set_aside_made_again_and_sent_at_the_next_start(lab: SiteLab) -> None:
    standing = described(lab.destination("oslo"))
    new_revision(lab, 15)
    row, mark = lab.rows()["oslo"], _last(lab)
    latest, extracted = RevisionNumber.parse(row["latest"]), RevisionNumber.parse(row["extracted"])
    with open_workplace(lab.site, "hq") as work:  # whichever the host's memory asks for
        teds = [Path(work.store.ensure_ted("zone", latest, extracted, small=small).path) for small in (False, True)]
    whole = [ted.read_bytes() for ted in teds]
    for ted in teds:
        flip(ted)

    said = lab.sluice("send", "zone", ok=False)

    assert f"set aside as {teds[0].stem}.corrupt and made again" in said
    assert [ted.read_bytes() for ted in teds] == whole
    assert [ted.with_suffix(".corrupt").exists() for ted in teds] == [True, True]
    row = lab.rows()["oslo"]
    assert (row["state"], row["held"] == str(latest)) == ("waiting", False)
    assert "next start" in lab.sluice("why", "oslo", "zone")
    assert len(lab.events(EventKind.SEND_FAILED, after=mark)) == 1, "nothing is tried again before"
    assert {each.event.revision for each in lab.events(EventKind.DAMAGE_MENDED, after=mark)} == {latest}
    assert described(lab.destination("oslo")) == standing
    lab.sluice("send", "zone")
    lab.sluice("extract")
    lab.assert_converged("oslo", kept=KEPT)


def test_a_changed_host_key_is_refused_and_said_and_a_repeat_after_pinning_it_goes_through(lab: SiteLab) -> None:
    new_revision(lab, 16)
    host, standing = lab.hosts["oslo"], described(lab.destination("oslo"))
    host.stop()
    host.new_host_key()
    host.start()
    logged = host.log().count("Accepted")

    said = lab.sluice("send", "zone", ok=False)

    assert "host key" in said
    assert host.log().count("Accepted") == logged
    assert described(lab.destination("oslo")) == standing
    assert "host key" in lab.sluice("why", "oslo", "zone")
    lab.write_site()
    lab.sluice("distribute", "zone")
    lab.assert_converged("oslo", kept=KEPT)


def _last(lab: SiteLab) -> int:
    return lab.events(EventKind.BUILT)[-1].number
