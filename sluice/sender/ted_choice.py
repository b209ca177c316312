"""Choose the ``.ted`` that fits a Subscriber, by its agent's hello: a delta from what it has extracted, a small one, or everything."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.model.feature import Feature
from sluice.model.revision import RevisionNumber
from sluice.ports import TedStore
from sluice.sender.hello import AgentHello

SMALL_MEMORY = 1024 * 1024 * 1024
"""Bytes of memory below which a host is sent small deltas."""
DELTA_CODECS = frozenset({"hdiff", "lzma"})
"""Codecs that deltas may need beside zstd, unless they are small."""


@dataclass(frozen=True, slots=True)
class TedChoice:
    """A ``.ted`` of a revision."""

    base: RevisionNumber | None = None
    """None: everything."""
    small: bool = False
    """Made of small groups, with zstd alone."""


def takes_deltas(hello: AgentHello) -> bool:
    """Whether the agent can complete deltas and take supplements; others are sent everything."""
    return Feature.DELTA.value in hello.features


def wants_small(hello: AgentHello) -> bool:
    """Whether a delta for it must be small."""
    return hello.memory < SMALL_MEMORY or not hello.codecs >= DELTA_CODECS


def choose_ted(hello: AgentHello, distribution: str, revision: RevisionNumber, store: TedStore) -> TedChoice:
    """Choose the ``.ted`` to send. A revision that isn't extracted is no base: an extraction builds on the destinations' files."""
    base, small = hello.of(distribution).extracted, wants_small(hello)
    if base is None or not takes_deltas(hello) or base not in store.bases(distribution, revision, small=small):
        return TedChoice()
    return TedChoice(base, small)
