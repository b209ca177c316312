"""The one module that imports zstd: from the standard library if it has it (3.14), else its backport. Frames are bounded both ways.

A frame here is one zstd frame that declares its exact plaintext size. The reader trusts neither: the size must be the expected one
before anything is decompressed, and the decoder's window is capped; for frames of deltas, which refer back to the begin of their
reference, by the signed figures.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

from sluice.errors import StoreCorruptError

if sys.version_info >= (3, 14):
    zstd = importlib.import_module("compression.zstd")  # by name: to the checks on an older Python it is a foreign package
else:
    from backports import zstd

LEVEL = 3
"""Compression level of builds: as fast as disks; deltas save the bytes."""
WINDOW_LOG_MAX = 23
"""8 MiB: the most history that a decoder may have to hold."""
WIDE_WINDOW_LOG_MAX = 29
"""512 MiB: more than reference and plaintext of a delta's largest frame."""
PIECE = 1024 * 1024
"""Bytes of plaintext of the pieces in which a wide frame is handed out."""

SLOW_LEVEL, LARGE_PREFIX = 16, 8 * 1024 * 1024
"""Level and bytes of a prefix from which on long matches need a worker."""
_DECODER = {int(zstd.DecompressionParameter.window_log_max): WINDOW_LOG_MAX}


def frame_max(plain: int) -> int:
    """Return the most bytes that zstd makes of ``plain`` bytes."""
    return plain + (plain >> 8) + 1024


def compress_frame(plain: bytes | bytearray | memoryview, *, level: int = LEVEL) -> bytes:
    """Compress into one frame that declares its plaintext size."""
    return zstd.compress(plain, level)


def decompress_frame(frame: bytes, plain: int, *, what: str) -> bytes:
    """Decompress the ``plain`` bytes that ``frame`` declares and holds.

    Args:
        what: Names the object in errors.
    Raises:
        StoreCorruptError: It declares another size, wants a larger window or a dictionary, is damaged, or more follows it.
    """
    try:
        _check_declared(frame, plain, what)
        decoder = zstd.ZstdDecompressor(options=_DECODER)
        found = decoder.decompress(frame, max_length=plain)
    except (zstd.ZstdError, EOFError) as error:
        raise StoreCorruptError(f"{what}: a frame is damaged: {error}") from error
    if not decoder.eof or decoder.unused_data or len(found) != plain:
        raise StoreCorruptError(f"{what}: a frame has more or fewer than its {plain} bytes")
    return found


def _check_declared(frame: bytes, plain: int, what: str) -> None:
    info = zstd.get_frame_info(frame)
    if info.decompressed_size != plain or info.dictionary_id:
        raise StoreCorruptError(f"{what}: a frame declares {info.decompressed_size} bytes, not the announced {plain}")


def first_frame(data: bytes, *, most: int) -> tuple[int, int] | None:
    """Return length and plaintext length of the first frame in ``data``; None if it isn't whole or has more than ``most`` bytes."""
    try:
        if not 0 < zstd.get_frame_info(data).decompressed_size <= most:
            return None
        decoder = zstd.ZstdDecompressor(options=_DECODER)
        plain = len(decoder.decompress(data, max_length=most))
    except (zstd.ZstdError, EOFError, TypeError):  # TypeError: it declares no size
        return None
    return (len(data) - len(decoder.unused_data), plain) if decoder.eof else None


def compress_wide(plain: bytes, *, level: int, prefix: bytes = b"") -> bytes:
    """Compress into one frame that may refer to anything in ``prefix`` and itself: its window covers both.

    Args:
        prefix: Bytes that the reader has too; they aren't in the frame.
    """
    parameter = zstd.CompressionParameter
    options = {
        int(parameter.compression_level): level,
        int(parameter.window_log): _window_log(len(plain) + len(prefix)),
        int(parameter.enable_long_distance_matching): 1,
    }
    if level >= SLOW_LEVEL and len(prefix) >= LARGE_PREFIX:
        # Without a worker of its own, 1.5.7 loses most long matches with a large prefix (measured: 17 MB where 316 KB do).
        options[int(parameter.nb_workers)] = 1
    return zstd.compress(plain, options=options, zstd_dict=_as_prefix(prefix))


def decompress_wide(frame: bytes, plain: int, *, what: str, prefix: bytes = b"") -> Iterator[bytes]:
    """Decompress the ``plain`` bytes that ``frame`` declares and holds, in pieces; otherwise as ``decompress_frame``.

    Memory: a copy of ``prefix``, and at most ``plain`` bytes of window.
    """
    try:
        _check_declared(frame, plain, what)
        window = {int(zstd.DecompressionParameter.window_log_max): _window_log(plain + len(prefix))}
        decoder = zstd.ZstdDecompressor(zstd_dict=_as_prefix(prefix), options=window)
        del prefix
        remaining = plain
        piece = decoder.decompress(frame, max_length=min(PIECE, remaining + 1))
        while piece:
            remaining -= len(piece)
            if remaining < 0:
                break
            yield piece
            piece = b"" if decoder.eof else decoder.decompress(b"", max_length=min(PIECE, remaining + 1))
    except (zstd.ZstdError, EOFError) as error:
        raise StoreCorruptError(f"{what}: a frame is damaged: {error}") from error
    if not decoder.eof or decoder.unused_data or remaining:
        raise StoreCorruptError(f"{what}: a frame has more or fewer than its {plain} bytes")


def _as_prefix(prefix: bytes) -> Any:
    # A raw dictionary has at least 8 bytes; a shorter prefix saves nothing.
    return zstd.ZstdDict(prefix, is_raw=True).as_prefix if len(prefix) >= 8 else None


def _window_log(reach: int) -> int:
    return min(max(reach.bit_length(), 10), WIDE_WINDOW_LOG_MAX)
