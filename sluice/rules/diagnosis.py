"""Judge the facts that ``infra/doctor/`` collects for ``sluice doctor``: each becomes a finding with a sentence and a remedy. Pure.

FAILED findings stop builds, sends or schedules, now or soon by themselves; WARNING findings work now but need attention.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sluice.model.known import LedgerSnapshot
from sluice.model.site import Site
from sluice.model.ticket import Ticket
from sluice.rules.belief import TWINS_REMEDY, doubt_remedy, shared_identities, twins_sentence
from sluice.rules.due import next_start
from sluice.rules.space import size
from sluice.rules.status_row import FailingBuild
from sluice.rules.wording import counted

PYTHON_MIN = (3, 11)
PYTHON_BELOW = (3, 14)
CLOCK_WARNING = timedelta(minutes=1)
CLOCK_FAILED = timedelta(minutes=5)
"""Difference between two machines' clocks: schedules, lifetimes of signatures and leases are compared with them."""
FREE_LOW = 1 << 30
"""Free bytes below which a working directory's file system is nearly full, whatever its ``min_free``."""
LIFETIME_LOW = 0.25
"""Remaining share of a signature's lifetime that is worth a warning: renewing begins at a half."""
SQLITE_SUBSCRIBERS = 50
"""Number of Subscribers from which on a Channel's run keeps SQLite's one writer busy."""


class Health(StrEnum):
    """The health of an object."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``sluice doctor``."""

    health: Health
    area: str
    """``machine``, ``site``, ``prefect``, ``ledger``, ``trust``, ``agent``, ``source``, ``build``, ``sign``, ``subscriber``."""
    object: str
    sentence: str
    remedy: str = ""


def python_version(found: tuple[int, int]) -> Finding:
    """Check the version of Python on this machine."""
    text, fits = f"{found[0]}.{found[1]}", PYTHON_MIN <= found < PYTHON_BELOW
    remedy = "" if fits else "install Python 3.11, 3.12 or 3.13 and run `make setup` again"
    return Finding(Health.OK if fits else Health.FAILED, "machine", "python", text, remedy)


def free_space(where: str, *, free: int, kept: int) -> Finding:
    """Check the free space of a Distributor's working directory.

    Args:
        free: Bytes free there.
        kept: Bytes that must stay free: ``min_free``.
    """
    sentence = f"{size(free)} free, {size(kept)} must stay free"
    if free < kept:
        remedy = "free some space there, lower max_revisions or min_free, or move the working directory"
        return Finding(Health.FAILED, "machine", where, sentence, remedy)
    if free < max(2 * kept, FREE_LOW):
        return Finding(Health.WARNING, "machine", where, sentence, "free some space there: it will soon be too little")
    return Finding(Health.OK, "machine", where, sentence)


def private_directory(where: str, *, mode: int, ours: bool) -> Finding:
    """Check a directory that no other account may read. ``ours``: it belongs to the account that asks."""
    if not ours:
        remedy = "run `sluice` as the account of the workers, or change the owner with chown"
        return Finding(Health.FAILED, "machine", where, "it belongs to another account", remedy)
    if mode & 0o077:
        return Finding(Health.FAILED, "machine", where, f"others can read it: mode {mode:04o}", f"chmod 700 {where}")
    return Finding(Health.OK, "machine", where, f"mode {mode:04o}")


def clock_went_back(now: datetime, newest: datetime | None, *, what: str) -> Finding:
    """Compare this machine's clock with the newest recorded time."""
    if newest is not None and newest - now > CLOCK_WARNING:
        remedy = "set the clock and let NTP keep it; until then schedules and signatures go wrong"
        return Finding(Health.FAILED, "machine", "clock", f"it shows {_moment(now)}, but {what} is from {_moment(newest)}", remedy)
    return Finding(Health.OK, "machine", "clock", f"{_moment(now)}, later than every recorded time")


def clocks_apart(area: str, name: str, difference: timedelta) -> Finding:
    """Compare another machine's clock with ours; ``difference`` is positive if it is ahead."""
    apart = abs(difference)
    if apart < CLOCK_WARNING:
        return Finding(Health.OK, area, name, f"clock within {CLOCK_WARNING.seconds} s")
    health = Health.FAILED if apart >= CLOCK_FAILED else Health.WARNING
    side = "ahead" if difference > timedelta(0) else "behind"
    return Finding(health, area, name, f"its clock is {round(apart.total_seconds())} s {side}", "let NTP keep the clocks of both machines")


def server_version(found: str, ours: str) -> Finding:
    """Compare the versions of Prefect's server and client."""
    if found == ours:
        return Finding(Health.OK, "prefect", "version", found)
    health = Health.WARNING if found.split(".")[:2] == ours.split(".")[:2] else Health.FAILED
    return Finding(health, "prefect", "version", f"the server has {found}, this is {ours}", f"install Prefect {ours} on the server")


def database(kind: str, *, distributors: int, subscribers: int) -> Finding:
    """Check the database of Prefect's server. ``kind`` is ``sqlite``, ``postgresql``, or empty if the server doesn't report it."""
    if kind != "sqlite":
        sentence = {"postgresql": "PostgreSQL"}.get(kind, "the server doesn't report which")
        return Finding(Health.OK, "prefect", "database", sentence)
    if distributors > 1 or subscribers >= SQLITE_SUBSCRIBERS:
        many = f"{distributors} Distributors" if distributors > 1 else f"{subscribers} Subscribers"
        return Finding(Health.WARNING, "prefect", "database", f"SQLite, for {many}", "use PostgreSQL: docs/deploy.md")
    return Finding(Health.OK, "prefect", "database", "SQLite")


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker, as Prefect reports it."""

    name: str
    online: bool
    heartbeat: datetime | None


def workers(pool: str, found: Sequence[WorkerSeen], now: datetime) -> Finding:
    """Check the workers of one pool: if none is online its runs are late."""
    online = [worker for worker in found if worker.online]
    seen = _seen(max((worker.heartbeat for worker in online or found if worker.heartbeat), default=None), now)
    if online:
        return Finding(Health.OK, "prefect", f"pool {pool}", f"{len(online)} online, {seen}")
    sentence = f"no worker is online, {seen}" if found else "it never had a worker"
    return Finding(Health.FAILED, "prefect", f"pool {pool}", sentence, f"start `sluice up`, or sluice-worker@{pool} (docs/deploy.md)")


def lifetime(role: str, *, expires: datetime, lasts: timedelta, now: datetime, distributor: str) -> Finding:
    """Check the lifetime of one role's metadata.

    Args:
        lasts: Its lifetime from signing on.
    """
    remaining, name = expires - now, f"{distributor}: {role}"
    remedy = f"run `sluice refresh {distributor}`, and check that its Refresh schedule runs"
    if remaining <= timedelta(0):
        return Finding(Health.FAILED, "trust", name, f"expired {_days(-remaining)} ago: Subscribers refuse it", remedy)
    if remaining < lasts * LIFETIME_LOW:
        return Finding(Health.WARNING, "trust", name, f"{_days(remaining)} of {_days(lasts)} remain: no refresh renewed it", remedy)
    return Finding(Health.OK, "trust", name, f"{_days(remaining)} remain")


def queue(ledger: str, tickets: Iterable[Ticket], now: datetime) -> Finding:
    """Check the send queue for tickets of dead runs."""
    every = list(tickets)
    stale = sum(not ticket.live(now) for ticket in every)
    if stale:
        sentence = f"{stale} of {counted(len(every), 'ticket')} in the send queue {'belongs' if stale == 1 else 'belong'} to runs that died"
        remedy = "nothing to do: they delay no other send, and the next send of each takes its ticket over"
        return Finding(Health.WARNING, "ledger", ledger, sentence, remedy)
    return Finding(Health.OK, "ledger", ledger, f"{len(every)} in the send queue")


def builds(site: Site, distributor: str, snapshot: LedgerSnapshot, now: datetime) -> list[Finding]:
    """Report the Distributions whose builds, or signings, fail."""
    found = []
    for each in sorted(site.distributions_of_distributor(distributor), key=lambda each: each.name):
        if each.active and (failure := snapshot.failing.get(each.name)) is not None:
            failing = FailingBuild(failure, next_start(each.build, now))
            remedy = failure.remedy or f"see its log in Prefect, then run: sluice {failure.operation} {each.name}"
            found.append(Finding(Health.FAILED, failure.operation, each.name, failing.sentence, remedy))
    return found


def beliefs(site: Site, distributor: str, snapshot: LedgerSnapshot, now: datetime, *, calls: bool) -> list[Finding]:
    """Report what contacts raised; ``calls``: hosts are asked too, and their answers say the rest."""
    found = []
    for (owner, name), told in sorted(shared_identities(snapshot.beliefs).items()):
        if owner == distributor and name in site.subscribers:
            found.append(Finding(Health.FAILED, "subscriber", name, told, TWINS_REMEDY))
    if calls:
        return found
    for (name, about), state in sorted(snapshot.states.items()):
        subject = site.distributions.get(about)
        if state.doubt and name in site.subscribers and subject is not None and subject.distributor == distributor:
            found.append(Finding(Health.WARNING, "subscriber", name, f"{about}: {state.doubt}", doubt_remedy(state)))
    for (owner, name), belief in sorted(snapshot.beliefs.items()):
        if owner == distributor and (told := twins_sentence(name, belief, now)):
            found.append(Finding(Health.FAILED, "subscriber", name, told, TWINS_REMEDY))
    return found


def schema(ledger: str, found: int | None, *, ours: int, upgrades: Mapping[int, object]) -> Finding:
    """Check the version of the ledger's tables; None: there are none yet."""
    if found is None or found == ours:
        return Finding(Health.OK, "ledger", ledger, f"schema version {ours}" if found else "it is empty")
    if found in upgrades:
        sentence = f"schema version {found}, which this Sluice upgrades to {ours} when it next opens it"
        return Finding(Health.WARNING, "ledger", ledger, sentence, "upgrade Sluice on every machine that uses this ledger")
    sentence = f"schema version {found}, but this Sluice needs {ours}"
    return Finding(Health.FAILED, "ledger", ledger, sentence, "use the version of Sluice that made it")


def _seen(at: datetime | None, now: datetime) -> str:
    return "never seen" if at is None else f"last seen {max(0, round((now - at).total_seconds()))} s ago"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _days(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else f"{span / timedelta(hours=1):.0f} h"
