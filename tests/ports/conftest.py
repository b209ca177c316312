"""A test's ledger, on every database that there is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.ledger.sql import SqlLedger, open_ledger
from sluice.ports import Ledger

Opener = Callable[[], Ledger]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Path or URL of a ledger that doesn't exist yet."""
    if request.param == "sqlite":
        yield str(tmp_path / "hq" / "ledger.db")
        return
    server = request.getfixturevalue("postgres")
    name = server.database()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def opener(place: str) -> Iterator[Opener]:
    """Opens the same ledger each time, as every process would."""
    opened: list[SqlLedger] = []

    def open_again() -> Ledger:
        opened.append(open_ledger(place))
        return opened[-1]

    yield open_again
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(opener: Opener) -> Ledger:
    return opener()
