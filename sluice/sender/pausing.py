"""How a transfer is asked to pause between two blocks (D10), whoever decides on that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class PauseControl(Protocol):
    """Tells a transfer when to pause, and has it wait. A sender with a send queue implements it by its position there."""

    @property
    def must_pause(self) -> bool:
        """Whether to pause before the next block; costs nothing."""
        ...

    def pause(self, keep_alive: Callable[[], None]) -> None:
        """Give the slot away in mid-transfer; return when there is one again.

        Args:
            keep_alive: Called now and then meanwhile, in this thread: sends a sign of life.
        Raises:
            SluiceError: The slot is lost.
        """
        ...
