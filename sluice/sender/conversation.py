"""The sender's side of one conversation with an agent (docs/formats.md section 7).

One request at a time, over any Stream. The agent is treated as hostile: every frame is bounded before it is read, every field is
checked, frames out of turn or without end are a ProtocolError, and its claims decide nothing but what to send next.
An error that the agent reports is raised as its own class and the conversation goes on; after any other error it is over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sluice.errors import AgentVersionError, ConnectionLostError, ProtocolError, SluiceError, TrustError
from sluice.formats.agent_events import event_from_json
from sluice.formats.protocol import LACKS_MAX, METADATA_MAX, PROTOCOL_VERSION, SUPPLEMENT, Message
from sluice.formats.rehearsals import (
    OUTLINE_MAX,
    rehearsals_from_json,
    rehearse_request,
)
from sluice.formats.ted.index import BLOCK
from sluice.formats.zstd import compress_frame, compress_wide
from sluice.model.action import ActionRehearsal
from sluice.model.agent_event import AgentEvent
from sluice.model.recipe import RenderedRecipe
from sluice.model.version import VERSION
from sluice.ports import Progress, Stream, TedFile
from sluice.sender.frames import FrameChannel, Reported
from sluice.sender.hello import AgentHello, hello_of, versions_of
from sluice.sender.pausing import PauseControl
from sluice.sender.upload import Put, Upload
from sluice.trust.envelope import Envelope

EVENTS_MAX = 1_000_000
"""Most events of one order: far more than a person or a log needs."""
COMPLETING_EVENTS_MAX = 20_000
"""Most events while a revision is completed, which holds a slot: more than a day of an agent's events, at most one in five seconds."""
RECEIPTS_MAX = 1000
"""Most receipts an agent may keep of one Distribution."""
METADATA_LEVEL = 19
"""Compression of metadata: small, and sent with every new revision."""
MANIFEST_LEVEL = 9
_DIGEST = re.compile("[0-9a-f]{64}")


class Conversation:
    """One conversation. Its calls may come from different threads, one at a time."""

    def __init__(self, stream: Stream, *, who: str) -> None:
        """Take over a stream; ``who`` names the Subscriber in errors."""
        self._line = FrameChannel(stream, who)
        self._over = False
        self._busy = False

    @property
    def sent(self) -> int:
        """Bytes written so far, everything included."""
        return self._line.sent

    @property
    def received(self) -> int:
        """Bytes read so far."""
        return self._line.received

    def hello(self, distributor: str, about: Sequence[str] = ()) -> AgentHello:
        """Make the first request of every conversation.

        Args:
            about: Distributions that the answer may be confined to; none: all. An agent without the feature ``delta`` lists all.
        Raises:
            AgentVersionError: It speaks no protocol we do.
            ProtocolError, ConnectionLostError, TransportTimeoutError, AgentMissingError.
        """
        with self._request() as line:
            asked = {"identity": True, "counted": True, **({"about": list(about)} if about else {})}
            line.say({"type": "hello", "protocol": [PROTOCOL_VERSION], "distributor": distributor, "sender": VERSION, **asked})
            reply = line.reply("hello")
            spoken = reply.pop("protocol", None)
            if spoken != PROTOCOL_VERSION:
                raise AgentVersionError(
                    f"{line.who}: its agent speaks protocol {spoken!r:.20}, this is {PROTOCOL_VERSION}",
                    remedy="run: sluice subscriber bootstrap NAME, which installs this version's agent",
                )
            return hello_of(line.fields(reply))

    def push_metadata(self, distribution: str, files: Mapping[str, bytes], like: Mapping[str, bytes] | None = None) -> Mapping[str, int]:
        """Send signed metadata, changed files only. Returns the versions held now, by role.

        Args:
            like: Files that the agent holds byte for byte, by role: bytes that ``files`` has in common with them aren't sent. Only an agent
                with the feature ``delta`` takes any.
        Raises:
            UnknownDistributorError, ReplayedError, ExpiredError, TamperedError, TruncatedError: The agent refused it.
        """
        plain = b"".join(files.values())
        if len(plain) > METADATA_MAX:
            raise ProtocolError(f"the metadata of Distribution {distribution} has {len(plain)} bytes, more than {METADATA_MAX}")
        listed = [[name, len(data)] for name, data in files.items()]
        message = {"type": "metadata", "distribution": distribution, "files": listed, "plain": len(plain)}
        packed = compress_wide(plain, level=METADATA_LEVEL, prefix=b"".join(like.values())) if like else None
        with self._request() as line:
            line.say(message | ({"prefix": list(like)} if like else {}))
            line.data(packed or compress_frame(plain, level=METADATA_LEVEL))
            fields = line.fields(line.reply("accepted"))
            versions = versions_of(fields.any("trust"))
            fields.done()
            return versions

    def complete(self, target: str, on_event: Callable[[AgentEvent], None] | None = None) -> Sequence[str]:
        """Have a revision completed: a delta that has arrived, or one that is held or extracted, whose contents are looked for anew.

        Args:
            target: ``zone/1.2``.
        Returns:
            Digests of contents that an extraction would lack there; none: the revision is held, and nothing is missing. Claims: each is a
            digest, and listed once.
        Raises:
            BaseDiffersError: Too much of it differs to be named, or nothing that the delta builds on is extracted.
            TamperedError: The rebuilt revision isn't the one that was signed.
            ProtocolError: More events than COMPLETING_EVENTS_MAX, and no end. Bytes that arrived stay there.
        """
        with self._request() as line:
            line.say({"type": "complete", "target": target})
            fields = line.fields(self._final("completed", on_event, COMPLETING_EVENTS_MAX))
            lacks = fields.items("lacks", limit=LACKS_MAX)
            fields.done()
            if not all(isinstance(each, str) and _DIGEST.fullmatch(each) for each in lacks) or len(set(lacks)) != len(lacks):
                raise ProtocolError(f"{line.who}: its agent's list of missing contents is no list of digests")
            return lacks

    def put_supplement(
        self,
        target: str,
        digests: Sequence[str],
        ted: TedFile,
        *,
        pause: PauseControl | None = None,
        min_free: int = 0,
    ) -> Put:
        """Send the supplement of a revision: contents that it said it lacks. Raises as ``put_ted``.

        Args:
            target: ``zone/1.2``.
            digests: Of the contents in ``ted``, in its order.
        """
        return self._put({"target": f"{target}/{SUPPLEMENT}", "contents": list(digests)}, ted, None, pause, min_free)

    def put_manifest(self, target: str, manifest: bytes) -> Put:
        """Send a manifest unless it is held; ``target`` is its TUF target."""
        packed = compress_frame(manifest, level=MANIFEST_LEVEL)
        with self._request() as line:
            line.say({"type": "put", "target": target, "length": len(packed), "codec": "zstd"})
            if line.reply("ready", "held")["type"] == "held":
                return Put(held=True)
            line.data(packed)
            line.reply("stored")
            return Put(held=False)

    def put_ted(
        self, target: str, ted: TedFile, progress: Progress | None = None, pause: PauseControl | None = None, *, min_free: int = 0
    ) -> Put:
        """Send a ``.ted`` unless it is held, from where an earlier try stopped.

        Args:
            progress: Called with payload bytes (arrived, in all): first with those of earlier tries, then about every MiB.
            pause: May have it pause between two blocks.
            min_free: Bytes that must stay free where it is received; only an agent with that feature takes any.
        Raises:
            StoreCorruptError: Our own file is no longer the one that was signed.
            ProtocolError: Blocks arrived damaged too often.
            NoSpaceError, TrustError: The agent refused it.
        """
        return self._put({"target": target}, ted, progress, pause, min_free)

    def _put(self, what: Message, ted: TedFile, progress: Progress | None, pause: PauseControl | None, min_free: int) -> Put:
        with self._request() as line:
            put = {"type": "put", "index": len(ted.index), "payload": ted.payload} | what
            line.say(put | ({"min_free": min_free} if min_free else {}))
            line.data(ted.index)
            reply = line.reply("ready", "held")
            if reply["type"] == "held":
                return Put(held=True)
            offset = line.fields(reply).number("offset", most=ted.payload)
            if offset % BLOCK and offset != ted.payload:
                raise ProtocolError(f"{line.who}: its agent wants to go on at byte {offset}, inside a block")
            return Upload(line, ted, offset, progress, pause).run()

    def order(self, envelope: Envelope, on_event: Callable[[AgentEvent], None] | None = None) -> Envelope:
        """Hand over a signed order and wait for the receipt, whose signature is the caller's to verify."""
        with self._request() as line:
            line.say({"type": "order", "envelope": envelope})
            return _envelope(self._final("receipt", on_event, EVENTS_MAX).get("envelope"), line.who)

    def rehearse(self, distribution: str, recipe: RenderedRecipe) -> Sequence[ActionRehearsal]:
        """Ask how actions would find the host now: one answer for each, pre actions first. Nothing there changes."""
        asked = len(recipe.pre_actions) + len(recipe.post_actions)
        with self._request() as line:
            line.say(rehearse_request(distribution, recipe))
            fields = line.fields(line.reply("rehearsal"))
            found = rehearsals_from_json(fields.items("actions", limit=asked))
            fields.done()
            if len(found) != asked:
                raise ProtocolError(f"{line.who}: its agent answered for {len(found)} of {asked} actions")
            return found

    def rehearse_manifest(self, request: Message, field: str, plain: bytes, answer: str) -> Any:
        """Ask a dry run's question about a manifest, its data: see ``rehearsing.py``. Returns the answer's field, unread."""
        if len(plain) > OUTLINE_MAX:
            raise ProtocolError(
                f"the manifest of {request['distribution']} has {len(plain)} bytes, more than the {OUTLINE_MAX} of a dry run"
            )
        packed = compress_frame(plain)
        with self._request() as line:
            line.say(request | {field: len(packed), "plain": len(plain)})
            line.data(packed)
            fields = line.fields(line.reply("rehearsal"))
            fields.items("actions", limit=0)
            found = fields.any(answer)
            fields.done()
            return found

    def receipts(self, distribution: str) -> Sequence[Envelope]:
        """Fetch receipts that were not yet acknowledged, unverified."""
        with self._request() as line:
            line.say({"type": "receipts", "distribution": distribution})
            fields = line.fields(line.reply("receipts"))
            return [_envelope(each, line.who) for each in fields.items("envelopes", limit=RECEIPTS_MAX)]

    def acknowledge(self, distribution: str, sequence: int) -> None:
        """Confirm that a receipt is kept; only once it is."""
        with self._request() as line:
            line.say({"type": "acknowledge", "distribution": distribution, "sequence": sequence})
            line.reply("done")

    def close(self) -> None:
        """End the conversation, with a goodbye if it still stands; may be called twice.

        From any thread: a request under way in another is broken off and raises ConnectionLostError there.
        """
        try:
            if not self._over and not self._busy:
                self._over = True
                with suppress(SluiceError):  # an agent that doesn't get it sees the end of its stdin
                    self._line.say({"type": "bye"})
        finally:
            self._line.close()

    def _final(self, kind: str, on_event: Callable[[AgentEvent], None] | None, most: int) -> Message:
        """Wait for the final reply, of this type, and hand over the events before it."""
        line = self._line
        for _ in range(most):
            reply = line.reply("event", kind)
            if reply["type"] == kind:
                return reply
            event = event_from_json(reply)
            if on_event is not None:
                on_event(event)
        raise ProtocolError(
            f"{line.who}: its agent sent {most} events and no {kind}",
            remedy="look at the host if this recurs; it is tried again as after any broken connection, and holds no slot meanwhile",
        )

    @contextmanager
    def _request(self) -> Iterator[FrameChannel]:
        """Make one request: an error that the agent reported leaves the conversation usable, anything else ends it."""
        if self._over:
            raise ConnectionLostError(f"{self._line.who}: the conversation is over")
        self._busy = True
        try:
            yield self._line
        except Reported as reported:
            raise reported.error from None
        except TrustError as error:  # raised by canonical.Fields for a malformed reply
            self._over = True
            raise ProtocolError(f"{self._line.who}: {error.message}") from error
        except BaseException:
            self._over = True
            raise
        finally:
            self._busy = False


def _envelope(value: Any, who: str) -> Envelope:
    if not isinstance(value, dict):
        raise ProtocolError(f"{who}: its agent sent a receipt without an envelope")
    return value
