"""Where a test's ledger is, on every database that there is."""

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Path or URL of a ledger that doesn't exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "hq" / "ledger.db")
    server = request.getfixturevalue("postgres")
    return str(server.url(server.database()))
