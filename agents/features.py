"""The features of this agent (F10), which its ``hello`` lists. Determined without importing anything."""

from __future__ import annotations

import os
from importlib.util import find_spec

from sluice.model.feature import Feature

NEEDING_PSUTIL = frozenset({Feature.START_PROCESS, Feature.STOP_PROCESS})


def features() -> list[str]:
    """Return every feature but those whose library this bundle came without, and owners if the agent isn't root."""
    lacking = frozenset() if find_spec("psutil") else NEEDING_PSUTIL
    if os.geteuid() != 0:
        lacking |= {Feature.OWNER}
    return sorted(feature.value for feature in Feature if feature not in lacking)
