"""Frames of the agent protocol: written and read back; whatever else comes is a ProtocolError."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice import errors
from sluice.formats.protocol import DATA_MAX, HEADER, MESSAGE_MAX, data_header, error_message, error_of, message_frame, read_frame


def test_messages_and_data_are_read_back_in_turn() -> None:
    stream = io.BytesIO(message_frame({"type": "hello"}) + data_header(3) + b"abc" + message_frame({"type": "bye"}))
    assert [read_frame(stream.read) for _ in range(4)] == [{"type": "hello"}, b"abc", {"type": "bye"}, None]


@given(st.integers(1, 40))
def test_a_reader_that_gets_little_at_a_time_reads_the_same(size: int) -> None:
    stream = io.BytesIO(message_frame({"type": "hello", "text": "x" * 100}))
    assert read_frame(lambda n: stream.read(min(n, size))) == {"type": "hello", "text": "x" * 100}


@given(st.binary(min_size=1, max_size=64))
def test_other_bytes_are_refused_without_reading_on(data: bytes) -> None:
    stream = io.BytesIO(data + b"\0" * 16)
    length, kind = HEADER.unpack((data + b"\0" * 16)[: HEADER.size])
    if kind in b"JD" and length - 1 <= 16:
        return
    with pytest.raises(errors.ProtocolError):
        read_frame(stream.read)


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(MESSAGE_MAX + 2, ord("J")),
        HEADER.pack(DATA_MAX + 2, ord("D")),
        HEADER.pack(0, ord("J")),
        HEADER.pack(1, ord("D")),
        HEADER.pack(3, ord("J")) + b"[]",
        HEADER.pack(3, ord("J")) + b"{}",
        HEADER.pack(11, ord("J")) + b'{"type":1}',
        HEADER.pack(10, ord("J")) + b'{"type"',
        b"\0\0",
    ],
    ids=["long message", "long data", "no type byte", "empty data", "a list", "no type", "type is a number", "cut", "cut header"],
)
def test_a_frame_that_breaks_a_rule_is_refused(frame: bytes) -> None:
    with pytest.raises(errors.ProtocolError):
        read_frame(io.BytesIO(frame).read)


def test_a_data_frame_over_the_limit_is_not_sent() -> None:
    with pytest.raises(errors.ProtocolError):
        data_header(DATA_MAX + 1)


def test_an_error_arrives_as_its_own_class_with_its_remedy() -> None:
    arrived = error_of(error_message(errors.ReplayedError("too old", remedy="send the newest")))
    assert (type(arrived), arrived.message, arrived.remedy) == (errors.ReplayedError, "too old", "send the newest")


def test_an_error_of_a_newer_peer_arrives_as_a_plain_one() -> None:
    assert type(error_of({"type": "error", "code": "FutureError", "message": "m"})) is errors.SluiceError


def test_texts_of_a_hostile_peer_are_bounded_and_hold_no_control_characters() -> None:
    arrived = error_of({"type": "error", "code": "StoreError", "message": "\x1b[2J" + "x" * 10_000, "remedy": 7})
    assert arrived.message.startswith("?[2Jxxx")
    assert len(arrived.message) == 2000
    assert arrived.remedy == ""


def test_blueprint_errors_never_come_from_a_peer() -> None:
    assert type(error_of({"type": "error", "code": "BlueprintError", "message": "m"})) is errors.SluiceError
