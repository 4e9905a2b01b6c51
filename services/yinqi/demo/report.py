"""What the demo found, counted from the services and from the bank's own book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yinqi.api.account.v1 import account_pb2
from yinqi.api.monitoring.v1 import monitoring_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.api.reconciliation.v1 import reconciliation_pb2
from yinqi.demo.thief import Theft
from yinqi.demo.words import FINAL, break_reason, status_name
from yinqi.intake.handover import Handover
from yinqi.kernel.money import Money, format_decimal
from yinqi.runtime.journal.findings import Report
from yinqi.runtime.otlp_sink import Analysis

_AT_BANK = {"SETTLED", "RETURNED", "PROCESSING"}
_NEVER_SENT = {"CANCELLED", "BLOCKED", "RECEIVED", "SCREENED", "SCHEDULED", "EXPIRED", "AWAITING_APPROVAL", "APPROVED"}


@dataclass(slots=True)
class Findings:
    """Everything the demo saw, as it came."""

    handovers: list[Handover] = field(default_factory=list)
    payments: list[payment_pb2.Payment] = field(default_factory=list)
    reconciliations: list[reconciliation_pb2.Reconciliation] = field(default_factory=list)
    breaks: list[reconciliation_pb2.Break] = field(default_factory=list)
    balances: list[account_pb2.Balance] = field(default_factory=list)
    alerts: list[monitoring_pb2.Alert] = field(default_factory=list)
    alert_ids_received: list[str] = field(default_factory=list)
    webhook_messages: int = 0
    bank_book: dict[str, Any] = field(default_factory=dict)
    imported_entries: int = 0
    traces: Analysis | None = None
    journals: Report | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    killed: list[str] = field(default_factory=list)
    orders_signed: int = 0
    decisions: int = 0
    thefts: list[Theft] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The sentences the exit code stands on; each is True when it holds."""

    holds: Mapping[str, bool]

    @property
    def is_good(self) -> bool:
        """All of them hold."""
        return all(self.holds.values())


def sent_twice(book: Mapping[str, Any]) -> list[str]:
    """Return references that reached the bank more than once, whether or not its own guard stopped the second."""
    return [
        one["reference"]
        for one in book["payments"]
        if one["times_received"] > 1
        or one["duplicates_refused"] > 0
        or one["times_debited"] - one["times_credited"] > 1
    ]


def lost(found: Findings) -> list[str]:
    """Return accepted payments that nobody has: gone from our books, or money of ours the bank knows nothing about."""
    at_bank = {one["reference"]: one for one in found.bank_book["payments"]}
    ours = {payment.instruction.end_to_end_id: payment for payment in found.payments}
    accepted = [i for handover in found.handovers for i in handover.end_to_end_ids]
    gone = [i for i in accepted if i not in ours]
    for end_to_end_id, payment in ours.items():
        record, status = at_bank.get(payment.instruction_id), status_name(payment.status)
        if status in _AT_BANK and record is None:
            gone.append(end_to_end_id)
        if status == "SETTLED" and record is not None and record["times_debited"] != 1:
            gone.append(end_to_end_id)
    return gone


def unexplained(found: Findings) -> list[str]:
    """Return payments that are neither final nor explained by a reason."""
    return [
        payment.instruction.end_to_end_id
        for payment in found.payments
        if payment.status not in FINAL and not payment.status_reason.code
    ]


def statuses_agree(found: Findings) -> bool:
    """Return whether what we call settled, returned and rejected is what the bank's book says of each reference."""
    expected = {"SETTLED": {("FIN", "S")}, "RETURNED": {("FIN", "B")}}
    at_bank = {one["reference"]: (one["status"], one["return_flag"]) for one in found.bank_book["payments"]}
    for payment in found.payments:
        status, state = status_name(payment.status), at_bank.get(payment.instruction_id)
        if status in expected and state not in expected[status]:
            return False
        if status == "REJECTED" and state in {("FIN", "S"), ("FIN", "B")}:
            return False
        if status in _NEVER_SENT and state is not None:
            return False
    return True


def balances_agree(found: Findings) -> bool:
    """Return whether each account's ledger, with the breaks named, is what the bank's own book says."""
    at_bank = {one["account"]: one["booked"] for one in found.bank_book["accounts"] if one["owner"] == "company"}
    named: Counter[str] = Counter()
    for item in found.breaks:
        sign = 1 if item.credit_debit_indicator == account_pb2.CREDIT_DEBIT_INDICATOR_CRDT else -1
        side = 1 if break_reason(item.reason).startswith("BANK_") else -1
        named[item.account] += sign * side * item.amount.minor_units
    ledgers = {b.account: b.ledger_balance for b in found.balances if b.account in at_bank}
    return len(ledgers) == len(at_bank) and all(
        _decimal(ledger.currency, ledger.minor_units + named[account]) == at_bank[account]
        for account, ledger in ledgers.items()
    )


def _decimal(currency: str, minor_units: int) -> str:
    # The sandbox bank always writes two decimals.
    return format_decimal(Money(currency, minor_units))


def stolen(found: Findings) -> list[str]:
    """Return the attempts that the last door let pass, by its own answer or by the bank's book."""
    at_bank = {one["reference"] for one in found.bank_book["payments"]}
    return [theft.what for theft in found.thefts if not theft.answer or theft.instruction_id in at_bank]


def judge(found: Findings) -> Verdict:
    """Return what holds and what does not."""
    days = [run for run in found.reconciliations if run.booking_count or run.entry_count]
    final = [payment for payment in found.payments if payment.status in FINAL]
    holds = {
        "sent twice: none": not sent_twice(found.bank_book),
        "lost: none": not lost(found),
        "every payment is final or explained": not unexplained(found) and len(final) > 0,
        "our statuses are the bank's": statuses_agree(found),
        "every reconciled day adds up": bool(days) and all(r.balance_adjustment.is_balanced for r in days),
        "ledger and bank agree, breaks named": balances_agree(found),
        "the bank's own book is sound": not any(found.bank_book["integrity"].values()),
        "what nobody approved stops at the last door": bool(found.thefts) and not stolen(found),
        "every alert arrived at the webhook": bool(found.alerts)
        and {alert.alert_id for alert in found.alerts} <= set(found.alert_ids_received),
    }
    if found.journals is not None:
        holds["every journal is as it was sealed"] = found.journals.is_good and found.journals.rows > 0
    if found.traces is not None and not found.killed:
        ids = trace_ids(found.payments)
        holds["every payment has one connected trace"] = found.traces.connected_of(ids) == len(ids)
        holds["no orphan span"] = found.traces.orphans == 0
    return Verdict(holds)


def trace_ids(payments: Iterable[payment_pb2.Payment]) -> list[str]:
    """Return the trace id of each payment."""
    return [payment.traceparent[3:35] for payment in payments]


def counts_by_status(payments: Sequence[payment_pb2.Payment]) -> dict[str, int]:
    """Return e.g. {"SETTLED": 780, "REJECTED": 5}."""
    return dict(sorted(Counter(status_name(payment.status) for payment in payments).items()))


def as_json(found: Findings, verdict: Verdict) -> dict[str, Any]:
    """Return the report for machines (var/demo/report.json)."""
    ids = trace_ids(found.payments)
    return {
        "verdict": {"is_good": verdict.is_good, "holds": dict(verdict.holds)},
        "payments": {
            "accepted": sum(len(handover.end_to_end_ids) for handover in found.handovers),
            "by_status": counts_by_status(found.payments),
            "open": [
                {
                    "end_to_end_id": p.instruction.end_to_end_id,
                    "status": status_name(p.status),
                    "reason": p.status_reason.code,
                }
                for p in found.payments
                if p.status not in FINAL
            ],
        },
        "approvals": {"orders_signed": found.orders_signed, "decisions": found.decisions},
        "last_door": {
            "attempts": len(found.thefts),
            "stopped": len(found.thefts) - len(stolen(found)),
            "by_reason": dict(sorted(Counter(theft.answer for theft in found.thefts if theft.answer).items())),
        },
        "sent_twice": len(sent_twice(found.bank_book)),
        "lost": len(lost(found)),
        "files": [handover.as_dict() for handover in found.handovers],
        "refused_lines": sum(len(handover.refused) for handover in found.handovers),
        "matches": {
            "by_reference": sum(r.reference_match_count for r in found.reconciliations),
            "by_amount_date_counterparty": sum(r.amount_match_count for r in found.reconciliations),
        },
        "breaks": dict(sorted(Counter(break_reason(item.reason) for item in found.breaks).items())),
        "days": [
            {
                "account": run.account,
                "date": run.date,
                "bookings": run.booking_count,
                "entries": run.entry_count,
                "matches": run.match_count,
                "breaks": run.break_count,
                "is_balanced": run.balance_adjustment.is_balanced,
            }
            for run in found.reconciliations
        ],
        "alerts": {
            "raised": len(found.alerts),
            "by_rule": dict(sorted(Counter(alert.rule for alert in found.alerts).items())),
            "delivered": sum(alert.HasField("delivered_at") for alert in found.alerts),
            "received_by_webhook": len(set(found.alert_ids_received)),
            "webhook_messages": found.webhook_messages,
        },
        "traces": {
            "payments": len(ids),
            "connected_traces": found.traces.connected_of(ids) if found.traces else 0,
            "orphan_spans": found.traces.orphans if found.traces else 0,
            "spans": found.traces.spans if found.traces else 0,
        },
        "journals": found.journals.as_dict() if found.journals else {},
        "bank_book": {
            "totals": found.bank_book["totals"],
            "double_debits": found.bank_book["double_debits"],
            "integrity": found.bank_book["integrity"],
        },
        "imported_statement_entries": found.imported_entries,
        "killed": found.killed,
        "timings_s": {name: round(value, 2) for name, value in found.timings_s.items()},
    }
