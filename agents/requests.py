"""The agent's answers to everything but ``hello``: metadata, puts, orders, receipts.

Nothing is believed before the Distributor's signature on it was verified, and nothing is created for a Distributor that isn't trusted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agents.line import Line
from agents.receipts import extraction_context
from agents.working_directory import WorkingDirectory
from sluice.durable import locked, make_directory, replace_atomically
from sluice.errors import NoSpaceError, ProtocolError, StoreCorruptError, TamperedError, TrustError, UnknownDistributorError
from sluice.formats.canonical import Fields, canonical_bytes, parse_canonical
from sluice.formats.manifest.document import parse_manifest
from sluice.formats.orders import ORDER_MAX, RECEIPT_MAX
from sluice.formats.protocol import LACKS_MAX, LENT, MESSAGE_MAX, METADATA_MAX, Message
from sluice.formats.rehearsals import OUTLINE_MAX, recipe_from_json, rehearsals_to_json, removals_to_json
from sluice.formats.zstd import decompress_frame, decompress_wide
from sluice.subscriber.actions.rehearse import rehearse_actions
from sluice.subscriber.complete import complete, supplement_contents
from sluice.subscriber.extract.extraction import extract
from sluice.subscriber.extract.receipts import receipts_of
from sluice.subscriber.extract.rehearse import rehearse_removals
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.subscriber.receive.receivers import ManifestReceiver, TargetPath, TedReceiver, check_index_length
from sluice.subscriber.receive.supplement import SupplementReceiver, index_max
from sluice.trust.high_water import read_high_water, write_high_water
from sluice.trust.keys import load_private_key
from sluice.trust.roles import DISTFILE, MANIFEST
from sluice.trust.targets import Target
from sluice.trust.verify import FILES_MAX, TrustDirectory
from sluice.trust.view import TrustedView

LOCK_WAIT = 30.0
"""Seconds to wait for another conversation that accepts metadata."""
PROGRESS = 8 * 1024 * 1024
"""Bytes between two reports of a put."""
QUARANTINE_MAX = 16
QUARANTINE_BYTES = 256 * 1024
"""Kept of all files of one refusal: whoever sends what is refused chooses how much that is."""
PREFIX_MAX = 3
"""Most held files that received metadata may be compressed against: of targets, snapshot and one Distribution."""
COMPLETIONS_MAX = 8
"""Times that one conversation may have a Distribution completed: each reads its tree. Twice as often as lending asks in one try."""
RECEIPTS_MAX = 1000
"""Most receipts told at once."""
RECEIPTS_BYTES = MESSAGE_MAX // 4
"""Most bytes of those after the first, such that they fit a message; the others are told once these were acknowledged."""


class Requests:
    """Requests of one conversation, which is one Distributor's."""

    def __init__(self, directory: WorkingDirectory, distributor: str, line: Line, completions: Counter[tuple[str, str]]) -> None:
        """
        Args:
            completions: By Distributor and Distribution, how often one was completed: it outlives a second hello.
        """
        self._directory = directory
        self._distributor = distributor
        self._place = directory.distributor(distributor)
        self._trust = TrustDirectory(self._place, distributor=distributor)
        self._line = line
        self._completions = completions
        self._views: dict[str, TrustedView] = {}

    def handlers(self) -> dict[str, Callable[[Fields], Message]]:
        """By the request's type."""
        return {
            "metadata": self._metadata,
            "put": self._put,
            "complete": self._complete,
            "order": self._order,
            "rehearse": self._rehearse,
            "receipts": self._receipts,
            "acknowledge": self._acknowledge,
        }

    def _metadata(self, fields: Fields) -> Message:
        distribution = self._held(fields).name
        listed = [_file(item) for item in fields.items("files", limit=FILES_MAX)]
        plain = fields.number("plain", most=METADATA_MAX)
        like = fields.items("prefix", limit=PREFIX_MAX) if fields.optional("prefix") else []
        fields.done()
        encoded = self._line.data("metadata")
        if sum(length for _, length in listed) != plain or len(dict(listed)) != len(listed):
            raise TamperedError("the list of metadata files doesn't add up")
        try:
            prefix = b"".join(self._trust.held_file(role) for role in like)
            data = b"".join(decompress_wide(encoded, plain, what="metadata", prefix=prefix)) if plain else b""
        except StoreCorruptError as error:
            raise TamperedError(error.message, remedy="send it again") from error
        files, at = {}, 0
        for name, length in listed:
            files[name] = data[at : at + length]
            at += length
        self._check_known()
        self._views.clear()
        try:
            with self._locked():
                versions = self._trust.accept(files, distribution)
        except TrustError as error:
            self._quarantine(files, error)
            raise
        return {"type": "accepted", "trust": versions}

    def _put(self, fields: Fields) -> Message:
        try:
            return self._put_target(fields)
        except NoSpaceError as error:
            raise NoSpaceError(f"Subscriber {self._directory.subscriber()}: {error.message}", remedy=error.remedy) from error

    def _put_target(self, fields: Fields) -> Message:
        target = fields.text("target")
        if target.endswith(f"/{LENT}"):
            return self._put_lent(target.removesuffix(f"/{LENT}"), fields)
        named = TargetPath.parse(target)
        held = self._directory.held(self._distributor, named.distribution)
        if named.file == MANIFEST:
            length = fields.number("length")
            fields.constant("codec", "zstd")
            fields.done()
            with self._line.within_a_put():
                return self._put_manifest(held, named, length)
        length, payload = fields.number("index"), fields.number("payload")
        min_free = fields.number("min_free") if fields.optional("min_free") else 0
        fields.done()
        with self._line.within_a_put():
            return self._put_ted(held, named, length, payload, min_free)

    def _put_manifest(self, held: DistributionDirectory, named: TargetPath, length: int) -> Message:
        signed = self._signed(named)
        with held.lock(), closing(ManifestReceiver(held, named, signed, length=length)) as receiver:
            if receiver.is_held():
                return {"type": "held"}
            self._line.say({"type": "ready", "offset": 0})
            while not receiver.feed(self._line.data("a manifest")):
                pass
        return {"type": "stored"}

    def _put_ted(self, held: DistributionDirectory, named: TargetPath, length: int, payload: int, min_free: int) -> Message:
        signed = self._signed(named)
        check_index_length(length, signed, is_whole=named.file == DISTFILE)
        index = self._index(length)
        with held.lock(), closing(TedReceiver(held, named)) as receiver:
            if receiver.is_held():
                return {"type": "held"}
            receiver.begin(index, payload, signed, min_free=min_free)
            self._receive(receiver)
            receiver.finish(datetime.now(UTC))
        return {"type": "stored"}

    def _put_lent(self, target: str, fields: Fields) -> Message:
        named = TargetPath.parse(f"{target}/{MANIFEST}")
        held = self._directory.held(self._distributor, named.distribution)
        digests = fields.items("contents", limit=LACKS_MAX)
        length, payload = fields.number("index"), fields.number("payload")
        min_free = fields.number("min_free") if fields.optional("min_free") else 0
        fields.done()
        self._check_known()
        with self._line.within_a_put():
            contents = supplement_contents(held, named.revision, digests)
            if length > index_max(contents):
                raise TamperedError(f"an index of {length} bytes for {len(contents)} contents", remedy="the sender is broken")
            index = self._index(length)
            with held.lock(), closing(SupplementReceiver(held, named.revision, contents)) as receiver:
                receiver.begin(index, payload, min_free=min_free)
                self._receive(receiver)
                receiver.finish()
        return {"type": "stored"}

    def _index(self, length: int) -> bytes:
        index = bytearray()
        while len(index) < length:
            index += self._line.data("an index")
        if len(index) > length:
            raise TamperedError("more bytes of an index than announced")
        return bytes(index)

    def _receive(self, receiver: TedReceiver | SupplementReceiver) -> None:
        reported = receiver.offset
        self._line.say({"type": "ready", "offset": reported})
        while not receiver.is_complete:
            if not receiver.feed(self._line.data("a payload")):
                self._line.say({"type": "again", "offset": receiver.offset})
                self._discard_until_from(receiver.offset)
            elif receiver.offset - reported >= PROGRESS:
                reported = receiver.offset
                self._line.say({"type": "progress", "offset": reported})

    def _complete(self, fields: Fields) -> Message:
        named = TargetPath.parse(f"{fields.text('target')}/{MANIFEST}")
        fields.done()
        held = self._directory.held(self._distributor, named.distribution)
        self._view(named.distribution)
        pair = self._distributor, named.distribution
        self._completions[pair] += 1
        if self._completions[pair] > COMPLETIONS_MAX:
            raise ProtocolError(f"{named.distribution} was completed {COMPLETIONS_MAX} times in this conversation", remedy="begin another")
        with self._line.events() as events:
            lacks = complete(
                extraction_context(self._directory, held, event=events),
                named.revision,
                lambda file: self._signed(replace(named, file=file)),
            )
        return {"type": "completed", "lacks": lacks}

    def _discard_until_from(self, offset: int) -> None:
        while True:
            frame = self._line.read()
            if frame is None:
                raise EOFError
            if isinstance(frame, bytes):
                continue
            if frame["type"] == "from" and frame.get("offset") == offset:
                return
            raise ProtocolError(f"{str(frame['type'])[:32]!r} came where the sender was asked to go on from {offset}")

    def _order(self, fields: Fields) -> Message:
        envelope = fields.any("envelope")
        fields.done()
        view = self._view(_claimed_distribution(envelope))
        order = view.open_order(envelope, subscriber=self._directory.subscriber(), now=datetime.now(UTC))
        held = self._directory.held(self._distributor, order.distribution)
        known = receipts_of(held).get(order.sequence)
        if known is not None:  # the answer got lost: it is the same
            return {"type": "receipt", "envelope": _receipt(known.read_bytes())}

        def accept() -> None:
            with self._locked():
                marks = read_high_water(self._trust.high_water_path)
                marks.check_sequence(order.distribution, order.sequence)
                write_high_water(self._trust.high_water_path, marks.raised(sequences={order.distribution: order.sequence}))

        read_high_water(self._trust.high_water_path).check_sequence(order.distribution, order.sequence)
        load_private_key(self._directory.receipt_key)  # before anything changes that couldn't be sworn
        with self._line.events() as events:
            receipt = extract(extraction_context(self._directory, held, event=events), order, accept=accept)
        return {"type": "receipt", "envelope": receipt}

    def _rehearse(self, fields: Fields) -> Message:
        """For a dry run: it isn't signed, since it changes nothing and says no more than what the caller's account may look at."""
        held = self._held(fields)
        recipe = recipe_from_json(fields)
        length = fields.number("outline", least=1, most=OUTLINE_MAX) if fields.optional("outline") else 0
        plain = fields.number("plain", most=OUTLINE_MAX) if length else 0
        fields.done()
        packed = bytearray()
        while len(packed) < length:
            packed += self._line.data("an outline")
        if len(packed) > length:
            raise TamperedError("more bytes of an outline than announced")
        self._check_known()
        found: Message = {"type": "rehearsal", "actions": rehearsals_to_json(rehearse_actions(recipe))}
        if length:
            try:
                manifest = parse_manifest(decompress_frame(bytes(packed), plain, what="an outline"))
            except StoreCorruptError as error:
                raise TamperedError(error.message) from error
            extraction = extraction_context(self._directory, held)
            removed = rehearse_removals(extraction, manifest, recipe.destinations)
            found["removals"] = removals_to_json(removed)
        return found

    def _receipts(self, fields: Fields) -> Message:
        held = self._held(fields)
        fields.done()
        envelopes, size = list[Any](), 0
        for path in list(receipts_of(held).values())[:RECEIPTS_MAX]:
            data = path.read_bytes()
            size += len(data)
            if envelopes and size > RECEIPTS_BYTES:
                break
            envelopes.append(_receipt(data))
        return {"type": "receipts", "envelopes": envelopes}

    def _acknowledge(self, fields: Fields) -> Message:
        held = self._held(fields)
        sequence = fields.number("sequence")
        fields.done()
        (held.receipts / f"{sequence}.json").unlink(missing_ok=True)
        return {"type": "done"}

    def _held(self, fields: Fields) -> DistributionDirectory:
        return self._directory.held(self._distributor, fields.text("distribution"))

    def _signed(self, named: TargetPath) -> Target:
        return self._view(named.distribution).target(f"{named.distribution}/{named.revision}/{named.file}")

    def _view(self, distribution: str) -> TrustedView:
        """What is signed now; lifetimes count, since something is received. One view serves a conversation's puts."""
        self._directory.held(self._distributor, distribution)
        if distribution not in self._views:
            self._views[distribution] = self._trust.view(distribution, now=datetime.now(UTC))
        return self._views[distribution]

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._place / "lock", what=f"the trust of Distributor {self._distributor}", wait=LOCK_WAIT)

    def _check_known(self) -> None:
        if not (self._place / "trust" / "root.json").exists():
            raise UnknownDistributorError(
                f"Distributor {self._distributor} is not trusted here: no trust root is installed",
                remedy=f"run `sluice trust push {self._distributor}`",
            )

    def _quarantine(self, files: dict[str, bytes], error: TrustError) -> None:
        """Keep what was refused, and why, for a person to look at."""
        place = self._place / "quarantine"
        make_directory(place)
        kept, left = {}, QUARANTINE_BYTES
        for name, data in files.items():
            kept[name[:200]] = data[:left].decode(errors="replace")
            left -= len(data[:left])
        value = {"code": error.code, "message": error.message, "files": kept}
        replace_atomically(place / f"{time.time_ns()}.json", canonical_bytes(value))
        for old in sorted(place.glob("*.json"))[:-QUARANTINE_MAX]:
            old.unlink(missing_ok=True)


def _file(item: object) -> tuple[str, int]:
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str) or type(item[1]) is not int or item[1] < 0:
        raise TamperedError("the list of metadata files is none")
    return item[0], item[1]


def _claimed_distribution(envelope: object) -> str:
    """Which Distribution an order says it is about; nothing else is taken from it before its signature was verified."""
    payload = envelope.get("payload") if isinstance(envelope, dict) else None
    order = parse_canonical(payload.encode(), limit=ORDER_MAX, what="an order") if isinstance(payload, str) else None
    found = order.get("distribution") if isinstance(order, dict) else None
    if not isinstance(found, str):
        raise TamperedError("an order is no envelope with a payload")
    return found


def _receipt(data: bytes) -> Any:
    return parse_canonical(data, limit=2 * RECEIPT_MAX, what="a stored receipt")
