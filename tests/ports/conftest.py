"""Where a test's ledger is, on every database that there is."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Path or URL of a ledger that doesn't exist yet."""
    if request.param == "sqlite":
        yield str(tmp_path / "hq" / "ledger.db")
        return
    server = request.getfixturevalue("postgres")
    name = server.database()
    yield server.url(name)
    server.drop(name)
