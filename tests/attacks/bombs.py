"""Little that wants to become much: zstd, JSON and numbers that would fill memory, disk or time. Most need no key at all."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from sluice.formats.protocol import HEADER, MESSAGE_MAX, METADATA_MAX
from sluice.formats.zstd import compress_frame, zstd
from tests.attacks.case import Family, said
from tests.attacks.forge import resigned, setting
from tests.attacks.subscriber import Subscriber

ZSTD = Family[Subscriber]("zstd bombs")
JSON = Family[Subscriber]("JSON bombs")

MIB = 1024 * 1024
FILE = 5_000_000
"""Most bytes of one metadata file."""


def packed(frame: Callable[[bytes], bytes], **changed: Any) -> Callable[[Subscriber], str]:
    """The newest set in one frame, which isn't what it says."""

    def attack(world: Subscriber) -> str:
        talk, files = world.talk(), world.files[2]
        plain = b"".join(files.values())
        listed = [[name, len(each)] for name, each in files.items()]
        talk.say(**{"type": "metadata", "distribution": "zone", "files": listed, "plain": len(plain), **changed})
        talk.data(frame(plain))
        return said(talk.reply())

    return attack


def window(log: int) -> Callable[[bytes], bytes]:
    """A frame that wants a history of 2**log bytes: its header written by hand, its content one raw block."""

    def frame(plain: bytes) -> bytes:
        # descriptor: content size of 8 bytes, no single segment; window descriptor: exponent log - 10, mantissa 0
        header = b"\x28\xb5\x2f\xfd\xc0" + bytes([(log - 10) << 3]) + struct.pack("<Q", len(plain))
        return header + struct.pack("<I", len(plain) << 3 | 1)[:3] + plain

    return frame


def unsized(plain: bytes) -> bytes:
    """A frame that doesn't declare its size."""
    packer = zstd.ZstdCompressor()
    return bytes(packer.compress(plain) + packer.flush())


def declared(size: int) -> Callable[[bytes], bytes]:
    """A frame whose header declares another size."""

    def frame(plain: bytes) -> bytes:
        return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + struct.pack("<I", len(plain) << 3 | 1)[:3] + plain

    return frame


ZSTD.accepts("a window of 1 MiB", "accepted", packed(window(20)))
ZSTD.refuses("a window of 2 TiB", "TamperedError", packed(window(41)))
ZSTD.refuses("a frame that declares no size", "TamperedError", packed(unsized))
ZSTD.refuses("a frame that declares 2**62 bytes", "TamperedError", packed(declared(2**62)))
ZSTD.refuses("a frame that declares one byte less", "TamperedError", packed(lambda plain: declared(len(plain) - 1)(plain)))
ZSTD.refuses("1,000 frames of nothing before it", "TamperedError", packed(lambda plain: compress_frame(b"") * 1000 + compress_frame(plain)))
ZSTD.refuses("1,000 frames of nothing behind it", "TamperedError", packed(lambda plain: compress_frame(plain) + compress_frame(b"") * 1000))
ZSTD.refuses("1 GiB where a few KiB are announced", "TamperedError", packed(lambda _: gigabyte()))
ZSTD.refuses("1 GiB announced", "TamperedError", packed(lambda _: gigabyte(), plain=2**30))
ZSTD.refuses("a size below zero", "TamperedError", packed(compress_frame, plain=-1))
ZSTD.refuses("1 GiB as a manifest", "TamperedError", lambda world: world.talk().put("zone/1.3/manifest", gigabyte()))


def gigabyte() -> bytes:
    """1 GiB of zeros, packed, in one frame that declares it."""
    packer = zstd.ZstdCompressor(level=1)
    packer.set_pledged_input_size(2**30)
    pieces = [packer.compress(bytes(16 * MIB)) for _ in range(64)]
    return bytes(b"".join([*pieces, packer.flush()]))


# --- JSON -------------------------------------------------------------------------------------------------------------


def body(data: Callable[[], bytes]) -> Callable[[Subscriber], str]:
    """A message of any bytes."""

    def attack(world: Subscriber) -> str:
        talk, message = world.talk(), data()
        talk.raw(HEADER.pack(len(message) + 1, ord("J")) + message)
        return said(talk.reply())

    return attack


def filled(start: bytes, unit: bytes, end: bytes, size: int = MESSAGE_MAX) -> bytes:
    """As many units as fit, comma between."""
    return start + unit + (b"," + unit) * ((size - len(start) - len(end) - len(unit)) // (len(unit) + 1)) + end


def metadata(plain: Callable[[], bytes], count: int = 1) -> Callable[[Subscriber], str]:
    """Files of metadata that are all of one content."""

    def attack(world: Subscriber) -> str:
        data = plain()
        names = ["timestamp.json", "9.snapshot.json", "9.targets.json", "9.distribution.zone.json"]
        names += [f"{number}.root.json" for number in range(2, 100)]
        return world.talk().push(dict.fromkeys(names[:count], data))

    return attack


LISTS = (b'{"type":"receipts","distribution":[', b"[]", b"]}")
JSON.accepts("a message", "receipts", body(lambda: b'{"distribution":"zone","type":"receipts"}'))
JSON.refuses("16 MiB of empty lists", "ProtocolError", body(lambda: filled(*LISTS)))
JSON.refuses("16 MiB of empty objects", "ProtocolError", body(lambda: filled(LISTS[0], b"{}", LISTS[2])))
JSON.refuses("16 MiB of numbers with a point", "ProtocolError", body(lambda: filled(LISTS[0], b".5e1".replace(b".", b"1."), LISTS[2])))
JSON.refuses("16 MiB of one text", "TamperedError", body(lambda: filled(b'{"type":"receipts","distribution":"', b"xxxxxxxx", b'"}')))
JSON.refuses(
    "16 MiB of wide characters",
    "TamperedError|ProtocolError",
    body(lambda: filled('{"type":"receipts","distribution":"\U0001f600'.encode(), b"xxxxxxxx", b'"}')),
)
JSON.refuses("nested 8 million deep", "ProtocolError", body(lambda: b'{"type":' + b"[" * 8_000_000))
JSON.refuses("objects nested deep", "ProtocolError", body(lambda: b'{"type":' + b'{"a":' * 1_000_000))
JSON.refuses("a number of a million digits", "ProtocolError", body(lambda: b'{"type":"hello","protocol":[' + b"9" * 1_000_000 + b"]}"))
JSON.refuses(
    "3,000 numbers of 4,000 digits",
    "AgentVersionError|TamperedError|ProtocolError",
    body(lambda: filled(b'{"distributor":"hq","sender":"0","type":"hello","protocol":[', b"9" * 4000, b"]}", 12 * MIB)),
)
JSON.refuses(
    "a version of 15 MiB",
    "AgentVersionError|TamperedError",
    body(lambda: b'{"type":"hello","distributor":"hq","sender":"0","protocol":["' + b"\\u0001" * 2_500_000 + b'"]}'),
)
JSON.refuses("a key twice", "ProtocolError", body(lambda: b'{"type":"receipts","type":"bye","distribution":"zone"}'))
JSON.refuses(
    "a million keys",
    "ProtocolError|TamperedError",
    body(lambda: b'{"type":"receipts","distribution":"zone"' + b"".join(b',"%d":0' % n for n in range(1_000_000)) + b"}"),
)
JSON.refuses("NaN", "ProtocolError", body(lambda: b'{"type":"acknowledge","distribution":"zone","sequence":NaN}'))
JSON.refuses("half a surrogate", "ProtocolError", body(lambda: b'{"type":"receipts","distribution":"\\ud800"}'))
JSON.refuses("no UTF-8", "ProtocolError", body(lambda: b'{"type":"receipts","distribution":"\xff"}'))
JSON.refuses("a tail", "ProtocolError", body(lambda: b'{"type":"receipts","distribution":"zone"} {}'))
JSON.refuses("metadata of 5 MB of empty lists", "TamperedError", metadata(lambda: filled(b"[", b"[]", b"]", FILE)))
JSON.refuses("32 MiB of metadata of empty lists", "TamperedError", metadata(lambda: filled(b"[", b"[]", b"]", FILE), METADATA_MAX // FILE))
JSON.refuses("32 MiB of metadata in a file", "TamperedError", metadata(lambda: filled(b"[", b"0", b"]", METADATA_MAX)))
JSON.refuses("metadata nested deep", "TamperedError|ReplayedError", metadata(lambda: b'{"signed":' * 500_000))
JSON.refuses(
    "a version of a million digits", "TamperedError|ReplayedError", metadata(lambda: b'{"signed":{"version":' + b"9" * 1_000_000 + b"}}")
)
JSON.refuses(
    "300 files of nothing", "TamperedError|TruncatedError", lambda w: w.talk().push({f"{n}.root.json": b"" for n in range(2, 302)})
)
JSON.refuses("301 files", "TamperedError", lambda w: w.talk().push({f"{n}.root.json": b"x" for n in range(2, 303)}))


def telling(world: Subscriber) -> str:
    """Metadata whose fault is a text of megabytes, which an error could quote."""
    stamp = resigned(world.files[2]["timestamp.json"], setting(spec_version="\x1b[2J" * 800_000), world.key("stranger/online"))
    return world.talk().push({**world.files[2], "timestamp.json": stamp})


JSON.refuses("a fault that would be quoted", "TamperedError", telling)


def ordered(payload: Callable[[], str]) -> Callable[[Subscriber], str]:
    """An order's payload of any text, unsigned."""
    return lambda world: world.talk().order({"payload": payload(), "signature": "", "key": "x"})


JSON.refuses("an order of 15 MB of empty lists", "TamperedError", ordered(lambda: filled(*LISTS, 15_000_000).decode()))
JSON.refuses("an order nested deep", "TamperedError", ordered(lambda: "[" * 5_000_000))
JSON.refuses("an order for a Distribution of 15 MB", "TamperedError", ordered(lambda: '{"distribution":"' + "x" * 15_000_000 + '"}'))
