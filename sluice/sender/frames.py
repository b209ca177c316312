"""Frames to and from one agent: sent, counted, bounded, and in turn. ``conversation.py`` says what they mean."""

from __future__ import annotations

from contextlib import suppress

from sluice.errors import ConnectionLostError, ProtocolError, SluiceError, TransportError
from sluice.formats.canonical import Fields
from sluice.formats.protocol import DATA_MAX, Message, data_header, error_of, message_frame, read_frame
from sluice.ports import Stream

LAST_WORDS_MAX = 100
"""Frames read in search of an error after the line broke."""


class Reported(Exception):
    """An error the agent reported as its final reply: the request failed, the conversation goes on."""

    def __init__(self, error: SluiceError) -> None:
        super().__init__(str(error))
        self.error = error


class FrameChannel:
    """A Stream in frames. ``who`` names the Subscriber in errors."""

    def __init__(self, stream: Stream, who: str) -> None:
        self._stream = stream
        self.who = who
        self.sent = 0
        """Bytes written, frames' headers included."""
        self.received = 0

    def say(self, message: Message) -> None:
        """Send one message."""
        self.write(message_frame(message))

    def data(self, data: bytes | memoryview) -> None:
        """Send data, in as many frames as it needs."""
        rest = memoryview(data)
        while rest:
            piece, rest = rest[:DATA_MAX], rest[DATA_MAX:]
            self.write(data_header(len(piece)))
            self.write(piece)

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes that are frames already. If the line breaks, an error that the agent reported last is the better reason."""
        try:
            self._stream.write(data)
        except ConnectionLostError:
            self._raise_last_words()
            raise
        self.sent += len(data)

    def reply(self, *expected: str) -> Message:
        """Read the next message, of one of these types.

        Raises:
            Reported: It is an error.
            ProtocolError: It is anything else.
            ConnectionLostError: There is none any more.
        """
        frame = read_frame(self._read)
        if frame is None:
            raise ConnectionLostError(f"{self.who}: its agent ended the conversation")
        if isinstance(frame, bytes):
            raise ProtocolError(f"{self.who}: its agent sent data that nobody asked for")
        if frame["type"] == "error":
            raise Reported(error_of(frame))
        if frame["type"] not in expected:
            raise ProtocolError(f"{self.who}: its agent sent {frame['type']!r:.40} instead of {' or '.join(expected)}")
        return frame

    def reply_if_there(self, *expected: str) -> Message | None:
        """Read as ``reply`` if something has arrived; else None, without waiting."""
        return self.reply(*expected) if self._stream.readable() else None

    def fields(self, message: Message) -> Fields:
        """Return a message's fields without its type. Their errors are TrustErrors; ``conversation.py`` makes them ProtocolErrors."""
        fields = Fields(message, what=f"the agent's {message['type']!r:.40}")
        fields.text("type")
        return fields

    def close(self) -> None:
        """End it; may be called twice."""
        self._stream.close()

    def _raise_last_words(self) -> None:
        with suppress(ProtocolError, TransportError):
            for _ in range(LAST_WORDS_MAX):
                if not self._stream.readable() or (frame := read_frame(self._read)) is None:
                    return
                if isinstance(frame, dict) and frame["type"] == "error":
                    raise Reported(error_of(frame))

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.received += len(data)
        return data
