"""Tell the next times of a site's schedules (D1), for ``sluice show schedules`` and for Prefect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sluice.model.schedule import Schedule
from sluice.model.site import Site
from sluice.rules.due import next_start, of_whole_windows, spans
from sluice.rules.schedule_text import schedule_text


def schedule_rows(site: Site, at: datetime, distributor: str = "") -> list[dict[str, Any]]:
    """Make the JSON of ``show schedules``: every schedule of the site with its next start after ``at``.

    With ``random: true`` also ``window``, with ``begin`` and ``end``. ``next`` of an Extract schedule is then the Subscriber's own instant,
    ``next`` of a Send schedule the begin of the run, and ``instants``, ``first`` and ``last``, span those of the Channel's Subscribers.
    Builds and refreshes begin with their window.

    Args:
        distributor: Only what concerns this one; empty: everything.
    """
    found: list[tuple[str, str, Schedule, bool, list[str]]] = []
    owned = [d for d in site.distributions.values() if distributor in ("", d.distributor)]
    served = {name for d in owned for name in site.subscribers_of_distribution(d.name)} if distributor else set(site.subscribers)
    channels = {name for d in owned for name in d.channels} if distributor else set(site.channels)
    found += [("refresh", d.name, d.refresh, True, []) for d in site.distributors.values() if distributor in ("", d.name)]
    found += [("build", d.name, d.build, d.active, []) for d in owned]
    for channel in map(site.channel, channels):
        sent_to = [s.subscriber for s in channel.subscriptions if s.active and site.subscriber(s.subscriber).active]
        found.append(("send", channel.name, channel.send, channel.active, sent_to))
    found += [("extract", s.name, s.extract, s.active, [s.name]) for s in map(site.subscriber, served)]
    order = ("refresh", "build", "send", "extract")
    found.sort(key=lambda row: (order.index(row[0]), row[1]))
    return [
        {
            "stage": stage,
            "name": name,
            "active": active,
            "schedule": schedule_text(schedule),
            "timezone": schedule.timezone,
            **(_times(stage, schedule, at, subscribers) if active else {"next": None}),
        }
        for stage, name, schedule, active, subscribers in found
    ]


def _times(stage: str, schedule: Schedule, at: datetime, subscribers: list[str]) -> dict[str, Any]:
    """Return ``next``, and what a random window has besides."""
    whole = of_whole_windows(schedule)
    if whole == schedule:
        return {"next": _utc(next_start(schedule, at))}
    own = next_start(schedule, at, seed=subscribers[0]) if stage == "extract" else None
    since = at if own is None else own - timedelta(days=2)
    window = next((each for each in spans(whole, since) if own is None or own < each.end), None)
    if window is None:
        return {"next": None}
    found: dict[str, Any] = {"next": _utc(own or window.start), "window": {"begin": _utc(window.start), "end": _utc(window.end)}}
    if stage == "send" and subscribers:
        instants = [_utc(next_start(schedule, window.start - timedelta(seconds=1), seed=name)) or "" for name in subscribers]
        found["instants"] = {"first": min(instants), "last": max(instants)}
    return found


def _utc(at: datetime | None) -> str | None:
    """Write RFC 3339 in UTC with ``Z``."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
