"""``prefect.yaml``: a site's deployments as Prefect's project file, for review and for ``prefect deploy --all``.

The same deployments as ``apply`` makes, field by field. What the file can't say stays apply's: pools with their limits and queue
priorities must exist before, nothing is ever removed, and a paused schedule becomes active again. It is written as YAML whose values
are JSON, which YAML contains.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sluice.distributor.plan.deployments import DeploymentSpec, ScheduleSpec

HEADER = """\
# Written by `python -m infra.generate` from blueprints/: edit those, not this file.
#
# For review, and for `prefect deploy --all` where that is the custom. `sluice apply` does the same and more: it makes the pools,
# keeps paused schedules paused and removes what is gone; run it once before this file is deployed. No path stands here: a worker
# is started with SLUICE_SITE naming the site's directory on its machine.
name: sluice
build: null
push: null
pull: []
deployments:
"""


def project_file(specs: Iterable[DeploymentSpec]) -> str:
    """The text of ``prefect.yaml``."""
    return HEADER + "".join(_deployment(spec) for spec in specs)


def _deployment(spec: DeploymentSpec) -> str:
    fields: dict[str, Any] = {
        "name": spec.name,
        "entrypoint": spec.entrypoint,
        "description": spec.description,
        "tags": list(spec.all_tags),
        "parameters": dict(spec.parameters),
        "enforce_parameter_schema": True,
    }
    if spec.limit is not None and spec.collision is not None:
        fields["concurrency_limit"] = {"limit": spec.limit, "collision_strategy": spec.collision.value}
    fields["work_pool"] = {"name": spec.pool, "work_queue_name": spec.queue, "job_variables": {"env": dict(spec.environment)}}
    fields["schedules"] = [_schedule(s) for s in spec.schedules]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items() if key != "schedules"]
    if spec.schedules:
        lines.append("schedules:\n")
        lines += [f"  - {json.dumps(value, ensure_ascii=False)}\n" for value in fields["schedules"]]
    else:
        lines.append("schedules: []\n")
    return f"  # {spec.full_name}\n  - " + "    ".join(lines)


def _schedule(schedule: ScheduleSpec) -> dict[str, Any]:
    return {"slug": schedule.slug, **schedule.rule, "active": schedule.active}
