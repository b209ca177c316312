"""When schedules are due: laws over many schedules, and the days on which clocks change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.model.schedule import IMMEDIATELY, NEVER, Kind, Schedule, Window
from sluice.rules.clocks import localized
from sluice.rules.due import (
    is_due,
    is_open,
    may_begin,
    next_start,
    shortest_gap,
    spans,
    starts,
    window_is_over,
)
from sluice.rules.triggers import prefect_schedule, problem_with
from tests.conftest import some

HELSINKI = "Europe/Helsinki"
BEGIN = "DTSTART:20260101T000000\nRRULE:"


def window(start: str, end: str = "", *, random: bool = False, every: timedelta | None = None) -> Window:
    return Window(time.fromisoformat(start), time.fromisoformat(end or start), random=random, every=every)


def daily(start: str, end: str = "", *, zone: str = HELSINKI, random: bool = False, every: timedelta | None = None) -> Schedule:
    return Schedule(Kind.DAILY, zone, window=window(start, end, random=random, every=every))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(moment: datetime | None, zone: str = HELSINKI) -> str:
    assert moment is not None
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"


clocks = st.times().map(lambda t: t.replace(second=0, microsecond=0))
zones = st.sampled_from(["UTC", HELSINKI, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"])
moments = st.datetimes(datetime(2021, 1, 1), datetime(2034, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 hypothesis wants bounds naive


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start, end = draw(clocks), draw(clocks)
    if start == end:
        return Window(start, end)
    every = draw(st.none() | st.sampled_from([15, 45, 60]).map(lambda m: timedelta(minutes=m)))
    return Window(start, end, random=every is None and draw(st.booleans()), every=every)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    zone = draw(zones)
    match draw(st.sampled_from(["interval", "daily", "weekly", "monthly", "yearly", "cron", "rrule"])):
        case "interval":
            return Schedule(Kind.INTERVAL, zone, interval=draw(st.timedeltas(timedelta(minutes=3), timedelta(days=40))))
        case "daily":
            return Schedule(Kind.DAILY, zone, window=draw(windows()), weekdays=tuple(sorted(draw(st.sets(st.integers(0, 6))))))
        case "weekly":
            return Schedule(Kind.WEEKLY, zone, window=draw(windows()), weekdays=tuple(sorted(draw(st.sets(st.integers(0, 6), min_size=1)))))
        case "monthly":
            days = tuple(sorted(draw(st.sets(st.sampled_from([-1, 1, 15, 28, 30, 31]), min_size=1))))
            return Schedule(Kind.MONTHLY, zone, window=draw(windows()), month_days=days)
        case "yearly":
            return Schedule(Kind.YEARLY, zone, window=draw(windows()), year_days=(date(2000, 2, 29), date(2000, 12, 24)))
        case "cron":
            return Schedule(Kind.CRON, zone, cron=draw(st.sampled_from(["*/20 * * * *", "30 2 * * *", "0 4 1 * mon", "15 1-5 * * sun"])))
    rules = ["FREQ=DAILY;INTERVAL=3", "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=3;BYMINUTE=30", "FREQ=WEEKLY;COUNT=900;BYDAY=SU;BYHOUR=2;BYMINUTE=30"]
    return Schedule(Kind.RRULE, zone, rrule=draw(st.sampled_from(rules)))


@settings(max_examples=some(60), deadline=None)
@given(schedules(), moments)
def test_starts_come_strictly_after_and_in_order(schedule: Schedule, after: datetime) -> None:
    found = list(islice(starts(schedule, after), 6))
    assert all(s > after for s in found)
    assert all(a < b for a, b in pairwise(found))


@settings(max_examples=some(60), deadline=None)
@given(schedules(), moments)
def test_asking_again_from_a_start_gives_the_next_one(schedule: Schedule, after: datetime) -> None:
    found = list(islice(starts(schedule, after, seed="web-1"), 4))
    assert [next_start(schedule, s, seed="web-1") for s in found[:-1]] == found[1:]


@settings(max_examples=some(40), deadline=None)
@given(schedules(), moments, st.timedeltas(timedelta(0), timedelta(days=60)))
def test_a_later_question_never_gets_an_earlier_start(schedule: Schedule, after: datetime, wait: timedelta) -> None:
    first, second = next_start(schedule, after), next_start(schedule, after + wait)
    if first is not None and second is not None:
        assert first <= second


@settings(max_examples=some(40), deadline=None)
@given(schedules(), moments)
def test_it_is_due_at_a_start_and_not_again_after_it_began(schedule: Schedule, after: datetime) -> None:
    start = next_start(schedule, after)
    if start is None or next_start(schedule, start) is None:
        return
    assert is_due(schedule, after, start)
    assert not is_due(schedule, start, start)
    assert not is_due(schedule, after, start - timedelta(seconds=1)) or schedule.window is not None


@settings(max_examples=some(40), deadline=None)
@given(clocks, clocks, zones, moments, st.text(max_size=8))
def test_random_instants_lie_in_their_window_and_can_be_reproduced(begin: time, end: time, zone: str, after: datetime, seed: str) -> None:
    if begin == end:
        return
    schedule = Schedule(Kind.DAILY, zone, window=Window(begin, end, random=True))
    plain = Schedule(Kind.DAILY, zone, window=Window(begin, end))
    found = list(islice(spans(schedule, after, seed=seed), 3))
    assert found == list(islice(spans(schedule, after, seed=seed), 3))
    whole = list(islice(spans(plain, after - timedelta(days=3)), 9))
    for span in found:
        assert any(w.start <= span.start and (span.start < w.end or w.start == w.end) and span.end == w.end for w in whole)


def test_fifty_subscribers_spread_over_the_window() -> None:
    schedule = daily("01:00", "05:00", random=True)
    found = [next_start(schedule, utc("2026-06-01T12:00"), seed=f"web-{n}") for n in range(50)]
    instants = sorted(s for s in found if s is not None)
    hours = {s.astimezone(ZoneInfo(HELSINKI)).hour for s in instants}
    assert len(set(instants)) == 50
    assert hours == {1, 2, 3, 4}


def test_one_subscriber_starts_at_another_instant_each_day() -> None:
    found = list(islice(starts(daily("01:00", "05:00", random=True), utc("2026-06-01T12:00"), seed="web-1"), 5))
    assert len({f"{s:%H:%M:%S}" for s in found}) == 5


def test_a_daily_time_keeps_its_wall_clock_over_both_clock_changes() -> None:
    spring = list(islice(starts(daily("22:00"), utc("2026-03-27T12:00")), 4))
    autumn = list(islice(starts(daily("22:00"), utc("2026-10-23T12:00")), 4))
    assert {f"{s.astimezone(ZoneInfo(HELSINKI)):%H:%M}" for s in spring + autumn} == {"22:00"}
    assert spring[2] - spring[1] == timedelta(hours=23)
    assert autumn[2] - autumn[1] == timedelta(hours=25)


def test_a_time_the_clock_skips_counts_as_if_it_had_been_put_forward() -> None:
    assert next_start(daily("03:30"), utc("2026-03-28T12:00")) == utc("2026-03-29T00:30")
    assert localized(datetime(2026, 3, 29, 3, 30), ZoneInfo(HELSINKI)) == utc("2026-03-29T00:30")  # noqa: DTZ001 a wall-clock time


def test_a_time_that_comes_twice_counts_once_and_first() -> None:
    found = list(islice(starts(daily("03:30"), utc("2026-10-24T12:00")), 2))
    assert found == [utc("2026-10-25T00:30"), utc("2026-10-26T01:30")]


def test_a_window_that_the_clock_swallows_still_starts_once() -> None:
    [first] = islice(starts(daily("03:10", "03:50", random=True), utc("2026-03-28T12:00"), seed="x"), 1)
    assert local(first)[:10] == "2026-03-29"


def test_an_interval_of_whole_days_keeps_its_time_of_day() -> None:
    anchor = datetime(2026, 1, 1, 2, tzinfo=ZoneInfo(HELSINKI))
    schedule = Schedule(Kind.INTERVAL, HELSINKI, interval=timedelta(days=2), at=anchor)
    found = list(islice(starts(schedule, utc("2026-03-20T00:00")), 12))
    assert {local(s)[11:] for s in found} == {"02:00"}


def test_an_interval_of_hours_counts_elapsed_time_over_a_clock_change() -> None:
    schedule = Schedule(Kind.INTERVAL, HELSINKI, interval=timedelta(hours=3))
    found = list(islice(starts(schedule, utc("2026-03-28T12:00")), 12))
    assert {b - a for a, b in pairwise(found)} == {timedelta(hours=3)}


def test_an_interval_never_starts_before_its_anchor() -> None:
    anchor = datetime(2026, 12, 1, 2, tzinfo=ZoneInfo(HELSINKI))
    schedule = Schedule(Kind.INTERVAL, HELSINKI, interval=timedelta(hours=1), at=anchor)
    assert next_start(schedule, utc("2026-01-01T00:00")) == anchor.astimezone(UTC)


def test_the_last_day_of_the_month_is_found_in_february_too() -> None:
    schedule = Schedule(Kind.MONTHLY, HELSINKI, window=window("02:15"), month_days=(-1,))
    found = [local(s) for s in islice(starts(schedule, utc("2028-01-30T00:00")), 3)]
    assert found == ["2028-01-31 02:15", "2028-02-29 02:15", "2028-03-31 02:15"]


def test_a_month_without_the_day_is_left_out() -> None:
    schedule = Schedule(Kind.MONTHLY, "UTC", window=window("00:00"), month_days=(31,))
    assert [s.month for s in islice(starts(schedule, utc("2026-01-01T00:00")), 7)] == [1, 3, 5, 7, 8, 10, 12]


def test_the_29th_of_february_comes_in_leap_years_only() -> None:
    schedule = Schedule(Kind.YEARLY, "UTC", window=window("00:00"), year_days=(date(2000, 2, 29),))
    assert [s.year for s in islice(starts(schedule, utc("2025-01-01T00:00")), 2)] == [2028, 2032]


def test_weekly_runs_on_its_days() -> None:
    schedule = Schedule(Kind.WEEKLY, "UTC", window=window("04:00"), weekdays=(0, 3))
    assert [s.weekday() for s in islice(starts(schedule, utc("2026-06-01T05:00")), 4)] == [3, 0, 3, 0]


def test_a_window_over_midnight_belongs_to_the_day_it_opens() -> None:
    schedule = Schedule(Kind.DAILY, "UTC", window=window("22:00", "02:00"), weekdays=(4,))
    assert is_open(schedule, utc("2026-06-06T01:59"))  # Saturday
    assert not is_open(schedule, utc("2026-06-06T02:00"))
    assert not is_open(schedule, utc("2026-06-05T01:00"))  # Friday


def test_a_window_with_every_repeats_inside_it_and_not_at_its_end() -> None:
    schedule = daily("08:00", "09:00", zone="UTC", every=timedelta(minutes=20))
    found = [local(s, "UTC")[11:] for s in islice(starts(schedule, utc("2026-06-01T00:00")), 4)]
    assert found == ["08:00", "08:20", "08:40", "08:00"]


def test_once_is_once() -> None:
    at = datetime(2026, 12, 1, 2, tzinfo=ZoneInfo(HELSINKI))
    schedule = Schedule(Kind.AT, HELSINKI, at=at)
    assert list(starts(schedule, utc("2026-01-01T00:00"))) == [utc("2026-12-01T00:00")]
    assert next_start(schedule, utc("2026-12-01T00:00")) is None
    assert is_due(schedule, None, utc("2027-01-01T00:00"))
    assert not is_due(schedule, None, utc("2026-11-30T23:59"))


def test_never_is_never_due_and_immediately_always() -> None:
    now = utc("2026-06-01T00:00")
    assert not is_due(NEVER, None, now)
    assert is_due(IMMEDIATELY, now, now)
    assert next_start(NEVER, now) is None
    assert next_start(IMMEDIATELY, now) is None
    assert not may_begin(NEVER, now, now)
    assert may_begin(IMMEDIATELY, now, now)


def test_what_was_never_done_is_due_after_any_start() -> None:
    yearly = Schedule(Kind.YEARLY, "UTC", window=window("00:00"), year_days=(date(2000, 1, 1),))
    assert is_due(yearly, None, utc("2026-06-01T00:00"))
    assert is_due(daily("22:00", zone="UTC"), None, utc("2026-06-01T21:00"))


def test_a_missed_start_is_caught_up_but_not_outside_its_window() -> None:
    last = utc("2026-06-01T12:00")
    assert is_due(daily("22:00", zone="UTC"), last, utc("2026-06-02T09:00"))
    assert is_due(daily("22:00", "23:00", zone="UTC"), last, utc("2026-06-01T22:59"))
    assert not is_due(daily("22:00", "23:00", zone="UTC"), last, utc("2026-06-01T23:00"))


def test_what_arrives_while_a_window_is_open_may_begin_in_it() -> None:
    schedule = daily("01:00", "05:00", zone="UTC")
    arrived, now = utc("2026-06-02T03:00"), utc("2026-06-02T03:01")
    assert not is_due(schedule, arrived, now)
    assert may_begin(schedule, arrived, now)
    assert not may_begin(schedule, arrived, utc("2026-06-02T05:00"))
    assert may_begin(schedule, arrived, utc("2026-06-03T01:00"))


def test_what_arrives_in_a_random_window_waits_for_its_own_instant() -> None:
    schedule = daily("01:00", "05:00", zone="UTC", random=True)
    own = next_start(schedule, utc("2026-06-02T00:00"), seed="web-1")
    assert own is not None
    assert not may_begin(schedule, utc("2026-06-02T00:30"), own - timedelta(seconds=1), seed="web-1")
    assert may_begin(schedule, utc("2026-06-02T00:30"), own, seed="web-1")


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        next_start(daily("22:00"), datetime(2026, 1, 1))  # noqa: DTZ001 that is the point


@pytest.mark.parametrize(
    ("cron", "gap"), [("* * * * *", 1), ("0,2 3 * * *", 2), ("*/5 * * * *", 5), ("0 3 * * *", 1440), ("58 3 * * *", 1440)]
)
def test_the_shortest_gap_of_a_schedule_is_found(cron: str, gap: int) -> None:
    assert shortest_gap(Schedule(Kind.CRON, "UTC", cron=cron)) == timedelta(minutes=gap)


@pytest.mark.parametrize(
    ("rule", "gap"),
    [
        ("FREQ=DAILY", 1440),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO;BYHOUR=2,3;BYMINUTE=0,2", 2),
        ("FREQ=MONTHLY;BYHOUR=0,23;BYMINUTE=0,59", 1),
    ],
)
def test_the_shortest_gap_of_a_rule_is_found_without_its_times(rule: str, gap: int) -> None:
    assert shortest_gap(Schedule(Kind.RRULE, "UTC", rrule=rule)) == timedelta(minutes=gap)


def problem(schedule: Schedule) -> str:
    found = problem_with(schedule)
    return "" if found is None else found.what


def test_a_rule_that_never_comes_is_found_out_quickly() -> None:
    assert problem(Schedule(Kind.RRULE, "UTC", rrule="FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30")).endswith("never comes")
    assert problem(Schedule(Kind.CRON, "UTC", cron="0 0 31 2 *")) != ""


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("0 2 * * 5L", "by L, W or #"),
        ("0 2 L * *", "by L, W or #"),
        ("0 2 LW * *", "by L, W or #"),
        ("0 2 * * mon#2", "by L, W or #"),
        ("0 2 ? * mon", "bad day-of-month"),
        ("@daily", "five fields"),
        ("0 0 2 * * *", "five fields"),
        ("* * 1,31 * *", "1440 times a day"),
        ("*/2 1-23 * * *", "690 times a day"),
    ],
)
def test_cron_that_prefect_would_read_otherwise_is_refused(cron: str, says: str) -> None:
    assert says in problem(Schedule(Kind.CRON, "Europe/London", cron=cron))


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("FREQ=DAILY\nEXDATE:20270101T000000", "one RRULE"),
        ("FREQ=DAILY RRULE:FREQ=WEEKLY", "one RRULE"),
        ("RDATE:20270101T000000", "one RRULE"),
        ("FREQ=DAILY;BYDAY=1MO", "BYDAY counts"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101T000000Z", "COUNT beside UNTIL"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL is no number"),
        ("FREQ=DAILY;COUNT=99999999999999999999", "COUNT is no number"),
        ("FREQ=DAILY;UNTIL=99991231T000000Z", "after 2099"),
        ("FREQ=YEARLY;BYEASTER=0", "no part of a rule"),
        ("DTSTART:20270101T000000Z RRULE:FREQ=DAILY", "clock of timezone: Europe/Helsinki"),
        ("DTSTART;TZID=America/New_York:20270101T000000 RRULE:FREQ=DAILY", "clock of timezone: Europe/Helsinki"),
        ("FREQ=DAILY;BYHOUR=24", "hour must be in"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(rule: str, says: str) -> None:
    assert says in problem(Schedule(Kind.RRULE, HELSINKI, rrule=rule))


@pytest.mark.parametrize(
    ("schedule", "refused"),
    [
        (Schedule(Kind.RRULE, "Europe/Dublin", rrule="FREQ=DAILY;BYHOUR=1;BYMINUTE=30"), True),
        (Schedule(Kind.MONTHLY, "Europe/Dublin", window=window("01:30"), month_days=(-1,)), True),
        (Schedule(Kind.DAILY, "Africa/Casablanca", window=window("02:30")), True),
        (Schedule(Kind.DAILY, "Europe/Dublin", window=window("03:30")), False),
        (Schedule(Kind.RRULE, "Europe/Helsinki", rrule="FREQ=DAILY;BYHOUR=3;BYMINUTE=30"), False),
        (Schedule(Kind.DAILY, "Europe/London", window=window("01:30")), False),
    ],
)
def test_a_time_that_prefect_takes_for_another_when_clocks_change_is_refused(schedule: Schedule, refused: bool) -> None:
    assert ("takes for another time" in problem(schedule)) is refused


@pytest.mark.parametrize(
    ("interval", "starting", "says"),
    [
        (timedelta(seconds=30), None, "whole number of minutes"),
        (timedelta(seconds=90), None, "whole number of minutes"),
        (timedelta(microseconds=1), None, "whole number of minutes"),
        (timedelta(minutes=15), datetime(2027, 1, 1), "more than once an hour"),  # noqa: DTZ001 a wall-clock time
        (timedelta(minutes=15), datetime(2025, 1, 1, 0, 7), ""),  # noqa: DTZ001
        (timedelta(hours=1), datetime(2027, 1, 1), ""),  # noqa: DTZ001
    ],
)
def test_an_interval_that_prefect_cannot_keep_is_refused(interval: timedelta, starting: datetime | None, says: str) -> None:
    at = starting and starting.replace(tzinfo=ZoneInfo(HELSINKI))
    found = problem(Schedule(Kind.INTERVAL, HELSINKI, interval=interval, at=at))
    assert says in found if says else not found


def test_until_in_utc_is_read_by_the_clock_of_the_schedule() -> None:
    rule = "DTSTART:20270101T020000\nRRULE:FREQ=DAILY;UNTIL=20270103T000000Z"
    schedule = Schedule(Kind.RRULE, HELSINKI, rrule=rule)
    assert [local(s) for s in starts(schedule, utc("2026-12-01T00:00"))] == ["2027-01-01 02:00", "2027-01-02 02:00", "2027-01-03 02:00"]
    assert len(list(starts(replace(schedule, rrule=rule.replace("T000000Z", "T000000")), utc("2026-12-01T00:00")))) == 2


def test_a_skipped_time_comes_in_its_place_before_a_later_one_of_the_clock() -> None:
    schedule = daily("02:00", "06:00", every=timedelta(minutes=45))
    found = list(islice(starts(schedule, utc("2026-03-28T12:00")), 6))
    assert found == sorted(found)
    assert utc("2026-03-29T00:30") in found  # 03:30, which comes to 02:30, after 02:00 and before 02:45


def test_a_rule_with_a_count_ends() -> None:
    schedule = Schedule(Kind.RRULE, "UTC", rrule="DTSTART:20260105T100000\nRRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=3")
    assert [f"{s:%m-%d}" for s in starts(schedule, utc("2026-01-01T00:00"))] == ["01-05", "01-19", "02-02"]


def test_a_rule_with_an_end_ends() -> None:
    schedule = Schedule(Kind.RRULE, "UTC", rrule="FREQ=DAILY;UNTIL=20260103T000000")
    assert [s.day for s in starts(schedule, utc("2025-12-31T12:00"))] == [1, 2, 3]


def test_never_and_immediately_give_prefect_nothing_to_schedule() -> None:
    assert prefect_schedule(NEVER) is None
    assert prefect_schedule(IMMEDIATELY) is None


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            Schedule(Kind.INTERVAL, HELSINKI, interval=timedelta(hours=3)),
            {"interval": 10800.0, "anchor_date": "2019-12-31T22:00:00+00:00", "timezone": "UTC"},
        ),
        (
            Schedule(Kind.INTERVAL, HELSINKI, interval=timedelta(days=2)),
            {"rrule": f"{BEGIN}FREQ=DAILY;INTERVAL=2", "timezone": HELSINKI},
        ),
        (
            Schedule(Kind.INTERVAL, HELSINKI, interval=timedelta(hours=5), at=datetime(2027, 1, 1, 2, tzinfo=ZoneInfo(HELSINKI))),
            {"rrule": "DTSTART:20270101T000000\nRRULE:FREQ=MINUTELY;INTERVAL=300", "timezone": "UTC"},
        ),
        (
            Schedule(Kind.AT, HELSINKI, at=datetime(2026, 12, 1, 2, tzinfo=ZoneInfo(HELSINKI))),
            {"rrule": "DTSTART:20261201T000000\nRRULE:FREQ=DAILY;COUNT=1", "timezone": "UTC"},
        ),
        (daily("22:00"), {"cron": "0 22 * * *", "timezone": HELSINKI}),
        (daily("03:30"), {"rrule": f"{BEGIN}FREQ=DAILY;BYHOUR=3;BYMINUTE=30;BYSECOND=0", "timezone": HELSINKI}),
        (daily("01:30", "05:00", random=True), {"cron": "30 1 * * *", "timezone": HELSINKI}),
        (
            Schedule(Kind.DAILY, "UTC", window=window("23:00", "01:00", every=timedelta(minutes=30)), weekdays=(4, 6)),
            {
                "rrule": f"{BEGIN}FREQ=DAILY;BYDAY=FR,SU;BYHOUR=23;BYMINUTE=0,30;BYSECOND=0\n"
                "RRULE:FREQ=DAILY;BYDAY=MO,SA;BYHOUR=0;BYMINUTE=0,30;BYSECOND=0",
                "timezone": "UTC",
            },
        ),
        (Schedule(Kind.INTERVAL, HELSINKI, interval=timedelta(days=1)), {"cron": "0 0 * * *", "timezone": HELSINKI}),
        (Schedule(Kind.WEEKLY, "UTC", window=window("02:15"), weekdays=(0, 6)), {"cron": "15 2 * * mon,sun", "timezone": "UTC"}),
        (Schedule(Kind.MONTHLY, "UTC", window=window("02:15"), month_days=(1, 15)), {"cron": "15 2 1,15 * *", "timezone": "UTC"}),
        (
            Schedule(Kind.YEARLY, "UTC", window=window("02:15"), year_days=(date(2000, 12, 24),)),
            {"cron": "15 2 24 12 *", "timezone": "UTC"},
        ),
        (daily("08:00", "10:00", every=timedelta(minutes=30)), {"cron": "0,30 8,9 * * *", "timezone": HELSINKI}),
        (daily("23:00", "01:00", every=timedelta(minutes=30)), {"cron": "0,30 0,23 * * *", "timezone": HELSINKI}),
        (
            daily("08:00", "10:00", every=timedelta(minutes=45)),
            {
                "rrule": f"{BEGIN}FREQ=DAILY;BYHOUR=8;BYMINUTE=0,45;BYSECOND=0\nRRULE:FREQ=DAILY;BYHOUR=9;BYMINUTE=30;BYSECOND=0",
                "timezone": HELSINKI,
            },
        ),
        (
            Schedule(Kind.MONTHLY, "UTC", window=window("02:15"), month_days=(1, -1)),
            {"rrule": f"{BEGIN}FREQ=DAILY;BYMONTHDAY=1,-1;BYHOUR=2;BYMINUTE=15;BYSECOND=0", "timezone": "UTC"},
        ),
        (
            Schedule(Kind.YEARLY, "UTC", window=window("02:15"), year_days=(date(2000, 2, 29), date(2000, 12, 24))),
            {
                "rrule": f"{BEGIN}FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=2;BYMINUTE=15;BYSECOND=0\n"
                "RRULE:FREQ=DAILY;BYMONTH=12;BYMONTHDAY=24;BYHOUR=2;BYMINUTE=15;BYSECOND=0",
                "timezone": "UTC",
            },
        ),
        (Schedule(Kind.CRON, HELSINKI, cron="0 2 * * *"), {"cron": "0 2 * * *", "timezone": HELSINKI}),
        (
            Schedule(Kind.CRON, "UTC", cron="0 2 */10 * mon"),
            {"rrule": f"{BEGIN}FREQ=DAILY;BYMONTHDAY=1,11,21,31;BYDAY=MO;BYHOUR=2;BYMINUTE=0;BYSECOND=0", "timezone": "UTC"},
        ),
        (Schedule(Kind.CRON, "UTC", cron="0 2 */20 * mon"), {"cron": "0 2 1,21 * mon", "timezone": "UTC", "day_or": False}),
        (
            Schedule(Kind.RRULE, HELSINKI, rrule="freq=daily;until=20270103T000000z"),
            {"rrule": "DTSTART:20200101T000000\nRRULE:FREQ=DAILY;UNTIL=20270103T020000", "timezone": HELSINKI},
        ),
    ],
    ids=lambda v: v.kind if isinstance(v, Schedule) else "",
)
def test_each_kind_has_its_form_for_prefect(schedule: Schedule, expected: dict[str, object]) -> None:
    assert prefect_schedule(schedule) == expected


@pytest.mark.parametrize(
    ("schedule", "planned", "now", "over"),
    [
        (daily("01:00", "05:00", zone="UTC"), "2026-03-02 01:00", "2026-03-02 00:59:59", False),
        (daily("01:00", "05:00", zone="UTC"), "2026-03-02 01:00", "2026-03-02 04:59", False),
        (daily("01:00", "05:00", zone="UTC"), "2026-03-02 01:00", "2026-03-02 05:00", True),
        (daily("01:00", "05:00", zone="UTC", random=True), "2026-03-02 01:00", "2026-03-02 08:00", True),
        (daily("22:00", "06:00", zone="UTC", every=timedelta(hours=1)), "2026-03-02 23:00", "2026-03-03 05:00", False),
        (daily("22:00", "06:00", zone="UTC", every=timedelta(hours=1)), "2026-03-02 23:00", "2026-03-03 06:00", True),
        (daily("22:00", zone="UTC"), "2026-03-02 22:00", "2026-03-04 08:00", False),
        (daily("01:00", "05:00", zone="UTC"), "2026-03-02 12:00", "2026-03-02 20:00", False),
        (NEVER, "2026-03-02 12:00", "2026-03-02 20:00", False),
    ],
)
def test_a_run_that_comes_after_its_window_is_too_late(schedule: Schedule, planned: str, now: str, over: bool) -> None:
    assert window_is_over(schedule, utc(planned), utc(now)) is over
