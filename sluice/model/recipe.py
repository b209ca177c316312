"""What differs by Subscriber in an order: destinations and actions with that Subscriber's variables filled in (D15)."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.model.action import Action
from sluice.model.locked import FAILS_AT_ONCE, Locked


@dataclass(frozen=True, slots=True)
class RenderedRecipe:
    """One Distribution for one Subscriber, ready to be put into an order."""

    destinations: tuple[str, ...]
    """In ``files:`` order; each absolute, normalised and without ``..``."""
    pre_actions: tuple[Action, ...] = ()
    post_actions: tuple[Action, ...] = ()
    locked: Locked = FAILS_AT_ONCE
    min_free: int = 0
    """Bytes."""
