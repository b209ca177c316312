"""The agent's answers to everything but ``hello``: metadata, puts, orders, receipts.

Nothing is believed before the Distributor's signature on it was verified, and nothing is created for a Distributor that isn't trusted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from agents.distributor_trust import DistributorTrust
from agents.extraction import extraction_context
from agents.frame_channel import FrameChannel
from agents.puts import Puts
from agents.working_directory import WorkingDirectory
from sluice.errors import ProtocolError, StoreCorruptError, TamperedError
from sluice.formats.canonical import Fields, parse_canonical
from sluice.formats.manifest.document import parse_manifest
from sluice.formats.orders import ORDER_MAX, RECEIPT_MAX
from sluice.formats.protocol import MESSAGE_MAX, METADATA_MAX, Message
from sluice.formats.rehearsals import (
    OUTLINE_MAX,
    Question,
    changes_to_json,
    demands_from_json,
    recipe_from_json,
    rehearsals_to_json,
    removals_to_json,
)
from sluice.formats.zstd import decompress_frame, decompress_wide
from sluice.model.order import Act
from sluice.rules.excludes import CHARACTERS_MAX
from sluice.subscriber.actions.rehearse import rehearse_actions
from sluice.subscriber.complete import complete
from sluice.subscriber.extract.extraction import extract
from sluice.subscriber.extract.receipts import receipts_of
from sluice.subscriber.extract.rehearse import rehearse_extraction
from sluice.subscriber.extract.rehearse_removals import rehearse_removals
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.subscriber.receive.receivers import TargetPath
from sluice.subscriber.release import release
from sluice.trust.keys import load_private_key
from sluice.trust.roles import MANIFEST
from sluice.trust.verify import FILES_MAX

PREFIX_MAX = 3
"""Most held files that received metadata may be compressed against: of targets, snapshot and one Distribution."""
COMPLETIONS_MAX = 8
"""Times that one conversation may have a Distribution completed: each reads its tree. Twice as many as a sender with supplements needs."""
ACTS = {Act.EXTRACT: extract, Act.RELEASE: release}
"""What carries each act out."""
RECEIPTS_MAX = 1000
"""Most receipts in one answer."""
RECEIPTS_BYTES = MESSAGE_MAX // 4
"""Most bytes of those after the first, such that they fit a message; the others are sent once these were acknowledged."""


class Requests:
    """Requests of one conversation, which is one Distributor's."""

    def __init__(self, directory: WorkingDirectory, distributor: str, channel: FrameChannel, completions: Counter[tuple[str, str]]) -> None:
        """
        Args:
            completions: By Distributor and Distribution, how often one was completed: it outlives a second hello.
        """
        self._directory = directory
        self._distributor = distributor
        self._trust = DistributorTrust(directory.distributor(distributor), distributor)
        self._channel = channel
        self._completions = completions

    def handlers(self) -> dict[str, Callable[[Fields], Message]]:
        """By the request's type."""
        return {
            "metadata": self._metadata,
            "put": Puts(self._directory, self._distributor, self._trust, self._channel).put,
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
        encoded = self._channel.read_data("metadata")
        if sum(length for _, length in listed) != plain or len(dict(listed)) != len(listed):
            raise TamperedError("the list of metadata files doesn't add up")
        try:
            data = b"".join(decompress_wide(encoded, plain, what="metadata", prefix=self._trust.held_files(like))) if plain else b""
        except StoreCorruptError as error:
            raise TamperedError(error.message, remedy=f"run: sluice send {distribution}") from error
        files, at = {}, 0
        for name, length in listed:
            files[name] = data[at : at + length]
            at += length
        return {"type": "accepted", "trust": self._trust.accept(files, distribution)}

    def _complete(self, fields: Fields) -> Message:
        path = TargetPath.parse(f"{fields.text('target')}/{MANIFEST}")
        fields.done()
        held = self._directory.held(self._distributor, path.distribution)
        self._trust.view(path.distribution)
        pair = self._distributor, path.distribution
        self._completions[pair] += 1
        if self._completions[pair] > COMPLETIONS_MAX:
            completed = f"{path.distribution} was completed {COMPLETIONS_MAX} times in this conversation"
            raise ProtocolError(completed, remedy="repeat the command")
        with self._channel.events() as events:
            context = extraction_context(self._directory, held, events)
            missing = complete(context, path.revision, lambda file: self._trust.signed(replace(path, file=file)))
        return {"type": "completed", "lacks": missing}

    def _order(self, fields: Fields) -> Message:
        envelope = fields.any("envelope")
        fields.done()
        held = self._directory.held(self._distributor, _claimed_distribution(envelope))
        order = self._trust.view(held.name).open_order(envelope, subscriber=self._directory.subscriber(), now=datetime.now(UTC))
        stored = receipts_of(held).get(order.sequence)
        if stored is not None:  # the answer got lost: it is the same
            return {"type": "receipt", "envelope": _receipt(stored.read_bytes())}
        self._trust.check_sequence(order)
        load_private_key(self._directory.receipt_key)  # before any change that no receipt could be signed for
        with self._channel.events() as events:
            context = extraction_context(self._directory, held, events)
            receipt = ACTS[order.act](context, order, accept=partial(self._trust.raise_sequence, order))
        return {"type": "receipt", "envelope": receipt}

    def _rehearse(self, fields: Fields) -> Message:
        """Answer a dry run: it isn't signed, since it changes nothing and reveals only what the caller's account may read."""
        held = self._held(fields)
        recipe = recipe_from_json(fields)
        field = next((name for name in ("manifest", "outline") if fields.optional(name)), "")
        length = fields.number(field, least=1, most=OUTLINE_MAX) if field else 0
        plain = fields.number("plain", most=OUTLINE_MAX) if field else 0
        demands = demands_from_json(fields) if field == "manifest" else {}
        fields.done()
        packed = self._channel.read_exactly(length, "a manifest")
        self._trust.check_installed()
        answer: Message = {"type": "rehearsal", "actions": rehearsals_to_json(rehearse_actions(recipe))}
        if not field:
            return answer
        try:
            data = decompress_frame(packed, plain, what="a manifest that is asked about")
            manifest = parse_manifest(data, excluding=CHARACTERS_MAX)
        except StoreCorruptError as error:
            raise TamperedError(error.message) from error
        context = extraction_context(self._directory, held)
        if field == "outline":
            return answer | {"removals": removals_to_json(rehearse_removals(context, manifest, recipe.destinations))}
        question = Question(manifest, recipe.destinations, **demands)
        return answer | {"changes": changes_to_json(rehearse_extraction(context, question), codes=question.codes)}

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


def _file(item: object) -> tuple[str, int]:
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str) or type(item[1]) is not int or item[1] < 0:
        raise TamperedError("the list of metadata files isn't one")
    return item[0], item[1]


def _claimed_distribution(envelope: object) -> str:
    """Return the Distribution that an order names; nothing else is taken from it before its signature was verified."""
    payload = envelope.get("payload") if isinstance(envelope, dict) else None
    order = parse_canonical(payload.encode(), limit=ORDER_MAX, what="an order") if isinstance(payload, str) else None
    found = order.get("distribution") if isinstance(order, dict) else None
    if not isinstance(found, str):
        raise TamperedError("an order is no envelope with a payload")
    return found


def _receipt(data: bytes) -> Any:
    return parse_canonical(data, limit=2 * RECEIPT_MAX, what="a stored receipt")
