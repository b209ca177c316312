"""Work on several Subscribers at once, with a result or an error for each; find the Distributors that sign for them here."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

import click

from cli.chosen import chosen_subscribers
from cli.session import Session
from cli.terminal import Region, is_live
from sluice.errors import SluiceError, TrustError
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from infra.transports.address import AddressTransport
    from sluice.model.site import Site, Subscriber
    from sluice.trust.publish import Publisher

AT_ONCE = 8
"""Hosts to log in to at once."""
BUNDLES = "agent-bundles"
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class HostResult(Generic[R]):
    """The outcome on one Subscriber: exactly one of result and error is set."""

    subscriber: Subscriber
    result: R | None
    error: SluiceError | None


def chosen(session: Session, names: tuple[str, ...], every: bool) -> list[Subscriber]:
    """Return the Subscribers that names and selectors choose, or with ``--all`` every active one."""
    site = session.site
    if bool(names) is every:
        raise click.UsageError("name Subscribers, or give --all" if not names else "give names or --all, not both")
    if every:
        return [subscriber for _, subscriber in sorted(site.subscribers.items()) if subscriber.active]
    return chosen_subscribers(site, names)


def on_each(
    subscribers: Sequence[Subscriber], work: Callable[[Subscriber], R], *, show: Callable[[HostResult[R]], None] = lambda _: None
) -> list[HostResult[R]]:
    """Run ``work`` for each, several at once, and show each result; both results and calls of ``show`` are in the order given.

    A live terminal has a line with how many are done, and whom it waits for.
    """
    region = Region(sys.stderr) if is_live(sys.stderr) else None
    begun, over, one_at_a_time = dict[str, None](), set[str](), Lock()

    def tell() -> None:
        if region is None:
            return
        with one_at_a_time:  # the newest is shown last
            waiting = [name for name in list(begun) if name not in over]
            region.show([(f"{len(over)} of {counted(len(subscribers), 'Subscriber')} done, waiting for {', '.join(waiting)}", "")])

    def attempt(subscriber: Subscriber) -> HostResult[R]:
        begun[subscriber.name] = None
        tell()
        try:
            return HostResult(subscriber, work(subscriber), None)
        except SluiceError as error:
            return HostResult(subscriber, None, error)
        finally:
            over.add(subscriber.name)
            tell()

    left, results = deque(enumerate(subscribers)), [Future[HostResult[R]]() for _ in subscribers]

    def work_off() -> None:
        while left:
            with suppress(IndexError):  # another thread was faster
                number, subscriber = left.popleft()
                try:
                    results[number].set_result(attempt(subscriber))
                except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                    results[number].set_exception(error)

    try:
        for _ in range(min(AT_ONCE, len(subscribers))):  # Ctrl-C waits for none of them: each step may be repeated
            Thread(target=work_off, name="host", daemon=True).start()
        for each in results:
            show(each.result())
        return [each.result() for each in results]
    finally:
        left.clear()
        if region is not None:
            region.clear()


def publishers_here(site: Site, distributors: Iterable[str]) -> Mapping[str, Publisher]:
    """Return the publishers of the Distributors whose keys are on this machine.

    Raises:
        TrustError: None of them has keys here.
    """
    from infra.doctor.machine import distributors_here
    from sluice.trust.publish import Publisher

    wanted = sorted(distributors)
    here = [distributor for distributor in distributors_here(site) if distributor.name in wanted]
    found = {each.name: Publisher(Path(each.working_directory), distributor=each.name) for each in here}
    if not found:
        raise TrustError(
            f"no keys on this machine of Distributor {', '.join(wanted) or 'any: the site has none'}",
            remedy=f"run `sluice trust init {wanted[0] if wanted else 'NAME'}`, or run this on the Distributor's machine",
        )
    return found


def timeout_of(site: Site, subscriber: Subscriber) -> float:
    """Return seconds without progress: the Subscriber's own, else the longest of the Distributors'."""
    if subscriber.connection_timeout is not None:
        return subscriber.connection_timeout.total_seconds()
    return max((d.connection_timeout.total_seconds() for d in site.distributors.values()), default=300.0)


def transport_of(session: Session) -> AddressTransport:
    """Return a transport to any Subscriber of the site."""
    from infra.transports.address import AddressTransport

    return AddressTransport(session.directory)


def bundle_directory(session: Session) -> Path:
    """Return the directory of this site's agent bundles, which is outside the site's own."""
    from infra.orchestrator.server_address import state_directory

    return state_directory(session.directory) / BUNDLES
