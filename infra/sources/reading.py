"""Read one file of a source such that its content is that of one moment.

A file is read between two looks at its stat; if they differ, or fewer or more bytes came than its size, it is read again. A file
that changes all the time is a SourceChangedError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from stat import S_ISREG

from blake3 import blake3

from infra.sources.beneath import Opener
from infra.sources.walk import Stat, stat_fields
from sluice.errors import SourceChangedError
from sluice.ports import ContentSink
from sluice.rules.names_on_disk import shown_path

PIECE = 4 * 1024 * 1024
"""Bytes read at once; files up to this size are read once, larger ones twice if their content is new."""
TRIES = 3

_OPEN = os.O_RDONLY | os.O_NONBLOCK


def read_file(opener: Opener, root: int, path: str, *, shown: str, sink: ContentSink) -> tuple[Stat, bytes]:
    """Read a file's content into ``sink``, unless it is there already.

    Args:
        root: An open directory.
        path: Below it.
        shown: The file's whole path, for errors.
    Returns:
        Its stat as it was read, and the content's digest.
    Raises:
        SourceChangedError: It changed while it was read, each of ``TRIES`` times, or isn't a regular file any more.
        OSError: It can't be opened or read.
    """
    for _ in range(TRIES):
        file = opener.open(root, path, _OPEN)
        try:
            before = os.fstat(file)
            if not S_ISREG(before.st_mode):
                break
            found = _small(file, before, sink) if before.st_size <= PIECE else _large(file, before, sink)
        except _ChangedError:
            continue
        finally:
            os.close(file)
        return stat_fields(before), found
    raise SourceChangedError(f"{shown_path(shown)} changes while it is read", remedy="build again when it is complete, or exclude it")


class _ChangedError(Exception):
    """The file changed while it was read."""


def _small(file: int, before: os.stat_result, sink: ContentSink) -> bytes:
    data = os.read(file, before.st_size + 1)
    while data and len(data) < before.st_size and (more := os.read(file, before.st_size + 1 - len(data))):
        data += more
    if len(data) != before.st_size or stat_fields(os.fstat(file)) != stat_fields(before):
        raise _ChangedError
    digest = blake3(data)
    name = digest.hexdigest()
    if not sink.holds(name):
        sink.put(name, len(data), (data,))
    return digest.digest()


def _large(file: int, before: os.stat_result, sink: ContentSink) -> bytes:
    digest = blake3()
    for piece in _pieces(file, before):
        digest.update(piece)
    name = digest.hexdigest()
    if not sink.holds(name):
        os.lseek(file, 0, os.SEEK_SET)
        sink.put(name, before.st_size, _again(file, before, name))
    return digest.digest()


def _again(file: int, before: os.stat_result, name: str) -> Iterator[bytes]:
    digest = blake3()
    for piece in _pieces(file, before):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != name:
        raise _ChangedError


def _pieces(file: int, before: os.stat_result) -> Iterator[bytes]:
    done = 0
    while piece := os.read(file, PIECE):
        done += len(piece)
        if done > before.st_size:
            raise _ChangedError
        yield piece
    if done != before.st_size or stat_fields(os.fstat(file)) != stat_fields(before):
        raise _ChangedError
