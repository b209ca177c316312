"""What a run says while another has the Subscriber and Distribution it wants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TypeVar

import pytest

from sluice.model.assignment import Assignment
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.ticket import Occupied, Phase, Ticket
from sluice.rules.dispatch import occupied
from tasks import claims, progress
from tasks.order_extraction import MEANWHILE

NOW = datetime(2026, 7, 1, tzinfo=UTC)
T = TypeVar("T")


class AtOnce:
    """Runs what blocks where it is."""

    async def blocking(self, step: Callable[[], T]) -> T:
        return step()


def test_who_waits_says_for_whom_and_how_to_leave_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "log", lambda: logging.getLogger("told"))
    monkeypatch.setattr(claims, "OCCUPIED_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "told")
    other = occupied(Ticket(1, "hq", "oslo", "zone", RevisionNumber(1, 1), Priority.MEDIUM, "run-1", Phase.ENTERED, NOW, NOW))
    looks: list[Occupied | None] = [other, other, None]
    steps = SimpleNamespace(assignment=Assignment("oslo", "zone", RevisionNumber(1, 1)), enter=lambda: looks.pop(0), settled=lambda: None)
    waiting = claims.claimed(AtOnce(), steps, instead=MEANWHILE)  # type: ignore[arg-type]
    assert asyncio.run(waiting) is None
    (said,) = caplog.messages
    assert said.startswith("oslo ← zone 1.1: flow run run-1 is connecting to it or has it extract; waits until that ends; ")
    assert said.endswith("Ctrl-C leaves it, and `sluice extract OTHER` is for other Subscribers")
