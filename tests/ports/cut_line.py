"""A line to PostgreSQL that breaks at a COMMIT: before the server hears of it, or before its answer is told."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_COMMIT = b"COMMIT\0"  # not the READ COMMITTED of a BEGIN


class CutLine:
    """Forwards a port of loopback to ``target``; unencrypted, so that it sees a COMMIT pass. As a context, it ends with it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._when = ""
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> CutLine:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def cut_commit(self, when: str) -> None:
        """Break at the next COMMIT: ``before`` the server hears of it, or ``after`` it answered."""
        self._when = when

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [near, far]
                thread = threading.Thread(target=self._forward, args=(near, far))
                self._threads.append(thread)
                thread.start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=self._back, args=(near, far))
        back.start()
        with suppress(OSError):
            while data := near.recv(65536):
                if _COMMIT in data and self._when:
                    when, self._when = self._when, ""
                    self.cuts += 1
                    near.shutdown(socket.SHUT_RDWR)  # the server's answer goes nowhere
                    if when == "after":
                        far.sendall(data)
                    break
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)
        back.join(10)

    def _back(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(65536):
                with suppress(OSError):
                    near.sendall(data)
        with suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)
