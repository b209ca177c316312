"""The surroundings of extractions of one Distribution on this Subscriber: file system, clock, key and reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sluice.model.action import ACTION_TIMEOUT
from sluice.model.agent_event import AgentEvent
from sluice.model.order import Receipt
from sluice.ports import Filesystem, Progress
from sluice.subscriber.extract.journal import Journal
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.trust.envelope import Envelope


@dataclass(frozen=True, slots=True)
class ExtractionContext:
    """Everything that extractions of one Distribution on this Subscriber need beside an order."""

    filesystem: Filesystem
    held: DistributionDirectory
    subscriber: str
    working_directory: str
    """The agent's, absolute, without links."""
    sign: Callable[[Receipt], Envelope]
    now: Callable[[], datetime]
    event: Callable[[str, int, int], None] = lambda _phase, _done, _total: None
    """Reports progress as (phase, done, total)."""
    tell: Callable[[AgentEvent], None] = lambda _milestone: None
    """Reports a milestone."""
    action_limit: float = ACTION_TIMEOUT
    sleep: Callable[[float], None] = time.sleep
    """Waits some seconds between two looks at locked targets."""
    clock_ns: Callable[[], int] = time.time_ns
    """The time that times of files are compared with."""

    @property
    def journal(self) -> Journal:
        """Of the extraction under way."""
        return Journal(self.held.journal)

    def progress(self, phase: str) -> Progress:
        """Return a function that reports the progress of one phase."""
        return partial(self.event, phase)
