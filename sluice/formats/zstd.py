"""The one place zstd comes from: the standard library where it has it (3.14), else its backport. Frames are bounded both ways.

A frame here is one zstd frame that declares its exact plaintext size. The reader trusts neither: the size must be the expected one
before anything is decompressed, and the decoder's window is capped.
"""

from __future__ import annotations

import importlib
import sys

from sluice.errors import StoreCorruptError

if sys.version_info >= (3, 14):
    zstd = importlib.import_module("compression.zstd")  # by name: to the checks on an older Python it is a foreign package
else:
    from backports import zstd

LEVEL = 3
"""Compression level of what is built: as fast as disks; deltas are where bytes are saved."""
WINDOW_LOG_MAX = 23
"""8 MiB: the most history a decoder is made to hold."""

_DECODER = {int(zstd.DecompressionParameter.window_log_max): WINDOW_LOG_MAX}


def frame_max(plain: int) -> int:
    """The most bytes zstd makes of ``plain`` bytes."""
    return plain + (plain >> 8) + 1024


def compress_frame(plain: bytes | bytearray | memoryview, *, level: int = LEVEL) -> bytes:
    """One frame that declares its plaintext size."""
    return zstd.compress(plain, level)


def decompress_frame(frame: bytes, plain: int, *, what: str) -> bytes:
    """The ``plain`` bytes that ``frame`` declares and holds.

    Args:
        what: Names the object in errors.
    Raises:
        StoreCorruptError: It declares another size, wants a larger window or a dictionary, is damaged, or more follows it.
    """
    try:
        info = zstd.get_frame_info(frame)
        if info.decompressed_size != plain or info.dictionary_id:
            raise StoreCorruptError(f"{what}: a frame declares {info.decompressed_size} bytes where {plain} were announced")
        decoder = zstd.ZstdDecompressor(options=_DECODER)
        found = decoder.decompress(frame, max_length=plain)
    except (zstd.ZstdError, EOFError) as error:
        raise StoreCorruptError(f"{what}: a frame is damaged: {error}") from error
    if not decoder.eof or decoder.unused_data or len(found) != plain:
        raise StoreCorruptError(f"{what}: a frame has more or fewer than its {plain} bytes")
    return found
