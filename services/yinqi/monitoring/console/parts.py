"""Pieces that several pages show: amounts, times, badges, tables, notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.common.v1 import money_pb2
from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.errors import YinqiError
from yinqi.kernel.money import Money
from yinqi.monitoring.console.markup import Safe, div, join, span, tag
from yinqi.monitoring.console.sisters import SisterAway
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.mapping import datetime_from, payment_status_word
from yinqi.monitoring.wording import grouped_decimal

GROUPS: dict[str, tuple[str, ...]] = {
    "in_progress": (
        "RECEIVED",
        "SCREENED",
        "AWAITING_APPROVAL",
        "APPROVED",
        "SCHEDULED",
        "SUBMITTING",
        "PROCESSING",
    ),
    "settled": ("SETTLED",),
    "unknown": ("UNKNOWN",),
    "rejected": ("REJECTED",),
    "returned": ("RETURNED",),
    "stopped": ("BLOCKED", "CANCELLED", "EXPIRED"),
}
_GROUP_OF = {status: group for group, statuses in GROUPS.items() for status in statuses}


def group_of(status: str) -> str:
    """Return the group a status is shown in; an unknown one is still in progress."""
    return _GROUP_OF.get(status, "in_progress")


def decimal(currency: str, minor_units: int) -> str:
    """Return "1,234,567.89"."""
    return grouped_decimal(Money(currency, minor_units))


def amount(currency: str, minor_units: int) -> Safe:
    """Return an amount with its currency."""
    return span(span(currency, cls="yq-currency"), decimal(currency, minor_units), cls="yq-amount")


def money(message: money_pb2.Money) -> Safe:
    """Return the amount of a message."""
    return amount(message.currency, message.minor_units)


def instant(message: Timestamp) -> str:
    """Return "2026-11-22 13:05:09", Beijing time; empty for an absent time."""
    if not message.seconds:
        return ""
    return datetime_from(message).astimezone(BANK_ZONE).strftime("%Y-%m-%d %H:%M:%S")


def bank_time(text: str) -> str:
    """Return an ISO 8601 instant as "2026-11-22 13:05:09.123", Beijing time; what is no instant stays as it came."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return at.astimezone(BANK_ZONE).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if at.tzinfo else text


def clock_time(message: Timestamp) -> str:
    """Return "11-22 13:05:09", Beijing time: for tables, where the year is plain."""
    return instant(message)[5:]


def badge(text: str, tone: str, title: str = "") -> Safe:
    """Return a small coloured word."""
    return span(text, cls=f"yq-badge yq-tone-{tone}", title=title or None)


def status_badge(status: payment_pb2.PaymentStatus.ValueType, words: Words) -> Safe:
    """Return a payment's status; the other language is in its title."""
    word = payment_status_word(status)
    return badge(words(f"status.{word}"), group_of(word), words.beside(f"status.{word}"))


def severity_badge(severity: monitoring_pb2.Severity.ValueType, words: Words) -> Safe:
    """Return how bad an alert is."""
    word = monitoring_pb2.Severity.Name(severity).removeprefix("SEVERITY_")
    return badge(words(f"severity.{word}"), f"severity-{word.lower()}", words.beside(f"severity.{word}"))


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        key: its words.
        kind: "text", "number" (to the right) or "wide" (takes what is left).
    """

    key: str
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a cell per column, and where a click leads."""

    cells: Sequence[object]
    href: str = ""
    data: str = ""


def table(columns: Sequence[Column], rows: Iterable[Row], words: Words, *, empty: str = "none") -> Safe:
    """Return a table that becomes a list of cards where the screen is narrow; nothing is cut off."""
    body = [_row(columns, row, words) for row in rows]
    if not body:
        return div(words(empty), cls="yq-empty")
    head = tag(
        "tr",
        *(tag("th", words(c.key), cls=f"yq-{c.kind}", title=words.beside(c.key), scope="col") for c in columns),
    )
    return div(tag("table", tag("thead", head), tag("tbody", *body), cls="yq-table"), cls="yq-table-box")


def _row(columns: Sequence[Column], row: Row, words: Words) -> Safe:
    cells = [
        tag("td", div(content, cls="yq-cell") if content else "", cls=f"yq-{column.kind}", data_label=words(column.key))
        for column, content in zip(columns, row.cells, strict=True)
    ]
    return tag("tr", *cells, data_href=row.href or None, cls="yq-link-row" if row.href else None)


def link(href: str, *children: object, cls: str = "yq-link") -> Safe:
    """Return a link within the console."""
    return tag("a", *children, href=href, cls=cls)


def payment_path(instruction_id: str) -> str:
    """Return where a payment's story is."""
    return f"/payments/{quote(instruction_id, safe='')}"


def heading(key: str, words: Words, *aside: object) -> Safe:
    """Return the title of a section with the other language small beside it."""
    return div(
        tag("h2", words(key), span(words.beside(key), cls="yq-beside")),
        div(*aside, cls="yq-aside") if aside else "",
        cls="yq-heading",
    )


def facts(pairs: Iterable[tuple[str, object]], words: Words) -> Safe:
    """Return name and value lines; empty values are left out."""
    lines = [
        div(
            span(words(key), cls="yq-fact-name", title=words.beside(key)),
            span(value, cls="yq-fact-value"),
            cls="yq-fact",
        )
        for key, value in pairs
        if str(value)
    ]
    return div(*lines, cls="yq-facts")


def copyable(text: str, words: Words) -> Safe:
    """Return a text with a button that copies it."""
    if not text:
        return Safe("")
    button = tag(
        "button",
        words("copy"),
        type="button",
        cls="yq-copy",
        data_copy=text,
        data_copied=words("copied"),
        aria_label=f"{words('copy')} {text}",
    )
    return join((span(text, cls="yq-code"), button))


def action_button(text: str, action: str, subject: str, tone: str = "plain") -> Safe:
    """Return a button whose click reaches the page as an event."""
    return tag(
        "button", text, type="button", cls=f"yq-button yq-button-{tone}", data_action=action, data_subject=subject
    )


def notice(text: str, tone: str = "warning", more: str = "") -> Safe:
    """Return a line that says something is not as it should be."""
    return div(
        span(text), span(more, cls="yq-notice-more") if more else "", cls=f"yq-notice yq-notice-{tone}", role="status"
    )


def away_notice(away: SisterAway, words: Words) -> Safe:
    """Say which service does not answer."""
    service = f"{words(f'service.{away.service}')}" + (f" {away.service}" if words.language == "zh" else "")
    return notice(words("away", service=service, code=away.code), more=words("away.rest"))


def error_text(error: YinqiError, words: Words) -> str:
    """Return a typed error in the reader's language."""
    return words.pick(error.message, error.message_zh)


async def shown(render: Callable[[], Awaitable[Safe]], words: Words) -> Safe:
    """Return a part of a page, or the words why it cannot be shown; the rest of the page stays alive."""
    try:
        return await render()
    except SisterAway as away:
        return away_notice(away, words)
    except YinqiError as error:
        return notice(error_text(error, words), "error")
