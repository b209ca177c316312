"""How a transfer is asked to pause between two blocks (D10), whoever decides on that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Turn(Protocol):
    """A transfer's place among others."""

    @property
    def must_pause(self) -> bool:
        """Read between two blocks; costs nothing."""
        ...

    def pause(self, alive: Callable[[], None]) -> None:
        """Give the slot away in the middle of a transfer; returns once there is one again.

        Args:
            alive: Called now and then meanwhile, in this thread: sends a sign of life.
        Raises:
            SluiceError: The place is lost.
        """
        ...
