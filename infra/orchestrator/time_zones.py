"""The names of time zones, in Prefect: it reads the system's whole database of them for each schedule that it validates or loads.

That took a sixth of what ``apply`` and its server do. A zone that comes with an update of the system is known to a process that
starts then.
"""

from functools import cache

from prefect._internal.schemas import validators
from prefect.types._datetime import get_timezones

_listed = cache(get_timezones)


def list_time_zones_once() -> None:
    """Have Prefect's client and server in this process read them once."""
    validators.get_timezones = _listed  # type: ignore[attr-defined] # mypy counts a name that a module imports as its own
