"""The agent spoken to frame by frame: what it imports, what it refuses, and what it survives."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.frame_channel import Events, FrameChannel
from sluice.errors import ProtocolError
from sluice.formats.protocol import data_header, message_frame, read_frame
from sluice.formats.ted.index import BLOCK
from sluice.formats.zstd import compress_frame
from sluice.model.action import Script, ScriptType
from sluice.model.feature import named
from sluice.model.order import Order
from sluice.model.revision import RevisionNumber
from sluice.subscriber.receive.blocks import AGAIN_MAX
from sluice.trust.keys import ensure_private_key, load_private_key
from sluice.trust.publish import Publisher
from tests.agents.workbench import PROJECT, Raw, Workbench
from tests.conftest import missing
from tests.subscriber.revisions import Made, make, tree_of

HEAVY = {"tuf", "securesystemslib", "cryptography", "backports", "compression", "blake3", "ctypes", "subprocess"}
NEVER = {"prefect", "sqlalchemy", "yaml", "pydantic", "jinja2", "paramiko", "click", "httpx", "flows", "tasks", "cli"}


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Of three blocks."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/noise").write_bytes(random.Random(7).randbytes(2 * BLOCK + 1000))
    (tmp_path / "source/a").write_text("alpha")
    return make("1.1", tmp_path / "source")


@pytest.fixture
def held(bench: Workbench, made: Made) -> Made:
    """Sent whole."""
    conversation = bench.connect()
    bench.send(conversation, made)
    conversation.close()
    return made


def imported(said: bytes) -> set[str]:
    """Top packages that ``-X importtime`` names."""
    return {match[1].partition(".")[0] for match in re.finditer(r"import time:[^|]*\|[^|]*\| +(\S+)", said.decode())}


# --- hello ------------------------------------------------------------------------------------------------------------


def test_hello_is_answered_before_anything_heavy_is_imported(bench: Workbench) -> None:
    with Raw(bench, python=["-X", "importtime"]) as raw:
        hello = raw.hello()
        code, said = raw.end()
    assert code == 0
    found = imported(said)
    assert "agents" in found
    assert found & (HEAVY | NEVER) == set()
    assert hello["subscriber"] == "oslo"
    assert hello["trust"] == {"root": 1}
    assert hello["distributions"] == {}
    assert hello["codecs"] == ["zstd", "hdiff", "lzma"]
    words = [
        "backslash",
        "delta",
        "directory mode",
        "dry run",
        "hard links",
        "locked",
        "min free",
        "owner",
        "perl",
        "phases",
        "rehearse",
        "release",
        "removals",
        "rename",
        "script",
        "start process",
        "stop codes",
        "stop process",
        "synchronize",
        "templates",
        "verify",
        "xattrs",
    ]
    assert hello["features"] == words
    with Raw(bench) as raw:
        counted = raw.ask(type="hello", protocol=[1], distributor="hq", sender="0", counted=True)
    assert ("features" in counted, named(counted["first"], counted.get("lacking", ()))) == (False, set(words))
    assert hello["memory"] > 10**8
    assert hello["free"] > 10**6
    assert re.fullmatch(r"[a-z]+(-[a-z0-9._-]+)?", hello["platform"])


def test_hello_about_some_distributions_tells_of_these_alone(bench: Workbench, held: Made) -> None:
    with Raw(bench) as raw:
        everything = raw.hello()
        about = raw.ask(type="hello", protocol=[1], distributor="hq", sender="0", about=["zone", "missing"])
        other = raw.ask(type="hello", protocol=[1], distributor="hq", sender="0", about=["missing"])
        wrong = raw.ask(type="hello", protocol=[1], distributor="hq", sender="0", about=["../zone"])
    assert everything["trust"].keys() == {"root", "timestamp", "snapshot", "targets", "distribution.zone"}
    assert about["trust"] == everything["trust"]
    assert about["distributions"] == everything["distributions"]
    assert other["trust"].keys() == {"root", "timestamp", "snapshot", "targets"}
    assert other["distributions"] == {}
    assert "sequence" not in everything
    assert about["sequence"] == other["sequence"] == 0
    assert (wrong["type"], wrong["code"]) == ("error", "TamperedError")


@pytest.mark.slow
def test_a_whole_conversation_imports_nothing_of_the_distributors(bench: Workbench, made: Made, tmp_path: Path) -> None:
    bench.publish(made)
    with Raw(bench, python=["-X", "importtime"]) as raw:
        raw.hello()
        assert raw.metadata(bench)["type"] == "accepted"
        assert raw.put_manifest(made)["type"] == "stored"
        assert raw.begin_ted(made)["type"] == "ready"
        raw.data(made.payload)
        assert raw.reply()["type"] == "stored"
        assert raw.ask(type="order", envelope=bench.order(made, tmp_path / "zone"))["type"] == "receipt"
        code, said = raw.end()
    assert code == 0
    assert "tuf" in imported(said)
    assert imported(said) & NEVER == set()


def test_hello_tells_what_is_held_extracted_and_ordered(bench: Workbench, held: Made, tmp_path: Path) -> None:
    with Raw(bench) as raw:
        assert raw.hello()["distributions"] == {"zone": {"held": "1.1", "extracted": None, "sequence": 0}}
        raw.ask(type="order", envelope=bench.order(held, tmp_path / "zone"))
        hello = raw.hello()
    assert hello["distributions"] == {"zone": {"held": "1.1", "extracted": "1.1", "sequence": 1}}
    assert set(hello["trust"]) == {"root", "timestamp", "snapshot", "targets", "distribution.zone"}


def test_an_unknown_distributor_is_told_so_and_nothing_is_made_for_it(bench: Workbench, made: Made) -> None:
    bench.publish(made)
    with Raw(bench) as raw:
        assert raw.hello("stranger")["trust"] is None
        assert raw.metadata(bench)["code"] == "UnknownDistributorError"
        assert raw.put_manifest(made)["code"] == "UnknownDistributorError"
        assert raw.ask(type="order", envelope=bench.order(made, Path("/x")))["code"] == "UnknownDistributorError"
    assert not (bench.work / "distributors/stranger").exists()


def test_a_sender_of_another_protocol_is_told_so(bench: Workbench) -> None:
    with Raw(bench) as raw:
        reply = raw.ask(type="hello", protocol=[2, 3], distributor="hq", sender="9")
        assert reply["code"] == "AgentVersionError"
        assert raw.hello()["type"] == "hello"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.b", "x" * 65, "a\0b"])
def test_names_that_are_none_touch_nothing(bench: Workbench, name: str) -> None:
    with Raw(bench) as raw:
        assert raw.hello(name)["code"] == "TamperedError"
        raw.hello()
        assert raw.ask(type="receipts", distribution=name)["code"] == "TamperedError"
        assert raw.ask(type="acknowledge", distribution=name, sequence=1)["code"] == "TamperedError"


# --- the conversation's own rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        b"Welcome to this host!\n",
        b"\0\0\0\0J",
        b"\xff\xff\xff\xffJ",
        b"\0\0\0\x05J{}}}",
        b"\0\0\0\x03J[]",
        b"\0\0\0\x02Dx",
        b'\0\0\0\x0fJ{"type":"what"}'[:-1] + b"}",
    ],
)
@pytest.mark.parametrize("after_hello", [False, True])
def test_bytes_that_are_no_request_end_the_conversation(bench: Workbench, frame: bytes, after_hello: bool) -> None:
    with Raw(bench) as raw:
        if after_hello:
            raw.hello()
        raw.raw(frame)
        assert raw.reply()["code"] == "ProtocolError"
        assert raw.stdout.read() == b""
        assert raw.process.wait(120) == 7


def test_the_first_message_is_hello(bench: Workbench) -> None:
    with Raw(bench) as raw:
        assert raw.ask(type="receipts", distribution="zone")["code"] == "ProtocolError"
        assert raw.process.wait(120) == 7


@pytest.mark.parametrize(
    "message",
    [
        {"type": "metadata"},
        {"type": "put", "target": 5},
        {"type": "put", "target": "zone/1.1/manifest", "length": -1, "codec": "zstd"},
        {"type": "put", "target": "zone/1.1/manifest", "length": 5, "codec": "gzip"},
        {"type": "put", "target": "zone/1.1/manifest", "length": 5, "codec": "zstd", "extra": 1},
        {"type": "put", "target": "zone/../manifest", "length": 5, "codec": "zstd"},
        {"type": "put", "target": "zone/1.1/distfile.ted", "index": 10**12, "payload": 5},
        {"type": "order", "envelope": None},
        {"type": "order", "envelope": {"payload": "[" * 100_000, "signature": "", "key": ""}},
        {"type": "order"},
        {"type": "receipts"},
        {"type": "acknowledge", "distribution": "zone", "sequence": "../../x"},
    ],
)
def test_a_bad_request_is_refused_and_the_next_one_answered(bench: Workbench, held: Made, message: dict[str, Any]) -> None:
    with Raw(bench) as raw:
        raw.hello()
        reply = raw.ask(**message)
        assert (reply["type"], reply["code"]) == ("error", "TamperedError")
        assert raw.hello()["type"] == "hello"
        raw.say(type="bye")
        assert raw.process.wait(120) == 0


def test_closing_stdin_ends_the_agent_wherever_it_is(bench: Workbench, made: Made) -> None:
    bench.publish(made)
    with Raw(bench) as raw:
        raw.hello()
        raw.metadata(bench)
        raw.put_manifest(made)
        raw.begin_ted(made)
        raw.data(made.payload[: BLOCK + 5])
        assert raw.end()[0] == 0
    with Raw(bench) as raw:
        raw.hello()
        assert raw.begin_ted(made) == {"type": "ready", "offset": BLOCK}


def test_a_stray_print_goes_to_stderr_and_a_stray_read_finds_nothing() -> None:
    code = (
        "import sys; from agents.frame_channel import FrameChannel; line = FrameChannel.over_stdio(); print('stray', flush=True); "
        "import os; os.system('echo stray too'); line.send({'type': 'x', 'read': sys.stdin.read()})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"not for you", capture_output=True, check=True, env={"PYTHONPATH": str(PROJECT)}
    )
    assert done.stdout[5:] == b'{"read":"","type":"x"}'
    assert done.stderr.split() == [b"stray", b"stray", b"too"]


def test_a_long_silence_is_filled_with_the_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.frame_channel.QUIET_SECONDS", 0.05)
    here, there = os.pipe()
    line = FrameChannel(os.open(os.devnull, os.O_RDONLY), there)
    with line.events() as events:
        events("stage", 3, 9)
        seen = b""
        while seen.count(b'"stage"') < 4:
            seen += os.read(here, 4096)
    os.close(here)
    line.send({"type": "event"})  # nobody listens any more: that is no error
    os.close(there)


def test_an_event_that_names_a_strange_file_is_one_that_the_distributor_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.frame_channel.QUICK_SECONDS", 0.0)
    here, there = os.pipe()
    line = FrameChannel(os.open(os.devnull, os.O_RDONLY), there)
    Events(line)("locked: /srv/\u3000\x1b[2J" + "x" * 99, 1, 2)
    body = json.loads(os.read(here, 4096)[5:])
    assert body["phase"] == "locked: /srv/??[2J" + "x" * 46
    for fd in (here, there):
        os.close(fd)


@pytest.mark.parametrize("said", [b"", data_header(9) + b"half"], ids=["nothing", "half a frame"])
def test_a_sender_that_falls_silent_within_a_put_counts_as_gone(said: bytes) -> None:
    here, there = os.pipe()
    line = FrameChannel(here, -1, silence=0.05)
    os.write(there, said)
    with line.within_a_put(), pytest.raises((EOFError, ProtocolError)):
        line.read_data("a payload")
    os.close(there)


def test_between_requests_a_sender_may_be_silent_as_long_as_it_waits() -> None:
    here, there = os.pipe()
    line = FrameChannel(here, -1, silence=0.01)
    later = threading.Timer(0.3, os.write, (there, message_frame({"type": "bye"})))
    later.start()
    assert line.read() == {"type": "bye"}
    later.join()
    os.close(there)


# --- metadata and puts ------------------------------------------------------------------------------------------------


def test_a_bad_block_is_asked_for_again_from_its_beginning(bench: Workbench, made: Made) -> None:
    bench.publish(made)
    bad = bytearray(made.payload)
    bad[BLOCK + 3] ^= 1
    with Raw(bench) as raw:
        raw.hello()
        raw.metadata(bench)
        raw.put_manifest(made)
        assert raw.begin_ted(made) == {"type": "ready", "offset": 0}
        raw.data(bytes(bad))
        assert raw.reply() == {"type": "again", "offset": BLOCK}
        raw.say(type="from", offset=BLOCK)
        raw.data(made.payload[BLOCK:])
        assert raw.reply() == {"type": "stored"}
        assert raw.begin_ted(made) == {"type": "held"}
        assert raw.put_manifest(made) == {"type": "held"}


def test_a_put_that_stays_bad_is_given_up_and_its_rest_thrown_away(bench: Workbench, made: Made) -> None:
    bench.publish(made)
    with Raw(bench) as raw:
        raw.hello()
        raw.metadata(bench)
        raw.put_manifest(made)
        raw.begin_ted(made)
        for _ in range(AGAIN_MAX):
            raw.data(bytes(BLOCK))
            assert raw.reply() == {"type": "again", "offset": 0}
            raw.say(type="from", offset=0)
        raw.data(bytes(BLOCK))
        raw.data(bytes(BLOCK))
        raw.say(type="from", offset=0)
        raw.data(bytes(BLOCK))
        assert raw.reply()["code"] == "TamperedError"
        assert raw.begin_ted(made) == {"type": "ready", "offset": 0}
        raw.data(made.payload)
        assert raw.reply() == {"type": "stored"}


@pytest.mark.parametrize("frame", [{"type": "from", "offset": 5}, {"type": "bye"}, {"type": "hello"}])
def test_a_message_within_a_put_ends_the_conversation(bench: Workbench, made: Made, frame: dict[str, Any]) -> None:
    bench.publish(made)
    with Raw(bench) as raw:
        raw.hello()
        raw.metadata(bench)
        raw.put_manifest(made)
        raw.begin_ted(made)
        raw.data(made.payload[:100])
        assert raw.ask(**frame)["code"] == "ProtocolError"


def test_what_is_not_signed_is_not_taken(bench: Workbench, made: Made, tmp_path: Path) -> None:
    bench.publish(made)
    (tmp_path / "source/a").write_text("other")
    other = make("1.1", tmp_path / "source")
    unsigned = make("1.2", tmp_path / "source")
    with Raw(bench) as raw:
        raw.hello()
        raw.metadata(bench)
        assert raw.put_manifest(other)["code"] == "TamperedError"
        assert raw.put_manifest(unsigned)["code"] == "TamperedError"
        assert raw.put_manifest(made)["type"] == "stored"
        assert raw.begin_ted(other)["code"] in ("TamperedError", "TruncatedError")
        assert raw.begin_ted(unsigned)["code"] == "TamperedError"
    assert not (bench.held / "revisions/1.1").exists()


def test_metadata_that_is_refused_is_kept_in_quarantine_but_not_much_of_it(bench: Workbench, made: Made) -> None:
    bench.publish(made)
    good = bench.publisher.files_for("zone", {})
    with Raw(bench) as raw:
        raw.hello()
        for number in range(20):
            cut = {name: data[: len(data) - number - 1] for name, data in good.items()}
            assert raw.metadata(bench, cut)["type"] == "error"
        kept = sorted((bench.work / "distributors/hq/quarantine").iterdir())
        assert len(kept) == 16
        assert json.loads(kept[-1].read_bytes())["code"] in ("TruncatedError", "TamperedError")
        assert raw.metadata(bench, good)["type"] == "accepted"


@pytest.mark.parametrize("lie", ["sum", "twice", "bomb", "no zstd"])
def test_a_metadata_frame_that_lies_about_itself_is_refused(bench: Workbench, lie: str) -> None:
    with Raw(bench) as raw:
        raw.hello()
        listed = [["1.root.json", 10]] * (2 if lie == "twice" else 1)
        raw.say(type="metadata", distribution="zone", files=listed, plain=11 if lie == "sum" else 10 * len(listed))
        raw.data(compress_frame(bytes(10_000_000 if lie == "bomb" else 10 * len(listed))) if lie != "no zstd" else b"xxx")
        assert raw.reply()["code"] == "TamperedError"
        assert raw.hello()["type"] == "hello"


def test_a_distribution_that_another_conversation_receives_is_locked(bench: Workbench, made: Made) -> None:
    bench.publish(made)
    with Raw(bench) as first, Raw(bench) as second:
        first.hello()
        first.metadata(bench)
        first.put_manifest(made)
        assert first.begin_ted(made)["type"] == "ready"
        second.hello()
        reply = second.begin_ted(made)
        assert (reply["code"], reply["retryable"]) == ("StoreLockedError", True)
        second.data(made.payload)
        first.data(made.payload)
        assert first.reply() == {"type": "stored"}
        assert second.begin_ted(made) == {"type": "held"}


# --- orders and receipts ----------------------------------------------------------------------------------------------


def changed(bench: Workbench, made: Made, **changes: Any) -> Any:
    """An order signed by the Distributor, with something else in it."""
    now = datetime.now(UTC)
    bench.sequence += 1
    order = Order("hq", "oslo", bench.sequence, now, now + timedelta(hours=1), "zone", made.manifest.revision, ("/nonexistent/x",), (), ())
    return bench.publisher.sign_order(replace(order, **changes))


def tampered(bench: Workbench, made: Made) -> Any:
    envelope = bench.order(made, Path("/nonexistent/zone"))
    return {**envelope, "payload": envelope["payload"].replace("/nonexistent/zone", "/etc/zone")}


def of_a_stranger(bench: Workbench, made: Made) -> Any:
    stranger = Publisher(bench.directory / "stranger", distributor="hq")
    stranger.ensure_keys(datetime.now(UTC))
    genuine, bench.publisher = bench.publisher, stranger
    try:
        return bench.order(made, Path("/nonexistent/zone"))
    finally:
        bench.publisher = genuine


def as_a_receipt(bench: Workbench, made: Made) -> Any:
    from sluice.formats.orders import order_bytes, parse_order
    from sluice.trust.envelope import RECEIPT_WORD, seal

    envelope = bench.order(made, Path("/nonexistent/zone"))
    key = load_private_key(bench.directory / "hq/keys/online.pem")
    payload = order_bytes(parse_order(envelope["payload"].encode()))
    return seal(RECEIPT_WORD, payload, key=str(envelope["key"]), sign=key.sign)


def by_the_subscriber(bench: Workbench, made: Made) -> Any:
    envelope = bench.order(made, Path("/nonexistent/zone"))
    ensure_private_key(bench.directory / "own.pem")
    from sluice.trust.envelope import ORDER_WORD, seal

    key = load_private_key(bench.work / "identity/receipt.pem")
    return seal(ORDER_WORD, envelope["payload"].encode(), key=str(envelope["key"]), sign=key.sign)


HOUR = timedelta(hours=1)
FORGERIES: dict[str, tuple[Callable[[Workbench, Made], Any], str]] = {
    "tampered with": (tampered, "TamperedError"),
    "signed by a stranger": (of_a_stranger, "UnknownDistributorError"),
    "signed as a receipt": (as_a_receipt, "TamperedError"),
    "signed by the Subscriber": (by_the_subscriber, "TamperedError"),
    "for somebody else": (lambda b, m: changed(b, m, subscriber="bergen"), "TamperedError"),
    "of another Distributor": (lambda b, m: changed(b, m, distributor="other"), "TamperedError"),
    "expired": (lambda b, m: changed(b, m, expires=datetime.now(UTC) - HOUR), "ExpiredError"),
    "for what isn't signed": (lambda b, m: changed(b, m, distribution="other"), "TruncatedError"),
    "for what isn't held": (lambda b, m: changed(b, m, revision=RevisionNumber(1, 7)), "NotFoundError"),
}


@pytest.mark.parametrize("forgery", list(FORGERIES))
def test_an_order_that_is_not_for_us_now_is_refused_and_changes_nothing(bench: Workbench, held: Made, forgery: str) -> None:
    make_it, code = FORGERIES[forgery]
    with Raw(bench) as raw:
        raw.hello()
        assert raw.ask(type="order", envelope=make_it(bench, held))["code"] == code
        assert raw.hello()["distributions"]["zone"] == {"held": "1.1", "extracted": None, "sequence": 0}
    assert not (bench.held / "journal").exists()
    assert list((bench.held / "receipts").iterdir()) == []


def test_an_old_order_is_replayed_in_vain_also_after_the_metadata_was_wiped(bench: Workbench, held: Made, tmp_path: Path) -> None:
    first, second = bench.order(held, tmp_path / "one"), bench.order(held, tmp_path / "two")
    with Raw(bench) as raw:
        raw.hello()
        assert raw.ask(type="order", envelope=second)["type"] == "receipt"
        assert raw.ask(type="acknowledge", distribution="zone", sequence=2)["type"] == "done"
        assert raw.ask(type="order", envelope=first)["code"] == "ReplayedError"
        assert raw.ask(type="order", envelope=second)["code"] == "ReplayedError"
        for path in (bench.work / "distributors/hq/trust/metadata").glob("*.json"):
            path.unlink()
        assert raw.metadata(bench)["type"] == "accepted"
        assert raw.ask(type="order", envelope=first)["code"] == "ReplayedError"
    assert not (tmp_path / "one").exists()


def test_an_answer_that_got_lost_is_given_again_word_for_word(bench: Workbench, held: Made, tmp_path: Path) -> None:
    envelope = bench.order(held, tmp_path / "zone")
    with Raw(bench) as raw:
        raw.hello()
        first = raw.ask(type="order", envelope=envelope)
        assert raw.ask(type="order", envelope=envelope) == first
        assert raw.ask(type="receipts", distribution="zone")["envelopes"] == [first["envelope"]]
        raw.ask(type="acknowledge", distribution="zone", sequence=1)
        raw.ask(type="acknowledge", distribution="zone", sequence=1)
        assert raw.ask(type="receipts", distribution="zone")["envelopes"] == []


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.02)


def test_a_sender_that_vanishes_during_an_order_finds_its_receipt_later(bench: Workbench, held: Made, tmp_path: Path) -> None:
    go = tmp_path / "go"
    pre = (Script(ScriptType.SHELL, "none", run=f"touch {tmp_path}/waiting; while [ ! -e {go} ]; do sleep 0.05; done"),)
    with Raw(bench) as raw:
        raw.hello()
        raw.say(type="order", envelope=bench.order(held, tmp_path / "zone", pre=pre))
        wait_for((tmp_path / "waiting").exists)
        raw.stdin.close()
        raw.stdout.close()
        raw.process.send_signal(signal.SIGHUP)
        with Raw(bench) as other:
            other.hello()
            assert other.ask(type="order", envelope=bench.order(held, tmp_path / "zone"))["code"] == "StoreLockedError"
        go.touch()
        assert raw.process.wait(120) == 0
    with Raw(bench) as raw:
        assert raw.hello()["distributions"]["zone"]["extracted"] == "1.1"
        (envelope,) = raw.ask(type="receipts", distribution="zone")["envelopes"]
    assert bench.publisher.open_receipt(envelope, subscriber="oslo").sequence == 1
    assert tree_of(tmp_path / "zone") == tree_of(tmp_path / "source")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["serve", "run"])
def test_an_agent_killed_in_mid_order_is_recovered_by_the_next_start(bench: Workbench, held: Made, tmp_path: Path, way: str) -> None:
    post = (Script(ScriptType.SHELL, f"touch {tmp_path}/undone", run=f"touch {tmp_path}/waiting; sleep 300"),)
    with Raw(bench) as raw:
        raw.hello()
        raw.say(type="order", envelope=bench.order(held, tmp_path / "zone", post=post))
        wait_for((tmp_path / "waiting").exists)
        assert (tmp_path / "zone/a").exists()
    if way == "run":
        subprocess.run([bench.launcher, "run", "--directory", bench.work], check=True)
        assert not (tmp_path / "zone").exists()
    with Raw(bench) as raw:
        assert raw.hello()["distributions"]["zone"] == {"held": "1.1", "extracted": None, "sequence": 1}
        (envelope,) = raw.ask(type="receipts", distribution="zone")["envelopes"]
        receipt = bench.publisher.open_receipt(envelope, subscriber="oslo")
        assert (receipt.outcome, receipt.failure is not None and receipt.failure.retryable) == ("failed", True)
        assert not (tmp_path / "zone").exists()
        assert (tmp_path / "undone").exists()
        assert raw.ask(type="order", envelope=bench.order(held, tmp_path / "zone"))["type"] == "receipt"
    assert tree_of(tmp_path / "zone") == tree_of(tmp_path / "source")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, []),
        (1.0, [("stage", 1, 9), ("swap", 1, 9), ("swap", 6, 9)]),
        (10.0, [("stage", 1, 9), ("stage", 2, 9), ("swap", 1, 9), ("swap", 2, 9), ("swap", 6, 9), ("swap", 6, 9)]),
    ],
    ids=["over at once", "an event a second", "an event every ten seconds"],
)
def test_events_tell_how_far_an_order_is_and_no_more_than_anybody_reads(
    seconds: float, told: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = iter(range(1000))
    monkeypatch.setattr("agents.frame_channel.time", SimpleNamespace(monotonic=lambda: seconds * next(at)))
    here, there = os.pipe()
    events = Events(FrameChannel(os.open(os.devnull, os.O_RDONLY), there))
    for phase, done in (("stage", 1), ("stage", 2), ("swap", 1), ("swap", 2), *[("swap", 6)] * (2 if seconds == 10.0 else 4)):
        events(phase, done, 9)
    os.close(there)
    with os.fdopen(here, "rb") as said:
        frames = list(iter(lambda: read_frame(said.read), None))
    assert [(frame["phase"], frame["done"], frame["total"]) for frame in frames if isinstance(frame, dict)] == told


# --- the command ------------------------------------------------------------------------------------------------------


def agent(bench: Workbench, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(bench.launcher), arguments[0], "--directory", str(bench.work), *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_status_tells_what_is_here(bench: Workbench, held: Made, tmp_path: Path) -> None:
    (row,) = json.loads(agent(bench, "status", "--json").stdout)["rows"]
    assert (row["distributor"], row["distribution"], row["held"], row["extracted"], row["state"]) == ("hq", "zone", "1.1", None, "received")
    conversation = bench.connect()
    bench.extract(conversation, bench.order(held, tmp_path / "zone"))
    conversation.close()
    (row,) = json.loads(agent(bench, "status", "--json").stdout)["rows"]
    assert (row["extracted"], row["state"], row["destinations"]) == ("1.1", "installed", [str(tmp_path / "zone")])
    assert "installed" in agent(bench, "status").stdout


@pytest.mark.parametrize("command", ["serve", "run", "status"])
def test_a_working_directory_that_others_may_write_in_is_refused(bench: Workbench, command: str) -> None:
    bench.work.chmod(0o770)
    done = agent(bench, command)
    assert done.returncode == 4
    assert "can be written by others" in done.stderr


def test_a_working_directory_of_somebody_else_is_refused(bench: Workbench) -> None:
    if os.geteuid() != 0:
        missing("root, to give it away")
    os.chown(bench.work, 65534, 65534)
    assert agent(bench, "run").returncode == 4


def test_a_missing_working_directory_is_said(bench: Workbench, tmp_path: Path) -> None:
    done = subprocess.run([bench.launcher, "run", "--directory", tmp_path / "no"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bootstrap" in done.stderr


def test_names_are_utf8_whatever_the_login_says(bench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/ünï ✓").write_text("x")
    made = make("1.1", tmp_path / "source")
    launcher = bench.launcher.read_text()
    bench.launcher.write_text(launcher.replace("PYTHONPATH", "PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 LC_ALL=C LANG=C PYTHONPATH"))
    conversation = bench.connect()
    bench.send(conversation, made)
    bench.extract(conversation, bench.order(made, tmp_path / "zone"))
    conversation.close()
    assert tree_of(tmp_path / "zone") == tree_of(tmp_path / "source")


def test_two_distributors_have_their_own_trust_and_files(bench: Workbench, held: Made) -> None:
    """What one signed is nothing to the other's conversation."""
    from agents.init import trust

    other = Publisher(bench.directory / "other", distributor="other")
    other.ensure_keys(datetime.now(UTC))
    trust(bench.work, "other", other.root())
    with Raw(bench) as raw:
        assert raw.hello("other")["distributions"] == {}
        assert raw.metadata(bench)["type"] == "error"
        assert raw.ask(type="order", envelope=bench.order(held, Path("/nonexistent/x")))["type"] == "error"


@pytest.mark.slow
def test_the_next_start_removes_what_killed_ones_left(bench: Workbench, held: Made) -> None:
    hq = bench.work / "distributors/hq"
    (hq / "distributions/zone/receiving/1.2").mkdir()
    (hq / "trust/scratch/metadata").mkdir(parents=True)
    (bench.held / "revisions/.tmp-1.1-77").mkdir()
    places = ["", "trust", "trust/metadata", "quarantine"] + [f"distributions/zone/{name}" for name in ("", "receiving/1.2", "receipts")]
    for place in places:
        (hq / place).mkdir(exist_ok=True)
        (hq / place / ".tmp-77-1").write_text("x")
    (bench.work / "identity/.tmp-77-1").write_text("x")

    assert agent(bench, "run").returncode == 0

    assert list(bench.work.rglob(".tmp-*")) == []
    assert not (hq / "trust/scratch").exists()
    with Raw(bench) as raw:
        assert raw.hello()["distributions"]["zone"]["held"] == "1.1"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_large_file_passes_through_little_memory(bench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    chance = random.Random(7)
    with open(tmp_path / "source/big", "wb") as file:
        for _ in range(512):
            file.write(chance.randbytes(BLOCK))
    made = make("1.1", tmp_path / "source")
    bench.publish(made)
    with Raw(bench, python=["-X", "utf8"]) as raw:
        raw.hello()
        raw.metadata(bench)
        raw.put_manifest(made)
        raw.begin_ted(made)
        raw.data(made.payload)
        assert raw.reply() == {"type": "stored"}
        assert raw.ask(type="order", envelope=bench.order(made, tmp_path / "zone"))["type"] == "receipt"
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{raw.process.pid}/status").read_text())
    assert (tmp_path / "zone/big").stat().st_size == 512 * BLOCK
    assert int(peak) < 200 * 1024
