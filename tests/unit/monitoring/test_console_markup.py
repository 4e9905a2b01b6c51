"""What the pages are made of: escaping, searches in addresses, words, shared answers."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.api.reconciliation.v1 import reconciliation_pb2
from yinqi.kernel.money import Money
from yinqi.monitoring import console
from yinqi.monitoring.console import parts, words
from yinqi.monitoring.console.fresh import Fresh
from yinqi.monitoring.console.markup import div, escape, local_path, tag
from yinqi.monitoring.console.view_payments import STATUSES, Search, choices
from yinqi.monitoring.console.words import Words, language_from
from yinqi.monitoring.wording import grouped_decimal, readable

SOURCES = sorted(Path(console.__file__).parent.glob("*.py"))


@given(st.text())
def test_no_text_becomes_markup(text: str) -> None:
    shown = div(text, title=text)
    assert shown.count("<") == shown.count(">") == 2
    assert len(re.findall('"', shown)) == 2


def test_what_was_built_is_not_escaped_twice() -> None:
    assert tag("p", tag("b", "a & b")) == "<p><b>a &amp; b</b></p>"
    assert escape(None) == ""
    assert tag("input", disabled=True, hidden=False, data_field="x") == '<input disabled data-field="x"></input>'


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "", "/a\n"]
)
def test_a_redirect_never_leaves_the_console(path: str) -> None:
    assert local_path(path) == "/"


def test_a_redirect_within_the_console_is_kept() -> None:
    assert local_path("/payments?status=SETTLED") == "/payments?status=SETTLED"


@given(
    st.sampled_from(["", "group:in_progress", "group:stopped", *STATUSES]),
    st.text(max_size=30),
    st.text(max_size=30),
    st.sampled_from([25, 50, 100]),
)
def test_a_search_survives_its_address(choice: str, creditor: str, batch: str, page_size: int) -> None:
    from urllib.parse import parse_qsl, urlsplit

    search = Search(choice, creditor, batch, page_size)
    query = dict(parse_qsl(urlsplit(search.path()).query, encoding="utf-8", errors="surrogatepass"))
    assert Search.from_query(query) == search
    assert search.choice in choices(Words("zh"))


@given(st.dictionaries(st.sampled_from(["group", "status", "size", "creditor", "batch"]), st.text(max_size=200)))
def test_any_address_gives_a_search_that_the_selection_knows(query: dict[str, str]) -> None:
    assert Search.from_query(query).choice in choices(Words("en"))


def test_every_word_the_pages_ask_for_exists_in_both_languages() -> None:
    known = words._WORDS
    literal = re.compile(r'words(?:\.beside)?\(\s*"([a-z]+\.[A-Za-z_.]+)"|Column\("([a-z_.]+)"|heading\("([a-z_.]+)"')
    asked = {next(filter(None, found)) for source in SOURCES for found in literal.findall(source.read_text("utf-8"))}
    assert asked
    assert asked - known.keys() == set()
    assert all(english and chinese for english, chinese in known.values())


@pytest.mark.parametrize(
    ("enum", "prefix", "group"),
    [
        (payment_pb2.PaymentStatus, "PAYMENT_STATUS_", "status"),
        (reconciliation_pb2.BreakReason, "BREAK_REASON_", "reason"),
        (reconciliation_pb2.BreakStatus, "BREAK_STATUS_", "breakstatus"),
        (reconciliation_pb2.MatchRule, "MATCH_RULE_", "match"),
        (monitoring_pb2.Severity, "SEVERITY_", "severity"),
        (monitoring_pb2.AlertStatus, "ALERT_STATUS_", "alertstatus"),
        (payment_pb2.CategoryPurpose, "CATEGORY_PURPOSE_", "category"),
        (payment_pb2.Channel, "CHANNEL_", "channel"),
    ],
)
def test_every_word_of_the_contract_has_its_words(enum: object, prefix: str, group: str) -> None:
    names = [name.removeprefix(prefix) for name in enum.keys()]  # type: ignore[attr-defined]  # noqa: SIM118
    missing = [name for name in names if name != "UNSPECIFIED" and f"{group}.{name}" not in words._WORDS]
    assert missing == []


def test_every_status_belongs_to_one_group() -> None:
    assert sorted(s for statuses in parts.GROUPS.values() for s in statuses) == sorted(STATUSES)
    assert parts.group_of("SOMETHING_NEW") == "in_progress"


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        ("en", "zh-CN", "en"),
        ("zh", "en-GB", "zh"),
        (None, "en-GB,en;q=0.9", "en"),
        (None, "zh-TW", "zh"),
        ("xx", "", "zh"),
    ],
)
def test_the_language_is_the_readers_choice_then_the_browsers(cookie: str | None, accepted: str, language: str) -> None:
    assert language_from(cookie, accepted) == language


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money("CNY", 123_456_789), "CNY 1,234,567.89"),
        (Money("JPY", -1_234), "JPY -1,234"),
        (Money("CNY", -5), "CNY -0.05"),
        (Money("KWD", 1), "KWD 0.001"),
        (Money("???", 1_234), "??? 1,234"),
    ],
)
def test_amounts_are_grouped_and_never_fail(money: Money, text: str) -> None:
    assert readable(money) == text


@given(st.integers(-(10**15), 10**15))
def test_grouping_changes_no_digit(minor_units: int) -> None:
    text = grouped_decimal(Money("CNY", minor_units))
    assert int(text.replace(",", "").replace(".", "")) == minor_units


class TickingClock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_many_readers_share_one_answer_until_it_is_old() -> None:
    clock, asked = TickingClock(), 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    fresh: Fresh[int] = Fresh(1.0, clock)
    assert await asyncio.gather(*(fresh.get("k", ask) for _ in range(50))) == [1] * 50
    clock.now = 1.0
    assert await fresh.get("k", ask) == 1
    clock.now = 1.1
    assert await fresh.get("k", ask) == 2
    fresh.forget()
    assert await fresh.get("k", ask) == 3
    assert await fresh.get("other", ask) == 4


async def test_a_slow_answer_is_kept_longer_and_an_error_is_not() -> None:
    clock = TickingClock()

    async def slow() -> str:
        clock.now += 2.0
        return f"at {clock.now}"

    async def broken() -> str:
        clock.now += 2.0
        raise ValueError("away")

    fresh: Fresh[str] = Fresh(1.0, clock)
    first = await fresh.get("slow", slow)
    clock.now += 4.9
    assert await fresh.get("slow", slow) == first, "asked for 2 s, so it would rest for 40, but 5 is the most"
    clock.now += 0.2
    assert await fresh.get("slow", slow) != first
    for _ in range(2):
        began = clock.now
        with pytest.raises(ValueError, match="away"):
            await fresh.get("broken", broken)
        assert clock.now == began + 2.0
        clock.now += 1.1


async def test_a_reader_that_leaves_does_not_stop_the_question_for_others() -> None:
    release = asyncio.Event()

    async def ask() -> str:
        await release.wait()
        return "answer"

    fresh: Fresh[str] = Fresh(1.0)
    leaving = asyncio.create_task(fresh.get("k", ask))
    staying = asyncio.create_task(fresh.get("k", ask))
    await asyncio.sleep(0)
    leaving.cancel()
    release.set()
    assert await staying == "answer"
