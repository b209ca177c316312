"""Make the differences of a deployment fit to be shown: schedules in the blueprint's words, and nothing that may be a secret."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from infra.orchestrator.changes import Differences
from sluice.distributor.plan.deployments import DeploymentSpec
from sluice.rules.schedule_text import schedule_text
from sluice.rules.triggers_back import schedule_of

HIDDEN = "(not shown)"
"""Stands for a value that somebody gave in Prefect to a parameter or a variable that isn't Sluice's: it may be a password."""


def shown(differs: Differences, spec: DeploymentSpec | None, *, ours: Collection[str]) -> Differences:
    """Return the differences with ``words`` beside each schedule, and without the values of others' parameters and variables.

    Args:
        spec: As the site wants it; None if it is to go.
        ours: Names of parameters and variables that Sluice sets.
    """
    found = {key: dict(values) for key, values in differs.items()}
    for key in found.keys() & {"parameters", "environment", "job_variables"}:
        for side, values in found[key].items():
            found[key][side] = {k: v if k in ours else HIDDEN for k, v in values.items()} if isinstance(values, Mapping) else values
    if "schedules" in found:
        authored = {each.slug: schedule_text(each.source) for each in spec.schedules} if spec else {}
        sides = found["schedules"]
        wanted = [each | {"words": authored[each["slug"]]} for each in sides["wanted"] or ()]
        same = {(each["slug"], _rule(each)): each["words"] for each in wanted}
        sides["found"] = [each | {"words": same.get((each["slug"], _rule(each))) or _words(each)} for each in sides["found"] or ()]
        sides["wanted"] = wanted
    return found


def _rule(form: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in form.items() if key not in ("active", "words")}, sort_keys=True, default=str)


def _words(form: Mapping[str, Any]) -> str:
    schedule = schedule_of(form)
    return "no schedule that Sluice knows" if schedule is None else schedule_text(schedule)
