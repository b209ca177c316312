"""Revision numbers, what they put out of use, and for whom contents are composed (C2 to C5, C8, C12)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluice.model.revision import RevisionNumber
from sluice.rules.revisions import FIRST, delta_bases, next_revision, superseded


def history(builds: int, max_revisions: int | None, *, rebaseline_at: int = -1, whole: bool = False) -> tuple[list[str], list[list[str]]]:
    """The number of each build, and what is kept after it."""
    kept: list[RevisionNumber] = []
    numbers, holdings = [], []
    for build in range(builds):
        newest = kept[-1] if kept else None
        number = next_revision(newest, max_revisions=max_revisions, rebaseline=build == rebaseline_at, whole=whole)
        kept.append(number)
        gone = superseded(kept, max_revisions=max_revisions, whole=whole)
        kept = [revision for revision in kept if revision not in gone]
        numbers.append(str(number))
        holdings.append([str(revision) for revision in kept])
    return numbers, holdings


def test_max_3_gives_baseline_delta_delta_baseline() -> None:
    numbers, holdings = history(5, 3)
    assert numbers == ["1.1", "1.2", "1.3", "2.1", "2.2"]
    assert holdings[2:] == [["1.1", "1.2", "1.3"], ["2.1"], ["2.1", "2.2"]]


def test_max_1_is_always_a_baseline_and_alone() -> None:
    assert history(3, 1) == (["1.1", "2.1", "3.1"], [["1.1"], ["2.1"], ["3.1"]])


def test_unlimited_never_begins_anew() -> None:
    numbers, holdings = history(30, None)
    assert numbers[-1] == "1.30"
    assert len(holdings[-1]) == 30


def test_a_rebaseline_begins_anew_whatever_the_count() -> None:
    assert history(4, 10, rebaseline_at=2)[0] == ["1.1", "1.2", "2.1", "2.2"]
    assert history(1, 10, rebaseline_at=0)[0] == ["1.1"]


def test_a_lowered_maximum_takes_effect_with_the_next_build() -> None:
    assert next_revision(RevisionNumber(1, 7), max_revisions=3) == RevisionNumber(2, 1)


def test_whole_types_keep_the_last_ones() -> None:
    assert history(4, 2, whole=True) == (["1.1", "2.1", "3.1", "4.1"], [["1.1"], ["1.1", "2.1"], ["2.1", "3.1"], ["3.1", "4.1"]])


@given(st.integers(1, 40), st.none() | st.integers(1, 6), st.booleans(), st.integers(-1, 39))
def test_no_more_than_the_maximum_is_ever_kept_and_numbers_only_rise(builds: int, most: int | None, whole: bool, at: int) -> None:
    numbers, holdings = history(builds, most, rebaseline_at=at, whole=whole)
    parsed = [RevisionNumber.parse(number) for number in numbers]
    assert parsed == sorted(set(parsed))
    assert parsed[0] == FIRST
    for number, kept in zip(numbers, holdings, strict=True):
        assert kept[-1] == number
        assert most is None or len(kept) <= most


def test_what_a_killed_build_left_of_older_baselines_is_superseded() -> None:
    kept = [RevisionNumber(2, 1), RevisionNumber(1, 2), RevisionNumber(1, 3)]
    assert superseded(kept, max_revisions=3) == (RevisionNumber(1, 2), RevisionNumber(1, 3))
    assert superseded([], max_revisions=3) == ()


def test_contents_are_composed_for_whom_they_are_sent_to() -> None:
    assert delta_bases(FIRST, None, max_revisions=10) == (None,)
    assert delta_bases(RevisionNumber(1, 2), FIRST, max_revisions=10) == (FIRST,)
    assert delta_bases(RevisionNumber(2, 1), RevisionNumber(1, 3), max_revisions=3) == (None, RevisionNumber(1, 3))
    assert delta_bases(RevisionNumber(2, 1), FIRST, max_revisions=1) == (None,)
