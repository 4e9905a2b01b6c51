"""Business days of a country: weekends, public holidays, make-up working days (调休). Data in `calendars/*.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from yinqi.kernel.errors import FailedPrecondition

_SEARCH_DAYS_MAX = 60  # No holiday is as long as that.


class CalendarInvalid(FailedPrecondition):
    """A calendar file is missing or wrong. Put it right and start again."""


@dataclass(frozen=True, slots=True)
class BusinessCalendar:
    """Which days are business days.

    Attributes:
        weekend: ISO weekdays. years: those whose holidays are known; outside them only weekends are.
        working_days: days of a weekend on which people work (调休上班).
    """

    name: str
    weekend: frozenset[int]
    holidays: frozenset[date]
    working_days: frozenset[date]
    years: frozenset[int]

    def knows(self, day: date) -> bool:
        """Whether the holidays of the day's year have been announced and are in the file."""
        return day.year in self.years

    def is_business_day(self, day: date) -> bool:
        """Whether banks settle on that day, as far as is known."""
        if day in self.working_days:
            return True
        return day not in self.holidays and day.isoweekday() not in self.weekend

    def next_business_day(self, day: date) -> date:
        """Return the first business day after `day`."""
        days = (day + timedelta(days=ahead) for ahead in range(1, _SEARCH_DAYS_MAX))
        return next(one for one in days if self.is_business_day(one))

    def adapted(
        self, *, make_up_days: bool, extra_holidays: Iterable[date], extra_business_days: Iterable[date]
    ) -> BusinessCalendar:
        """Return the calendar as one bank keeps it.

        Args:
            make_up_days: whether the bank settles on make-up working days.
        """
        extra_holidays = frozenset(extra_holidays)
        working = (self.working_days if make_up_days else frozenset()) | frozenset(extra_business_days)
        return replace(self, holidays=self.holidays | extra_holidays, working_days=working - extra_holidays)


class _Year(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    year: int
    source: str
    holidays: tuple[date, ...]
    working_days: tuple[date, ...]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    weekend: tuple[int, ...]
    years: tuple[_Year, ...]


def load_calendar(directory: Path, name: str) -> BusinessCalendar:
    """Read `<name>.toml` of a directory.

    Raises:
        CalendarInvalid: there is none, or it is wrong; the message says what.
    """
    file = directory / f"{name}.toml"
    try:
        found = _File.model_validate(tomllib.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        there = ", ".join(sorted(one.stem for one in directory.glob("*.toml"))) or "none"
        raise CalendarInvalid(
            "CALENDAR_MISSING", f"There is no calendar {name!r} in {directory}; there are: {there}.", "没有该日历。"
        ) from None
    except (OSError, ValueError, ValidationError) as error:
        raise CalendarInvalid("CALENDAR_INVALID", f"{file}: {error}", f"{file} 有误。") from None
    strays = [
        day for year in found.years for day in (*year.holidays, *year.working_days) if day.year != year.year
    ]  # a day in the table of another year is a slip of the pen
    if strays:
        raise CalendarInvalid(
            "CALENDAR_INVALID", f"{file}: {strays[0]} is not in its year's table.", "日期与年份不符。"
        )
    return BusinessCalendar(
        found.name,
        frozenset(found.weekend),
        frozenset(day for year in found.years for day in year.holidays),
        frozenset(day for year in found.years for day in year.working_days),
        frozenset(year.year for year in found.years),
    )
