"""The revision rules from the source on disk to the tree on a Subscriber, with what crosses between (C2, C3, C4, C8, C12)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.ruled import BLOB, ForkedTransport, ruled

WHOLE = len(BLOB)
"""What the whole takes on the wire at least: nothing compresses it."""


@pytest.fixture(scope="module")
def agents() -> Iterator[ForkedTransport]:
    made = ForkedTransport()
    yield made
    made.close()


@pytest.mark.slow
def test_baseline_delta_delta_and_a_new_baseline_that_costs_the_holder_of_the_last_one_next_to_nothing(
    tmp_path: Path, agents: ForkedTransport
) -> None:
    with ruled(tmp_path, agents, max_revisions=3) as site:
        seen = []
        for _ in range(5):
            revision = site.revise()
            crossed = site.arrives(revision)
            seen.append((str(revision), crossed.sent > WHOLE))
            assert len(site.kept()) <= 3
            assert len(site.held()) <= 3
            assert crossed.sent > WHOLE or crossed.sent < WHOLE / 20
        assert seen == [("1.1", True), ("1.2", False), ("1.3", False), ("2.1", False), ("2.2", False)]
        assert site.kept() == ["2.1", "2.2"]


def test_who_holds_an_older_one_than_the_last_gets_the_new_baseline_whole_and_goes_on_from_there(
    tmp_path: Path, agents: ForkedTransport
) -> None:
    with ruled(tmp_path, agents, max_revisions=3) as site:
        site.arrives(site.revise())
        for _ in range(2):
            site.revise()
        baseline = site.revise()
        assert str(baseline) == "2.1"
        assert site.arrives(baseline).sent > WHOLE
        assert site.arrives(site.revise()).sent < WHOLE / 20


def test_who_was_away_for_some_revisions_gets_one_difference_over_all_of_them(tmp_path: Path, agents: ForkedTransport) -> None:
    with ruled(tmp_path, agents) as site:
        site.arrives(site.revise())
        for _ in range(3):
            newest = site.revise()
        assert str(newest) == "1.4"
        assert site.arrives(newest).sent < WHOLE / 20
        assert "1.2" not in site.held()


def test_at_a_maximum_of_one_everything_goes_each_time_and_no_more_than_one_is_kept_on_either_side(
    tmp_path: Path, agents: ForkedTransport
) -> None:
    with ruled(tmp_path, agents, max_revisions=1) as site:
        for number in (1, 2):
            revision = site.revise()
            assert str(revision) == f"{number}.1"
            assert [ted.name for ted in site.store.teds("zone", revision)] == ["distfile.ted"]
            assert site.arrives(revision).sent > WHOLE
            assert site.kept() == [str(revision)]
            assert len(site.held()) <= 1


@pytest.mark.slow
def test_a_rebaseline_begins_a_new_baseline_without_a_full_send(tmp_path: Path, agents: ForkedTransport) -> None:
    with ruled(tmp_path, agents) as site:
        site.arrives(site.revise())
        baseline = site.revise(change=False, rebaseline=True)
        assert (str(baseline), site.kept()) == ("2.1", ["2.1"])
        assert site.arrives(baseline).sent < WHOLE / 20
        site.limit(2)
        assert [str(site.revise()) for _ in range(2)] == ["2.2", "3.1"]
        assert site.kept() == ["3.1"]
