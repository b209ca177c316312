"""Read the ledgers of a whole site as one. Nothing is created: a Distributor that never built has no ledger."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.errors import StoreError
from sluice.model.known import LedgerSnapshot

if TYPE_CHECKING:
    from sluice.model.belief import Belief, BuildFailure
    from sluice.model.event import EventKind, RecordedEvent
    from sluice.model.order import ActionReport
    from sluice.model.revision import RevisionNumber
    from sluice.model.site import Site
    from sluice.model.state import Built, CurrentState
    from sluice.model.ticket import Ticket
    from sluice.ports import Ledger


@contextmanager
def ledger_of(site: Site, distributor: str) -> Iterator[Ledger | None]:
    """Open a Distributor's ledger for reading; None if it has none yet."""
    from infra.ledger.sql import open_existing
    from infra.workplace import ledger_place

    ledger = open_existing(ledger_place(site.distributor(distributor)))
    try:
        yield ledger
    finally:
        if ledger is not None:
            ledger.close()


def events_of(
    site: Site, distributor: str, *, after: int = 0, distribution: str = "", kinds: Collection[EventKind] = ()
) -> Iterator[RecordedEvent]:
    """Yield the events of a Distributor's ledger above a number, oldest first."""
    with ledger_of(site, distributor) as ledger:
        while ledger is not None and (page := ledger.events(after=after, distribution=distribution, kinds=kinds)):
            yield from page
            after = page[-1].number


def site_snapshot(site: Site, *, distributions: Collection[str] = (), subscribers: Collection[str] = ()) -> LedgerSnapshot:
    """Join the ledgers of all Distributors, as ``Ledger.snapshot``; of a Distribution only its owner's is used."""
    states: dict[tuple[str, str], CurrentState] = {}
    built: dict[str, Built] = {}
    beliefs: dict[tuple[str, str], Belief] = {}
    failing: dict[str, BuildFailure] = {}
    tickets: dict[Ticket, None] = {}  # a ledger that Distributors share is read once for each
    for distributor in sorted(site.distributors):
        others = {each.name for each in site.distributions.values() if each.distributor != distributor}
        with ledger_of(site, distributor) as ledger:
            if ledger is not None:
                snapshot = ledger.snapshot(distributions=distributions, subscribers=subscribers)
                states |= {pair: state for pair, state in snapshot.states.items() if pair[1] not in others}
                built |= {name: each for name, each in snapshot.built.items() if name not in others}
                beliefs |= {pair: each for pair, each in snapshot.beliefs.items() if pair[0] == distributor}
                failing |= {name: each for name, each in snapshot.failing.items() if name not in others}
                tickets |= dict.fromkeys(each for each in snapshot.tickets if each.distribution not in others)
    names = site.distributions.keys() & distributions if distributions else site.distributions.keys()
    return LedgerSnapshot(states, built, tuple(tickets), beliefs, failing, _unrecorded(site, names - built.keys()))


def new_ledgers(site: Site, snapshot: LedgerSnapshot) -> Iterator[str]:
    """Yield a sentence for each Distributor with revisions in its store and a ledger that knows nothing of any of them."""
    from infra.workplace import ledger_name, own_ledger

    for name, distributor in sorted(site.distributors.items()):
        owned = {each.name for each in site.distributions_of_distributor(name)}
        if owned & snapshot.built.keys() or not owned & snapshot.unrecorded.keys():
            continue
        with ledger_of(site, name) as ledger:
            if ledger is not None and ledger.states(distributions=owned):
                continue
        earlier = own_ledger(distributor)
        named = ledger_name(distributor)
        remedy = "name the earlier one by SLUICE_LEDGER; without it, builds and what hosts say at the next send fill this one"
        if named != str(earlier) and earlier.exists():
            remedy = f'copy the earlier one: sluice ledger copy {shlex.quote(str(earlier))} "$SLUICE_LEDGER"'
        yield f"ledger {named} is new: it knows nothing of the revisions in the store of Distributor {name}: {remedy}"


def _unrecorded(site: Site, names: Collection[str]) -> dict[str, RevisionNumber]:
    from infra.workplace import store_of

    found: dict[str, RevisionNumber] = {}
    for name in sorted(names):
        owner = site.distributor(site.distribution(name).distributor)
        if Path(owner.working_directory, "store").is_dir():
            with suppress(StoreError):  # what the ledger says is worth more than a refusal
                if kept := store_of(owner, site).revisions(name):
                    found[name] = kept[-1]
    return found


def last_actions(site: Site, snapshot: LedgerSnapshot, subscriber: str, distribution: str) -> Sequence[ActionReport]:
    """Return the actions of the last receipt and what undid them; it was verified when it arrived."""
    state = snapshot.states.get((subscriber, distribution))
    if state is None or not state.sequence or state.distributor not in site.distributors:
        return ()
    from sluice.formats.orders import parse_receipt

    with ledger_of(site, state.distributor) as ledger:
        envelope = ledger.receipt(state.distributor, subscriber, state.sequence) if ledger is not None else None
    payload = json.loads(envelope).get("payload") if envelope else None
    return () if payload is None else parse_receipt(payload.encode()).actions
