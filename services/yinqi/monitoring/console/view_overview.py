"""The overview: what is going on, in numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from yinqi.api.account.v1 import account_pb2
from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.api.payment.v1 import payment_service_pb2
from yinqi.kernel.clock import BANK_ZONE
from yinqi.monitoring.console.markup import Safe, div, join, span, tag
from yinqi.monitoring.console.parts import (
    GROUPS,
    Column,
    Row,
    clock_time,
    decimal,
    group_of,
    heading,
    link,
    payment_path,
    severity_badge,
    table,
)
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.mapping import payment_status_word
from yinqi.monitoring.masking import mask_account
from yinqi.monitoring.model import ACTIVITY_BUCKET_S, ActivityBucket, ActivityKind

THROUGHPUT_S = 15 * 60
GROUP_COLOURS = {
    "in_progress": "#4a86c5",
    "settled": "#3d9970",
    "unknown": "#e0962b",
    "rejected": "#c65146",
    "returned": "#8a63b8",
    "stopped": "#8b97a5",
}
_AXIS_COLOUR, _GRID_COLOUR = "#7b8794", "#9aa5b133"
Counts = Sequence[payment_service_pb2.PaymentCount]


def counts_by_group(counts: Counts) -> dict[str, int]:
    """Return the number of payments of each group, all groups present."""
    totals = dict.fromkeys(GROUPS, 0)
    for row in counts:
        totals[group_of(payment_status_word(row.status))] += row.count
    return totals


def stat_cards(counts: Counts, words: Words) -> Safe:
    """Return one card per group of statuses; each leads to its payments."""
    totals = counts_by_group(counts)
    everything = sum(totals.values())
    cards = [_card("total", everything, "", "/payments", words)]
    for group, count in totals.items():
        share = f"{100 * count / everything:.1f} %" if everything else ""
        cards.append(_card(group, count, share, f"/payments?group={group}", words))
    return div(*cards, cls="yq-cards")


def _card(group: str, count: int, share: str, href: str, words: Words) -> Safe:
    key = f"group.{group}"
    return tag(
        "a",
        span(words(key), cls="yq-card-name"),
        span(words.beside(key), cls="yq-beside"),
        span(f"{count:,}", cls="yq-card-number"),
        span(share, cls="yq-card-share"),
        href=href,
        cls=f"yq-card yq-tone-{group}" + (" yq-card-alarm" if group == "unknown" and count else ""),
        data_group=group,
    )


def currency_table(counts: Counts, words: Words) -> Safe:
    """Return number and sum by currency: all, settled, and what nobody can say yet."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in counts:
        group = group_of(payment_status_word(row.status))
        for column in ("total", group):
            sums[row.currency][column] += row.minor_units
        sums[row.currency]["count"] += row.count
    columns = (
        Column("overview.currency"),
        Column("group.total", "number"),
        Column("group.settled", "number"),
        Column("group.in_progress", "number"),
        Column("group.unknown", "number"),
    )
    rows = [
        Row(
            (
                span(span(currency, cls="yq-strong"), span(f" × {own['count']:,}", cls="yq-muted"), cls="yq-nowrap"),
                *(decimal(currency, own[column]) for column in ("total", "settled", "in_progress", "unknown")),
            )
        )
        for currency, own in sorted(sums.items(), key=lambda item: -item[1]["count"])
    ]
    return table(columns, rows, words)


def alert_lines(alerts: Sequence[monitoring_pb2.Alert], words: Words) -> Safe:
    """Return alerts, one line each."""
    if not alerts:
        return div(words("overview.no_alerts"), cls="yq-empty")
    return div(*(_alert_line(alert, words) for alert in alerts), cls="yq-lines")


def alerts_section(worst: Sequence[monitoring_pb2.Alert], count: str, words: Words) -> Safe:
    """Return the worst open alerts (newest first among equals) and how many there are."""
    aside = link("/alerts", f"{words('overview.all')} {count} →")
    return join((heading("overview.open_alerts", words, aside), alert_lines(worst, words)))


def _alert_line(alert: monitoring_pb2.Alert, words: Words) -> Safe:
    about_payment = alert.rule.startswith("payment_") or alert.rule == "possible_duplicate"
    href = payment_path(alert.subject) if about_payment else "/alerts"
    return tag(
        "a",
        severity_badge(alert.severity, words),
        span(words(f"rule.{alert.rule}"), cls="yq-strong"),
        span(words.pick(alert.summary, alert.summary_zh), cls="yq-line-text"),
        span(clock_time(alert.raised_at), cls="yq-muted yq-line-time"),
        href=href,
        cls="yq-line",
    )


def balance_lines(
    balances: Sequence[account_pb2.Balance], accounts: Sequence[account_pb2.Account], words: Words
) -> Safe:
    """Return book and bank balance of each account."""
    names = {account.identification: account.name for account in accounts}
    columns = (
        Column("accounts.account", "wide"),
        Column("accounts.ledger", "number"),
        Column("accounts.held", "number"),
        Column("accounts.bank_booked", "number"),
    )
    rows = [
        Row(
            (
                join(
                    (
                        div(names.get(b.account, ""), cls="yq-strong"),
                        div(mask_account(b.account), cls="yq-code yq-muted"),
                    )
                ),
                _plain(b.ledger_balance.currency, b.ledger_balance.minor_units),
                _plain(b.held_balance.currency, b.held_balance.minor_units),
                _plain(b.bank_booked_balance.currency, b.bank_booked_balance.minor_units)
                if b.HasField("bank_booked_balance")
                else span(words("accounts.never"), cls="yq-muted"),
            ),
            href="/accounts",
        )
        for b in balances
    ]
    return table(columns, rows, words)


def _plain(currency: str, minor_units: int) -> Safe:
    return join((span(currency, cls="yq-currency"), decimal(currency, minor_units))) if currency else Safe("–")


def section(key: str, href: str, body: Safe, words: Words) -> Safe:
    """Return a titled part with a link to the whole."""
    aside = link(href, words("overview.all"), " →") if href else ""
    return join((heading(key, words, aside), body))


def throughput_options(buckets: Sequence[ActivityBucket], now_s: int, words: Words) -> dict[str, Any]:
    """Return an ECharts line chart: payments per second by bucket, times in milliseconds since 1970."""
    end_s = now_s - now_s % ACTIVITY_BUCKET_S
    starts = range(end_s - THROUGHPUT_S, end_s + 1, ACTIVITY_BUCKET_S)
    series = []
    for kind, key, colour in (
        (ActivityKind.RECEIVED, "overview.received", GROUP_COLOURS["in_progress"]),
        (ActivityKind.SETTLED, "overview.settled", GROUP_COLOURS["settled"]),
    ):
        counts = {bucket.start_s: bucket.count for bucket in buckets if bucket.kind is kind}
        series.append(
            {
                "name": words(key),
                "type": "line",
                "showSymbol": False,
                "lineStyle": {"width": 1.6},
                "areaStyle": {"opacity": 0.12},
                "color": colour,
                "data": [round(counts.get(start, 0) / ACTIVITY_BUCKET_S, 1) for start in starts],
            }
        )
    return {
        "animation": False,
        "grid": {"left": 8, "right": 30, "top": 34, "bottom": 4, "containLabel": True},
        "legend": {"top": 0, "left": 0, "itemWidth": 14, "itemHeight": 8, "textStyle": {"color": _AXIS_COLOUR}},
        "tooltip": {"trigger": "axis"},
        # Labels are written here: a browser would use its own time zone, the tables use the bank's.
        "xAxis": {
            "type": "category",
            "boundaryGap": False,
            "data": [datetime.fromtimestamp(start, BANK_ZONE).strftime("%H:%M:%S") for start in starts],
            "axisLabel": {"color": _AXIS_COLOUR, "interval": 3 * 60 // ACTIVITY_BUCKET_S - 1},
            "axisLine": {"lineStyle": {"color": _GRID_COLOUR}},
            "axisTick": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "min": 0,
            "minInterval": 1,
            "axisLabel": {"color": _AXIS_COLOUR},
            "splitLine": {"lineStyle": {"color": _GRID_COLOUR}},
            "splitNumber": 3,
        },
        "series": series,
    }


def status_options(counts: Counts, words: Words) -> dict[str, Any]:
    """Return an ECharts bar chart of the groups that have payments."""
    totals = [(group, count) for group, count in counts_by_group(counts).items() if count]
    totals.reverse()
    return {
        "animation": False,
        "grid": {"left": 4, "right": 52, "top": 4, "bottom": 4, "containLabel": True},
        "tooltip": {"trigger": "item"},
        "xAxis": {"type": "value", "show": False},
        "yAxis": {
            "type": "category",
            "data": [words(f"group.{group}") for group, _ in totals],
            "axisLabel": {"color": _AXIS_COLOUR},
            "axisLine": {"show": False},
            "axisTick": {"show": False},
        },
        "series": [
            {
                "type": "bar",
                "barMaxWidth": 16,
                "barMinHeight": 3,
                "label": {"show": True, "position": "right", "color": _AXIS_COLOUR},
                "data": [
                    {"value": count, "itemStyle": {"color": GROUP_COLOURS[group], "borderRadius": [0, 3, 3, 0]}}
                    for group, count in totals
                ],
            }
        ],
    }
