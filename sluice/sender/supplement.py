"""Complete a revision at a Subscriber: it names the contents that its tree lacks, and is sent a supplement of them (docs/adr/0014).

A revision that is held or extracted is repaired in the same way. Every round asks anew, so that a repeat after a cut sends only contents
that are still missing. If they aren't worth it, or aren't kept any more, that is a BaseDiffersError: everything is sent then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from sluice.errors import BaseDiffersError, NotFoundError, ProtocolError, StoreCorruptError, TamperedError
from sluice.model.agent_event import AgentEvent
from sluice.model.assignment import Assignment
from sluice.model.revision import RevisionNumber
from sluice.ports import TedStore
from sluice.sender.conversation import Conversation
from sluice.sender.pausing import PauseControl

ROUNDS = 3
"""Supplements of one revision in one try; a Subscriber whose tree changes faster is sent everything."""


@dataclass(slots=True)
class SupplementSender:
    """Sends one Subscriber the contents of one revision that it lacks."""

    conversation: Conversation
    assignment: Assignment
    base: RevisionNumber | None
    """The revision that is extracted there, unless it is the assignment's."""
    store: TedStore
    min_free: int = 0
    """Bytes that must stay free where the supplement is received."""
    payload: int = field(default=0, init=False)
    """Bytes of all supplements so far, as they travel."""

    def complete(self, *, pause: PauseControl | None = None, on_event: Callable[[AgentEvent], None] | None = None) -> None:
        """Have the revision completed, and send supplements until nothing is missing.

        Raises:
            BaseDiffersError: Everything has to be sent.
            ProtocolError: The agent lacks contents that neither revision has.
            TransportError, TrustError.
        """
        for _ in range(ROUNDS):
            missing = self._missing(on_event)
            if not missing:
                return
            self._send(missing, pause)
        if self._missing(on_event):
            raise self._differs(f"still lacks contents after {ROUNDS} supplements")

    def _missing(self, on_event: Callable[[AgentEvent], None] | None) -> Sequence[str]:
        try:
            return self.conversation.complete(self.assignment.target, on_event)
        except (TamperedError, StoreCorruptError) as error:  # a delta that is wrong is wrong in every try; all else is signed by itself
            raise self._differs(f"can't complete it ({error.message}); it needs all") from error

    def _send(self, missing: Sequence[str], pause: PauseControl | None) -> None:
        distribution, revision = self.assignment.distribution, self.assignment.revision
        whole = dict(self.store.manifest(distribution, revision).contents())
        sizes = {**self._contents_of_base(), **whole}
        if unknown := [digest for digest in missing if digest not in sizes]:
            if self.base is not None and not self._base_is_kept():
                raise self._differs(f"lacks contents of {self.base}, which isn't kept any more")
            raise ProtocolError(f"the agent lacks content {unknown[0]}, which {self.assignment.target} doesn't have")
        if 2 * sum(sizes[digest] for digest in missing) > sum(whole.values()):
            raise self._differs("lacks more than half of it")
        with ExitStack() as opened:
            try:
                ted = opened.enter_context(self.store.supplement(distribution, revision, self.base, missing))
            except NotFoundError as error:
                raise self._differs("lacks contents that aren't kept any more") from error
            self.conversation.put_supplement(self.assignment.target, missing, ted, pause=pause, min_free=self.min_free)
            self.payload += ted.payload

    def _contents_of_base(self) -> Mapping[str, int]:
        if self.base is None or not self._base_is_kept():
            return {}
        return dict(self.store.manifest(self.assignment.distribution, self.base).contents())

    def _base_is_kept(self) -> bool:
        return self.base in self.store.revisions(self.assignment.distribution)

    def _differs(self, why: str) -> BaseDiffersError:
        return BaseDiffersError(
            f"the Subscriber {why}: {self.assignment.distribution} {self.assignment.revision}",
            remedy="nothing to do: Sluice sends everything instead",
        )
