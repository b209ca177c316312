"""Settings of all flows: nothing is persisted, results are plain JSON, parameters are names."""

from __future__ import annotations

from typing import TypedDict


class Common(TypedDict):
    """Keyword arguments of every flow."""

    persist_result: bool
    result_serializer: str
    retries: int


# A flow isn't retried as a whole: its steps are, and the next scheduled run goes on from what the ledger knows.
COMMON: Common = {"persist_result": False, "result_serializer": "json", "retries": 0}
