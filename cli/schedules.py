"""Lay out ``sluice show schedules``: every schedule of a site with its next time (D1)."""

from __future__ import annotations

from typing import Any

from cli.tables import moment, table


def schedule_table(rows: list[dict[str, Any]]) -> str:
    """Lay out the rows of ``schedule_rows`` for people."""
    return table(["stage", "name", "schedule", "next (utc)"], [[row["stage"], row["name"], row["schedule"], _next(row)] for row in rows])


def _next(row: dict[str, Any]) -> str:
    if not row["active"]:
        return "inactive"
    text = moment(row["next"]) or "-"
    if (instants := row.get("instants")) is None:
        return text
    return f"{text}, to Subscribers from {moment(instants['first'])} to {moment(instants['last'])}"
