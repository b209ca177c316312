"""Translate Prefect's exceptions into ``OrchestratorError``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.exceptions import PrefectException

from sluice.errors import OrchestratorError

DETAIL_MAX = 300
"""Characters of a server's answer that an error repeats."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn exceptions of Prefect's client into an OrchestratorError.

    Args:
        doing: The act under way, for the message: ``reading the deployments``.
    """
    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        remedy = "check PREFECT_API_AUTH_STRING" if status in (401, 403) else "read the Prefect server's log"
        raise OrchestratorError(f"Prefect refused {doing}: HTTP {status} {error.response.text[:DETAIL_MAX]}", remedy=remedy) from error
    except (httpx.HTTPError, ConnectionError, TimeoutError) as error:
        raise OrchestratorError(
            f"Prefect didn't answer while {doing} ({type(error).__name__})",
            remedy="check PREFECT_API_URL and that the server runs, or run: sluice up",
        ) from error
    except (PrefectException, RuntimeError, ValueError) as error:
        raise OrchestratorError(f"{doing} failed in Prefect: {str(error)[:DETAIL_MAX]}", remedy="read the Prefect server's log") from error
