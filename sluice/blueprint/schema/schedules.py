"""Schedules as authors write them (D2, D3): a word, or a mapping with one kind in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import Field, WrapValidator, model_validator

from sluice.blueprint.schema import values
from sluice.blueprint.schema.bounds import RULES_MAX, ZONES_MAX, may_have_rule, may_have_zone, most
from sluice.blueprint.schema.part import Part, left_out
from sluice.blueprint.schema.values import refuse
from sluice.model.schedule import IMMEDIATELY, NEVER, Kind, Schedule, Window
from sluice.rules.recurrence import CRON_FIELDS
from sluice.rules.triggers import problem_with


class WindowPart(Part):
    """A time of day (``at``) or a window (``from`` and ``to``)."""

    at: values.Clock | None = left_out("Time of day, in quotes.")
    from_: values.Clock | None = left_out("Begin of a window of the day, in quotes.", alias="from")
    to: values.Clock | None = left_out("End of the window, in quotes; before its begin: on the next day.")
    random: bool | None = left_out("Start each Subscriber at its own, reproducible instant in the window.")
    every: values.PositiveDuration | None = left_out("Start again and again in the window, this often.")

    def to_model(self) -> Window:
        """Convert it into the model."""
        start = self.at or self.from_ or time()
        return Window(start, self.to or start, random=bool(self.random), every=self.every)

    @model_validator(mode="after")
    def _check(self) -> Self:
        windowed = self.from_ is not None or self.to is not None
        if self.at is None and not windowed:
            raise refuse("has no time", 'add at: "22:00", or from: and to:')
        if self.at is not None and windowed:
            raise refuse("has both at: and a window", "keep at:, or from: and to:")
        if windowed and (self.from_ is None or self.to is None):
            missing = "to" if self.to is None else "from"
            raise refuse(f"has a window without {missing}", f"add {missing}:")
        if windowed and self.from_ == self.to:
            raise refuse("has a window that ends when it begins", "write at: for one time of day, or two different times")
        if self.at is not None and (self.random or self.every is not None):
            raise refuse(f"has {'random' if self.random else 'every'}: without a window", "give the window by from: and to:")
        if self.random and self.every is not None:
            raise refuse("has both random: and every:", "keep one of them")
        if self.every is not None:
            self._check_every(self.every)
        return self

    def _check_every(self, every: timedelta) -> None:
        minutes, rest = divmod(every, timedelta(minutes=1))
        if rest or minutes < 3 or all(minutes % n for n in (3, 4, 5)):
            raise refuse("cannot be repeated in a window", "write a multiple of 3, 4 or 5 min, such as 15 min", "every")


class DailyPart(WindowPart):
    """Every day, or on some days of the week."""

    days: values.Weekdays | None = left_out("Days such as mon-fri or [mon, wed]; all when left out.")


class WeeklyPart(WindowPart):
    """On days of the week."""

    days: values.Weekdays = Field(description="Days such as mon or [mon, thu].")


class DatePart(WindowPart):
    """On dates; its windows cannot repeat."""

    @model_validator(mode="after")
    def _check_date(self) -> Self:
        if self.every is not None:
            raise refuse("works in daily and weekly windows", "leave out every:, or write daily:", "every")
        return self


class MonthlyPart(DatePart):
    """On days of the month."""

    days: values.MonthDays = Field(description="1 to 31, or last; a month without the day is skipped.")


class YearlyPart(DatePart):
    """On days of the year."""

    days: values.YearDays = Field(description='Month and day in quotes, such as "12-24".')


RuleText = Annotated[
    str, values.text_value(lambda text: values.filled(" ".join(text.split())), "a rule", "FREQ=MONTHLY;BYDAY=1MO", minLength=1)
]
"""Written on one line or, as RFC 5545 does, with DTSTART on its own."""

_WORDS = {"never": NEVER, "immediately": IMMEDIATELY}
_DAYS = {Kind.DAILY: "weekdays", Kind.WEEKLY: "weekdays", Kind.MONTHLY: "month_days", Kind.YEARLY: "year_days"}


class SchedulePart(Part):
    """When something happens: never, immediately, or one of the kinds."""

    short_form: ClassVar[Mapping[str, Any]] = {"enum": list(_WORDS)}

    every: values.PositiveDuration | None = left_out("Again and again, this often.")
    starting: values.Moment | None = left_out("With every: counted from this time. Left out: from 2020-01-01 00:00.")
    at: values.Moment | None = left_out("Once, at this time.")
    daily: DailyPart | None = left_out("Every day, or on some days of the week.")
    weekly: WeeklyPart | None = left_out("On days of the week.")
    monthly: MonthlyPart | None = left_out("On days of the month.")
    yearly: YearlyPart | None = left_out("On days of the year.")
    cron: values.Filled | None = left_out("Five fields: minute, hour, day, month, day of week.")
    rrule: RuleText | None = left_out("An RFC 5545 rule, FREQ from DAILY up.")
    timezone: values.TimeZone | None = left_out("IANA name; UTC when left out.")

    def to_model(self) -> Schedule:
        """Convert it into the model."""
        zone = self.timezone or "UTC"
        if self.every is not None:
            start = self.starting.replace(tzinfo=ZoneInfo(zone)) if self.starting is not None else None
            return Schedule(Kind.INTERVAL, zone, interval=self.every, at=start)
        if self.at is not None:
            return Schedule(Kind.AT, zone, at=self.at.replace(tzinfo=ZoneInfo(zone)))
        for kind, days in _DAYS.items():
            if (part := getattr(self, kind.value)) is not None:
                on: dict[str, Any] = {days: part.days or ()}
                return Schedule(kind, zone, window=part.to_model(), **on)
        if self.cron is not None:
            return Schedule(Kind.CRON, zone, cron=" ".join(self.cron.split()))
        return Schedule(Kind.RRULE, zone, rrule=self.rrule or "")

    @model_validator(mode="after")
    def _check(self) -> Self:
        kinds = [k for k in ("every", "at", "daily", "weekly", "monthly", "yearly", "cron", "rrule") if getattr(self, k) is not None]
        if not kinds:
            raise refuse("is not a schedule", "write never, immediately, or one of every, at, daily, weekly, monthly, yearly, cron, rrule")
        if len(kinds) > 1:
            raise refuse(f"has {' and '.join(kinds)}", "a schedule has one kind: keep one of them")
        if self.starting is not None and self.every is None:
            raise refuse("has no effect without every:", "leave out starting:", "starting")
        if not may_have_zone(self.timezone or "UTC"):
            what = f"is more than the {most(ZONES_MAX)} time zones that a site of this size may have"
            raise refuse(what, "write one that other schedules have", "timezone")
        if self.rrule is not None and not may_have_rule(self.rrule, self.timezone or "UTC"):
            remedy = "write daily, weekly, monthly, yearly or cron, or a rule that other schedules have"
            raise refuse(f"is more than the {most(RULES_MAX)} different rules that a site of this size may have", remedy, "rrule")
        if (problem := problem_with(self.to_model())) is not None:
            raise refuse(problem.what, problem.remedy, kinds[0])
        return self


_MEANT = {
    "daily": '{daily: {at: "22:00"}}',
    "weekly": '{weekly: {days: mon, at: "22:00"}}',
    "immediate": "immediately",
    "hourly": "{every: 1 h}",
}


def _schedule(value: object, handler: Callable[[object], SchedulePart]) -> Schedule:
    if isinstance(value, str):
        if value not in _WORDS:
            is_cron = len(value.split()) == CRON_FIELDS and value[0] in "*0123456789"
            meant = f'{{cron: "{value}"}}' if is_cron else _MEANT.get(value, "never, immediately, or a mapping such as {every: 3 h}")
            raise refuse(f"{value!r} is not a schedule", f"write {meant}")
        return _WORDS[value]
    if not isinstance(value, dict):
        raise values.wrong_type("a schedule", "{every: 3 h}")
    return handler(value).to_model()


if TYPE_CHECKING:
    ScheduleValue: TypeAlias = Schedule
else:
    ScheduleValue = Annotated[SchedulePart, WrapValidator(_schedule)]
    """A word or a mapping, as the model's schedule."""
