"""The seam at which errors of the disk become errors of ours, on both sides of trust."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sluice.errors import StoreError


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raise a StoreError that names the file in place of an OSError. Also a decorator."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{error.filename or 'the trust directory'}: {error.strerror or error}",
            remedy="check that disk and this account's rights there",
        ) from error
