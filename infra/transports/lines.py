"""Keep what transports have open, or are opening, so that it can be closed all at once: whoever waits for a host then stops waiting."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Protocol, TypeVar
from weakref import WeakSet


class Line(Protocol):
    """A socket, a login or a stream."""

    def close(self) -> None:
        """End it, from any thread; may be called twice."""


L = TypeVar("L", bound=Line)


class Lines:
    """All lines of some transports, for as long as somebody uses them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = WeakSet[Line]()
        self._is_closed = False

    def add(self, line: L) -> L:
        """Keep a line; once they are closed it is closed at once."""
        with self._lock:
            self._open.add(line)
        if self._is_closed:
            line.close()
        return line

    def close(self) -> None:
        """Close all of them, and each that is still to come."""
        self._is_closed = True
        with self._lock:
            lines = list(self._open)
        for line in lines:
            line.close()


class WakingSocket(socket.socket):
    """A socket whose ``close`` wakes a thread that connects, reads or writes."""

    def close(self) -> None:
        """See socket.socket."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)
        super().close()
