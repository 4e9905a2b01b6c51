"""One payment's whole story."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor import EnumDescriptor

from yinqi.api.account.v1 import account_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2
from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.api.reconciliation.v1 import reconciliation_pb2
from yinqi.monitoring.console.markup import Safe, div, join, span, tag
from yinqi.monitoring.console.parts import (
    Column,
    Row,
    badge,
    bank_time,
    copyable,
    decimal,
    facts,
    group_of,
    instant,
    money,
    payment_path,
    severity_badge,
    status_badge,
    table,
)
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.mapping import payment_status_word


def headline(payment: payment_pb2.Payment, words: Words) -> Safe:
    """Return amount, creditor and status."""
    order = payment.instruction
    return div(
        div(money(order.instructed_amount), cls="yq-headline-amount"),
        div(
            div(order.creditor.name, cls="yq-strong"),
            div(order.end_to_end_id, cls="yq-code yq-muted"),
            cls="yq-headline-who",
        ),
        div(status_badge(payment.status, words), _reason(payment.status_reason), cls="yq-headline-status"),
        cls="yq-headline",
    )


def _reason(reason: payment_pb2.StatusReason) -> Safe:
    parts = [part for part in (reason.code, reason.proprietary_code, reason.text) if part]
    return span(" · ".join(parts), cls="yq-muted yq-reason") if parts else Safe("")


def timeline(journal: Sequence[payment_pb2.PaymentEvent], words: Words) -> Safe:
    """Return every move of the payment, oldest first, with its time and reason."""
    return tag("ol", *(_moment(event, words) for event in journal), cls="yq-timeline")


def _moment(event: payment_pb2.PaymentEvent, words: Words) -> Safe:
    word = payment_status_word(event.to_status)
    return tag(
        "li",
        div(
            span(words(f"status.{word}"), cls="yq-strong"),
            span(words.beside(f"status.{word}"), cls="yq-beside"),
            span(instant(event.occurred_at), cls="yq-muted yq-moment-time"),
        ),
        div(
            _reason(event.reason),
            span(words("story.by", actor=event.actor), cls="yq-muted") if event.actor else "",
            cls="yq-moment-more",
        ),
        cls=f"yq-moment yq-tone-{group_of(word)}",
    )


def instruction_facts(payment: payment_pb2.Payment, words: Words) -> Safe:
    """Return what was ordered, in full: the reader of a story may see it."""
    order = payment.instruction
    agent = order.creditor_agent
    agent_parts = [part for part in (agent.name, agent.clearing_member_id, agent.bicfi) if part]
    return facts(
        (
            ("story.debtor", order.debtor.name),
            ("story.debtor_account", span(order.debtor_account.identification, cls="yq-code")),
            ("story.creditor", order.creditor.name),
            ("story.creditor_account", span(order.creditor_account.identification, cls="yq-code")),
            ("story.creditor_agent", " · ".join(agent_parts)),
            (
                "story.category",
                words(f"category.{_word(payment_pb2.CategoryPurpose.DESCRIPTOR, order.category_purpose)}"),
            ),
            ("story.purpose", order.purpose),
            ("story.remittance", order.remittance_information),
            ("story.execution_date", order.requested_execution_date),
            ("story.channel", words(f"channel.{_word(payment_pb2.Channel.DESCRIPTOR, order.channel)}")),
            ("story.batch", order.payment_information_id),
        ),
        words,
    )


def _word(enum: EnumDescriptor, number: int) -> str:
    """Return the last word of an enum value; the unset one means the first real one."""
    value = enum.values_by_number.get(number or 1)
    if value is None:
        return str(number)
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(prefix)


def reference_facts(payment: payment_pb2.Payment, jaeger_url: str, words: Words) -> Safe:
    """Return every name the payment has, here, at the bank and in the traces."""
    trace_id = trace_id_of(payment.traceparent)
    trace = join((copyable(trace_id, words), _jaeger_link(trace_id, jaeger_url, words))) if trace_id else Safe("")
    return facts(
        (
            ("story.end_to_end_id", copyable(payment.instruction.end_to_end_id, words)),
            ("story.instruction_id", copyable(payment.instruction_id, words)),
            ("story.bank_reference", copyable(payment.account_servicer_reference, words)),
            ("story.settlement_date", payment.settlement_date),
            ("story.return_date", payment.return_date),
            ("story.attempts", payment.submission_attempts or ""),
            ("story.trace", trace),
        ),
        words,
    )


def evidence_part(payment: payment_pb2.Payment, words: Words) -> Safe:
    """Return where the payment's evidence bundle is to be had, and the command that makes one."""
    command = f"yinqi evidence {payment.instruction.end_to_end_id or payment.instruction_id}"
    href = f"{payment_path(payment.instruction_id)}/evidence"
    download = tag("a", words("story.evidence_download"), href=href, download="", cls="yq-button", data_evidence="")
    return div(
        div(words("story.evidence_what"), cls="yq-muted"),
        div(download),
        div(words("story.evidence_command"), " ", copyable(command, words)),
        cls="yq-evidence",
    )


def trace_id_of(traceparent: str) -> str:
    """Return the trace id of a W3C traceparent, or ""."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else ""


def _jaeger_link(trace_id: str, jaeger_url: str, words: Words) -> Safe:
    if not jaeger_url.startswith(("http://", "https://")):
        return Safe("")
    href = f"{jaeger_url.rstrip('/')}/trace/{trace_id}"
    return tag("a", words("story.jaeger"), " ↗", href=href, target="_blank", rel="noopener noreferrer", cls="yq-link")


_MESSAGE_COLUMNS = (
    Column("message.time"),
    Column("message.direction"),
    Column("message.function"),
    Column("message.size", "number"),
    Column("message.digest"),
    Column("message.check"),
)


def messages_table(messages: Sequence[gateway_service_pb2.ArchivedMessage], words: Words) -> Safe:
    """Return what went over the wire, oldest first."""
    return table(_MESSAGE_COLUMNS, [_message(m, words) for m in messages], words, empty="story.no_messages")


def _message(message: gateway_service_pb2.ArchivedMessage, words: Words) -> Row:
    is_received = message.direction == gateway_service_pb2.MESSAGE_DIRECTION_RECEIVED
    arrow = "← " if is_received else "→ "
    if message.failure:
        check = badge(message.failure, "unknown")
    elif is_received:
        verified = message.is_verified
        check = badge(
            words("message.verified" if verified else "message.unverified"), "settled" if verified else "rejected"
        )
    else:
        check = Safe("")
    digest = span(message.digest[:16] + "…", cls="yq-code yq-muted", title=message.digest) if message.digest else ""
    return Row(
        (
            span(bank_time(message.recorded_at), cls="yq-nowrap"),
            arrow + words("message.RECEIVED" if is_received else "message.SENT"),
            span(message.function, cls="yq-code"),
            f"{message.size_bytes:,}",
            digest,
            check,
        )
    )


_POSTING_COLUMNS = (
    Column("posting.date"),
    Column("posting.kind"),
    Column("posting.account", "wide"),
    Column("posting.debit", "number"),
    Column("posting.credit", "number"),
)


def postings_table(postings: Sequence[account_pb2.LedgerPosting], words: Words) -> Safe:
    """Return the ledger's lines; debits and credits in columns of their own."""
    rows = [
        Row(
            (
                span(posting.booking_date, cls="yq-nowrap"),
                words(f"kind.{posting.kind}"),
                span(posting.ledger_account, cls="yq-code"),
                _side(posting, 1),
                _side(posting, -1),
            )
        )
        for posting in postings
    ]
    return table(_POSTING_COLUMNS, rows, words, empty="story.no_postings")


def _side(posting: account_pb2.LedgerPosting, sign: int) -> str:
    minor_units = posting.amount.minor_units * sign
    return decimal(posting.amount.currency, minor_units) if minor_units > 0 else ""


_ENTRY_COLUMNS = (
    Column("entry.date"),
    Column("entry.reference"),
    Column("entry.counterparty", "wide"),
    Column("entry.text", "wide"),
    Column("entry.in", "number"),
    Column("entry.out", "number"),
    Column("entry.source"),
)


def entries_table(entries: Sequence[account_pb2.StatementEntry], words: Words, *, empty: str = "none") -> Safe:
    """Return statement entries; money in and out in columns of their own."""
    return table(_ENTRY_COLUMNS, [_entry(entry, words) for entry in entries], words, empty=empty)


def _entry(entry: account_pb2.StatementEntry, words: Words) -> Row:
    is_credit = entry.credit_debit_indicator == account_pb2.CREDIT_DEBIT_INDICATOR_CRDT
    shown = decimal(entry.amount.currency, entry.amount.minor_units)
    reversal = badge(words("entry.reversal"), "returned") if entry.is_reversal else ""
    return Row(
        (
            span(entry.booking_date, cls="yq-nowrap"),
            span(entry.account_servicer_reference, cls="yq-code"),
            entry.counterparty_name,
            join((entry.remittance_information, " ", reversal)),
            shown if is_credit else "",
            "" if is_credit else shown,
            span(entry.source, cls="yq-muted"),
        )
    )


def match_line(
    matches: Sequence[reconciliation_pb2.Match], run: reconciliation_pb2.Reconciliation, words: Words
) -> Safe:
    """Say how the bank's entry and our booking were found to be the same."""
    lines = [
        div(
            badge(words(f"match.{reconciliation_pb2.MatchRule.Name(m.rule).removeprefix('MATCH_RULE_')}"), "settled"),
            span(run.date, cls="yq-muted"),
            span(m.account_servicer_reference, cls="yq-code"),
            money(m.amount),
            cls="yq-match",
        )
        for m in matches
    ]
    return div(*lines) if lines else div(words("story.no_match"), cls="yq-empty")


def alerts_of_payment(alerts: Sequence[monitoring_pb2.Alert], words: Words) -> Safe:
    """Return what was raised about this payment."""
    if not alerts:
        return div(words("story.no_alerts"), cls="yq-empty")
    return div(*(_alert(alert, words) for alert in alerts), cls="yq-lines")


def _alert(alert: monitoring_pb2.Alert, words: Words) -> Safe:
    state = monitoring_pb2.AlertStatus.Name(alert.status).removeprefix("ALERT_STATUS_")
    return div(
        severity_badge(alert.severity, words),
        span(words(f"rule.{alert.rule}"), cls="yq-strong"),
        span(words.pick(alert.summary, alert.summary_zh), cls="yq-line-text"),
        badge(words(f"alertstatus.{state}"), f"alert-{state.lower()}"),
        span(instant(alert.raised_at), cls="yq-muted yq-line-time"),
        cls="yq-line",
    )
