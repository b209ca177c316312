"""Send one revision to one Subscriber, in steps (TED: the Distributor sends to a Subscriber's working directory).

``call`` first: a host that doesn't answer costs nobody a slot (D10). Then the caller waits for its turn in the send queue and calls
``transfer``. Neither retries nor touches the ledger: the caller does, by ``rules/retry.py``. Killed or cut anywhere, a repeat goes on from
the bytes on the Subscriber's disk; a revision becomes visible there only once it is whole. The delta from the revision that is extracted
there travels, and beside it the contents that its tree lacks; if that is impossible, everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sluice.errors import BaseDiffersError, ConnectionLostError, NotFoundError, StoreCorruptError
from sluice.formats.manifest.document import has_backslash, has_hard_links
from sluice.model.agent_event import AgentEvent
from sluice.model.assignment import Assignment
from sluice.model.event import JsonValue
from sluice.model.feature import Feature
from sluice.model.revision import RevisionNumber
from sluice.model.site import Subscriber
from sluice.ports import Progress, TedFile, TedStore, Transport
from sluice.sender.call import Call, call_agent, require
from sluice.sender.hello import AgentHello
from sluice.sender.metadata import push_metadata
from sluice.sender.pausing import PauseControl
from sluice.sender.signed import SignedMetadata
from sluice.sender.supplement import SupplementSender
from sluice.sender.ted_choice import TedChoice, choose_ted, takes_deltas, wants_small
from sluice.sender.upload import Put
from sluice.trust.roles import manifest_target, ted_target
from sluice.trust.targets import Target


class Remedy(StrEnum):
    """How a send repairs a Subscriber's tree that an extraction found changed."""

    NONE = "none"
    """No extraction did: a revision that the Subscriber says it holds needn't be sent."""
    MEND = "mend"
    """Send the contents that its tree lacks; everything only if that is impossible."""
    WHOLE = "whole"
    """Send everything: the missing contents didn't help."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """One send that went through; all sizes in bytes of this try."""

    revision: RevisionNumber
    base: RevisionNumber | None
    """The revision that the ``.ted`` builds on, which the Subscriber must have extracted; None: it is whole."""
    already_held: bool
    """No content had to be sent."""
    payload: int
    """Of the ``.ted``."""
    resumed: int
    """Of the payload: had arrived in earlier tries."""
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
    supplement: int = 0
    """Of ``sent``: the supplement, contents that the Subscriber's tree lacked, compressed."""
    small: bool = False
    """The ``.ted`` had to be for a host with little memory."""
    makes: bool = False
    """The ``.ted`` had to be made first, within this send's time."""
    why_whole: str = ""
    """Why neither a delta nor a supplement would do, so that everything was sent."""

    def as_event(self, seconds: float) -> dict[str, JsonValue]:
        """Return the data of its event in the ledger, for predictions; ``seconds`` leave out pauses and the wait for a slot."""
        data: dict[str, JsonValue] = {
            "bytes": self.sent,
            "received": self.received,
            "resumed": self.resumed,
            "base": str(self.base) if self.base else None,
            "payload": self.payload,
            "lent": self.supplement,
            "small": self.small,
            "makes": self.makes,
            "seconds": round(seconds, 3),
        }
        return data | ({"why_whole": self.why_whole[:1000]} if self.why_whole else {})


@dataclass(frozen=True, slots=True)
class Sender:
    """Whoever sends: the same for all of its transfers."""

    distributor: str
    """The Distributor that signed."""
    transport: Transport
    store: TedStore
    signed: SignedMetadata
    sign: Callable[[str], object]
    """Publishes what the store has of a Distribution."""
    timeout: float
    """Seconds without progress until a conversation is broken off (D8), unless the Subscriber has its own."""

    def call(self, subscriber: Subscriber, distribution: str) -> Call:
        """Call a Subscriber's agent about a Distribution. Raises as ``call_agent``."""
        own = subscriber.connection_timeout
        timeout = own.total_seconds() if own else self.timeout
        return call_agent(subscriber, self.distributor, transport=self.transport, timeout=timeout, about=[distribution])


@dataclass(repr=False)  # a Subscriber's variables may contain passwords
class Transfer:
    """One try to send an assignment. Its steps may come from different threads, one at a time."""

    sender: Sender
    subscriber: Subscriber
    assignment: Assignment
    needs: Collection[str] = ()
    """Features that the agent must have: see ``rules.features.needed_features``."""
    remedy: Remedy = Remedy.NONE
    """What an earlier extraction, which raised BaseDiffersError, made necessary."""
    on_event: Callable[[AgentEvent], None] = lambda _: None
    """Told while a ``.ted`` is made (phase ``make``), and while the agent completes a delta."""
    _call: Call | None = field(default=None, init=False)
    _resumed: int | None = field(default=None, init=False)
    _makes: bool = field(default=False, init=False)
    _held_metadata: Mapping[str, int] = field(default_factory=dict, init=False)
    """Versions by role that the Subscriber holds by now."""
    _progress: Progress | None = field(default=None, init=False)
    _pause: PauseControl | None = field(default=None, init=False)

    def call(self) -> AgentHello:
        """Connect and greet; again returns the same. Raises as ``call_agent``, and AgentVersionError if it lacks a feature."""
        if self._call is None:
            self._call = self.sender.call(self.subscriber, self.assignment.distribution)
            self._held_metadata = self._call.hello.trust or {}
        hello, about = self._call.hello, self.assignment
        require(hello, self.needs, about.distribution)
        content = {Feature.HARD_LINKS: has_hard_links, Feature.BACKSLASH: has_backslash}  # only the manifest tells whether there are some
        if lacking := content.keys() - hello.features:
            manifest = self.sender.store.manifest_bytes(about.distribution, about.revision)
            require(hello, [feature for feature in lacking if content[feature](manifest)], about.distribution)
        return hello

    @property
    def needs_transfer(self) -> bool:
        """Whether the Subscriber says it lacks the revision, or its tree is to be repaired. Only after ``call``."""
        return self.remedy is not Remedy.NONE or not self._is_there

    @property
    def called(self) -> Call:
        """The conversation, to order the extraction over it. Only after ``call``."""
        if self._call is None:
            raise ConnectionLostError(f"Subscriber {self.subscriber.name} was not called yet")
        return self._call

    @property
    def sent(self) -> int:
        """Bytes written so far, also by a try that broke off: for the ledger."""
        return self._call.conversation.sent if self._call else 0

    @property
    def resumed(self) -> int:
        """Bytes of payload that had arrived before, as far as known."""
        return self._resumed or 0

    def transfer(self, progress: Progress | None = None, pause: PauseControl | None = None) -> SendResult:
        """Send what is missing there: metadata, the ``.ted`` that fits, the supplement.

        Args:
            progress: Called with payload bytes (arrived, in all), about every MiB.
            pause: May have it pause between two blocks (D10).
        Raises:
            TransportError: See ``retryable``; bytes that arrived are kept there.
            TrustError, NoSpaceError: The Subscriber refused.
            StoreCorruptError: Our own revision is damaged.
            NotFoundError: The revision isn't kept any more.
        """
        self._progress, self._pause = progress, pause
        hello = self.called.hello
        if not self.needs_transfer:
            return self._result(Put(held=True))
        try:
            if self.remedy is not Remedy.WHOLE and takes_deltas(hello):
                if self._is_there:
                    return self._send_supplement_alone()
                choice = choose_ted(hello, self.assignment.distribution, self.assignment.revision, self.sender.store)
                if choice.base is not None:
                    return self._send_delta(choice)
        except BaseDiffersError as error:  # the agent said so, or a supplement isn't worth it
            return replace(self._send_whole(), why_whole=error.message)
        return self._send_whole()

    def close(self) -> None:
        """End the conversation; may be called twice."""
        if self._call is not None:
            self._call.close()

    @property
    def _is_there(self) -> bool:
        state = self.called.hello.of(self.assignment.distribution)
        return self.assignment.revision in (state.held, state.extracted)

    def _send_whole(self) -> SendResult:
        conversation = self.called.conversation
        ted = self._signed_ted(TedChoice())
        metadata = self._push_metadata()
        before = conversation.sent
        conversation.put_manifest(manifest_target(self.assignment.distribution, self.assignment.revision), self._signed_manifest())
        manifest = conversation.sent - before
        put = self._put(ted)
        return self._result(put, payload=ted.payload, metadata=metadata, manifest=manifest + len(ted.index))

    def _send_delta(self, choice: TedChoice) -> SendResult:
        """Send a delta, which brings the manifest; the revision is held once it is completed."""
        ted = self._signed_ted(choice)
        metadata = self._push_metadata()
        put, supplement = self._put(ted), self._complete()
        return self._result(put, base=choice.base, payload=ted.payload, metadata=metadata, manifest=len(ted.index), supplement=supplement)

    def _send_supplement_alone(self) -> SendResult:
        """Complete a revision that is held or extracted: it is right by its signature, only its tree lacks contents."""
        metadata = self._push_metadata()
        supplement = self._complete()
        return self._result(Put(held=not supplement), metadata=metadata, supplement=supplement)

    def _complete(self) -> int:
        """Have the revision completed, and return the bytes of the supplement."""
        extracted = self.called.hello.of(self.assignment.distribution).extracted
        base = extracted if extracted != self.assignment.revision else None
        supplement = SupplementSender(self.called.conversation, self.assignment, base, self.sender.store, min_free=self.subscriber.min_free)
        supplement.complete(pause=self._pause, on_event=self.on_event)
        return supplement.payload

    def _put(self, ted: TedFile) -> Put:
        target = ted_target(self.assignment.distribution, self.assignment.revision, ted.name)
        return self.called.conversation.put_ted(target, ted, self._report, self._pause, min_free=self.subscriber.min_free)

    def _signed_ted(self, choice: TedChoice) -> TedFile:
        """Return the ``.ted`` that was chosen, made and signed if it wasn't yet."""
        distribution, revision = self.assignment.distribution, self.assignment.revision
        self._makes |= (choice.base, choice.small) not in {(ted.base, ted.small) for ted in self.sender.store.teds(distribution, revision)}
        ted = self.sender.store.ensure_ted(distribution, revision, choice.base, small=choice.small, progress=self._report_making)
        path, target = ted_target(distribution, revision, ted.name), Target.of(ted.index)
        if self.sender.signed.listing(distribution).get(path) != target:
            self.sender.sign(distribution)
            if self.sender.signed.listing(distribution).get(path) != target:
                raise NotFoundError(
                    f"{path} can't be sent: it is not in the signed metadata any more", remedy=f"run: sluice send {distribution}"
                )
        return ted

    def _signed_manifest(self) -> bytes:
        """Return the manifest, if it is still the one that was signed."""
        distribution, revision = self.assignment.distribution, self.assignment.revision
        path, data = manifest_target(distribution, revision), self.sender.store.manifest_bytes(distribution, revision)
        if self.sender.signed.listing(distribution).get(path) != Target.of(data):
            raise StoreCorruptError(
                f"{path} isn't the manifest that was signed, and can't be made again",
                remedy=f"run: sluice build {distribution} --rebaseline",
            )
        return data

    def _push_metadata(self) -> int:
        """Send the metadata that the Subscriber lacks, and return the bytes it took."""
        before = self.called.conversation.sent
        self._held_metadata = push_metadata(self.called, self.sender.signed, self.assignment.distribution, self._held_metadata)
        return self.called.conversation.sent - before

    def _report(self, done: int, total: int) -> None:
        self._resumed = done if self._resumed is None else self._resumed  # the first report comes before anything is sent
        if self._progress is not None:
            self._progress(done, total)

    def _report_making(self, done: int, total: int) -> None:
        self.on_event(AgentEvent("make", done, total))

    def _result(
        self, put: Put, *, base: RevisionNumber | None = None, payload: int = 0, metadata: int = 0, manifest: int = 0, supplement: int = 0
    ) -> SendResult:
        return SendResult(
            revision=self.assignment.revision,
            base=base,
            already_held=put.held,
            payload=payload,
            resumed=put.resumed,
            sent=self.called.conversation.sent,
            received=self.called.conversation.received,
            metadata=metadata,
            manifest=manifest,
            again=put.again,
            supplement=supplement,
            small=wants_small(self.called.hello),
            makes=self._makes,
        )
