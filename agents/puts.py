"""Puts: the agent receives a manifest, a ``.ted`` or a supplement. Nothing is believed before it fits what its Distributor signed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from agents.distributor_trust import DistributorTrust
from agents.frame_channel import FrameChannel
from agents.working_directory import WorkingDirectory
from sluice.errors import NoSpaceError, ProtocolError, TamperedError
from sluice.formats.canonical import Fields
from sluice.formats.protocol import LACKS_MAX, SUPPLEMENT, Message
from sluice.subscriber.complete import supplement_contents
from sluice.subscriber.held.directory import SENDER_BROKEN, DistributionDirectory
from sluice.subscriber.receive.receivers import ManifestReceiver, TargetPath, TedReceiver, check_index_length
from sluice.subscriber.receive.supplement import SupplementReceiver, index_max
from sluice.trust.roles import DISTFILE, MANIFEST

PROGRESS = 8 * 1024 * 1024
"""Bytes between two reports of a put."""


@dataclass(frozen=True, slots=True)
class _Announced:
    """The sizes that a put of a ``.ted`` begins with."""

    index: int
    payload: int
    min_free: int

    @classmethod
    def read(cls, fields: Fields) -> _Announced:
        index, payload = fields.number("index"), fields.number("payload")
        found = cls(index, payload, fields.number("min_free") if fields.optional("min_free") else 0)
        fields.done()
        return found


class Puts:
    """The puts of one conversation."""

    def __init__(self, directory: WorkingDirectory, distributor: str, trust: DistributorTrust, channel: FrameChannel) -> None:
        self._directory = directory
        self._distributor = distributor
        self._trust = trust
        self._channel = channel

    def put(self, fields: Fields) -> Message:
        """Answer a put. Raises NoSpaceError, which names the Subscriber."""
        target = fields.text("target")
        try:
            if target.endswith(f"/{SUPPLEMENT}"):
                return self._put_supplement(TargetPath.parse(f"{target.removesuffix(SUPPLEMENT)}{MANIFEST}"), fields)
            path = TargetPath.parse(target)
            return self._put_manifest(path, fields) if path.file == MANIFEST else self._put_ted(path, fields)
        except NoSpaceError as error:
            raise NoSpaceError(f"Subscriber {self._directory.subscriber()}: {error.message}", remedy=error.remedy) from error

    def _put_manifest(self, path: TargetPath, fields: Fields) -> Message:
        held, length = self._held(path), fields.number("length")
        fields.constant("codec", "zstd")
        fields.done()
        with self._channel.within_a_put():
            signed = self._trust.signed(path)
            with held.lock(), closing(ManifestReceiver(held, path, signed, length=length)) as receiver:
                if receiver.is_held():
                    return {"type": "held"}
                self._channel.send({"type": "ready", "offset": 0})
                while not receiver.feed(self._channel.read_data("a manifest")):
                    pass
        return {"type": "stored"}

    def _put_ted(self, path: TargetPath, fields: Fields) -> Message:
        held, announced = self._held(path), _Announced.read(fields)
        with self._channel.within_a_put():
            signed = self._trust.signed(path)
            check_index_length(announced.index, signed, is_whole=path.file == DISTFILE)
            index = self._channel.read_exactly(announced.index, "an index")
            with held.lock(), closing(TedReceiver(held, path)) as receiver:
                if receiver.is_held():
                    return {"type": "held"}
                receiver.begin(index, announced.payload, signed, min_free=announced.min_free)
                self._receive(receiver)
                receiver.finish(datetime.now(UTC))
        return {"type": "stored"}

    def _put_supplement(self, path: TargetPath, fields: Fields) -> Message:
        held, digests = self._held(path), fields.items("contents", limit=LACKS_MAX)
        announced = _Announced.read(fields)
        self._trust.check_installed()
        with self._channel.within_a_put():
            contents = supplement_contents(held, path.revision, digests)
            if announced.index > index_max(contents):
                raise TamperedError(f"an index of {announced.index} bytes for {len(contents)} contents", remedy=SENDER_BROKEN)
            index = self._channel.read_exactly(announced.index, "an index")
            with held.lock(), closing(SupplementReceiver(held, path.revision, contents)) as receiver:
                receiver.begin(index, announced.payload, min_free=announced.min_free)
                self._receive(receiver)
                receiver.finish()
        return {"type": "stored"}

    def _held(self, path: TargetPath) -> DistributionDirectory:
        return self._directory.held(self._distributor, path.distribution)

    def _receive(self, receiver: TedReceiver | SupplementReceiver) -> None:
        reported = receiver.offset
        self._channel.send({"type": "ready", "offset": reported})
        while not receiver.is_complete:
            if not receiver.feed(self._channel.read_data("a payload")):
                self._channel.send({"type": "again", "offset": receiver.offset})
                self._discard_until_from(receiver.offset)
            elif receiver.offset - reported >= PROGRESS:
                reported = receiver.offset
                self._channel.send({"type": "progress", "offset": reported})

    def _discard_until_from(self, offset: int) -> None:
        while True:
            frame = self._channel.read()
            if frame is None:
                raise EOFError
            if isinstance(frame, bytes):
                continue
            if frame["type"] == "from" and frame.get("offset") == offset:
                return
            raise ProtocolError(f"{str(frame['type'])[:32]!r} came instead of going on from {offset}, as the sender was asked to")
