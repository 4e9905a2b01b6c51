"""Which channel a payment can take at a moment (汇路): amounts, days, hours. Functions of a profile and its calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from yinqi.gateway.calendar import BusinessCalendar
from yinqi.gateway.model import Channel
from yinqi.gateway.profile import ChannelRule, Profile, WeeklyWindow
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.money import Money

_SEARCH_DAYS_MAX = 60


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a channel cannot take a payment.

    Attributes:
        reason: CHANNEL_CAP, CHANNEL_MINIMUM, CHANNEL_CLOSED or BANK_CLOSED.
        opens_at: when it could, for the last two; None: never as it stands.
    """

    channel: Channel
    reason: str
    words: str
    words_zh: str
    opens_at: datetime | None = None

    @property
    def passes(self) -> bool:
        """Whether waiting helps."""
        return self.reason in ("CHANNEL_CLOSED", "BANK_CLOSED")


@dataclass(frozen=True, slots=True)
class Route:
    """The answer: the channel whose code goes on the wire, or every obstacle met."""

    channel: Channel | None
    obstacles: tuple[Obstacle, ...] = ()


def route(profile: Profile, calendar: BusinessCalendar, wanted: Channel, amount: Money, at: datetime) -> Route:
    """Return the channel for a payment.

    With the smart route the profile's own list decides, in its order; without a list the bank chooses.
    """
    if (closed := _bank_closed(profile, wanted, at)) is not None:
        return Route(None, (closed,))
    candidates = profile.smart_route if wanted is Channel.SMART and profile.smart_route else (wanted,)
    obstacles: list[Obstacle] = []
    for channel in candidates:
        obstacle = obstacle_of(profile, calendar, channel, amount, at)
        if obstacle is None:
            return Route(channel, tuple(obstacles))
        obstacles.append(obstacle)
    return Route(None, tuple(obstacles))


def obstacle_of(
    profile: Profile, calendar: BusinessCalendar, channel: Channel, amount: Money, at: datetime
) -> Obstacle | None:
    """Return why the channel cannot carry the amount at that moment; None if it can."""
    rule = profile.rule_of(channel)
    local = at.astimezone(BANK_ZONE)
    # Limits are those of the domestic clearing systems; other currencies take other ways.
    if amount.currency == rule.currency and (limit := _amount_obstacle(channel, rule, amount, local)) is not None:
        return limit
    if _is_open(rule, calendar, local):
        return None
    opens_at = _next_opening(rule, calendar, local)
    when = "not in the known future" if opens_at is None else f"{opens_at:%Y-%m-%d %H:%M}"
    return Obstacle(
        channel,
        "CHANNEL_CLOSED",
        f"{channel} is closed; it opens {when}",
        f"{channel} 已关闭，开放时间 {when}",
        opens_at,
    )


def next_cut_off(profile: Profile, calendar: BusinessCalendar, channel: Channel, at: datetime) -> datetime | None:
    """Return when the channel closes next, after `at`; None if it never does."""
    rule = profile.rule_of(channel)
    if rule.cut_off is None:
        return None
    local = at.astimezone(BANK_ZONE)
    for ahead in range(_SEARCH_DAYS_MAX):
        day = local.date() + timedelta(days=ahead)
        closes = datetime.combine(day, rule.cut_off, BANK_ZONE)
        if closes > local and _runs_on(rule, calendar, day):
            return closes
    return None


def _amount_obstacle(channel: Channel, rule: ChannelRule, amount: Money, local: datetime) -> Obstacle | None:
    if amount.minor_units < rule.amount_min_minor_units:
        least = rule.amount_min_minor_units
        return Obstacle(
            channel,
            "CHANNEL_MINIMUM",
            f"{channel} carries at least {_shown(least)} {rule.currency}",
            "金额低于该汇路下限",
        )
    most = rule.amount_max_minor_units
    if most is None or amount.minor_units <= most or (rule.cap_lifted and _within(rule.cap_lifted, local)):
        return None
    return Obstacle(
        channel, "CHANNEL_CAP", f"{channel} carries at most {_shown(most)} {rule.currency}", "金额超过该汇路上限"
    )


def _shown(minor_units: int) -> str:
    return f"{Decimal(minor_units) / 100:,.2f}"


def _within(window: WeeklyWindow, local: datetime) -> bool:
    def minute(weekday: int, at: time) -> int:
        return weekday * 1440 + at.hour * 60 + at.minute

    begin, end = minute(window.from_weekday, window.from_time), minute(window.to_weekday, window.to_time)
    now = minute(local.isoweekday(), local.time())
    return begin <= now < end if begin <= end else now >= begin or now < end


def _bank_closed(profile: Profile, wanted: Channel, at: datetime) -> Obstacle | None:
    local = at.astimezone(BANK_ZONE)
    for closure in profile.closed:
        if closure.begins <= local.time() < closure.ends:
            opens_at = datetime.combine(local.date(), closure.ends, BANK_ZONE)
            words = f"the bank takes nothing until {opens_at:%H:%M}"
            return Obstacle(wanted, "BANK_CLOSED", words, f"银行 {opens_at:%H:%M} 前不受理", opens_at)
    return None


def _is_open(rule: ChannelRule, calendar: BusinessCalendar, local: datetime) -> bool:
    before_cut_off = rule.cut_off is None or local.time() < rule.cut_off
    return _runs_on(rule, calendar, local.date()) and rule.opens <= local.time() and before_cut_off


def _runs_on(rule: ChannelRule, calendar: BusinessCalendar, day: date) -> bool:
    return rule.days == "every_day" or calendar.is_business_day(day)


def _next_opening(rule: ChannelRule, calendar: BusinessCalendar, local: datetime) -> datetime | None:
    for ahead in range(_SEARCH_DAYS_MAX):
        day = local.date() + timedelta(days=ahead)
        opens = datetime.combine(day, rule.opens, BANK_ZONE)
        if opens > local and _runs_on(rule, calendar, day):
            return opens
    return None
