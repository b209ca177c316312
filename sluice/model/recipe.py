"""The part of an order that differs by Subscriber: destinations and actions with that Subscriber's variables filled in (D15)."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.model.action import Action
from sluice.model.locked import FAILS_AT_ONCE, Locked

DESTINATIONS_MAX = 10_000
"""Most entries of ``files:`` of a Distribution."""
VALUES_MAX = 100_000
"""Most texts of all actions and excludes of a Distribution together: a manifest and an order must be able to hold them."""
ACTIONS_BYTES = 4 * 1024 * 1024
"""Most bytes of the texts of all actions of an order."""


@dataclass(frozen=True, slots=True)
class RenderedRecipe:
    """One Distribution rendered for one Subscriber, ready for an order."""

    destinations: tuple[str, ...]
    """In ``files:`` order; each absolute, normalised and without ``..``."""
    pre_actions: tuple[Action, ...] = ()
    post_actions: tuple[Action, ...] = ()
    locked: Locked = FAILS_AT_ONCE
    min_free: int = 0
    """Bytes that must stay free (C13)."""
    allow_removals: bool = False
    """A person allows more removals than ``max_removals`` this time."""
