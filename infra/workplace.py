"""The composition root: a Distributor of a site with everything it works with (a ``DistributorContext``). Nothing here knows Prefect.

Cheap to open: each part is made when it is first used, and lives as long as the workplace. The site's directory is
an argument, or in a worker's flow runs the environment's ``SLUICE_SITE``: it differs from machine to machine, so no deployment names it.
"""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from sluice.blueprint import load_site
from sluice.distributor.send_queue.watch import LEASE_SECONDS, LEASE_SECONDS_MIN
from sluice.errors import LedgerError, MailError, NotFoundError, SourceError
from sluice.model.site import Distributor, Effort, Site
from sluice.ports import Clock, Ledger, Mailer, Source, Store, Transport
from sluice.trust.publish import Publisher

SITE_VARIABLE = "SLUICE_SITE"
LEDGER_VARIABLE = "SLUICE_LEDGER"
LEASE_VARIABLE = "SLUICE_LEASE_SECONDS"


class SystemClock:
    """The Clock port by the machine's clock."""

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Workplace:
    """One Distributor at work. ``close`` it, or use it as a context."""

    site: Site
    distributor: Distributor
    clock: Clock = field(default_factory=SystemClock)
    flow_run: str = ""
    """The id of the flow run that opened it, for the ledger."""
    _held: ExitStack = field(default_factory=ExitStack, init=False, repr=False, compare=False)

    @cached_property
    def store(self) -> Store:
        """Its revisions and their contents."""
        return store_of(self.distributor, self.site)

    @cached_property
    def source(self) -> Source:
        """The source of its Distributions' files."""
        from infra.sources.files import FilesSource

        return FilesSource()

    @cached_property
    def ledger(self) -> Ledger:
        """Its ledger, made if it is missing. Raises LedgerError."""
        from infra.ledger.sql import open_ledger

        return open_ledger(ledger_place(self.distributor))

    @cached_property
    def publisher(self) -> Publisher:
        """The publisher that signs for it."""
        return Publisher(Path(self.distributor.working_directory), distributor=self.distributor.name)

    @cached_property
    def transport(self) -> Transport:
        """The way to its Subscribers, by the scheme of their addresses."""
        from infra.transports.address import AddressTransport

        return AddressTransport(Path(self.site.directory))

    @cached_property
    def mailer(self) -> Mailer:
        """Its mail server. Raises MailError if it has none."""
        from infra.mail import SmtpMailer

        if self.distributor.mail is None:
            raise MailError(
                f"Distributor {self.distributor.name} has no mail server", remedy='add mail: {server: "host:port", from: address} to it'
            )
        return SmtpMailer(self.distributor.mail)

    @cached_property
    def lease_seconds(self) -> float:
        """Seconds that a ticket outlives its holder's last sign of life. Raises LedgerError if the setting is no such number."""
        named = os.environ.get(LEASE_VARIABLE) or str(LEASE_SECONDS)
        try:
            seconds = float(named)
        except ValueError:
            seconds = math.nan
        if not LEASE_SECONDS_MIN <= seconds < math.inf:
            raise LedgerError(
                f"{LEASE_VARIABLE} is no number of seconds from {LEASE_SECONDS_MIN:g} on: {named!r}",
                remedy=f"set it to one, or unset it for {LEASE_SECONDS:g}",
            )
        return seconds

    def close(self) -> None:
        """Release what was opened."""
        if "ledger" in self.__dict__:
            self.ledger.close()
        self._held.close()

    def __enter__(self) -> Workplace:
        from infra.ledger.sql import at_work

        self._held.enter_context(at_work(ledger_place(self.distributor)))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_workplace(site_directory: Path, distributor: str) -> Workplace:
    """Read the site and open the workplace of one of its Distributors.

    Raises:
        SiteError: The site has errors.
        NotFoundError: It has no such Distributor.
    """
    return workplace_in(load_site(site_directory), distributor)


def workplace_in(site: Site, distributor: str, flow_run: str = "") -> Workplace:
    """Open the workplace of a Distributor in a site that was read already."""
    return Workplace(site, site.distributor(distributor), flow_run=flow_run)


def ledger_place(distributor: Distributor) -> str:
    """Return the path or URL of a Distributor's ledger: its own, or the one ``SLUICE_LEDGER`` names for several Distributors."""
    return os.environ.get(LEDGER_VARIABLE) or str(own_ledger(distributor))


def own_ledger(distributor: Distributor) -> Path:
    """Return the file of a Distributor's ledger if ``SLUICE_LEDGER`` names no other."""
    return Path(distributor.working_directory) / "ledger.db"


def ledger_name(distributor: Distributor) -> str:
    """Return the name of a Distributor's ledger in messages: without user and password."""
    from infra.ledger.sql import name_of

    return name_of(ledger_place(distributor))


def store_of(distributor: Distributor, site: Site) -> Store:
    """Open a Distributor's store. Reading it makes nothing."""
    from infra.store.files import FileStore

    efforts = {name: distribution.effort for name, distribution in site.distributions.items()}
    return FileStore(
        distributor.working_directory,
        min_free=distributor.min_free,
        effort=lambda distribution: efforts.get(distribution, Effort.DEFAULT),  # one that left the site may still be sent
    )


def environment_site() -> Site:
    """Read the site that the environment names, as it is now. Raises NotFoundError, SiteError, SourceError."""
    if sys.getfilesystemencoding() != "utf-8":  # names would be read as others than they are
        raise SourceError(
            f"this worker reads names of files as {sys.getfilesystemencoding()}, because of its locale",
            remedy="start the worker with PYTHONUTF8=1",
        )
    named = os.environ.get(SITE_VARIABLE)
    if not named or not Path(named).is_dir():
        raise NotFoundError(
            f"{SITE_VARIABLE} names no site directory: {named!r}", remedy=f"start the worker with {SITE_VARIABLE}=/path/of/the/site"
        )
    return load_site(Path(named))
