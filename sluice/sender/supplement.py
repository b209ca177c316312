"""Completing what a Subscriber received: it names the contents that its tree lacks, and is lent exactly these (docs/adr/0014).

A revision that is held or extracted is mended in the same way. Every round asks anew, so that a repeat after a cut lends only what still
lacks. What isn't worth lending, or isn't kept any more, is a BaseDiffersError: everything is sent then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from sluice.errors import BaseDiffersError, NotFoundError, ProtocolError, StoreCorruptError, TamperedError
from sluice.model.revision import RevisionNumber
from sluice.ports import Progress, TedStore
from sluice.sender.conversation import AgentEvent, Conversation
from sluice.sender.pausing import Turn

ROUNDS = 3
"""Times that contents are lent for one revision in one try; a tree that changes faster is sent everything."""


class SupplementSender:
    """Lends one Subscriber what it lacks of one revision."""

    def __init__(
        self,
        conversation: Conversation,
        distribution: str,
        revision: RevisionNumber,
        base: RevisionNumber | None,
        *,
        store: TedStore,
        min_free: int = 0,
    ) -> None:
        """
        Args:
            base: What is extracted there, where that isn't the revision.
            min_free: Bytes that must stay free where it is received.
        """
        self._conversation, self._store, self._min_free = conversation, store, min_free
        self._distribution, self._revision, self._base = distribution, revision, base
        self.payload = 0
        """Bytes lent so far, as they travel."""

    def complete(
        self, progress: Progress | None = None, turn: Turn | None = None, on_event: Callable[[AgentEvent], None] | None = None
    ) -> None:
        """Have the revision completed, and lend until nothing lacks.

        Raises:
            BaseDiffersError: Send everything.
            ProtocolError: The agent lacks what neither revision has.
            TransportError, TrustError.
        """
        target = f"{self._distribution}/{self._revision}"
        for _ in range(ROUNDS):
            lacks = self._lacking(target, on_event)
            if not lacks:
                return
            self._lend(target, lacks, progress, turn)
        if self._lacking(target, on_event):
            raise self._differs(f"still lacks contents after they were lent {ROUNDS} times")

    def _lacking(self, target: str, on_event: Callable[[AgentEvent], None] | None) -> Sequence[str]:
        try:
            return self._conversation.complete(target, on_event)
        except (TamperedError, StoreCorruptError) as error:  # a delta that is wrong is wrong in every try; all else is signed by itself
            raise self._differs(f"can't complete it ({error.message}); it needs all") from error

    def _lend(self, target: str, lacks: Sequence[str], progress: Progress | None, turn: Turn | None) -> None:
        whole = dict(self._store.manifest(self._distribution, self._revision).contents())
        sizes = {**self._of_base(), **whole}
        if unknown := [digest for digest in lacks if digest not in sizes]:
            if self._base is not None and not self._base_is_kept():
                raise self._differs(f"lacks contents of {self._base}, which isn't kept any more")
            raise ProtocolError(f"the agent lacks content {unknown[0]}, which {target} doesn't have")
        if 2 * sum(sizes[digest] for digest in lacks) > sum(whole.values()):
            raise self._differs("lacks more than half of it")
        with ExitStack() as opened:
            try:
                ted = opened.enter_context(self._store.supplement(self._distribution, self._revision, self._base, lacks))
            except NotFoundError as error:
                raise self._differs("lacks contents that aren't kept any more") from error
            self._conversation.put_supplement(target, lacks, ted, progress, turn, min_free=self._min_free)
            self.payload += ted.payload

    def _of_base(self) -> Mapping[str, int]:
        if self._base is None or not self._base_is_kept():
            return {}
        return dict(self._store.manifest(self._distribution, self._base).contents())

    def _base_is_kept(self) -> bool:
        return self._base in self._store.revisions(self._distribution)

    def _differs(self, why: str) -> BaseDiffersError:
        return BaseDiffersError(
            f"the Subscriber {why} of {self._distribution} {self._revision}", remedy="nothing: everything is sent instead"
        )
