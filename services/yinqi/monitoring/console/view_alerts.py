"""Alerts, and what was done about them."""

from __future__ import annotations

from collections.abc import Sequence

from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.monitoring.console.markup import Safe, div, join, span
from yinqi.monitoring.console.parts import (
    Column,
    Row,
    action_button,
    badge,
    clock_time,
    link,
    payment_path,
    severity_badge,
    table,
)
from yinqi.monitoring.console.words import Words

STATES = ("OPEN", "ACKNOWLEDGED", "CLOSED", "ALL")
_COLUMNS = (
    Column("alerts.raised"),
    Column("alerts.severity"),
    Column("alerts.what", "wide"),
    Column("alerts.delivery"),
    Column("alerts.state"),
)


def state_number(state: str) -> monitoring_pb2.AlertStatus.ValueType:
    """Return the contract's number of a state; "ALL" is unspecified."""
    if state == "ALL":
        return monitoring_pb2.ALERT_STATUS_UNSPECIFIED
    return monitoring_pb2.AlertStatus.Value(f"ALERT_STATUS_{state}")


def tabs(chosen: str, words: Words) -> Safe:
    """Return links to the lists by state."""
    return div(
        *(
            link(
                f"/alerts?state={state}",
                words(f"alertstatus.{state}"),
                cls="yq-tab yq-tab-chosen" if state == chosen else "yq-tab",
            )
            for state in STATES
        ),
        cls="yq-tabs",
    )


def alerts_table(alerts: Sequence[monitoring_pb2.Alert], words: Words) -> Safe:
    """Return alerts, newest first, with a button where nobody has one yet."""
    return table(_COLUMNS, [_row(alert, words) for alert in alerts], words, empty="overview.no_alerts")


def _row(alert: monitoring_pb2.Alert, words: Words) -> Row:
    what = join(
        (
            div(span(words(f"rule.{alert.rule}"), cls="yq-strong"), " ", _story_link(alert, words)),
            div(words.pick(alert.summary, alert.summary_zh)),
            div(words.pick(alert.summary_zh, alert.summary), cls="yq-beside yq-beside-block"),
        )
    )
    return Row(
        (
            span(clock_time(alert.raised_at), cls="yq-nowrap"),
            severity_badge(alert.severity, words),
            what,
            _delivery(alert, words),
            _state(alert, words),
        )
    )


def _story_link(alert: monitoring_pb2.Alert, words: Words) -> Safe:
    if not (alert.rule.startswith("payment_") or alert.rule == "possible_duplicate"):
        return Safe("")
    return link(payment_path(alert.subject), words("alerts.story"), " →")


def _delivery(alert: monitoring_pb2.Alert, words: Words) -> Safe:
    if alert.HasField("delivered_at"):
        return join(
            (
                badge(words("alerts.delivered"), "settled"),
                div(clock_time(alert.delivered_at), cls="yq-muted yq-small yq-nowrap"),
            )
        )
    if alert.delivery_attempts:
        return badge(words("alerts.trying", count=alert.delivery_attempts), "unknown")
    return Safe("–")


def _state(alert: monitoring_pb2.Alert, words: Words) -> Safe:
    state = monitoring_pb2.AlertStatus.Name(alert.status).removeprefix("ALERT_STATUS_")
    if state == "OPEN":
        return action_button(words("alerts.acknowledge"), "acknowledge", alert.alert_id, "primary")
    who = " · ".join(part for part in (alert.acknowledged_by, clock_time(alert.acknowledged_at)) if part)
    return join(
        (
            badge(words(f"alertstatus.{state}"), f"alert-{state.lower()}"),
            div(who, cls="yq-muted yq-small"),
            div(alert.note, cls="yq-small"),
        )
    )
