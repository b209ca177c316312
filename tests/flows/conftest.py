"""One Prefect server for all tests here: the one that a command starts where none runs."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.orchestrator.embedded import reached
from infra.orchestrator.server_address import ServerAddress


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Prefect's client leaves its connections to the garbage collector when a loop ends; nothing of ours does.
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have those connections collected here, not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    """A real server on a free port, with a database of its own."""
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_STATE", str(state))
        with reached(Path(state), say=lambda _: None) as address:
            yield address
