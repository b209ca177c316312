"""What ``sluice doctor`` makes of what was found: each a finding with its sentence and remedy. Pure; ``infra/doctor/`` looks.

FAILED is what stops builds, sends or schedules, now or soon by itself; WARNING is what works and shouldn't be left so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sluice.model.ticket import Ticket
from sluice.rules.space import size

PYTHON_MIN = (3, 11)
PYTHON_BELOW = (3, 14)
CLOCK_WARNING = timedelta(minutes=1)
CLOCK_FAILED = timedelta(minutes=5)
"""Between two machines: schedules, lifetimes of signatures and leases are compared with clocks."""
FREE_LOW = 1 << 30
"""Bytes: below it a working directory's file system is nearly full whatever its ``min_free``."""
LIFETIME_LOW = 0.25
"""The share of a signature's lifetime that is left when somebody should look: renewing begins at a half."""
SQLITE_SUBSCRIBERS = 50
"""From here on a Channel's run keeps SQLite's one writer busy."""


class Health(StrEnum):
    """How an object is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``sluice doctor``."""

    health: Health
    area: str
    """``machine``, ``site``, ``prefect``, ``ledger``, ``trust``, ``agent``, ``subscriber``."""
    object: str
    sentence: str
    remedy: str = ""


def python_version(found: tuple[int, int]) -> Finding:
    """Of this machine."""
    text, fits = f"{found[0]}.{found[1]}", PYTHON_MIN <= found < PYTHON_BELOW
    remedy = "" if fits else "install Python 3.11, 3.12 or 3.13 and run `make setup` anew"
    return Finding(Health.OK if fits else Health.FAILED, "machine", "python", text, remedy)


def free_space(where: str, *, free: int, kept: int) -> Finding:
    """Of a Distributor's working directory.

    Args:
        free: Bytes free there.
        kept: ``min_free``.
    """
    sentence = f"{size(free)} free, {size(kept)} must stay free"
    if free < kept:
        return Finding(Health.FAILED, "machine", where, sentence, "free some, lower max_revisions or min_free, or move it")
    if free < max(2 * kept, FREE_LOW):
        return Finding(Health.WARNING, "machine", where, sentence, "it will soon be too little: free some")
    return Finding(Health.OK, "machine", where, sentence)


def private_directory(where: str, *, mode: int, ours: bool) -> Finding:
    """A directory that nobody else may read. ``ours``: it belongs to the account that asks."""
    if not ours:
        return Finding(
            Health.FAILED,
            "machine",
            where,
            "it belongs to another account",
            "run `sluice` as the account that the workers run as, or chown it",
        )
    if mode & 0o077:
        return Finding(Health.FAILED, "machine", where, f"others can read it: mode {mode:04o}", f"chmod 700 {where}")
    return Finding(Health.OK, "machine", where, f"mode {mode:04o}")


def clock_went_back(now: datetime, newest: datetime | None, *, what: str) -> Finding:
    """This machine's clock beside the newest time that is written down."""
    if newest is not None and newest - now > CLOCK_WARNING:
        return Finding(
            Health.FAILED,
            "machine",
            "clock",
            f"it says {_moment(now)}, but {what} is of {_moment(newest)}",
            "set it, and have NTP keep it; until then schedules and signatures are out of step",
        )
    return Finding(Health.OK, "machine", "clock", f"{_moment(now)}, after everything that is written down")


def clocks_apart(area: str, name: str, difference: timedelta) -> Finding:
    """Another machine's clock; ``difference`` is positive where it is ahead."""
    apart = abs(difference)
    if apart < CLOCK_WARNING:
        return Finding(Health.OK, area, name, f"clock within {CLOCK_WARNING.seconds} s")
    health = Health.FAILED if apart >= CLOCK_FAILED else Health.WARNING
    side = "ahead" if difference > timedelta(0) else "behind"
    return Finding(health, area, name, f"its clock is {round(apart.total_seconds())} s {side}", "have NTP keep the clocks of both machines")


def server_version(found: str, ours: str) -> Finding:
    """Prefect's, of server and client."""
    if found == ours:
        return Finding(Health.OK, "prefect", "version", found)
    same = found.split(".")[:2] == ours.split(".")[:2]
    return Finding(
        Health.WARNING if same else Health.FAILED,
        "prefect",
        "version",
        f"the server has {found}, this is {ours}",
        f"run Prefect {ours} there",
    )


def database(kind: str, *, distributors: int, subscribers: int) -> Finding:
    """Of Prefect's server. ``kind`` is ``sqlite``, ``postgresql``, or empty where the server doesn't tell."""
    if kind != "sqlite":
        sentence = {"postgresql": "PostgreSQL"}.get(kind, "the server doesn't tell which")
        return Finding(Health.OK, "prefect", "database", sentence)
    if distributors > 1 or subscribers >= SQLITE_SUBSCRIBERS:
        many = f"{distributors} Distributors" if distributors > 1 else f"{subscribers} Subscribers"
        return Finding(Health.WARNING, "prefect", "database", f"SQLite, for {many}", "use PostgreSQL: docs/deploy.md")
    return Finding(Health.OK, "prefect", "database", "SQLite")


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker as Prefect knows it."""

    name: str
    online: bool
    heartbeat: datetime | None


def workers(pool: str, found: Sequence[WorkerSeen], now: datetime) -> Finding:
    """Of one pool: without any online its runs are late."""
    online = [worker for worker in found if worker.online]
    if online:
        last = max((worker.heartbeat for worker in online if worker.heartbeat), default=None)
        return Finding(Health.OK, "prefect", f"pool {pool}", f"{len(online)} online, {_seen(last, now)}")
    last = max((worker.heartbeat for worker in found if worker.heartbeat), default=None)
    return Finding(
        Health.FAILED,
        "prefect",
        f"pool {pool}",
        f"no worker is online, {_seen(last, now)}" if found else "it never had a worker",
        f"start `sluice up`, or sluice-worker@{pool} (docs/deploy.md)",
    )


def lifetime(role: str, *, expires: datetime, lasts: timedelta, now: datetime, distributor: str) -> Finding:
    """Of one role's metadata.

    Args:
        lasts: What it is given when it is signed anew.
    """
    left, what = expires - now, f"{distributor}: {role}"
    remedy = f"run `sluice refresh {distributor}`, and see that its schedule runs"
    if left <= timedelta(0):
        return Finding(Health.FAILED, "trust", what, f"expired {_days(-left)} ago: Subscribers refuse it", remedy)
    if left < lasts * LIFETIME_LOW:
        return Finding(Health.WARNING, "trust", what, f"{_days(left)} left of {_days(lasts)}: nobody renewed it", remedy)
    return Finding(Health.OK, "trust", what, f"{_days(left)} left")


def queue(ledger: str, tickets: Iterable[Ticket], now: datetime) -> Finding:
    """Of the send queue."""
    every = list(tickets)
    stale = sum(not ticket.live(now) for ticket in every)
    if stale:
        return Finding(
            Health.WARNING,
            "ledger",
            ledger,
            f"{stale} of {len(every)} places in the send queue are of runs that died",
            "they hold nobody up; the next send of each takes its place over",
        )
    return Finding(Health.OK, "ledger", ledger, f"{len(every)} in the send queue")


def schema(ledger: str, found: int | None, *, ours: int, upgrades: Mapping[int, object]) -> Finding:
    """Of the ledger's tables; None: there are none yet."""
    if found is None or found == ours:
        return Finding(Health.OK, "ledger", ledger, f"schema version {ours}" if found else "nothing in it yet")
    if found in upgrades:
        return Finding(
            Health.WARNING,
            "ledger",
            ledger,
            f"schema version {found}, this Sluice makes it {ours} when it next opens it",
            "upgrade Sluice on every machine that uses it",
        )
    return Finding(Health.FAILED, "ledger", ledger, f"schema version {found}, this Sluice needs {ours}", "use the Sluice that made it")


def _seen(at: datetime | None, now: datetime) -> str:
    return "never seen" if at is None else f"last seen {max(0, round((now - at).total_seconds()))} s ago"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _days(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else f"{span / timedelta(hours=1):.0f} h"
