"""`yinqi bank`: what a bank profile allows, in words, before money depends on it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from yinqi.cli.connection import ExitCode, console, errors, fail, settings
from yinqi.demo.words import masked
from yinqi.gateway import routing
from yinqi.gateway.calendar import BusinessCalendar, load_calendar
from yinqi.gateway.model import Channel
from yinqi.gateway.profile import Profile, ProfileInvalid, load_profile
from yinqi.gateway.profile_checks import oddities
from yinqi.gateway.settings import GatewaySettings
from yinqi.kernel.clock import BANK_ZONE, SystemClock
from yinqi.kernel.errors import InvalidRequest, NotFound, YinqiError
from yinqi.kernel.money import Money, currency_exponent
from yinqi.runtime.settings import load_settings

app = typer.Typer(help="Bank profiles 银行配置.", no_args_is_help=True)
_CHANNEL_WORDS = {
    Channel.SMART: "智能汇路",
    Channel.LARGE_VALUE: "大额",
    Channel.SMALL_VALUE: "小额",
    Channel.INSTANT: "实时",
}

ProfileArgument = Annotated[str, typer.Argument(help="Profile name or file; empty: all 配置名或文件")]


@app.command("check")
def check(
    profile: ProfileArgument = "",
    amount: Annotated[str, typer.Option(help="Which channel would this amount take? e.g. 60000 金额走哪个汇路")] = "",
    at: Annotated[str, typer.Option(help="At this bank time, e.g. 2026-02-17T10:00; empty: now 时间")] = "",
    currency: Annotated[str, typer.Option(help="ISO 4217 币种")] = "CNY",
) -> None:
    """Check a profile and explain it: faults, oddities, cut-offs, routes 检查并解释银行配置.

    Exit code 0: it can be used; 1: it is wrong, and every fault is named by field and line.
    """
    current = _settings()
    when, money = _instant(at), _money(amount, currency)
    faulty = False
    for file in _files(profile, current):
        try:
            _explain(load_profile(file, current.profile_placeholders()), file, current, when, money)
        except ProfileInvalid as error:
            faulty = True
            _print_faults(file, error)
        except YinqiError as error:
            fail(error)
    raise typer.Exit(ExitCode.FAILED if faulty else ExitCode.OK)


@app.command("show")
def show(profile: ProfileArgument = "") -> None:
    """List the profiles, or show all rules of one 列出或显示银行配置."""
    current = _settings()
    if profile:
        try:
            (file,) = _files(profile, current)
            found = load_profile(file, current.profile_placeholders())
            _print_rules(found, _calendar(found, current), SystemClock().now())
        except YinqiError as error:
            fail(error)
        return
    table = _table("profile 配置", "dialect 方言", "address 地址", "accounts 账户", "notices 通知")
    for file in _files("", current):
        try:
            one = load_profile(file, current.profile_placeholders())
        except ProfileInvalid as error:
            table.add_row(file.stem, "[red]✗[/]", "yinqi bank check", str(len(error.violations)), "")
            continue
        table.add_row(one.name, one.dialect, one.url, str(len(one.accounts)), "✓" if one.notices.enabled else "-")
    console.print(table)


def _settings() -> GatewaySettings:
    settings()  # quiets the logs
    try:
        return load_settings(GatewaySettings)
    except YinqiError as error:
        fail(error)


def _files(profile: str, current: GatewaySettings) -> list[Path]:
    """Return the files meant: a path, a name in the profiles folder or among its examples, or all in the folder."""
    folder = current.gateway_profiles_dir
    if not profile:
        return sorted(folder.glob("*.toml"))
    candidates = [Path(profile), folder / f"{profile}.toml", folder / "examples" / f"{profile}.toml"]
    found = next((one for one in candidates if one.is_file()), None)
    if found is None:
        there = ", ".join(sorted(one.stem for one in folder.rglob("*.toml"))) or "none"
        fail(
            NotFound("PROFILE_MISSING", f"no profile or file {profile}; there are: {there}", f"没有银行配置 {profile}")
        )
    return [found]


def _instant(text: str) -> datetime:
    if not text:
        return SystemClock().now().astimezone(BANK_ZONE)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        fail(InvalidRequest("TIME_FORMAT", f"--at {text}: an ISO time like 2026-02-17T10:00", "时间格式错误"))
    return given.replace(tzinfo=BANK_ZONE) if given.tzinfo is None else given.astimezone(BANK_ZONE)


def _money(text: str, currency: str) -> Money | None:
    if not text:
        return None
    try:
        minor_units = Decimal(text.replace(",", "")).scaleb(currency_exponent(currency))
        if not minor_units.is_finite() or minor_units != int(minor_units) or minor_units <= 0:
            raise InvalidOperation
        return Money(currency, int(minor_units))
    except (InvalidOperation, YinqiError):
        fail(
            InvalidRequest("AMOUNT_FORMAT", f"--amount {text}: a positive amount like 60000 or 1234.50", "金额格式错误")
        )


def _explain(profile: Profile, file: Path, current: GatewaySettings, at: datetime, amount: Money | None) -> None:
    calendar = _calendar(profile, current)
    console.print(f"[bold]{profile.name}[/]  {file}")
    _print_rules(profile, calendar, at)
    odd = oddities(profile, calendar, at.date())
    if odd:
        table = _table("odd 可疑之处", "why 原因")
        for one in odd:
            table.add_row(one.field, f"{one.words}\n{one.words_zh}")
        console.print(table)
    if amount is not None:
        _print_routes(profile, calendar, amount, at)
    console.print(f"[green]✓ can be used 可用[/], {len(odd)} oddities 处可疑")


def _calendar(profile: Profile, current: GatewaySettings) -> BusinessCalendar:
    return profile.business_days(load_calendar(current.gateway_calendars_dir, profile.calendar.name))


def _print_faults(file: Path, error: ProfileInvalid) -> None:
    errors.print(f"[red]✗[/] {file}", highlight=False)
    if not error.violations:
        errors.print(f"  {error.message}", highlight=False, markup=False)
    for violation in error.violations:
        errors.print(f"  {violation.description}  {violation.description_zh}", highlight=False, markup=False)


def _print_rules(profile: Profile, calendar: BusinessCalendar, at: datetime) -> None:
    table = _table("rule 规则", "here 本行", "meaning 含义")
    for row in (*_sizes(profile), *_times(profile), *_codes(profile), *_doors(profile)):
        table.add_row(*row)
    console.print(table)
    _print_channels(profile, calendar, at)


def _sizes(profile: Profile) -> Iterable[tuple[str, str, str]]:
    batch, limits = profile.batch, profile.concurrency
    more = f"in up to {batch.messages_max} messages 可续传" if batch.messages_max > 1 else "no continuation 不支持续传"
    yield "batch 批量", f"{batch.lines_max} lines 笔, {batch.bytes_max} bytes 字节", more
    kinds = ", ".join(f"{kind} → {code}" for kind, code in batch.kinds.items()) or "-"
    yield "salary, tax 代发、缴税", kinds, "own functions 专用接口" if batch.kinds else "as ordinary batches 走普通批量"
    classes = ", ".join(
        f"{name} {getattr(limits, name)}" for name in ("submit", "payroll", "query", "statement", "other")
    )
    yield "calls at once 并发", classes, f"of all replicas together; {limits.waiting_max} may wait 所有副本合计"
    yield (
        "texts 文本",
        profile.encoding,
        ", ".join(
            f"{name} ≤{limit.chars_max}" + (f"/{limit.bytes_max} B" if limit.bytes_max else "")
            for name, limit in profile.texts.items()
        ),
    )
    yield "amount 金额", f"≤{profile.amount_digits_max} digits 位", ", ".join(profile.currency_codes)


def _times(profile: Profile) -> Iterable[tuple[str, str, str]]:
    doubt, timeouts = profile.in_doubt, profile.timeouts
    yield "time-outs 超时", f"{timeouts.submit_ms / 1000:g} s", "no answer by then is UNKNOWN, never 'no' 超时即未知"
    yield (
        "first query 首次查询",
        f"{doubt.first_query_delay_ms / 1000:g} s",
        f"then every 之后每 {doubt.query_interval_ms / 1000:g} s",
    )
    yield (
        "safe window 安全窗",
        f"{doubt.safe_window_ms / 1000:g} s",
        "an empty query counts only later than that 此后查无才算证明",
    )
    reuse = {
        "never": "a reference is never taken again 不可复用",
        "after_final_refusal": "a reference may come again after a final refusal 终态拒绝后可复用",
    }[doubt.reference_reuse]
    yield "duplicate window 查重期", f"{doubt.duplicate_window_months} months 个月", reuse


def _codes(profile: Profile) -> Iterable[tuple[str, str, str]]:
    by_status: dict[str, list[str]] = {}
    for code, status in profile.status.items():
        by_status.setdefault(status, []).append(code)
    for meaning, codes in by_status.items():
        yield f"status 状态 {meaning}", " ".join(codes), ""
    yield "status 其他", "…", "an unlisted code stays open, never final 未列出的代码保持处理中"
    yield "refuses 拒绝", " ".join([*profile.line_refusals, *profile.message_refusals]) or "-", "final 终态"


def _doors(profile: Profile) -> Iterable[tuple[str, str, str]]:
    yield "crypto 密码", profile.crypto.suite, f"signing time ±{profile.crypto.signature_window_s} s 签名时间窗"
    notices = profile.notices
    words = " ".join(notices.types) if notices.enabled else "nothing listens 不接收"
    yield "notices 通知", notices.path if notices.enabled else "-", words
    yield (
        "accounts 账户",
        str(len(profile.accounts)),
        " ".join(masked(one.identification) for one in profile.accounts[:6]),
    )


def _print_channels(profile: Profile, calendar: BusinessCalendar, at: datetime) -> None:
    own = " → ".join(profile.smart_route)
    table = _table("channel 汇路", "code 代码", "amount 金额", "open 开放", "next cut-off 下一截止")
    for channel in Channel:
        rule, code = profile.rule_of(channel), profile.channels.get(channel, "")
        if channel is Channel.SMART:
            words = f"the gateway chooses 网关选择: {own}" if own else "the bank chooses 银行选择"
            table.add_row(f"SMART {_CHANNEL_WORDS[channel]}", code or "-", words, "", "")
            continue
        most = "∞" if rule.amount_max_minor_units is None else f"{Decimal(rule.amount_max_minor_units) / 100:,.2f}"
        lifted = rule.cap_lifted
        if lifted is not None:
            most += f" (lifted 放开 {lifted.from_weekday}/{lifted.from_time:%H:%M}–{lifted.to_weekday}/{lifted.to_time:%H:%M})"
        days = "every day 每日" if rule.days == "every_day" else "business days 工作日"
        hours = f"{days} {rule.opens:%H:%M}–" + ("24:00" if rule.cut_off is None else f"{rule.cut_off:%H:%M}")
        ends = routing.next_cut_off(profile, calendar, channel, at)
        table.add_row(
            f"{channel} {_CHANNEL_WORDS[channel]}",
            code,
            f"≤ {most}",
            hours,
            "-" if ends is None else f"{ends:%Y-%m-%d %H:%M}",
        )
    console.print(table)
    for closure in profile.closed:
        console.print(f"closed daily 每日停止受理 {closure.begins:%H:%M:%S}–{closure.ends:%H:%M:%S}", highlight=False)


def _print_routes(profile: Profile, calendar: BusinessCalendar, amount: Money, at: datetime) -> None:
    day = "business day 工作日" if calendar.is_business_day(at.date()) else "not a business day 非工作日"
    known = "" if calendar.knows(at.date()) else " (holidays of that year unknown 当年假日未知)"
    console.print(f"{at:%Y-%m-%d %H:%M} {day}{known}", highlight=False)
    shown = Decimal(amount.minor_units).scaleb(-currency_exponent(amount.currency))
    table = _table("asked for 指定", f"{shown:,f} {amount.currency} takes 走", "why not 原因")
    for wanted in Channel:
        way = routing.route(profile, calendar, wanted, amount, at)
        if way.channel is None:
            taken = "[red]none 无[/]"
        elif way.channel is Channel.SMART:
            taken = "the bank chooses 银行选择"
        else:
            taken = f"[green]{way.channel} {_CHANNEL_WORDS[way.channel]}[/]"
        table.add_row(wanted, taken, "\n".join(f"{one.words} {one.words_zh}" for one in way.obstacles))
    console.print(table)


def _table(*headers: str) -> Table:
    table = Table(expand=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
