"""Sites made in Python, for what depends on the model alone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import time, timedelta
from pathlib import PurePosixPath

from sluice.model.schedule import IMMEDIATELY, Kind, Schedule, Window
from sluice.model.site import Address, Channel, Distribution, DistributionType, Distributor, Priority, Site, Subscriber, Subscription

HELSINKI = "Europe/Helsinki"
HOURLY = Schedule(Kind.INTERVAL, interval=timedelta(hours=1))
AT_TEN = Schedule(Kind.DAILY, HELSINKI, window=Window(time(22), time(22)))
AT_NIGHT = Schedule(Kind.DAILY, HELSINKI, window=Window(time(1), time(5), random=True))


def subscriber(name: str, extract: Schedule = IMMEDIATELY) -> Subscriber:
    return Subscriber(name, Address("local", path=f"/srv/{name}"), PurePosixPath(f"/srv/{name}/work"), extract=extract)


def distributor(name: str, at: str = "/var/lib/sluice") -> Distributor:
    return Distributor(name, PurePosixPath(at, name), refresh=Schedule(Kind.INTERVAL, interval=timedelta(days=1)))


def distribution(name: str, owner: str = "hq", *, channel: str = "night", active: bool = True, **changes: object) -> Distribution:
    found = Distribution(name, owner, DistributionType.FILE, channels=(channel,), build=HOURLY, active=active, priority=Priority.HIGH)
    return replace(found, **changes)  # type: ignore[arg-type]


def site(
    *distributions: Distribution,
    distributors: tuple[str, ...] = ("hq",),
    channel_active: bool = True,
    extract: Mapping[str, Schedule] | None = None,
    at: str = "/var/lib/sluice",
    site_id: str = "",
) -> Site:
    """``night`` sends what is given, or ``zone``, to three Subscribers of two Extract schedules."""
    schedules = extract or {"helsinki-1": AT_NIGHT, "helsinki-2": AT_NIGHT, "oslo-1": IMMEDIATELY}
    found = distributions or (distribution("zone"),)
    night = Channel("night", active=channel_active, send=AT_TEN, subscriptions=tuple(Subscription(name) for name in schedules))
    return Site(
        directory=".",
        distributors={name: distributor(name, at) for name in distributors},
        subscribers={name: subscriber(name, schedule) for name, schedule in schedules.items()},
        channels={"night": night},
        distributions={d.name: d for d in found},
        id=site_id,
    )
