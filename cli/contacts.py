"""Contacts of commands that call hosts outside of flow runs: what an agent says is compared with the ledger, and recorded there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from sluice.errors import LedgerError, SluiceError

if TYPE_CHECKING:
    from infra.hosts.bootstrap import Bootstrapped
    from sluice.distributor.deliver.contact import Contact
    from sluice.model.site import Site, Subscriber
    from sluice.ports import Ledger, Transport

Contacts = Callable[[str, "Subscriber"], "Contact | None"]
"""Makes the contact of a Distributor, by name, with a Subscriber, before a call; None: it has no ledger, so nothing is believed."""


@contextmanager
def contacts_of(site: Site, distributors: Collection[str] | None = None) -> Iterator[Contacts]:
    """Open each ledger that is needed, once; none is created, and one that can't be opened is for others to report.

    Args:
        distributors: Only theirs; None: all. An older ledger is upgraded when it is opened.
    """
    from infra.ledger.sql import open_existing
    from infra.workplace import SystemClock, ledger_place
    from sluice.distributor.deliver.contact import Contact

    opened: dict[str, Ledger | None] = {}
    lock = Lock()

    def ledger(distributor: str) -> Ledger | None:
        with lock:
            if distributor not in opened:
                try:
                    opened[distributor] = open_existing(ledger_place(site.distributor(distributor)))
                except LedgerError:
                    opened[distributor] = None
            return opened[distributor]

    def contact(distributor: str, subscriber: Subscriber) -> Contact | None:
        found = ledger(distributor) if distributors is None or distributor in distributors else None
        return None if found is None else Contact(found, SystemClock(), distributor, subscriber)

    try:
        yield contact
    finally:
        for each in opened.values():
            if each is not None:
                each.close()


def record_bootstrap(done: Bootstrapped, subscriber: Subscriber, contacts: Contacts, transport: Transport, timeout: float) -> Bootstrapped:
    """Forget what was believed of an agent that has a new identity since, and look at it; return the bootstrap with what that tells.

    Raises:
        LedgerError.
    """
    from infra.hosts.bootstrap import Act
    from sluice.sender.call import call_agent

    is_new = any(step.act is Act.IDENTITY for step in done.steps)
    notes = list(done.notes)
    for distributor in done.distributors:
        if (contact := contacts(distributor, subscriber)) is None:
            continue
        if is_new or any(step.act is Act.KEY and step.distributor == distributor for step in done.steps):
            contact.forget("it was bootstrapped with a new identity")
            contact = contacts(distributor, subscriber) or contact
        try:
            call = call_agent(subscriber, distributor, transport=transport, timeout=timeout)
        except SluiceError as error:
            notes.append(f"its agent doesn't answer Distributor {distributor} yet: {error}")
            continue
        call.close()
        told = contact.heard(call.hello, looks=True)
        notes += [*(f"{name} is due again: {text}" for name, text in sorted(told.doubts.items())), *filter(None, [told.twins])]
    return replace(done, notes=tuple(notes))
