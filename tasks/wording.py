"""Word names and figures for a person in Prefect."""

from __future__ import annotations

from sluice.rules.space import size as size
from sluice.rules.wording import counted as counted
