"""``sluice show schedules``: every schedule of a site with its next time (D1)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from cli.session import utc
from cli.tables import moment, table
from sluice.model.schedule import Schedule
from sluice.model.site import Site


def schedule_rows(site: Site, at: datetime) -> list[dict[str, Any]]:
    """Make the JSON of ``show schedules``: every schedule of the site with its next start after ``at``.

    With ``random: true`` also ``window``, with ``begin`` and ``end``. ``next`` of an Extract schedule is then the Subscriber's own instant,
    ``next`` of a Send schedule the begin of the run, and ``instants``, ``first`` and ``last``, span those of the Channel's Subscribers.
    Builds and refreshes begin with their window.
    """
    from sluice.blueprint.render.texts import schedule_text

    found: list[tuple[str, str, Schedule, bool, list[str]]] = []
    found += [("refresh", d.name, d.refresh, True, []) for d in site.distributors.values()]
    found += [("build", d.name, d.build, d.active, []) for d in site.distributions.values()]
    for channel in site.channels.values():
        sent_to = [s.subscriber for s in channel.subscriptions if s.active and site.subscriber(s.subscriber).active]
        found.append(("send", channel.name, channel.send, channel.active, sent_to))
    found += [("extract", s.name, s.extract, s.active, [s.name]) for s in site.subscribers.values()]
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


def schedule_table(rows: list[dict[str, Any]]) -> str:
    """Lay out the rows of ``schedule_rows`` for people."""
    return table(["stage", "name", "schedule", "next (utc)"], [[row["stage"], row["name"], row["schedule"], _next(row)] for row in rows])


def _times(stage: str, schedule: Schedule, at: datetime, subscribers: list[str]) -> dict[str, Any]:
    """Return ``next``, and what a random window has besides."""
    from sluice.rules.due import next_start, of_whole_windows, spans

    whole = of_whole_windows(schedule)
    if whole == schedule:
        return {"next": utc(next_start(schedule, at))}
    own = next_start(schedule, at, seed=subscribers[0]) if stage == "extract" else None
    since = at if own is None else own - timedelta(days=2)
    window = next((each for each in spans(whole, since) if own is None or own < each.end), None)
    if window is None:
        return {"next": None}
    found: dict[str, Any] = {"next": utc(own or window.start), "window": {"begin": utc(window.start), "end": utc(window.end)}}
    if stage == "send" and subscribers:
        instants = [utc(next_start(schedule, window.start - timedelta(seconds=1), seed=name)) or "" for name in subscribers]
        found["instants"] = {"first": min(instants), "last": max(instants)}
    return found


def _next(row: dict[str, Any]) -> str:
    if not row["active"]:
        return "inactive"
    text = moment(row["next"]) or "-"
    if (instants := row.get("instants")) is None:
        return text
    return f"{text}, to Subscribers from {moment(instants['first'])} to {moment(instants['last'])}"
