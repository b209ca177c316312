"""What an agent says it can do."""

from __future__ import annotations

import pytest

from agents import features as told
from agents.features import features
from sluice.model.feature import Feature


def test_an_agent_of_this_version_can_do_everything_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert features() == sorted(Feature)


def test_only_root_sets_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert set(Feature) - set(features()) == {Feature.OWNER}


def test_without_psutil_it_starts_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(told, "find_spec", lambda name: None if name == "psutil" else object())
    assert set(Feature) - set(features()) == {Feature.START_PROCESS, Feature.STOP_PROCESS}
