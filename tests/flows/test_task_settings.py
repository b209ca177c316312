"""Which errors of a step on the Distributor's own disk are tried again."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.states import Failed

from sluice.errors import NoSpaceError, SourceChangedError, SourceMissingError, StoreLockedError
from tasks.settings import if_retryable


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (StoreLockedError("another build"), True),
        (SourceChangedError("a file changed"), True),
        (NoSpaceError("the disk is full"), False),
        (SourceMissingError("no such file"), False),
        (ZeroDivisionError("a bug"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_passes_by_itself_soon_is_tried_again(error: Exception, again: bool) -> None:
    unused: Any = None
    assert if_retryable(unused, unused, Failed(data=error)) is again
