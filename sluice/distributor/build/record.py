"""Build a Distribution and sign what can be sent of it, with what happened in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sluice.distributor.build.build import BuildResult, build
from sluice.distributor.build.sign import sign
from sluice.errors import SluiceError
from sluice.model.event import Event, EventKind, JsonValue
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distribution, Distributor, Site
from sluice.model.state import Built
from sluice.ports import Clock, Ledger, Progress, Source, Store
from sluice.rules.lifetimes import longest_send_interval
from sluice.rules.retry import failure_of
from sluice.trust.publish import Published, Publisher


def build_recorded(
    distribution: Distribution,
    *,
    store: Store,
    source: Source,
    ledger: Ledger,
    clock: Clock,
    flow_run: str,
    rebaseline: bool = False,
    progress: Progress | None = None,
) -> BuildResult:
    """Build, and record what came of it. A revision that a killed build left unrecorded is recorded by the next. Raises as ``build``."""
    event = _event_maker(distribution.name, distribution.distributor, flow_run)
    try:
        result = build(distribution, store=store, source=source, rebaseline=rebaseline, progress=progress)
    except SluiceError as error:
        failure = failure_of(error)
        ledger.record(event(clock.now(), EventKind.BUILD_FAILED, None, {"code": failure.code, "message": failure.message[:1000]}))
        raise
    now = clock.now()
    newest = result.revision or result.previous
    known = ledger.built(distribution.name)
    if newest is not None and (known is None or known.revision != newest):
        data: dict[str, JsonValue] = {"files": result.files, "bytes": result.bytes, "bytes_new": result.bytes_new}
        built = Built(distribution.name, newest, now, result.files, result.bytes)
        ledger.record(event(now, EventKind.BUILT, newest, data), built=built)
    else:
        ledger.record(event(now, EventKind.NO_CHANGE, newest, {}))
    return result


def sign_recorded(
    site: Site,
    distributor: Distributor,
    distributions: tuple[str, ...],
    *,
    store: Store,
    publisher: Publisher,
    ledger: Ledger,
    clock: Clock,
    flow_run: str,
) -> Published:
    """Sign what can be sent of Distributions; with none, renew what nears its expiry. Raises TrustError."""
    now = clock.now()
    interval = longest_send_interval(site, distributor.name)
    published = sign(distributions, store=store, publisher=publisher, now=now, longest_interval=interval)
    if published.changed:
        for name in distributions or ("",):
            kept = store.revisions(name) if name else ()
            newest = kept[-1] if kept else None
            data: dict[str, JsonValue] = {"timestamp": published.timestamp, "roles": ", ".join(published.changed)[:1000]}
            ledger.record(_event_maker(name, distributor.name, flow_run)(clock.now(), EventKind.SIGNED, newest, data))
    return published


def _event_maker(
    distribution: str, distributor: str, flow_run: str
) -> Callable[[datetime, EventKind, RevisionNumber | None, dict[str, JsonValue]], Event]:
    def make(at: datetime, kind: EventKind, revision: RevisionNumber | None, data: dict[str, JsonValue]) -> Event:
        return Event(at, kind, distributor, distribution, revision, flow_run=flow_run, data=data)

    return make
