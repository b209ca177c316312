"""Tables, sizes and times for people."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from cli.predictions import show_links
from cli.tables import duration, moment, pairs, size, table


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (1024**2 - 1, "1 MiB"), (20 * 1024**2, "20 MiB")),
        *((3 * 1024**4, "3 TiB"), (5000 * 1024**5, "5000 PiB")),
    ],
)
def test_a_size_has_the_largest_unit_that_leaves_at_least_one(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (0.44, "0.4 s"), (9.96, "10 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3600, "1 h")),
        *((3660, "1 h 1 min"), (3605, "1 h"), (86400, "1 day"), (2 * 86400 + 3 * 3600 + 59, "2 days 3 h")),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


def test_columns_are_aligned_and_lines_dont_end_in_spaces() -> None:
    assert table(["name", "bytes", "reason"], [["a", "5 B", ""], ["longer", "10 KiB", "why not"]], right={"bytes"}) == (
        "NAME     BYTES  REASON\n"
        "a          5 B\n"
        "longer  10 KiB  why not"
    )  # fmt: skip


def test_a_very_long_cell_moves_only_its_own_line() -> None:
    long = "x" * 200
    assert table(["a", "b"], [[long, "1"], ["y", "2"]]).splitlines() == ["A  B", f"{long}  1", "y  2"]


def test_a_cell_stays_on_its_line_and_moves_no_cursor() -> None:
    assert table(["x"], [["one\ntwo\x1b[2J"]]) == "X\none two [2J"
    assert pairs([("a", "1"), ("name", "b\r\nc")]) == "a     1\nname  b c"


def test_times_are_shown_in_utc() -> None:
    assert moment(datetime(2026, 3, 1, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))) == "2026-02-28 23:02:03"
    assert moment(datetime(2026, 3, 1, tzinfo=UTC)) == "2026-03-01 00:00:00"
    assert moment(None) == ""


SEND = {"link": "far", "distribution": "d", "revision": "1.2", "base": "1.1", "bytes": 3072, "exact": True, "makes_delta": False}


def test_a_prediction_says_that_it_counts_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    show_links([SEND | {"seconds": 1.0, "seconds_least": 1.0, "seconds_most": 1.0, "time_basis": ""}])
    assert (
        capsys.readouterr().out
        == "LINK  SENDS  BOTH WAYS       TIME\nfar       1      3 KiB  about 1 s\n1 send, 3 KiB in both directions\n"
    )


def test_an_unknown_time_has_its_reason_and_a_delta_that_is_to_be_made_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = {"seconds": None, "seconds_least": None, "seconds_most": None, "time_basis": "nothing was sent there yet"}
    show_links([SEND | unknown | {"makes_delta": True}, SEND | unknown, SEND | unknown | {"link": None, "reason": "it is installed"}])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "far       2      6 KiB  unknown",
        "2 sends, 6 KiB in both directions",
        "the time of 2 sends to far is unknown: nothing was sent there yet",
        "the delta of d 1.2 from 1.1 isn't made yet: the first send makes it",
    ]
