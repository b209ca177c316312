"""Extract: have one Subscriber extract what it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from prefect import task

from sluice.blueprint.render.recipe import recipe
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.send_queue.claim import Claim
from sluice.errors import BaseDiffersError, SluiceError
from sluice.model.revision import RevisionNumber
from sluice.model.state import State
from sluice.sender.call import call_agent
from sluice.sender.conversation import AgentEvent
from sluice.sender.supplement import SupplementSender
from sluice.sender.ted_choice import takes_deltas
from tasks.claims import entered
from tasks.place import log
from tasks.progress import phases_told
from tasks.sending import Sends, current_sends
from tasks.settings import COMMON

LENDS = "what its tree lacks is lent now, and it is mended"
MEANWHILE = ", and `sluice extract OTHER` is for other Subscribers"


@task(
    name="extract",
    task_run_name="{subscriber} extracts {distribution} {revision}",
    description="Have one Subscriber extract what it holds, and keep its receipt",
    **COMMON,
)
async def order_extraction(subscriber: str, distribution: str, revision: str, check: bool = False) -> str:
    """Order one extraction. An unreachable host is no reason to retry here: the next Extract start is.

    Args:
        check: It is extracted: what stands is verified and mended.
    Returns:
        How it ended, in words; the row is in ``Sends.rows``, also where the extraction failed.
    Raises:
        SluiceError: The host can't be reached, or its receipt can't be believed.
    """
    sends = current_sends()
    done = await _claimed(sends, subscriber, distribution, RevisionNumber.parse(revision), check=check)
    sends.rows[subscriber, distribution] = done
    text = f"{done.state}; {done.error or done.reason}"
    log().log(logging.ERROR if done.is_error else logging.INFO, "%s: %s %s: %s", subscriber, distribution, revision, text)
    return text


async def _claimed(sends: Sends, subscriber: str, distribution: str, revision: RevisionNumber, *, check: bool) -> DeliveryResult:
    """Extract where no other run is at the pair: Extract schedules that start together plan the same."""
    claim = sends.claim(subscriber, distribution, revision)
    begun = sends.place.work.clock.now()

    def settled() -> DeliveryResult | None:
        state = sends.place.work.ledger.state(subscriber, distribution)
        is_done = (
            state.state is State.INSTALLED and state.since is not None and state.since >= begun if check else state.extracted == revision
        )
        if is_done:
            return DeliveryResult(subscriber, distribution, revision, State.INSTALLED, "done by another run")
        return None

    what = f"{subscriber}: {distribution} {revision}"
    if (done := await entered(sends, claim.enter, settled, what, instead=MEANWHILE)) is not None:
        return done
    try:
        async with sends.extracting:
            if (done := await sends.blocking(settled)) is not None:
                return done
            async with phases_told(what) as on_event:
                return await sends.ordered(_extract, sends, claim, subscriber, distribution, revision, on_event, check)
    finally:
        await sends.blocking(claim.leave)


def _extract(
    sends: Sends,
    claim: Claim,
    subscriber: str,
    distribution: str,
    revision: RevisionNumber,
    on_event: Callable[[AgentEvent], None],
    check: bool,
) -> DeliveryResult:
    try:
        return _ordered(sends, claim, subscriber, distribution, revision, on_event, check)
    except SluiceError as error:
        sends.ordering.extracted_in_vain(subscriber, distribution, revision, error, now=sends.place.work.clock.now())
        raise


def _ordered(
    sends: Sends,
    claim: Claim,
    subscriber: str,
    distribution: str,
    revision: RevisionNumber,
    on_event: Callable[[AgentEvent], None],
    check: bool,
) -> DeliveryResult:
    work = sends.place.work
    begun = work.clock.now()
    host = work.site.subscriber(subscriber)
    call = call_agent(host, work.distributor.name, transport=work.transport, timeout=work.timeout(host), about=[distribution])
    try:
        rendered = recipe(work.site, distribution, subscriber)

        order = partial(sends.ordering.order_extract, call, distribution, revision, rendered, on_event=on_event)
        if check:
            lends = takes_deltas(call.hello)
            # The pair stays ours: what is damaged may have to be lent.
            result = order(now=work.clock.now(), if_changed=LENDS if lends else "")
            if isinstance(result.error, BaseDiffersError) and lends:
                with suppress(BaseDiffersError):  # the Channel's next start sends everything
                    lending = SupplementSender(call.conversation, distribution, revision, None, store=work.store, min_free=host.min_free)
                    before = call.conversation.sent
                    lending.complete(on_event=on_event)
                    result = order(now=work.clock.now(), lent=call.conversation.sent - before)
        else:
            result = order(now=work.clock.now(), done=claim.hand_over)
    finally:
        call.close()
    seconds = (work.clock.now() - begun).total_seconds()
    if result.error is not None:
        return DeliveryResult(subscriber, distribution, revision, State.FAILED, result.error.message, seconds=seconds, error=result.error)
    receipt = result.receipt
    reason = f"{receipt.files_written} files written, {receipt.files_unchanged} unchanged"
    if check:
        reason = f"verified: {receipt.files_unchanged} files unchanged, {receipt.files_written} mended"
    return DeliveryResult(subscriber, distribution, revision, State.INSTALLED, reason, seconds=seconds)
