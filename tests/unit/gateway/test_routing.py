"""Which channel an amount takes at a moment: limits, hours, weekends, holidays and make-up working days."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from yinqi import gateway as gateway_package
from yinqi.gateway.calendar import BusinessCalendar, CalendarInvalid, load_calendar
from yinqi.gateway.model import Channel
from yinqi.gateway.profile import Profile, load_profile
from yinqi.gateway.routing import next_cut_off, route
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.money import Money

GATEWAY = Path(gateway_package.__file__).parent
FILLED = {"sandbox_bank_address": "127.0.0.1:1", "var_dir": "/v", "keys_dir": "/k", "exchange_dir": "/x"}
CN = load_calendar(GATEWAY / "calendars", "cn")
STRICT = load_profile(GATEWAY / "profiles" / "examples" / "strict_bank.toml", FILLED)
DEMO = load_profile(GATEWAY / "profiles" / "demo_bank.toml", FILLED)
MONDAY, HOLIDAY, SATURDAY, MAKE_UP = "2026-03-02", "2026-02-17", "2026-03-07", "2026-02-28"


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=BANK_ZONE)


def way(profile: Profile, wanted: Channel, yuan: int, when: str) -> tuple[str, list[str]]:
    calendar = profile.business_days(CN)
    found = route(profile, calendar, wanted, Money("CNY", yuan * 100), at(when))
    return found.channel or "none", [obstacle.reason for obstacle in found.obstacles]


@pytest.mark.parametrize(
    ("yuan", "when", "takes"),
    [
        (50_000, f"{MONDAY}T10:00", "INSTANT"),
        (50_001, f"{MONDAY}T10:00", "SMALL_VALUE"),
        (1_000_000, f"{HOLIDAY}T10:00", "SMALL_VALUE"),
        (1_000_001, f"{MONDAY}T10:00", "LARGE_VALUE"),
        (1_000_001, f"{MONDAY}T17:14", "LARGE_VALUE"),
        (1_000_001, f"{MONDAY}T17:15", "none"),
        (1_000_001, f"{HOLIDAY}T10:00", "none"),
        (1_000_001, "2026-03-06T17:00", "SMALL_VALUE"),  # Friday evening: the limit is lifted
        (1_000_001, "2026-03-08T20:59", "SMALL_VALUE"),
        (1_000_001, "2026-03-08T21:00", "none"),
        (1, f"{MONDAY}T23:45", "none"),  # the day-cut
    ],
)
def test_the_smart_route_of_a_strict_bank(yuan: int, when: str, takes: str) -> None:
    assert way(STRICT, Channel.SMART, yuan, when)[0] == takes


def test_a_closed_channel_says_when_it_opens_and_an_amount_too_large_never_does() -> None:
    found = route(STRICT, STRICT.business_days(CN), Channel.LARGE_VALUE, Money("CNY", 100), at(f"{HOLIDAY}T10:00"))
    (closed,) = found.obstacles
    assert closed.passes
    assert closed.opens_at == at("2026-02-24T08:30")
    assert way(STRICT, Channel.INSTANT, 60_000, f"{MONDAY}T10:00") == ("none", ["CHANNEL_CAP"])


def test_a_bank_with_its_own_smart_route_chooses_by_itself_at_any_hour() -> None:
    assert way(DEMO, Channel.SMART, 5_000_000, f"{HOLIDAY}T03:00") == ("SMART", [])
    assert way(DEMO, Channel.INSTANT, 1_000_001, f"{MONDAY}T10:00") == ("none", ["CHANNEL_CAP"])


def test_limits_of_the_domestic_systems_are_not_for_other_currencies() -> None:
    found = route(DEMO, DEMO.business_days(CN), Channel.INSTANT, Money("EUR", 10**12), at(f"{MONDAY}T10:00"))
    assert found.channel is Channel.INSTANT


def test_make_up_working_days_are_business_days_where_the_bank_says_so() -> None:
    day = dt.date.fromisoformat(MAKE_UP)  # a Saturday on which people work
    assert DEMO.business_days(CN).is_business_day(day)
    assert not STRICT.business_days(CN).is_business_day(day)
    assert not STRICT.business_days(CN).is_business_day(dt.date(2026, 12, 31))  # this bank's own holiday
    assert DEMO.business_days(CN).next_business_day(dt.date(2026, 2, 13)) == dt.date(2026, 2, 14)


def test_the_next_cut_off_skips_days_of_rest() -> None:
    calendar = STRICT.business_days(CN)
    assert next_cut_off(STRICT, calendar, Channel.LARGE_VALUE, at(f"{MONDAY}T17:14")) == at(f"{MONDAY}T17:15")
    assert next_cut_off(STRICT, calendar, Channel.LARGE_VALUE, at("2026-02-13T18:00")) == at("2026-02-24T17:15")
    assert next_cut_off(STRICT, calendar, Channel.INSTANT, at(f"{MONDAY}T10:00")) is None


def test_a_year_that_was_not_announced_is_known_to_be_unknown() -> None:
    assert CN.knows(dt.date(2026, 6, 1))
    assert not CN.knows(dt.date(2031, 6, 1))
    assert CN.is_business_day(dt.date(2031, 6, 2))  # a Monday, as far as anybody can tell
    assert not CN.is_business_day(dt.date(2031, 6, 1))


def test_a_calendar_with_a_slip_of_the_pen_is_refused(tmp_path: Path) -> None:
    text = (GATEWAY / "calendars" / "cn.toml").read_text("utf-8")
    (tmp_path / "cn.toml").write_text(text.replace("2026-10-07", "2027-10-07"), "utf-8")
    with pytest.raises(CalendarInvalid, match="2027-10-07"):
        load_calendar(tmp_path, "cn")
    with pytest.raises(CalendarInvalid, match="there are: cn"):
        load_calendar(tmp_path, "jp")
    assert isinstance(CN, BusinessCalendar)
