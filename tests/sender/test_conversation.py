"""The Distributor's side of the agent protocol: against an agent that behaves, and against hostile ones."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import (
    AgentVersionError,
    ConnectionLostError,
    NoSpaceError,
    ProtocolError,
    ReplayedError,
    SluiceError,
    StoreCorruptError,
    TransportError,
    TransportTimeoutError,
)
from sluice.formats.protocol import HEADER, LACKS_MAX, error_message, message_frame
from sluice.formats.ted.file import PAYLOAD_OFFSET, TedWriter
from sluice.formats.ted.index import BLOCK, index_bytes
from sluice.model.agent_event import AgentEvent
from sluice.model.belief import Identity
from sluice.model.revision import RevisionNumber
from sluice.ports import TedFile
from sluice.sender.conversation import COMPLETING_EVENTS_MAX, Conversation
from tests.sender.agent_double import AgentDouble, Line

ONE = RevisionNumber(1, 1)
TARGET = "zone/1.1/distfile.ted"


def make_ted(directory: Path, payload: int) -> TedFile:
    """A ``.ted`` whose frames nobody decompresses: the conversation moves bytes."""
    path = directory / "distfile.ted"
    with path.open("wb") as file:
        writer = TedWriter(file.write, distribution="zone", revision=ONE, base=None)
        left = payload
        while left:
            size = min(left, 3_000_000)
            writer.frame(os.urandom(size), size)
            left -= size
        index, data = writer.finish()
    assert data == index_bytes(index)
    return TedFile(ONE, None, str(path), "distfile.ted", data, index.payload)


def talk(agent: AgentDouble) -> tuple[Conversation, Line]:
    line = Line(agent)
    return Conversation(line, who="Subscriber helsinki-1"), line


class Script:
    """A Stream that says what it was given, whatever it hears."""

    def __init__(self, said: bytes, *, then: type[SluiceError] | None = None) -> None:
        self.said, self.then = said, then
        self.heard = 0
        self.largest = 0

    def write(self, data: bytes | memoryview) -> None:
        self.heard += len(data)

    def read(self, size: int) -> bytes:
        self.largest = max(self.largest, size)
        if not self.said and self.then is not None:
            raise self.then("as the test wants")
        data, self.said = self.said[:size], self.said[size:]
        return data

    def readable(self) -> bool:
        return bool(self.said)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("version", [2**63, -1, 1.5, True])
def test_a_version_that_no_ledger_could_keep_is_refused(version: object) -> None:
    conversation, _ = talk(AgentDouble(hello={"trust": {"timestamp": version}}))
    with pytest.raises(ProtocolError, match="the agent's trust has 'timestamp'"):
        conversation.hello("hq")


def test_hello_tells_what_the_subscriber_holds() -> None:
    conversation, line = talk(AgentDouble(held={"zone": "1.2"}, extracted={"zone": "1.1"}, trust={"root": 1, "timestamp": 7}))
    hello = conversation.hello("hq")
    assert (hello.subscriber, hello.python, hello.codecs, hello.trust) == ("helsinki-1", "3.11.7", {"zstd"}, {"root": 1, "timestamp": 7})
    assert hello.of("zone").held == RevisionNumber(1, 2)
    assert hello.of("zone").extracted == ONE
    assert hello.of("other").held is None
    assert conversation.sent == line.arrived


def test_an_identity_is_taken_as_a_claim_with_its_directory_made_printable() -> None:
    said = {"key": "ab", "directory": "/srv/\x1b[2J", "host": "web", "instance": "cd"}
    conversation, _ = talk(AgentDouble(hello={"identity": said}))
    assert conversation.hello("hq").identity == Identity("ab", "/srv/?[2J", "web", "cd")
    older, _ = talk(AgentDouble())
    assert older.hello("hq").identity is None


def test_the_number_of_the_last_order_is_over_all_distributions_whichever_were_asked_about() -> None:
    held = {"held": "1.1", "extracted": None, "sequence": 4}
    everything, _ = talk(AgentDouble(hello={"distributions": {"zone": held, "app": held | {"sequence": 7}}}))
    assert everything.hello("hq").sequence == 7
    about, _ = talk(AgentDouble(hello={"distributions": {"zone": held}, "sequence": 7}))
    assert about.hello("hq", ["zone"]).sequence == 7


def test_an_agent_of_another_protocol_is_refused_with_the_remedy() -> None:
    conversation, _ = talk(AgentDouble(hello={"protocol": 2}))
    with pytest.raises(AgentVersionError, match="speaks protocol 2, this is 1"):
        conversation.hello("hq")


def test_a_ted_arrives_whole_and_a_second_put_sends_nothing(tmp_path: Path) -> None:
    ted = make_ted(tmp_path, 10 * BLOCK + 17)
    agent = AgentDouble()
    conversation, line = talk(agent)
    seen: list[tuple[int, int]] = []
    put = conversation.put_ted(TARGET, ted, lambda done, total: seen.append((done, total)))
    assert (put.held, put.resumed, put.again) == (False, 0, 0)
    assert bytes(agent.parts[TARGET]) == Path(ted.path).read_bytes()[PAYLOAD_OFFSET : PAYLOAD_OFFSET + ted.payload]
    assert (seen[0], seen[-1]) == ((0, ted.payload), (ted.payload, ted.payload))
    before = line.arrived
    assert conversation.put_ted(TARGET, ted).held
    assert line.arrived - before < len(ted.index) + 200


def test_an_empty_payload_needs_no_block(tmp_path: Path) -> None:
    agent = AgentDouble()
    assert not talk(agent)[0].put_ted(TARGET, make_ted(tmp_path, 0)).held
    assert agent.held == {"zone": "1.1"}


def test_a_cut_send_goes_on_where_it_stopped(tmp_path: Path) -> None:
    ted = make_ted(tmp_path, 10 * BLOCK)
    agent = AgentDouble(cut_after=6 * BLOCK + 500_000)
    conversation, _ = talk(agent)
    with pytest.raises(ConnectionLostError):
        conversation.put_ted(TARGET, ted)
    assert conversation.sent >= 6 * BLOCK
    agent.cut_after = None
    conversation, line = talk(agent)
    put = conversation.put_ted(TARGET, ted)
    assert put.resumed == 6 * BLOCK
    assert line.arrived < 4 * BLOCK + 10_000
    assert bytes(agent.parts[TARGET]) == Path(ted.path).read_bytes()[PAYLOAD_OFFSET : PAYLOAD_OFFSET + ted.payload]


def test_a_block_damaged_under_way_is_sent_again_and_what_followed_it(tmp_path: Path) -> None:
    ted = make_ted(tmp_path, 5 * BLOCK)
    hits = iter([True])
    agent = AgentDouble(damage=lambda offset: offset == 2 * BLOCK and next(hits, False))
    put = talk(agent)[0].put_ted(TARGET, ted)
    assert put.again == 1
    assert bytes(agent.parts[TARGET]) == Path(ted.path).read_bytes()[PAYLOAD_OFFSET : PAYLOAD_OFFSET + ted.payload]


def test_damage_at_the_very_end_is_still_heard(tmp_path: Path) -> None:
    ted = make_ted(tmp_path, 2 * BLOCK)
    hits = iter([True, True])
    assert talk(AgentDouble(damage=lambda offset: offset == BLOCK and next(hits, False)))[0].put_ted(TARGET, ted).again == 2


def test_blocks_that_never_arrive_whole_end_the_put(tmp_path: Path) -> None:
    ted = make_ted(tmp_path, 2 * BLOCK)
    with pytest.raises(ProtocolError, match="arrived damaged 9 times"):
        talk(AgentDouble(damage=lambda _: True))[0].put_ted(TARGET, ted)


def test_our_own_damaged_file_is_told_apart_from_a_bad_line(tmp_path: Path) -> None:
    ted = make_ted(tmp_path, 4 * BLOCK)
    with open(ted.path, "r+b") as file:
        file.seek(PAYLOAD_OFFSET + BLOCK + 5)
        flipped = bytes([file.read(1)[0] ^ 1])
        file.seek(-1, os.SEEK_CUR)
        file.write(flipped)
    with pytest.raises(StoreCorruptError, match="block 1 no longer has its digest"):
        talk(AgentDouble())[0].put_ted(TARGET, ted)


def test_our_own_shortened_file_is_an_error_and_no_endless_loop(tmp_path: Path) -> None:
    ted = make_ted(tmp_path, 4 * BLOCK)
    os.truncate(ted.path, 2 * BLOCK)
    with pytest.raises(StoreCorruptError, match="shorter"):
        talk(AgentDouble())[0].put_ted(TARGET, ted)


@pytest.mark.parametrize("error", [ReplayedError("old", remedy="new"), NoSpaceError("full"), ConnectionLostError("x")])
def test_an_error_of_the_agent_is_raised_as_its_class_and_the_conversation_goes_on(error: SluiceError, tmp_path: Path) -> None:
    agent = AgentDouble(refuse={"put": error})
    conversation, _ = talk(agent)
    with pytest.raises(type(error)) as caught:
        conversation.put_ted(TARGET, make_ted(tmp_path, BLOCK))
    assert (caught.value.message, caught.value.remedy) == (error.message, error.remedy)
    assert conversation.hello("hq").subscriber == "helsinki-1"


def test_an_error_in_the_middle_of_a_put_ends_it(tmp_path: Path) -> None:
    class Full(Line):
        def _block(self, put: dict[str, Any], body: bytes) -> None:
            self.put = None
            self.say(error_message(NoSpaceError("full", remedy="free some")))

    line = Full(AgentDouble())
    conversation = Conversation(line, who="x")
    with pytest.raises(NoSpaceError, match="full: free some"):
        conversation.put_ted(TARGET, make_ted(tmp_path, 9 * BLOCK))
    assert line.arrived < 3 * BLOCK
    assert conversation.hello("hq")


def test_the_last_words_of_an_agent_that_closes_are_the_error(tmp_path: Path) -> None:
    class Gone(Script):
        def write(self, data: bytes | memoryview) -> None:
            raise ConnectionLostError("broken pipe")

    conversation = Conversation(Gone(message_frame(error_message(NoSpaceError("full")))), who="x")
    with pytest.raises(NoSpaceError):
        conversation.put_manifest("zone/1.1/manifest", b"x")


def test_after_a_broken_request_nothing_more_is_said() -> None:
    conversation = Conversation(Script(b"", then=TransportTimeoutError), who="x")
    with pytest.raises(TransportTimeoutError):
        conversation.hello("hq")
    with pytest.raises(ConnectionLostError, match="over"):
        conversation.receipts("zone")
    conversation.close()
    conversation.close()


def test_a_closed_conversation_said_goodbye_once() -> None:
    agent = AgentDouble()
    conversation, line = talk(agent)
    conversation.close()
    conversation.close()
    assert agent.requests == ["bye"]
    assert line.closed


def test_receipts_are_listed_until_they_are_acknowledged() -> None:
    agent = AgentDouble(receipts=[("zone", 3, {"payload": "", "signature": "", "key": ""})])
    conversation, _ = talk(agent)
    assert len(conversation.receipts("zone")) == 1
    conversation.acknowledge("zone", 3)
    assert conversation.receipts("zone") == []


def frame(kind: str, body: bytes) -> bytes:
    return HEADER.pack(len(body) + 1, ord(kind)) + body


HELLO = {
    "type": "hello",
    "protocol": 1,
    "agent": "0.1.0",
    "subscriber": "helsinki-1",
    "platform": "debian-12",
    "python": "3.11.7",
    "codecs": ["zstd"],
    "memory": 1,
    "free": 1,
    "features": [],
    "trust": None,
    "distributions": {},
}


@pytest.mark.parametrize(
    "said",
    [
        b"Welcome to Debian GNU/Linux 12!\n",
        b"\xff\xff\xff\xffJ{}",
        HEADER.pack(64 * 1024 * 1024, ord("J")),
        HEADER.pack(2 * 1024 * 1024, ord("D")),
        HEADER.pack(0, ord("J")),
        frame("J", b""),
        frame("J", b"[]"),
        frame("J", b"{}"),
        frame("J", b'{"type":1}'),
        frame("J", b'{"type":"hello","type":"hello"}'),
        frame("J", b"[" * 100_000),
        frame("J", b'{"type":"hello","protocol":NaN}'),
        frame("J", b"\xff\xfe"),
        frame("J", b'{"type":"hel'),
        frame("D", b"data nobody asked for"),
        frame("J", b'{"type":"stored"}'),
        frame("Z", b"?"),
        HEADER.pack(100, ord("J")) + b'{"type":',
        *(
            message_frame({**HELLO, **change})
            for change in (
                {"subscriber": "a.b"},
                {"subscriber": "../../etc"},
                {"subscriber": 3},
                {"codecs": "zstd"},
                {"codecs": [3]},
                {"features": ["x" * 65]},
                {"features": [], "first": 3},
                {"features": None, "first": -1},
                {"features": None, "first": "3"},
                {"features": None, "first": 3, "lacking": ["x" * 65]},
                {"memory": -1},
                {"memory": "much"},
                {"free": True},
                {"trust": []},
                {"trust": {"root": "1"}},
                {"trust": {"root": -1}},
                {"trust": {"../root": 1}},
                {"distributions": []},
                {"distributions": {"a.b": {"held": None, "extracted": None, "sequence": 0}}},
                {"distributions": {"zone": {"held": "1", "extracted": None, "sequence": 0}}},
                {"distributions": {"zone": {"held": None, "extracted": None, "sequence": -1}}},
                {"distributions": {"zone": {"held": None}}},
                {"distributions": {"zone": None}},
                {"unknown": 1},
                {"python": "3" * 1000},
                {"identity": "web"},
                {"identity": {"key": "a", "directory": "/", "host": "h"}},
                {"identity": {"key": "a", "directory": "/", "host": "\x1b[2J", "instance": "i"}},
                {"identity": {"key": "a" * 65, "directory": "/", "host": "h", "instance": "i"}},
                {"identity": {"key": "a", "directory": "/" * 5000, "host": "h", "instance": "i"}},
                {"identity": {"key": "a", "directory": "/", "host": "h", "instance": "i", "more": 1}},
            )
        ),
        *(
            message_frame({k: v for k, v in HELLO.items() if k != missing})
            for missing in HELLO
            if missing not in ("type", "protocol", "trust")
        ),
    ],
)
def test_a_hostile_hello_is_a_protocol_error_without_much_memory(said: bytes) -> None:
    script = Script(said)
    with pytest.raises(ProtocolError):
        Conversation(script, who="Subscriber helsinki-1").hello("hq")
    assert script.largest <= 16 * 1024 * 1024


@given(st.binary(max_size=200))
def test_random_bytes_are_never_anything_but_a_transport_error(said: bytes) -> None:
    with pytest.raises(TransportError):
        Conversation(Script(said), who="x").hello("hq")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda s: st.lists(s) | st.dictionaries(st.text(), s), max_leaves=9
    )
)
def test_any_reply_to_any_request_is_answered_by_an_error_of_ours(value: Any) -> None:
    for kind in ("hello", "accepted", "ready", "receipt", "receipts", "done", "event", "error"):
        message = (
            {**value, "type": kind} if isinstance(value, dict) else {"type": kind, "envelope": value, "envelopes": value, "trust": value}
        )
        said = message_frame(message)
        requests: list[Callable[[Conversation], object]] = [
            lambda c: c.hello("hq"),
            lambda c: c.push_metadata("zone", {"timestamp.json": b"x"}),
            lambda c: c.put_manifest("zone/1.1/manifest", b"x"),
            lambda c: c.order({"payload": ""}),
            lambda c: c.receipts("zone"),
            lambda c: c.acknowledge("zone", 1),
        ]
        for request in requests:
            try:
                request(Conversation(Script(said), who="x"))
            except SluiceError:
                continue


@pytest.mark.parametrize("offset", [-1, 1, BLOCK + 1, 4 * BLOCK + 1, 2**70, "0", None, True])
def test_an_agent_that_wants_to_go_on_nowhere_is_refused(offset: object, tmp_path: Path) -> None:
    script = Script(frame("J", json.dumps({"type": "ready", "offset": offset}).encode()))
    with pytest.raises(ProtocolError):
        Conversation(script, who="x").put_ted(TARGET, make_ted(tmp_path, 4 * BLOCK))


@pytest.mark.parametrize("offset", [3 * BLOCK, 5, -1, 4 * BLOCK])
def test_an_agent_that_wants_again_what_was_not_sent_is_refused(offset: int, tmp_path: Path) -> None:
    said = message_frame({"type": "ready", "offset": 0}) + frame("J", json.dumps({"type": "again", "offset": offset}).encode())
    with pytest.raises(ProtocolError):
        Conversation(Script(said), who="x").put_ted(TARGET, make_ted(tmp_path, 4 * BLOCK))


def test_replies_without_end_within_a_put_are_cut_short(tmp_path: Path) -> None:
    said = message_frame({"type": "ready", "offset": 0}) + message_frame({"type": "progress", "offset": 0}) * 10_000
    script = Script(said)
    with pytest.raises(ProtocolError, match="without end"):
        Conversation(script, who="x").put_ted(TARGET, make_ted(tmp_path, 4 * BLOCK))


def test_events_without_end_are_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.sender.conversation.EVENTS_MAX", 100)
    script = Script(message_frame({"type": "event", "phase": "stage", "done": 0, "total": 0}) * 200)
    with pytest.raises(ProtocolError, match="no receipt"):
        Conversation(script, who="x").order({"payload": ""})


def test_completing_ends_after_fewer_events_than_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert COMPLETING_EVENTS_MAX * 5 > 24 * 3600  # a day's worth at one in five seconds, as docs/formats.md allows
    monkeypatch.setattr("sluice.sender.conversation.COMPLETING_EVENTS_MAX", 100)
    events = message_frame({"type": "event", "phase": "complete", "done": 0, "total": 1})
    with pytest.raises(ProtocolError, match=r"sent 100 events and no completed.*holds no slot"):
        Conversation(Script(events * 200), who="x").complete("zone/1.2")
    assert Conversation(Script(events * 99 + message_frame({"type": "completed", "lacks": []})), who="x").complete("zone/1.2") == []


def test_texts_of_an_agent_lose_their_control_characters() -> None:
    said = frame("J", json.dumps({"type": "error", "code": "NoSpaceError", "message": "a\x1b[2Jb", "remedy": "c\nd"}).encode())
    with pytest.raises(NoSpaceError) as caught:
        Conversation(Script(said), who="x").receipts("zone")
    assert str(caught.value) == "a?[2Jb: c?d"


DIGEST = "ab" * 32


@pytest.mark.parametrize(
    "lacks", [["ab"], [DIGEST.upper()], [DIGEST, DIGEST], [7], DIGEST, None, {"a": 1}, [DIGEST + "\n"]], ids=lambda value: repr(value)[:20]
)
def test_contents_that_an_agent_lacks_are_digests_and_each_stands_once(lacks: object) -> None:
    said = message_frame({"type": "event", "phase": "complete", "done": 1, "total": 2})
    conversation = Conversation(Script(said + message_frame({"type": "completed", "lacks": lacks})), who="x")
    with pytest.raises(ProtocolError):
        conversation.complete("zone/1.2")
    with pytest.raises(ConnectionLostError, match="the conversation is over"):
        conversation.complete("zone/1.2")


def test_an_agent_that_lacks_more_than_it_may_name_ends_the_conversation() -> None:
    lacks = [f"{number:064x}" for number in range(LACKS_MAX + 1)]
    with pytest.raises(ProtocolError, match="isn't a list of at most 200000"):
        Conversation(Script(message_frame({"type": "completed", "lacks": lacks})), who="x").complete("zone/1.2")


def test_signs_of_life_while_it_completes_are_told() -> None:
    said = message_frame({"type": "event", "phase": "complete", "done": 1, "total": 2})
    seen: list[AgentEvent] = []
    conversation = Conversation(Script(said * 3 + message_frame({"type": "completed", "lacks": [DIGEST]})), who="x")
    assert conversation.complete("zone/1.2", seen.append) == [DIGEST]
    assert seen == [AgentEvent("complete", 1, 2)] * 3
