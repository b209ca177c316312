"""The seam at which a disk that fails becomes an error of ours, on both sides of trust."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sluice.errors import StoreError


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the system says of a file of trust comes out as a StoreError that names it. Also a decorator."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{error.filename or 'the directory of trust'}: {error.strerror or error}",
            remedy="look at that disk and at this account's rights",
        ) from error
