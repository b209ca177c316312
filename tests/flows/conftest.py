"""Warnings and connections of Prefect's client that tests of flows in this process must tolerate."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Prefect's client leaves its connections to the garbage collector when a loop ends; nothing of ours does.
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture(autouse=True, scope="module")
def _collected() -> Iterator[None]:
    """Have those connections collected with a module's last test, not in somebody else's."""
    yield
    gc.collect()
