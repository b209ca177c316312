"""``sluice show schedules``: every schedule of a site with its next time (D1)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cli.session import utc
from cli.tables import moment, table
from sluice.model.schedule import Schedule
from sluice.model.site import Site


def schedule_rows(site: Site, at: datetime) -> list[dict[str, Any]]:
    """Make the JSON of ``show schedules``: every schedule of the site with its next start after ``at``."""
    from sluice.blueprint.render.texts import schedule_text
    from sluice.rules.due import next_start

    found: list[tuple[str, str, Schedule, bool, str]] = []
    found += [("refresh", d.name, d.refresh, True, "") for d in site.distributors.values()]
    found += [("build", d.name, d.build, d.active, "") for d in site.distributions.values()]
    found += [("send", c.name, c.send, c.active, "") for c in site.channels.values()]
    found += [("extract", s.name, s.extract, s.active, s.name) for s in site.subscribers.values()]
    order = ("refresh", "build", "send", "extract")
    found.sort(key=lambda row: (order.index(row[0]), row[1]))
    return [
        {
            "stage": stage,
            "name": name,
            "active": active,
            "schedule": schedule_text(schedule),
            "timezone": schedule.timezone,
            "next": utc(next_start(schedule, at, seed=seed)) if active else None,
        }
        for stage, name, schedule, active, seed in found
    ]


def schedule_table(rows: list[dict[str, Any]]) -> str:
    """Lay out the rows of ``schedule_rows`` for people."""
    return table(
        ["stage", "name", "schedule", "next (utc)"],
        [[row["stage"], row["name"], row["schedule"], (moment(row["next"]) or "-") if row["active"] else "inactive"] for row in rows],
    )
