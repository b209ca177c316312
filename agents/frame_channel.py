"""The agent's end of a conversation: frames over stdin and stdout, which nothing else may touch."""

from __future__ import annotations

import io
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sluice.durable import write_all
from sluice.errors import ProtocolError, TamperedError
from sluice.formats.agent_events import event_to_json
from sluice.formats.protocol import Message, message_frame, read_frame
from sluice.model.agent_event import AgentEvent

QUICK_SECONDS = 0.5
"""An order that takes less reports no progress: its answer is there."""
PHASE_SECONDS = 1.0
"""Least time between two events."""
EVENT_SECONDS = 5.0
"""Least time between two events of one phase."""
QUIET_SECONDS = 10.0
"""Most time without a sign of life within an order (the protocol says 20)."""
SILENCE_SECONDS = 600.0
"""Most time that a sender may be silent within a put, which holds the Distribution's lock; its own timeout is shorter. Between requests
it may be silent for as long as it waits for its slot."""
_BUFFER = 1024 * 1024


class _Input(io.RawIOBase):
    """A descriptor whose reading can be limited in time: silence beyond the limit is the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.limit: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not select.select([self._fd], [], [], self.limit)[0]:
            return 0
        return os.readv(self._fd, [buffer])

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


class FrameChannel:
    """Reads and writes frames. Only ``events`` writes from another thread."""

    def __init__(self, source: int, sink: int, *, silence: float = SILENCE_SECONDS) -> None:
        """Over two descriptors; ``source`` is the channel's from now on."""
        self._input = _Input(source)
        self._source = io.BufferedReader(self._input, _BUFFER)
        self._silence = silence
        self._sink = sink
        self._lock = threading.Lock()
        self._broken = False

    @classmethod
    def over_stdio(cls) -> FrameChannel:
        """Take stdin and stdout over: a stray print goes to stderr, a stray read finds nothing."""
        source, sink = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        return cls(source, sink)

    def read(self) -> Message | bytes | None:
        """Read the next frame; None at the end. Raises ProtocolError."""
        return read_frame(self._source.read)

    @contextmanager
    def within_a_put(self) -> Iterator[None]:
        """Within, a sender that falls silent counts as gone."""
        self._input.limit = self._silence
        try:
            yield
        finally:
            self._input.limit = None

    def read_data(self, name: str) -> bytes:
        """Read the next frame, which must be data: of ``name``, for errors. Raises ProtocolError; EOFError if the sender is gone."""
        frame = self.read()
        if frame is None:
            raise EOFError(name)
        if not isinstance(frame, bytes):
            raise ProtocolError(f"a message {str(frame.get('type'))[:32]!r} came instead of {name}")
        return frame

    def read_exactly(self, length: int, name: str) -> bytes:
        """Read data frames until ``length`` bytes are here. Raises TamperedError if there are more; else as ``read_data``."""
        found = bytearray()
        while len(found) < length:
            found += self.read_data(name)
        if len(found) > length:
            raise TamperedError(f"more bytes of {name} than announced")
        return bytes(found)

    def send(self, message: Message) -> None:
        """Write one message; if nobody listens any more it is dropped: work under way is finished all the same."""
        frame = message_frame(message)
        with self._lock:
            if not self._broken:
                try:
                    write_all(self._sink, frame)
                except (BrokenPipeError, ConnectionError):
                    self._broken = True

    @contextmanager
    def events(self) -> Iterator[Events]:
        """Within, send signs of life while an order is carried out, also while a single step takes long."""
        events = Events(self)
        thread = threading.Thread(target=events.keep_alive, name="events", daemon=True)
        thread.start()
        try:
            yield events
        finally:
            events.stop.set()
            thread.join()


class Events:
    """Sends the progress of an order as event frames, no more of them than anybody reads, and its milestones at once."""

    def __init__(self, channel: FrameChannel) -> None:
        self._channel = channel
        self._last = self._last_sent = AgentEvent("begin")
        self._started = self._sent_at = time.monotonic()
        self._lock = threading.Lock()
        """Held from the choice of an event until it is written, so that none comes after a later one."""
        self.stop = threading.Event()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Report progress. Called often; most calls send nothing, or not at once."""
        self._last = AgentEvent(phase, done, total)
        self._send_if_due()

    def tell(self, milestone: AgentEvent) -> None:
        """Send a milestone."""
        with self._lock:
            self._channel.send(event_to_json(milestone))
            self._last = self._last_sent = AgentEvent(milestone.phase, milestone.done, milestone.total)

    def keep_alive(self) -> None:
        """Send events that weren't sent at once, and repeat the last one if there is no other."""
        while not self.stop.wait(min(QUICK_SECONDS, QUIET_SECONDS / 4)):
            self._send_if_due()

    def _send_if_due(self) -> None:
        with self._lock:
            now, last = time.monotonic(), self._last
            if last == self._last_sent:
                least = QUIET_SECONDS
            elif self._sent_at == self._started:
                least = QUICK_SECONDS
            else:
                least = EVENT_SECONDS if last.phase == self._last_sent.phase else PHASE_SECONDS
            if now - self._sent_at >= min(least, QUIET_SECONDS):
                self._last_sent, self._sent_at = last, now
                self._channel.send(event_to_json(last))
