"""What the sends of one flow run share: threads for what blocks, room for those that wait, and how a host is reached.

Waiting holds no thread: tasks wait on the loop and only a step that blocks takes a thread. The order among sends is the ledger's
alone; what is here merely bounds how many hosts are connected to before it is their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from sluice.blueprint.render.recipe import recipe
from sluice.distributor.build.build import BuildResult
from sluice.distributor.build.record import build_recorded
from sluice.distributor.build.sign import sign
from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.orders import Ordering
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.plan.sends import SendTarget
from sluice.distributor.repair.revision import Mender
from sluice.distributor.send_queue.claim import Claim
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.ticket import UNLIMITED_IN_PROCESS
from sluice.rules.due import extracts_at_once
from sluice.rules.features import needed_features
from sluice.rules.lifetimes import longest_send_interval
from sluice.sender.transfer import Remedy, Transfer
from tasks.place import Place

CALLED_AHEAD = 32
"""Hosts that may be called while all slots are taken: enough that some which don't answer delay nobody."""
EXTRACTING = 64
"""ExtractionContext at once: each takes a thread, for minutes where actions run."""

P = ParamSpec("P")
T = TypeVar("T")
_SENDS: ContextVar[Sends] = ContextVar("sends")


class Sends:
    """Shared by the sends of a run."""

    def __init__(self, place: Place) -> None:
        self.place = place
        work = place.work
        self.ordering = Ordering(work.distributor.name, work.store, work.publisher, work.ledger, place.flow_run)
        most = (work.distributor.max_concurrent or UNLIMITED_IN_PROCESS) + CALLED_AHEAD
        self.rows: dict[tuple[str, str], DeliveryResult] = {}
        """How each ended, by Subscriber and Distribution."""
        self.rooms = {priority: asyncio.Semaphore(most) for priority in Priority}
        """By priority, so that a High retry doesn't queue up behind Low sends that wait for their turn (D10)."""
        self.extracting = asyncio.Semaphore(EXTRACTING)
        self._executor = ThreadPoolExecutor(max_workers=most * len(self.rooms), thread_name_prefix="send")
        # An extraction holds neither slot nor room: transfers go on meanwhile.
        self._orders = ThreadPoolExecutor(max_workers=EXTRACTING, thread_name_prefix="extract")
        self._watch = QueueWatch(
            work.distributor.name,
            work.distributor.max_concurrent,
            ledger=work.ledger,
            clock=work.clock,
            lease_seconds=work.lease_seconds,
        )
        self._watch.start()
        self.mender = Mender(
            work.site,
            work.distributor.name,
            store=work.store,
            source=work.source,
            publisher=work.publisher,
            ledger=work.ledger,
            clock=work.clock,
            flow_run=place.flow_run,
            rebuild=self._rebuild,
            sign=self._sign,
        )
        self._deliveries: dict[tuple[str, str], Delivery] = {}

    async def blocking(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a step that blocks in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: step(*args, **kwargs))

    async def ordered(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an extraction, which takes no transfer's thread; while ``extracting`` is held."""
        return await asyncio.get_running_loop().run_in_executor(self._orders, lambda: step(*args, **kwargs))

    def delivery(self, target: SendTarget, *, extract: bool, watched: tuple[str, ...]) -> Delivery:
        """The delivery of a target, made once per run."""
        key = (target.subscriber, target.distribution)
        if key not in self._deliveries:
            self._deliveries[key] = self._make(target, extract=extract, watched=watched)
        return self._deliveries[key]

    def known(self, subscriber: str, distribution: str) -> Delivery:
        """The delivery that was made for a pair."""
        return self._deliveries[subscriber, distribution]

    def claim(self, subscriber: str, distribution: str, revision: RevisionNumber) -> Claim:
        """A claim of a pair for an extraction by itself."""
        work = self.place.work
        priority = work.site.distribution(distribution).priority
        return Claim(
            work.distributor,
            subscriber,
            distribution,
            revision,
            priority,
            ledger=work.ledger,
            clock=work.clock,
            flow_run=self.place.flow_run,
            watch=self._watch,
        )

    def close(self) -> None:
        """End all threads; transfers still under way, or in a pause, are broken off."""
        self._watch.close()
        for delivery in self._deliveries.values():
            delivery.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._orders.shutdown(wait=True, cancel_futures=True)

    def _make(self, target: SendTarget, *, extract: bool, watched: tuple[str, ...]) -> Delivery:
        work = self.place.work
        subscriber = work.site.subscriber(target.subscriber)
        distribution = work.site.distribution(target.distribution)
        at_once = extract or extracts_at_once(distribution, subscriber)

        def sending(remedy: Remedy) -> Transfer:
            if target.revision is None:
                raise ValueError("only a target that is due can be sent")
            return Transfer(
                subscriber,
                distribution.name,
                target.revision,
                distributor=work.distributor.name,
                transport=work.transport,
                store=work.store,
                publisher=work.publisher,
                sign=self._sign,
                timeout=work.timeout(subscriber),
                needs=needed_features(distribution, min_free=subscriber.min_free),
                remedy=remedy,
            )

        return Delivery(
            target,
            distributor=work.distributor,
            ordering=self.ordering,
            clock=work.clock,
            sending=sending,
            recipe=recipe(work.site, distribution.name, subscriber.name) if at_once else None,
            watch=self._watch,
            watched=watched,
        )

    def _rebuild(self, distribution: str) -> BuildResult:
        work = self.place.work
        return build_recorded(
            work.site.distribution(distribution),
            store=work.store,
            source=work.source,
            ledger=work.ledger,
            clock=work.clock,
            flow_run=self.place.flow_run,
            rebaseline=True,
        )

    def _sign(self, distribution: str) -> object:
        work = self.place.work
        interval = longest_send_interval(work.site, work.distributor.name)
        return sign((distribution,), store=work.store, publisher=work.publisher, now=work.clock.now(), longest_interval=interval)


@asynccontextmanager
async def sends_of(place: Place) -> AsyncIterator[Sends]:
    """The shared part for one flow run; found by its tasks through ``current_sends``."""
    sends = Sends(place)
    token = _SENDS.set(sends)
    try:
        yield sends
    finally:
        _SENDS.reset(token)
        await asyncio.to_thread(sends.close)


def current_sends() -> Sends:
    """That of the run we are in."""
    return _SENDS.get()
