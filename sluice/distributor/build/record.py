"""Build a Distribution and sign what can be sent of it, with what happened in the ledger."""

from __future__ import annotations

from collections.abc import Collection

from sluice.distributor.build.build import BuildResult, build
from sluice.distributor.build.sign import sign
from sluice.distributor.context import DistributorContext, event_of, failure_data
from sluice.errors import SluiceError, StoreLockedError
from sluice.model.event import EventKind, JsonValue
from sluice.model.state import Built, Record
from sluice.ports import Progress
from sluice.rules.lifetimes import longest_send_interval
from sluice.trust.publish import Published


def build_recorded(
    context: DistributorContext,
    distribution: str,
    *,
    rebaseline: bool = False,
    allow_removals: bool = False,
    progress: Progress | None = None,
    making: Progress | None = None,
) -> BuildResult:
    """Build, and record the result. A revision that a killed build left unrecorded is recorded by the next. Raises as ``build``."""
    store, source, subject = context.store, context.source, context.site.distribution(distribution)
    try:
        context.publisher.check_keys()  # before anything is read: nothing could be signed
        result = build(
            subject, store=store, source=source, rebaseline=rebaseline, allow_removals=allow_removals, progress=progress, making=making
        )
    except StoreLockedError:
        raise  # another run builds it, and leaves the trace
    except Exception as error:  # whatever it is: a build that fails leaves a trace
        context.ledger.record(event_of(context, EventKind.BUILD_FAILED, distribution, data=_told(error)))
        raise
    newest = result.revision or result.previous
    known = context.ledger.built(distribution)
    if newest is not None and (known is None or known.revision != newest):
        event = event_of(
            context, EventKind.BUILT, distribution, newest, {"files": result.files, "bytes": result.bytes, "bytes_new": result.bytes_new}
        )
        context.ledger.record(event, built=Built(distribution, newest, event.at, result.files, result.bytes))
    else:
        context.ledger.record(event_of(context, EventKind.NO_CHANGE, distribution, newest))
    return result


def sign_recorded(context: DistributorContext, distributions: Collection[str]) -> Published:
    """Sign what can be sent of Distributions and record it, or that it failed; with none, renew what nears its expiry.

    Raises:
        TrustError, StoreError: Nothing was published.
    """
    try:
        published = sign(
            distributions,
            store=context.store,
            publisher=context.publisher,
            now=context.clock.now(),
            longest_interval=longest_send_interval(context.site, context.distributor.name),
        )
    except Exception as error:  # whatever it is: until it is signed, nothing newer is sent
        context.ledger.record_all([Record(event_of(context, EventKind.SIGN_FAILED, name, data=_told(error))) for name in distributions])
        raise
    told = distributions or ("",)
    if not published.changed:  # of those that failed before, the end of that is told
        failing = context.ledger.failing()
        told = [name for name in distributions if name in failing and failing[name].operation == "sign"]
    data: dict[str, JsonValue] = {"timestamp": published.timestamp, "roles": ", ".join(published.changed)[:1000]}
    for name in told:
        kept = context.store.revisions(name) if name else ()
        context.ledger.record(event_of(context, EventKind.SIGNED, name, kept[-1] if kept else None, data))
    return published


def _told(error: Exception) -> dict[str, JsonValue]:
    told = error if isinstance(error, SluiceError) else SluiceError(f"{type(error).__name__}: {error}", remedy="report it as a bug")
    return {**failure_data(told), "remedy": told.remedy[:1000]}
