"""Names and figures as a person reads them in Prefect."""

from __future__ import annotations

from sluice.rules.space import size as size
from sluice.rules.wording import counted as counted
