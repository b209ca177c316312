"""Frames of the agent protocol (docs/formats.md section 7): bytes in, messages out. No I/O.

Both ends treat the other as hostile: lengths are checked before anything is buffered, a message must be an object with a
type, and anything else is a ProtocolError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from sluice.errors import ProtocolError, SluiceError, TrustError, error_from_code
from sluice.formats.canonical import canonical_bytes, parse_canonical
from sluice.rules.wording import printable

PROTOCOL_VERSION = 1
MESSAGE_MAX = 16 * 1024 * 1024
"""Most bytes of one message: an order with its scripts is the largest."""
DATA_MAX = 1024 * 1024
"""Most bytes of one data frame."""
METADATA_MAX = 32 * 1024 * 1024
"""Most bytes of one metadata set, uncompressed: four roles of 5 MB and a long chain of roots."""
LACKS_MAX = 200_000
"""Most contents that an agent names as missing; one that misses more is sent everything."""
SUPPLEMENT = "lent"
"""The last part of a supplement's target: no file has this name, and it isn't signed."""
HEADER = struct.Struct(">IB")
_MESSAGE, _DATA = ord("J"), ord("D")

Message = dict[str, Any]


def message_frame(message: Message) -> bytes:
    """Return a message as a frame."""
    body = canonical_bytes(message)
    if len(body) > MESSAGE_MAX:
        raise ProtocolError(f"a message {message.get('type')!r} of {len(body)} bytes is over the limit of {MESSAGE_MAX}")
    return HEADER.pack(len(body) + 1, _MESSAGE) + body


def data_header(length: int) -> bytes:
    """Return the header of a frame with ``length`` bytes of data, which are written after it without a copy."""
    if not 0 < length <= DATA_MAX:
        raise ProtocolError(f"a data frame of {length} bytes; 1 to {DATA_MAX} are allowed")
    return HEADER.pack(length + 1, _DATA)


def read_frame(read: Callable[[int], bytes]) -> Message | bytes | None:
    """Read the next frame: a message, data as bytes, or None at a clean end.

    Args:
        read: Returns one to n bytes, ``b""`` at the end.
    Raises:
        ProtocolError: It isn't a frame, is too long, or the conversation ended inside it.
    """
    first = read(HEADER.size)
    if not first:
        return None
    header = first + _exactly(read, HEADER.size - len(first))
    length, kind = HEADER.unpack(header)
    limit = {_MESSAGE: MESSAGE_MAX, _DATA: DATA_MAX}.get(kind)
    if limit is None:
        remedy = "check that the agent answers there, and that no login script prints text"
        raise ProtocolError(f"{header!r} doesn't begin a frame", remedy=remedy)
    if not 0 < length - 1 <= limit:
        raise ProtocolError(f"a frame of {length} bytes is over the limit of {limit}")
    body = _exactly(read, length - 1)
    if kind == _DATA:
        return body
    try:
        message = parse_canonical(body, limit=MESSAGE_MAX, what="a message")
    except TrustError as error:
        raise ProtocolError(error.message) from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ProtocolError("a message isn't an object with a type")
    return message


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    parts = []
    while size:
        part = read(size)
        if not part:
            raise ProtocolError("the conversation ended inside a frame")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def error_message(error: SluiceError) -> Message:
    """Return the message that carries an error."""
    return {"type": "error", "code": error.code, "message": error.message, "remedy": error.remedy, "retryable": error.retryable}


def error_of(message: Message) -> SluiceError:
    """Return the error that a peer sent; its texts, shown in terminals and logs, are bounded and free of control characters."""

    def text(key: str) -> str:
        found = message.get(key)
        return printable(found[:2000]) if isinstance(found, str) else ""

    return error_from_code(text("code"), text("message") or "the agent gave no reason", text("remedy"))
