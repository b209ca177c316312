"""Have one Subscriber extract what it holds, outside of a send."""

from __future__ import annotations

from collections.abc import Callable

from prefect import allow_failure

from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.under_way import BOARD
from sluice.distributor.plan.extractions import ExtractTarget
from sluice.model.agent_event import AgentEvent
from sluice.model.assignment import Assignment
from sluice.model.order import Demand
from tasks.claims import claimed
from tasks.phases import PhaseRuns, shown_phases
from tasks.run_context import RunContext

MEANWHILE = ", and `sluice extract OTHER` is for other Subscribers"


async def order_extraction(context: RunContext, target: ExtractTarget, demand: Demand = Demand.DUE) -> DeliveryResult:
    """Order one extraction. An unreachable host is no reason to retry here: the next Extract start is.

    Raises:
        SluiceError: The host can't be reached, or its receipt can't be believed.
    """
    session = context.session
    distribution = session.work.site.distribution(target.distribution)
    assignment = Assignment(*target.pair, target.revision, priority=distribution.priority)
    extraction = session.make_extraction(assignment, check=target.is_check, demand=demand)
    try:
        if (done := await claimed(session, extraction, instead=MEANWHILE)) is not None:
            return done
        async with session.extraction_limit:
            if (done := await session.blocking(extraction.settled)) is not None:
                return done
            BOARD.of(assignment).now("connecting")

            async def extracting(on_event: Callable[[AgentEvent], None]) -> DeliveryResult:
                return await session.extracting(extraction.extract, on_event)

            shown = shown_phases(distribution, context.hosts)
            return await PhaseRuns(assignment, distribution, shown, list(map(allow_failure, context.after))).observe(extracting)
    finally:
        await session.blocking(extraction.leave)
