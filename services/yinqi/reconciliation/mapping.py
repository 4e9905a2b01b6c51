"""Protobuf to model and back; no decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.account.v1 import account_pb2
from yinqi.api.common.v1 import money_pb2
from yinqi.api.payment.v1 import payment_pb2
from yinqi.api.reconciliation.v1 import reconciliation_pb2 as pb
from yinqi.kernel.money import Money
from yinqi.reconciliation.model import (
    BalanceAdjustment,
    Booking,
    Break,
    BreakReason,
    BreakStatus,
    Direction,
    Entry,
    MatchRule,
    Pair,
    Reconciliation,
)

_DIRECTION_TO_PROTO = {
    Direction.CREDIT: account_pb2.CREDIT_DEBIT_INDICATOR_CRDT,
    Direction.DEBIT: account_pb2.CREDIT_DEBIT_INDICATOR_DBIT,
}
_DIRECTION_FROM_PROTO = {proto: direction for direction, proto in _DIRECTION_TO_PROTO.items()}
_RULE_TO_PROTO = {rule: pb.MatchRule.Value(f"MATCH_RULE_{rule.value}") for rule in MatchRule}
_REASON_TO_PROTO = {reason: pb.BreakReason.Value(f"BREAK_REASON_{reason.value}") for reason in BreakReason}
_STATUS_TO_PROTO = {status: pb.BreakStatus.Value(f"BREAK_STATUS_{status.value}") for status in BreakStatus}
_STATUS_FROM_PROTO = {proto: status for status, proto in _STATUS_TO_PROTO.items()}
_BOOKED = {payment_pb2.PAYMENT_STATUS_SETTLED, payment_pb2.PAYMENT_STATUS_RETURNED}


def money_from_proto(message: money_pb2.Money) -> Money:
    return Money(message.currency, message.minor_units)


def money_to_proto(money: Money) -> money_pb2.Money:
    return money_pb2.Money(currency=money.currency, minor_units=money.minor_units)


def _timestamp(instant: datetime | None) -> Timestamp | None:
    if instant is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(instant.astimezone(UTC))
    return stamp


def bookings_of(events: Iterable[payment_pb2.PaymentEvent]) -> list[Booking]:
    """Return what the events booked on bank accounts: a debit when settled, a credit when returned."""
    return [_booking(event) for event in events if event.to_status in _BOOKED and event.from_status != event.to_status]


def _booking(event: payment_pb2.PaymentEvent) -> Booking:
    payment, order = event.payment, event.payment.instruction
    is_return = event.to_status == payment_pb2.PAYMENT_STATUS_RETURNED
    return Booking(
        booking_id=f"{payment.instruction_id}/{'return' if is_return else 'settlement'}",
        account=order.debtor_account.identification,
        booking_date=date.fromisoformat(payment.return_date if is_return else payment.settlement_date),
        direction=Direction.CREDIT if is_return else Direction.DEBIT,
        amount=money_from_proto(order.instructed_amount),
        instruction_id=payment.instruction_id,
        end_to_end_id=order.end_to_end_id,
        # The serial is that of the debit; the return has its own at the bank.
        account_servicer_reference="" if is_return else payment.account_servicer_reference,
        counterparty_name=order.creditor.name,
        counterparty_account=order.creditor_account.identification,
        traceparent=payment.traceparent,
    )


def entries_from_proto(messages: Iterable[account_pb2.StatementEntry]) -> list[Entry]:
    return [
        Entry(
            entry_id=message.sequence,
            account=message.account,
            booking_date=date.fromisoformat(message.booking_date),
            direction=_DIRECTION_FROM_PROTO[message.credit_debit_indicator],
            amount=money_from_proto(message.amount),
            instruction_id=message.instruction_id,
            end_to_end_id=message.end_to_end_id,
            account_servicer_reference=message.account_servicer_reference,
            counterparty_name=message.counterparty_name,
            counterparty_account=message.counterparty_account,
            description=message.remittance_information,
        )
        for message in messages
    ]


def break_status_from_proto(status: int) -> BreakStatus | None:
    return _STATUS_FROM_PROTO.get(status)  # type: ignore[call-overload, no-any-return]


def break_to_proto(item: Break) -> pb.Break:
    return pb.Break(
        break_id=item.break_id,
        account=item.account,
        date=item.date.isoformat(),
        reason=_REASON_TO_PROTO[item.reason],
        amount=money_to_proto(item.amount),
        credit_debit_indicator=_DIRECTION_TO_PROTO[item.direction],
        instruction_id=item.instruction_id,
        account_servicer_reference=item.account_servicer_reference,
        counterparty_name=item.counterparty_name,
        description=item.description,
        status=_STATUS_TO_PROTO[item.status],
        opened_at=_timestamp(item.opened_at),
        resolved_by=item.resolved_by,
        resolution=item.resolution,
        resolved_at=_timestamp(item.resolved_at),
    )


def _adjustment(table: BalanceAdjustment, *, is_statement_complete: bool) -> pb.BalanceAdjustment:
    return pb.BalanceAdjustment(
        bank_balance=money_to_proto(table.bank_balance),
        book_credits_not_at_bank=money_to_proto(table.book_credits_not_at_bank),
        book_debits_not_at_bank=money_to_proto(table.book_debits_not_at_bank),
        adjusted_bank_balance=money_to_proto(table.adjusted_bank_balance),
        book_balance=money_to_proto(table.book_balance),
        bank_credits_not_in_books=money_to_proto(table.bank_credits_not_in_books),
        bank_debits_not_in_books=money_to_proto(table.bank_debits_not_in_books),
        adjusted_book_balance=money_to_proto(table.adjusted_book_balance),
        is_balanced=table.is_balanced and is_statement_complete,
    )


def reconciliation_to_proto(
    run: Reconciliation, breaks: Sequence[Break] = (), pairs: Sequence[Pair] = ()
) -> pb.Reconciliation:
    return pb.Reconciliation(
        run_id=run.run_id,
        account=run.account,
        date=run.date.isoformat(),
        ran_at=_timestamp(run.ran_at),
        booking_count=run.booking_count,
        entry_count=run.entry_count,
        match_count=run.match_count,
        reference_match_count=run.reference_match_count,
        amount_match_count=run.amount_match_count,
        break_count=run.break_count,
        is_statement_complete=run.is_statement_complete,
        balance_adjustment=_adjustment(run.balance_adjustment, is_statement_complete=run.is_statement_complete),
        breaks=[break_to_proto(item) for item in breaks],
        matches=[
            pb.Match(
                rule=_RULE_TO_PROTO[pair.rule],
                instruction_id=pair.instruction_id,
                account_servicer_reference=pair.account_servicer_reference,
                amount=money_to_proto(pair.amount),
                credit_debit_indicator=_DIRECTION_TO_PROTO[pair.direction],
            )
            for pair in pairs
        ],
    )


def event_to_proto(row: Any, item: Break | None, run: Reconciliation | None) -> pb.ReconciliationEvent:
    return pb.ReconciliationEvent(
        sequence=row.sequence,
        type=row.type,
        occurred_at=_timestamp(row.occurred_at),
        reconciliation_break=break_to_proto(item) if item else None,
        reconciliation=reconciliation_to_proto(run) if run else None,
    )
