"""Stream the payload of one ``.ted`` to an agent: from where an earlier try stopped, listening while it sends.

Reads a block at a time into one buffer that is also the frame, so that memory stays small and nothing is copied here. A block that
arrived damaged is sent again; first our own file is compared with its signed digest, because damage at rest would come again for ever.

Between two blocks it pauses if it is asked to (D10), and goes on in the same conversation. Its signs of life are single
bytes of the next block: a data frame may be of any length, so that every agent understands them and nothing is sent that isn't needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import FileIO

from blake3 import blake3

from sluice.errors import ProtocolError, StoreCorruptError
from sluice.formats.protocol import HEADER, Message, data_header
from sluice.formats.ted.file import PAYLOAD_OFFSET
from sluice.formats.ted.index import BLOCK, parse_index
from sluice.ports import Progress, TedFile
from sluice.sender.frames import FrameChannel
from sluice.sender.pausing import PauseControl

AGAIN_MAX = 8
"""Times damaged blocks are sent again within one put."""


@dataclass(frozen=True, slots=True)
class Put:
    """How one put went."""

    held: bool
    """It was there before; nothing was sent."""
    resumed: int = 0
    """Bytes of payload that had arrived before."""
    again: int = 0
    """Times damaged blocks were sent again."""


class Upload:
    """One upload; used once, by ``run``."""

    def __init__(self, line: FrameChannel, ted: TedFile, offset: int, progress: Progress | None, pause: PauseControl | None = None) -> None:
        self._line, self._ted, self._progress, self._pause = line, ted, progress, pause
        self._resumed = self._offset = offset
        self._again = 0
        # Progress is due every 8 MiB; an agent that sends many more replies would keep us reading for ever.
        self._replies_left = ted.payload // BLOCK + 64

    def run(self) -> Put:
        """Send everything and wait for ``stored``.

        Raises:
            StoreCorruptError: Our own file isn't what was signed.
            ProtocolError: Blocks arrive damaged again and again, or the agent talks nonsense.
        """
        buffer = bytearray(HEADER.size + BLOCK)
        with open(self._ted.path, "rb", buffering=0) as file:
            self._seek(file)
            self._report()
            while True:
                if self._offset < self._ted.payload:
                    self._pause_if_asked(file, buffer)
                    self._send(file, buffer, min(BLOCK - self._offset % BLOCK, self._ted.payload - self._offset))
                is_all_sent = self._offset == self._ted.payload
                # Only when all is sent is there an answer to wait for: the last of them may be here already.
                reply = self._line.reply("progress", "again", "stored") if is_all_sent else self._line.reply_if_there("progress", "again")
                if reply is None:
                    continue
                if reply["type"] == "stored":
                    return Put(held=False, resumed=self._resumed, again=self._again)
                self._handle(reply, file)

    def _pause_if_asked(self, file: FileIO, buffer: bytearray) -> None:
        """Pause before any block but the last, which would be over before its signs of life end."""
        if self._pause is not None and self._pause.must_pause and self._ted.payload - self._offset > BLOCK:
            self._pause.pause(lambda: self._send(file, buffer, 1))

    def _send(self, file: FileIO, buffer: bytearray, length: int) -> None:
        frame = memoryview(buffer)[: HEADER.size + length]
        frame[: HEADER.size] = data_header(length)
        _fill(file, frame[HEADER.size :], self._ted)
        self._line.write(frame)
        self._offset += length
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._offset, self._ted.payload)

    def _handle(self, reply: Message, file: FileIO) -> None:
        self._replies_left -= 1
        if self._replies_left < 0:
            raise ProtocolError(f"{self._line.who}: its agent sends replies without end")
        offset = self._line.fields(reply).number("offset", most=self._ted.payload)
        if reply["type"] == "progress":
            return
        if offset % BLOCK or offset >= self._offset:
            raise ProtocolError(f"{self._line.who}: its agent wants byte {offset} again, at which no block of ours begins")
        self._again += 1
        self._check_own(file, offset)
        if self._again > AGAIN_MAX:
            raise ProtocolError(
                f"{self._line.who}: blocks arrived damaged {self._again} times, the last at byte {offset}",
                remedy="check the network and the host's memory: something on the way changes bytes",
            )
        self._offset = offset
        self._seek(file)
        self._line.say({"type": "from", "offset": offset})

    def _check_own(self, file: FileIO, offset: int) -> None:
        index = parse_index(self._ted.index)
        number = offset // BLOCK
        block = memoryview(bytearray(index.block_length(number)))
        file.seek(PAYLOAD_OFFSET + offset)
        _fill(file, block, self._ted)
        if blake3(block).hexdigest() != index.blocks[number]:
            raise StoreCorruptError(
                f"{self._ted.path}: block {number} no longer has its digest", remedy="run: sluice store verify --repair"
            )

    def _seek(self, file: FileIO) -> None:
        file.seek(PAYLOAD_OFFSET + self._offset)


def _fill(file: FileIO, view: memoryview, ted: TedFile) -> None:
    while view:
        count = file.readinto(view)
        if not count:
            raise StoreCorruptError(f"{ted.path} is shorter than its index says", remedy="run: sluice store verify --repair")
        view = view[count:]
