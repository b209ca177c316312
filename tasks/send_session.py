"""Share among the sends and extractions of one flow run: threads for steps that block, limits for tasks that wait, the send queue's watch.

Waiting holds no thread: tasks wait on the loop and only a step that blocks takes a thread. The order among sends is the ledger's
alone; the limits here merely bound how many hosts are connected to before it is their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from infra.transports.address import AddressTransport
from infra.workplace import Workplace
from sluice.blueprint.render.recipe import recipe
from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.extraction import Extraction
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.sender import distributor_sender
from sluice.distributor.deliver.under_way import BOARD
from sluice.distributor.plan.sends import SendTarget
from sluice.distributor.repair.revision import Mender
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.model.assignment import Assignment
from sluice.model.order import Demand
from sluice.model.recipe import RenderedRecipe
from sluice.model.site import Priority
from sluice.model.ticket import UNLIMITED_IN_PROCESS
from sluice.rules.due import extracts_at_once
from sluice.rules.features import needed_features
from sluice.sender.transfer import Remedy, Sender, Transfer

CALLED_AHEAD = 32
"""Hosts that may be called while all slots are taken: enough that some which don't answer delay nobody."""
EXTRACTING = 64
"""Extractions at once: each takes a thread, for minutes if actions run."""

P = ParamSpec("P")
T = TypeVar("T")


class SendSession:
    """Shared by the sends and extractions of a run; always ``close`` it."""

    def __init__(self, work: Workplace, *, allow_removals: bool = False) -> None:
        self.work = work
        self._allow_removals = allow_removals
        distributor = work.distributor
        most = (distributor.max_concurrent or UNLIMITED_IN_PROCESS) + CALLED_AHEAD
        self.rows: dict[tuple[str, str], DeliveryResult] = {}
        """The end of each, by Subscriber and Distribution."""
        self.limits = {priority: asyncio.Semaphore(most) for priority in Priority}
        """By priority, so that a High retry doesn't queue up behind Low sends that wait for their turn (D10)."""
        self.extraction_limit = asyncio.Semaphore(EXTRACTING)
        self._executor = ThreadPoolExecutor(max_workers=most * len(self.limits), thread_name_prefix="send")
        # An extraction takes neither a slot nor a thread of these: transfers go on meanwhile.
        self._extraction_executor = ThreadPoolExecutor(max_workers=EXTRACTING, thread_name_prefix="extract")
        self._watch = QueueWatch(
            distributor.name, distributor.max_concurrent, ledger=work.ledger, clock=work.clock, lease_seconds=work.lease_seconds
        )
        self._watch.start()
        self._transport = AddressTransport(Path(work.site.directory))
        """Its own: closing it breaks off what waits for a host that doesn't answer."""
        self.mender = Mender(work)
        self._deliveries: dict[tuple[str, str], Delivery] = {}

    async def blocking(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a step that blocks in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(step, *args, **kwargs))

    async def extracting(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an extraction, which takes no transfer's thread; while ``extraction_limit`` is held."""
        return await asyncio.get_running_loop().run_in_executor(self._extraction_executor, partial(step, *args, **kwargs))

    def make_delivery(self, target: SendTarget, *, extract: bool, demand: Demand = Demand.DUE) -> Delivery:
        """Make the delivery of a target that is due, once per run.

        Args:
            extract: Have it extracted at once, whatever the Extract schedules say.
            demand: What is extracted is verified, or written anew, at once: no schedule is about that.
        """
        work, assignment = self.work, target.assignment
        subscriber, distribution = work.site.subscriber(target.subscriber), work.site.distribution(target.distribution)
        needs = needed_features(distribution, min_free=subscriber.min_free)

        def new_transfer(remedy: Remedy) -> Transfer:
            return Transfer(self._sender, subscriber, assignment, needs, remedy, BOARD.of(assignment).on_event)

        if assignment.pair not in self._deliveries:
            at_once = extract or extracts_at_once(distribution, subscriber) or (demand is not Demand.DUE and target.is_extracted)
            self._deliveries[assignment.pair] = Delivery(
                work,
                self._watch,
                assignment,
                new_transfer,
                self._recipe(distribution.name, subscriber.name) if at_once else None,
                check=target.check,
                demand=demand,
                cancelled_under=tuple(filter(None, (target.channel, target.distribution))),
            )
        return self._deliveries[assignment.pair]

    def delivery_for(self, subscriber: str, distribution: str) -> Delivery:
        """Return the delivery that was made for a pair."""
        return self._deliveries[subscriber, distribution]

    def make_extraction(self, assignment: Assignment, *, check: bool, demand: Demand = Demand.DUE) -> Extraction:
        """Make the extraction of an assignment by itself, outside of a delivery."""
        site = self.work.site
        rendered = partial(self._recipe, assignment.distribution, assignment.subscriber)
        subscriber = site.subscriber(assignment.subscriber)
        return Extraction(self.work, self._watch, self._sender, subscriber, assignment, rendered, check, demand)

    def _recipe(self, distribution: str, subscriber: str) -> RenderedRecipe:
        return replace(recipe(self.work.site, distribution, subscriber), allow_removals=self._allow_removals)

    def close(self) -> None:
        """End all threads; transfers still under way, or in a pause, are broken off."""
        self._watch.close()
        self._transport.close()
        for delivery in self._deliveries.values():
            delivery.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._extraction_executor.shutdown(wait=True, cancel_futures=True)

    @cached_property
    def _sender(self) -> Sender:
        return replace(distributor_sender(self.work), transport=self._transport)
