"""The context of a Distributor's operations, made of the parts that a test has."""

from __future__ import annotations

from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

from infra.workplace import SystemClock
from sluice.model.site import Distributor, Site


def context_of(**parts: Any) -> Any:
    """A ``DistributorContext`` of Distributor ``hq``; a part that isn't given isn't there."""
    distributor = Distributor("hq", PurePosixPath("/hq"))
    site = Site("", {"hq": distributor}, {}, {}, {})
    return SimpleNamespace(**{"site": site, "distributor": distributor, "clock": SystemClock(), "flow_run": "", **parts})


def site_of(*distributions: Any) -> Site:
    """A site of these Distributions and no Subscriber."""
    return Site("", {"hq": Distributor("hq", PurePosixPath("/hq"))}, {}, {}, {each.name: each for each in distributions})
