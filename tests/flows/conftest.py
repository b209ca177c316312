"""One Prefect server for all tests here: the one that a command starts where none runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.orchestrator.embedded import reached
from infra.orchestrator.server_address import ServerAddress


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    """A real server on a free port, with a database of its own."""
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_STATE", str(state))
        with reached(Path(state), say=lambda _: None) as address:
            yield address
