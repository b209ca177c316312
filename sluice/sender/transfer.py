"""Send one revision to one Subscriber, in steps (TED: the Distributor sends to a Subscriber's working directory).

``call`` first: a host that doesn't answer costs nobody a slot (D10). Then the caller waits for its place in the send queue and
calls ``transfer``. Neither retries nor touches the ledger: the caller does, by ``rules/retry.py``. Killed or cut anywhere, a repeat
goes on where the Subscriber's disk stands; nothing there is visible before it is whole.

What travels is the delta from what is extracted there, and the contents that lack there beside it; where that can't be, everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sluice.errors import BaseDiffersError, ConnectionLostError, NotFoundError, StoreCorruptError, TrustError
from sluice.model.event import JsonValue
from sluice.model.revision import RevisionNumber
from sluice.model.site import Subscriber
from sluice.ports import Progress, TedFile, TedStore, Transport
from sluice.sender.call import Call, call_agent, require
from sluice.sender.conversation import Put
from sluice.sender.hello import AgentHello
from sluice.sender.pausing import Turn
from sluice.sender.signed import SignedMetadata
from sluice.sender.supplement import SupplementSender
from sluice.sender.ted_choice import TedChoice, choose_ted, takes_deltas, wants_small
from sluice.trust.roles import manifest_target, ted_target
from sluice.trust.targets import Target


class Remedy(StrEnum):
    """What a send does about an extraction that found the Subscriber's tree changed."""

    NONE = "none"
    """There was none: what the Subscriber says it holds needn't be sent."""
    MEND = "mend"
    """Lend what its tree lacks; everything only where that can't be."""
    WHOLE = "whole"
    """Send everything: lending didn't help."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """One send that went through; all sizes in bytes of this try."""

    revision: RevisionNumber
    base: RevisionNumber | None
    """Of the ``.ted`` that was sent: what the Subscriber must have extracted; None: whole."""
    already_held: bool
    """No content had to be sent."""
    payload: int
    """Of the ``.ted``."""
    resumed: int
    """Of the payload, there from earlier tries."""
    sent: int
    """On our wire to the Subscriber, everything included: greeting, metadata, manifest, index, payload, frames."""
    received: int
    """From the Subscriber."""
    metadata: int
    """Of ``sent``: signed metadata, compressed."""
    manifest: int
    """Of ``sent``: manifest and index."""
    again: int
    """Times damaged blocks were sent again."""
    lent: int = 0
    """Of ``sent``: contents that the Subscriber's tree lacked, compressed."""
    small: bool = False
    """The ``.ted`` had to be for a host with little memory."""
    why_whole: str = ""
    """What kept a delta, or lending, from doing; everything was sent instead."""

    def as_event(self, seconds: float) -> dict[str, JsonValue]:
        """What the ledger keeps of it; predictions read it back.

        Args:
            seconds: That it took, without waiting for a slot.
        """
        data: dict[str, JsonValue] = {
            "bytes": self.sent,
            "received": self.received,
            "resumed": self.resumed,
            "base": str(self.base) if self.base else None,
            "payload": self.payload,
            "lent": self.lent,
            "small": self.small,
            "seconds": round(seconds, 3),
        }
        return data | ({"why_whole": self.why_whole[:1000]} if self.why_whole else {})


class Transfer:
    """One revision on its way to one Subscriber. Steps may come from different threads, one at a time; always ``close`` it."""

    def __init__(
        self,
        subscriber: Subscriber,
        distribution: str,
        revision: RevisionNumber,
        *,
        distributor: str,
        transport: Transport,
        store: TedStore,
        publisher: SignedMetadata,
        sign: Callable[[str], object],
        timeout: float,
        needs: frozenset[str] = frozenset(),
        remedy: Remedy = Remedy.NONE,
    ) -> None:
        """Nothing happens yet.

        Args:
            sign: Publishes what the store has of a Distribution; called where a ``.ted`` isn't signed yet. Repeatable.
            timeout: Seconds without progress (D8).
            needs: See ``rules.features.needed_features``.
            remedy: After a BaseDiffersError of an extraction.
        """
        self._subscriber, self._distributor = subscriber, distributor
        self._distribution, self._revision = distribution, revision
        self._transport, self._store, self._publisher, self._sign = transport, store, publisher, sign
        self._timeout, self._needs, self._remedy = timeout, needs, remedy
        self._call: Call | None = None
        self._resumed: int | None = None
        self._trust: Mapping[str, int] = {}
        """Metadata versions that it holds by now, by role."""

    def call(self) -> AgentHello:
        """Connect and greet; again returns the same. Raises as ``call_agent``, and AgentVersionError where it can't do what is needed."""
        if self._call is None:
            self._call = call_agent(
                self._subscriber, self._distributor, transport=self._transport, timeout=self._timeout, about=[self._distribution]
            )
            self._trust = self._call.hello.trust or {}
        require(self._call.hello, self._needs, self._distribution)
        return self._call.hello

    @property
    def needs_transfer(self) -> bool:
        """Whether the Subscriber says it lacks the revision, or what it has is to be mended. Only after ``call``."""
        return self._remedy is not Remedy.NONE or not self._is_there

    @property
    def called(self) -> Call:
        """The conversation, to order the extraction over it. Only after ``call``."""
        return self._called()

    @property
    def sent(self) -> int:
        """Bytes written so far, also of a try that broke off: for the ledger."""
        return self._call.conversation.sent if self._call else 0

    @property
    def resumed(self) -> int:
        """Bytes of payload that had arrived before, as far as known."""
        return self._resumed or 0

    def transfer(self, progress: Progress | None = None, turn: Turn | None = None) -> SendResult:
        """Send what is lacking: metadata, the fitting ``.ted``, what is lent.

        Args:
            progress: Called with payload bytes (there, in all), about every MiB.
            turn: Its place in the send queue, which may have it pause between two blocks (D10).
        Raises:
            TransportError: See ``retryable``; what arrived is kept there.
            TrustError, NoSpaceError: The Subscriber refused.
            StoreCorruptError: Our own revision is damaged.
            NotFoundError: The revision isn't kept any more.
        """
        hello = self._called().hello
        if not self.needs_transfer:
            return self._result(None, Put(held=True), payload=0, metadata=0, manifest=0)
        try:
            if self._remedy is not Remedy.WHOLE and takes_deltas(hello):
                if self._is_there:
                    return self._mended(progress, turn)
                if (fits := choose_ted(hello, self._distribution, self._revision, self._store)).base is not None:
                    return self._send_delta(fits, progress, turn)
        except BaseDiffersError as error:  # said by the agent, or because lending isn't worth it
            return replace(self._send_whole(progress, turn), why_whole=error.message)
        return self._send_whole(progress, turn)

    def close(self) -> None:
        """End the conversation; may be called twice."""
        if self._call is not None:
            self._call.close()

    @property
    def _is_there(self) -> bool:
        state = self._called().hello.of(self._distribution)
        return self._revision in (state.held, state.extracted)

    def _send_whole(self, progress: Progress | None, turn: Turn | None) -> SendResult:
        conversation = self._called().conversation
        ted = self._signed_ted(TedChoice())
        metadata = self._push_metadata()
        before = conversation.sent
        conversation.put_manifest(manifest_target(self._distribution, self._revision), self._signed_manifest())
        manifest = conversation.sent - before
        put = self._put(ted, progress, turn)
        return self._result(None, put, payload=ted.payload, metadata=metadata, manifest=manifest + len(ted.index))

    def _send_delta(self, fits: TedChoice, progress: Progress | None, turn: Turn | None) -> SendResult:
        """The delta brings the manifest; it is held once it is completed."""
        ted = self._signed_ted(fits)
        metadata = self._push_metadata()
        put = self._put(ted, progress, turn)
        lent = self._completed(turn)
        return self._result(fits.base, put, payload=ted.payload, metadata=metadata, manifest=len(ted.index), lent=lent)

    def _mended(self, progress: Progress | None, turn: Turn | None) -> SendResult:
        """What it holds or has extracted is right by its signature; only its tree lacks something."""
        metadata = self._push_metadata()
        lent = self._completed(turn)
        return self._result(None, Put(held=not lent), payload=0, metadata=metadata, manifest=0, lent=lent)

    def _completed(self, turn: Turn | None) -> int:
        """Bytes lent."""
        call = self._called()
        extracted = call.hello.of(self._distribution).extracted
        base = extracted if extracted != self._revision else None
        minimum = self._subscriber.min_free
        lending = SupplementSender(call.conversation, self._distribution, self._revision, base, store=self._store, min_free=minimum)
        lending.complete(turn=turn)
        return lending.payload

    def _put(self, ted: TedFile, progress: Progress | None, turn: Turn | None) -> Put:
        return self._called().conversation.put_ted(
            ted_target(self._distribution, self._revision, ted.name),
            ted,
            lambda done, total: self._seen(done, total, progress),
            turn,
            min_free=self._subscriber.min_free,
        )

    def _signed_ted(self, fits: TedChoice) -> TedFile:
        """The fitting ``.ted``, signed by now."""
        ted = self._store.ensure_ted(self._distribution, self._revision, fits.base, small=fits.small)
        path, target = ted_target(self._distribution, self._revision, ted.name), Target.of(ted.index)
        if self._publisher.listing(self._distribution).get(path) != target:
            self._sign(self._distribution)
            if self._publisher.listing(self._distribution).get(path) != target:
                raise NotFoundError(f"{path} can't be sent: it is no longer among what is signed", remedy="send the newest revision")
        return ted

    def _signed_manifest(self) -> bytes:
        """The manifest, which is still what was signed."""
        path, data = manifest_target(self._distribution, self._revision), self._store.manifest_bytes(self._distribution, self._revision)
        if self._publisher.listing(self._distribution).get(path) != Target.of(data):
            raise StoreCorruptError(
                f"{path} isn't the one that was signed",
                remedy=f"run `sluice build {self._distribution} --rebaseline`: it can't be made again",
            )
        return data

    def _push_metadata(self) -> int:
        call = self._called()
        before = call.conversation.sent
        if files := self._publisher.files_for(self._distribution, self._trust):
            like = self._publisher.held_files(self._distribution, self._trust) if takes_deltas(call.hello) else {}
            try:
                self._trust = call.conversation.push_metadata(self._distribution, files, like)
            except TrustError:
                if not like:
                    raise
                # It may hold another file under the same version: of before our repository was restored from a backup.
                self._trust = call.conversation.push_metadata(self._distribution, files)
        return call.conversation.sent - before

    def _seen(self, done: int, total: int, progress: Progress | None) -> None:
        if self._resumed is None:  # the first report, before anything is sent
            self._resumed = done
        if progress is not None:
            progress(done, total)

    def _called(self) -> Call:
        if self._call is None:
            raise ConnectionLostError(f"Subscriber {self._subscriber.name} was not called yet")
        return self._call

    def _result(self, base: RevisionNumber | None, put: Put, *, payload: int, metadata: int, manifest: int, lent: int = 0) -> SendResult:
        call = self._called()
        conversation = call.conversation
        return SendResult(
            revision=self._revision,
            base=base,
            already_held=put.held,
            payload=payload,
            resumed=put.resumed,
            sent=conversation.sent,
            received=conversation.received,
            metadata=metadata,
            manifest=manifest,
            again=put.again,
            lent=lent,
            small=wants_small(call.hello),
        )
