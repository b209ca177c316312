"""Write ``prefect.yaml``: a site's deployments as Prefect's project file, for review and for ``prefect deploy --all``.

The deployments are those that ``apply`` makes, field by field. The file can't do the rest: pools with their limits and queue priorities
must exist before, nothing is ever removed, and a paused schedule becomes active again. It is written as YAML whose values are JSON,
which YAML contains.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sluice.distributor.plan.deployments import DeploymentSpec

HEADER = """\
# Written by `python -m infra.generate` from blueprints/: edit those, not this file.
#
# For review, and for `prefect deploy --all` if you use it. `sluice apply` does the same and more: it makes the pools, keeps paused
# schedules paused and removes deployments that are gone; run it once before you deploy this file. No path is written here: start
# each worker with SLUICE_SITE set to the site's directory on its machine.
name: sluice
build: null
push: null
pull: []
deployments:
"""


def project_file(specs: Iterable[DeploymentSpec]) -> str:
    """Return the text of ``prefect.yaml``."""
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
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items()]
    lines.append("schedules:\n" if spec.schedules else "schedules: []\n")
    for schedule in spec.schedules:
        value = {"slug": schedule.slug, **schedule.rule, "active": schedule.active}
        lines.append(f"  - {json.dumps(value, ensure_ascii=False)}\n")
    return f"  # {spec.full_name}\n  - " + "    ".join(lines)
