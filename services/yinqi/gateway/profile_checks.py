"""What a profile's fields must and should have to do with each other. Faults stop the start; oddities are for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from yinqi.gateway.calendar import BusinessCalendar
from yinqi.gateway.model import BatchKind, Channel
from yinqi.gateway.status import FINAL, MAPPABLE, BankStatus
from yinqi.kernel.errors import FieldViolation
from yinqi.kernel.money import CURRENCIES

if TYPE_CHECKING:
    from yinqi.gateway.profile import Profile

Fault = tuple[str, str, str]  # field, what is wrong and what is allowed, the same in Chinese


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something allowed that is probably not meant, or that people should know."""

    field: str
    words: str
    words_zh: str


def contradictions(profile: Profile) -> list[FieldViolation]:
    """Return everything that must not be, each field by its path in the file."""
    checks = (_status, _currencies, _channels, _hours, _batches, _notices)
    return [FieldViolation(field, "INVALID", words, zh) for check in checks for field, words, zh in check(profile)]


def _status(profile: Profile) -> Iterator[Fault]:
    for code, status in profile.status.items():
        if not code or code.startswith("/"):
            yield (
                f"status.{code}",
                "an empty code cannot be listed: silence is never an answer",
                "空代码不可列出：无应答不是答复",
            )
        if status not in MAPPABLE:
            yield (
                f"status.{code}",
                f"{code} → {status}: allowed are {', '.join(sorted(MAPPABLE))}",
                "不允许映射到此状态",
            )
    if BankStatus.SETTLED not in profile.status.values():
        yield "status", "no code means SETTLED, so no payment could ever succeed", "没有代码表示成功"


def _currencies(profile: Profile) -> Iterator[Fault]:
    by_code: dict[str, str] = {}
    for currency, code in profile.currency_codes.items():
        if currency not in CURRENCIES:
            yield f"currency_codes.{currency}", "is not an ISO 4217 code", "不是 ISO 4217 币种"
        if code in by_code:
            yield f"currency_codes.{currency}", f"{by_code[code]} and {currency} share a code", "两个币种代码相同"
        by_code.setdefault(code, currency)
    for index, account in enumerate(profile.accounts):
        if account.currency not in profile.currency_codes:
            words = f"{account.currency} has no code in currency_codes"
            yield f"accounts.{index}.currency", words, f"币种 {account.currency} 在 currency_codes 中没有代码"


def _channels(profile: Profile) -> Iterator[Fault]:
    needed = set(Channel) - ({Channel.SMART} if profile.smart_route else set())
    if missing := sorted(needed - set(profile.channels)):
        yield "channels", f"{', '.join(missing)} missing", f"缺少汇路 {'、'.join(missing)}"
    if Channel.SMART in profile.smart_route:
        yield "smart_route", "SMART cannot be its own way; name the channels to try", "智能汇路不可包含自身"
    if len(set(profile.smart_route)) != len(profile.smart_route):
        yield "smart_route", "a channel is named twice", "汇路重复"
    for channel, rule in profile.channel_rules.items():
        most = rule.amount_max_minor_units
        if most is not None and most < rule.amount_min_minor_units:
            yield (
                f"channel_rules.{channel}.amount_max_minor_units",
                f"{most} is below amount_min_minor_units {rule.amount_min_minor_units}: nothing could ever go",
                "上限低于下限",
            )
        if rule.cap_lifted is not None and most is None:
            yield f"channel_rules.{channel}.cap_lifted", "there is no amount_max_minor_units to lift", "没有上限可放开"


def _hours(profile: Profile) -> Iterator[Fault]:
    for channel, rule in profile.channel_rules.items():
        if rule.cut_off is not None and rule.cut_off <= rule.opens:
            yield (
                f"channel_rules.{channel}.cut_off",
                f"{rule.cut_off} is not after opens {rule.opens}: the channel would never open",
                "截止时间须晚于开放时间",
            )
    for index, closure in enumerate(profile.closed):
        if closure.ends <= closure.begins:
            words = "must end after it begins; split one that runs over midnight in two"
            yield f"closed.{index}.ends", words, "须晚于开始；跨午夜请拆成两段"
    both = set(profile.calendar.extra_holidays) & set(profile.calendar.extra_business_days)
    if both:
        words = f"{min(both)} is a holiday and a business day"
        yield "calendar.extra_business_days", words, "同一天既是假日又是工作日"


def _batches(profile: Profile) -> Iterator[Fault]:
    if BatchKind.OTHER in profile.batch.kinds:
        yield "batch.kinds.OTHER", "is what has no code of its own; leave it out", "不需要代码，请删除"
    doubled = sorted(set(profile.line_refusals) & set(profile.message_refusals))
    for code in doubled:
        words = "refuses a line and a whole message; which is it?"
        yield f"message_refusals.{code}", words, "同时列为单笔拒绝与整批拒绝"


def _notices(profile: Profile) -> Iterator[Fault]:
    if profile.notices.enabled and not profile.notices.types:
        yield "notices.types", "no type is taken, so every notice would be refused; name some", "未列出通知类型"


def oddities(profile: Profile, calendar: BusinessCalendar, today: date) -> list[Oddity]:
    """Return what is allowed but probably not meant."""
    found = (*_odd_times(profile), *_odd_codes(profile), *_odd_routes(profile), *_odd_days(profile, calendar, today))
    return list(found)


def _odd_times(profile: Profile) -> Iterable[Oddity]:
    doubt, timeouts = profile.in_doubt, profile.timeouts
    longest = timeouts.submit_ms + profile.last_byte_ms
    if doubt.safe_window_ms < timeouts.submit_ms:
        yield Oddity(
            "in_doubt.safe_window_ms",
            f"the safe window of {doubt.safe_window_ms} ms is shorter than the time-out of {timeouts.submit_ms} ms: an "
            "empty query would count as proof while our own call may still be waiting for its answer",
            f"安全窗 {doubt.safe_window_ms} 毫秒短于超时 {timeouts.submit_ms} 毫秒：调用尚在等待，查无即被当作证明",
        )
    elif doubt.safe_window_ms < longest:
        yield Oddity(
            "in_doubt.safe_window_ms",
            f"the safe window of {doubt.safe_window_ms} ms is shorter than the longest a submission can take "
            f"({longest} ms); ask the bank how long a message may be on its way",
            f"安全窗短于一次提交的最长时间 {longest} 毫秒，请向银行确认",
        )
    if doubt.first_query_delay_ms < 60_000:
        yield Oddity(
            "in_doubt.first_query_delay_ms",
            f"the first query after {doubt.first_query_delay_ms} ms; real banks advise minutes (about 5)",
            "首次查询过早；银行一般建议 5 分钟后查询",
        )
    if doubt.query_interval_ms < 2_000:
        yield Oddity(
            "in_doubt.query_interval_ms", "less than 2 s between queries; banks refuse that", "查询间隔短于 2 秒"
        )
    if doubt.duplicate_window_months < 12:
        yield Oddity(
            "in_doubt.duplicate_window_months",
            f"the bank forgets a reference after {doubt.duplicate_window_months} months; our registry never does, but "
            "behind it the bank is no second guard any more",
            f"银行 {doubt.duplicate_window_months} 个月后不再查重；本系统登记簿永久保留",
        )
    if profile.url.startswith("http://") and "127.0.0.1" not in profile.url and "localhost" not in profile.url:
        yield Oddity("url", "plain HTTP beyond this machine; use https or a tunnel", "未加密的 HTTP 地址")


def _odd_codes(profile: Profile) -> Iterable[Oddity]:
    refusing = [code for code, status in profile.status.items() if status is BankStatus.REJECTED]
    if not refusing:
        yield Oddity("status", "no code means REJECTED: refused payments stay open for ever", "没有代码表示拒绝")
    for code, status in profile.status.items():
        if status in FINAL and "/" not in code and any(other.startswith(f"{code}/") for other in profile.status):
            yield Oddity(
                f"status.{code}",
                f"{code} is final whatever its result says, though some results are listed",
                f"{code} 不论结果均为终态",
            )
    for code in profile.line_refusals:
        if code.upper().startswith("DUP"):
            yield Oddity(
                f"line_refusals.{code}",
                "looks like a duplicate code: it says nothing about the first payment and must not refuse it",
                "疑似重复提交代码，不能作为拒绝依据",
            )


def _odd_routes(profile: Profile) -> Iterable[Oddity]:
    capped = [profile.rule_of(channel) for channel in profile.smart_route]
    if capped and all(rule.amount_max_minor_units is not None for rule in capped):
        most = max(rule.amount_max_minor_units or 0 for rule in capped)
        yield Oddity(
            "smart_route", f"nothing above {most} minor units has a way", f"超过 {most}（最小货币单位）的付款无汇路"
        )
    unused = sorted(set(profile.channel_rules) & {Channel.SMART})
    if unused and profile.smart_route:
        yield Oddity("channel_rules.SMART", "is never looked at: smart_route decides", "不生效：由 smart_route 决定")


def _odd_days(profile: Profile, calendar: BusinessCalendar, today: date) -> Iterable[Oddity]:
    last = max(calendar.years, default=0)
    if last <= today.year and today.month >= 11:
        yield Oddity(
            "calendar.name",
            f"calendar {calendar.name} ends with {last}: from {last + 1}-01-01 only weekends are known. Add the new "
            "year's holidays when they are announced",
            f"日历 {calendar.name} 截至 {last} 年，之后仅知周末，请补充次年安排",
        )
    for day in profile.calendar.extra_business_days:
        if day.isoweekday() not in calendar.weekend and day not in calendar.holidays:
            yield Oddity("calendar.extra_business_days", f"{day} is a business day anyway", f"{day} 本来就是工作日")
