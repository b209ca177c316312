"""Build a Distribution and sign what can be sent of it, with what happened in the ledger."""

from __future__ import annotations

from collections.abc import Collection

from sluice.distributor.build.build import BuildResult, build
from sluice.distributor.build.sign import sign
from sluice.distributor.context import DistributorContext, event_of, failure_data
from sluice.errors import SluiceError, StoreLockedError
from sluice.model.event import EventKind, JsonValue
from sluice.model.state import Built
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
) -> BuildResult:
    """Build, and record the result. A revision that a killed build left unrecorded is recorded by the next. Raises as ``build``."""
    store, source, subject = context.store, context.source, context.site.distribution(distribution)
    try:
        context.publisher.check_keys()  # before anything is read: nothing could be signed
        result = build(subject, store=store, source=source, rebaseline=rebaseline, allow_removals=allow_removals, progress=progress)
    except StoreLockedError:
        raise  # another run builds it, and leaves the trace
    except Exception as error:  # whatever it is: a build that fails leaves a trace
        told = error if isinstance(error, SluiceError) else SluiceError(f"{type(error).__name__}: {error}", remedy="report it as a bug")
        data = {**failure_data(told), "remedy": told.remedy[:1000]}
        context.ledger.record(event_of(context, EventKind.BUILD_FAILED, distribution, data=data))
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
    """Sign what can be sent of Distributions and record it; with none, renew what nears its expiry. Raises TrustError."""
    published = sign(
        distributions,
        store=context.store,
        publisher=context.publisher,
        now=context.clock.now(),
        longest_interval=longest_send_interval(context.site, context.distributor.name),
    )
    if published.changed:
        data: dict[str, JsonValue] = {"timestamp": published.timestamp, "roles": ", ".join(published.changed)[:1000]}
        for name in distributions or ("",):
            kept = context.store.revisions(name) if name else ()
            context.ledger.record(event_of(context, EventKind.SIGNED, name, kept[-1] if kept else None, data))
    return published
