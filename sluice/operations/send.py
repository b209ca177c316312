"""Send one revision to one Subscriber, in steps (TED: the Distributor sends to a Subscriber's working directory).

``call`` first: a host that doesn't answer costs nobody a slot (D10). Then the caller waits for its place in the send queue and
calls ``transfer``. Neither retries nor touches the ledger: the caller does, by ``rules/retry.py``. Killed or cut anywhere, a repeat
goes on where the Subscriber's disk stands; nothing there is visible before it is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluice.errors import BaseDiffersError, ConnectionLostError, NotFoundError
from sluice.model.revision import RevisionNumber
from sluice.model.site import Subscriber
from sluice.operations.agent_hello import AgentHello
from sluice.operations.call import Call, call_agent, require
from sluice.operations.conversation import Put
from sluice.operations.queue_watch import Turn
from sluice.ports import Progress, Store, TedFile, Transport
from sluice.trust.publish import Publisher
from sluice.trust.roles import manifest_target, ted_target
from sluice.trust.targets import Target


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


class Sending:
    """One revision on its way to one Subscriber. Steps may come from different threads, one at a time; always ``close`` it."""

    def __init__(
        self,
        subscriber: Subscriber,
        distribution: str,
        revision: RevisionNumber,
        *,
        distributor: str,
        transport: Transport,
        store: Store,
        publisher: Publisher,
        sign: Callable[[str], object],
        timeout: float,
        needs: frozenset[str] = frozenset(),
        whole: bool = False,
    ) -> None:
        """Nothing happens yet.

        Args:
            sign: Publishes what the store has of a Distribution; called where a ``.ted`` isn't signed yet. Repeatable.
            timeout: Seconds without progress (D8).
            needs: See ``rules.features.needed_features``.
            whole: Send everything, whatever the Subscriber says it has: after a BaseDiffersError.
        """
        self._subscriber, self._distributor = subscriber, distributor
        self._distribution, self._revision = distribution, revision
        self._transport, self._store, self._publisher, self._sign = transport, store, publisher, sign
        self._timeout, self._needs, self._whole = timeout, needs, whole
        self._call: Call | None = None
        self._resumed: int | None = None

    def call(self) -> AgentHello:
        """Connect and greet; again returns the same. Raises as ``call_agent``, and AgentVersionError where it can't do what is needed."""
        if self._call is None:
            self._call = call_agent(self._subscriber, self._distributor, transport=self._transport, timeout=self._timeout)
        require(self._call.hello, self._needs, self._distribution)
        return self._call.hello

    @property
    def needs_transfer(self) -> bool:
        """Whether the Subscriber says it lacks the revision. Only after ``call``."""
        state = self._called().hello.of(self._distribution)
        return self._whole or self._revision not in (state.held, state.extracted)

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
        """Send what is lacking: metadata, manifest, the fitting ``.ted``.

        Args:
            progress: Called with payload bytes (there, in all), about every MiB.
            turn: Its place in the send queue, which may have it pause between two blocks (D10).
        Raises:
            TransportError: See ``retryable``; what arrived is kept there.
            TrustError, NoSpaceError: The Subscriber refused.
            StoreCorruptError: Our own revision is damaged.
            NotFoundError: The revision isn't kept any more.
        """
        call = self._called()
        if not self.needs_transfer:
            return self._result(None, Put(held=True), payload=0, metadata=0, manifest=0)
        base = self._usable_base(call.hello)
        try:
            return self._send(call, base, progress, turn)
        except BaseDiffersError:
            if base is None:
                raise
            return self._send(call, None, progress, turn)

    def close(self) -> None:
        """End the conversation; may be called twice."""
        if self._call is not None:
            self._call.close()

    def _usable_base(self, hello: AgentHello) -> RevisionNumber | None:
        base = None if self._whole else hello.of(self._distribution).extracted
        return base if base is not None and base < self._revision and base in self._store.revisions(self._distribution) else None

    def _send(self, call: Call, base: RevisionNumber | None, progress: Progress | None, turn: Turn | None) -> SendResult:
        conversation = call.conversation
        ted = self._signed_ted(base)
        metadata = self._push_metadata(call)
        before = conversation.sent
        conversation.put_manifest(
            manifest_target(self._distribution, self._revision), self._store.manifest_bytes(self._distribution, self._revision)
        )
        manifest = conversation.sent - before
        put = conversation.put_ted(
            ted_target(self._distribution, self._revision, ted.name),
            ted,
            lambda done, total: self._seen(done, total, progress),
            turn,
            min_free=self._subscriber.min_free,
        )
        return self._result(ted.base, put, payload=ted.payload, metadata=metadata, manifest=manifest + len(ted.index))

    def _signed_ted(self, base: RevisionNumber | None) -> TedFile:
        """The ``.ted`` for Subscribers that have ``base``, signed by now."""
        ted = self._store.ensure_ted(self._distribution, self._revision, base)
        path, target = ted_target(self._distribution, self._revision, ted.name), Target.of(ted.index)
        if self._publisher.listing(self._distribution).get(path) != target:
            self._sign(self._distribution)
            if self._publisher.listing(self._distribution).get(path) != target:
                raise NotFoundError(f"{path} can't be sent: it is no longer among what is signed", remedy="send the newest revision")
        return ted

    def _push_metadata(self, call: Call) -> int:
        before = call.conversation.sent
        if files := self._publisher.files_for(self._distribution, call.hello.trust or {}):
            call.conversation.push_metadata(self._distribution, files)
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

    def _result(self, base: RevisionNumber | None, put: Put, *, payload: int, metadata: int, manifest: int) -> SendResult:
        conversation = self._called().conversation
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
        )
