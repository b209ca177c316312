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
from sluice.errors import ProtocolError
from sluice.formats.protocol import Message, message_frame, read_frame
from sluice.rules.wording import printable

QUICK_SECONDS = 0.5
"""What is over by then tells of nothing: its answer is there."""
PHASE_SECONDS = 1.0
"""Least time between two events."""
EVENT_SECONDS = 5.0
"""Least time between two events of one phase."""
QUIET_SECONDS = 10.0
"""Most time without a sign of life within an order (the protocol says 20)."""
SILENCE_SECONDS = 600.0
"""Most time a sender may say nothing within a put, which holds the Distribution's lock; its own timeout is shorter. Between requests
it may be silent for as long as it waits for its slot."""
PHASE_MAX = 64
"""Characters of a phase, which may name a file: who reads it refuses more, and what no terminal should be shown."""
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


class Line:
    """Reads and writes frames. Only ``events`` writes from another thread."""

    def __init__(self, source: int, sink: int, *, silence: float = SILENCE_SECONDS) -> None:
        """Over two descriptors; ``source`` is the line's from now on."""
        self._input = _Input(source)
        self._source = io.BufferedReader(self._input, _BUFFER)
        self._silence = silence
        self._sink = sink
        self._lock = threading.Lock()
        self._broken = False

    @classmethod
    def over_stdio(cls) -> Line:
        """Takes stdin and stdout over: a stray print goes to stderr, a stray read finds nothing."""
        source, sink = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        return cls(source, sink)

    def read(self) -> Message | bytes | None:
        """The next frame; None at the end. Raises ProtocolError."""
        return read_frame(self._source.read)

    @contextmanager
    def within_a_put(self) -> Iterator[None]:
        """Inside, a sender that falls silent counts as gone."""
        self._input.limit = self._silence
        try:
            yield
        finally:
            self._input.limit = None

    def data(self, message: str) -> bytes:
        """The next frame, which must be data. Raises ProtocolError; EOFError where the sender is gone."""
        frame = self.read()
        if frame is None:
            raise EOFError(message)
        if not isinstance(frame, bytes):
            raise ProtocolError(f"a message {str(frame.get('type'))[:32]!r} came instead of {message}")
        return frame

    def say(self, message: Message) -> None:
        """Write one message; where nobody listens any more it is dropped: what is under way is finished all the same."""
        frame = message_frame(message)
        with self._lock:
            if not self._broken:
                try:
                    write_all(self._sink, frame)
                except (BrokenPipeError, ConnectionError):
                    self._broken = True

    @contextmanager
    def events(self) -> Iterator[Events]:
        """Signs of life while an order is carried out, also while a single step takes long."""
        events = Events(self)
        thread = threading.Thread(target=events.keep_alive, name="events", daemon=True)
        thread.start()
        try:
            yield events
        finally:
            events.stop.set()
            thread.join()


class Events:
    """Progress of an order as event frames, not more of them than anybody reads."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._last: Message = {"type": "event", "phase": "begin", "done": 0, "total": 0}
        self._told = self._last
        self._begun = self._said = time.monotonic()
        self.stop = threading.Event()

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Called often; most calls say nothing, or not at once."""
        phase = printable(phase[:PHASE_MAX])
        self._last = {"type": "event", "phase": phase, "done": done, "total": total}
        self._say_if_due()

    def keep_alive(self) -> None:
        """Says what wasn't said at once, and repeats the last event where nothing else is said."""
        while not self.stop.wait(min(QUICK_SECONDS, QUIET_SECONDS / 4)):
            self._say_if_due()

    def _say_if_due(self) -> None:
        now, last = time.monotonic(), self._last
        if last == self._told:
            least = QUIET_SECONDS
        elif self._said == self._begun:
            least = QUICK_SECONDS
        else:
            least = EVENT_SECONDS if last["phase"] == self._told["phase"] else PHASE_SECONDS
        if now - self._said >= min(least, QUIET_SECONDS):
            self._told, self._said = last, now
            self._line.say(last)
