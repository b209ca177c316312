"""What happens in a forked process: its descriptors, its end, and the line between an agent and its sender."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn

from sluice.errors import ConnectionLostError, SluiceError
from tests.soak.calls import die_with_parent

REFUSED, FAILED = 3, 70
"""Exit codes of an operation: it said why it can't, as it should; it fell over."""

Tell = Callable[..., None]
"""Confirms something: what was told may not be lost."""


class PipeStream:
    """A Stream over two descriptors."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._sink, view) :]
        except OSError as error:
            raise ConnectionLostError("the agent is gone") from error

    def read(self, size: int) -> bytes:
        return os.read(self._source, size)

    def readable(self) -> bool:
        return bool(select.select([self._source], [], [], 0)[0])

    def close(self) -> None:
        for fd in {self._source, self._sink}:
            with suppress(OSError):
                os.close(fd)


def begin(parent: int, source: int, sink: int, said: int, keep: Iterable[int]) -> None:
    """In a forked process: its own stdin, stdout and stderr, and no other descriptors but ``keep``."""
    die_with_parent(parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(source if source >= 0 else null, 0)
    os.dup2(sink if sink >= 0 else null, 1)
    os.dup2(said, 2)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            with suppress(OSError):
                os.close(int(name))


def teller(fd: int) -> Tell:
    """What an operation confirms goes to ``fd``, a line of JSON each."""

    def tell(**values: Any) -> None:
        os.write(fd, json.dumps(values).encode() + b"\n")

    return tell


def end(act: Callable[[], object]) -> NoReturn:
    """Do it and end this process, whatever happens."""
    code = FAILED
    try:
        found = act()
        code = found if isinstance(found, int) else 0
    except SluiceError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        code = REFUSED
    except BaseException:  # noqa: BLE001 - the child must end here whatever happens
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)
