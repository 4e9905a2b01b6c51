"""What a payment's progress books: the money's standing, the path between two standings, and their transactions.

A payment's money stands somewhere: still available, held for it, paid out, or back again. Each payment status says
where it must stand; the table below says what to book to get there. So an event that comes again books nothing, and
one whose forerunners are missing books those as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from yinqi.account.ledger import Kind, Transaction, available, held, opening, payables, transfer
from yinqi.kernel.money import Money


class Standing(StrEnum):
    """Where a payment's money is in our books (资金状态)."""

    AVAILABLE = "available"  # 可用: not promised yet, or no longer
    HELD = "held"  # 冻结: it may leave, or may have left
    PAID = "paid"  # 已付
    RETURNED = "returned"  # 已退汇


# Payment status (payment.proto, PaymentStatus without its prefix) → where the money must stand. UNKNOWN keeps the
# hold: the money may have moved. SCREENED after SUBMITTING means that certainly nothing was sent. A status that is
# not listed moves nothing.
_STANDING_OF_STATUS: Mapping[str, Standing] = {
    "RECEIVED": Standing.AVAILABLE,
    "SCREENED": Standing.AVAILABLE,
    "AWAITING_APPROVAL": Standing.AVAILABLE,
    "APPROVED": Standing.AVAILABLE,
    "SCHEDULED": Standing.AVAILABLE,
    "SUBMITTING": Standing.HELD,
    "PROCESSING": Standing.HELD,
    "UNKNOWN": Standing.HELD,
    "SETTLED": Standing.PAID,
    "REJECTED": Standing.AVAILABLE,
    "RETURNED": Standing.RETURNED,
    "CANCELLED": Standing.AVAILABLE,
    "BLOCKED": Standing.AVAILABLE,
    "EXPIRED": Standing.AVAILABLE,
}

# A missing row books nothing: money that was paid comes back by a return only, and after that the story is over.
_PATHS: Mapping[tuple[Standing, Standing], tuple[Kind, ...]] = {
    (Standing.AVAILABLE, Standing.HELD): (Kind.HOLD,),
    (Standing.AVAILABLE, Standing.PAID): (Kind.HOLD, Kind.SETTLEMENT),
    (Standing.AVAILABLE, Standing.RETURNED): (Kind.HOLD, Kind.SETTLEMENT, Kind.RETURN),
    (Standing.HELD, Standing.AVAILABLE): (Kind.RELEASE,),
    (Standing.HELD, Standing.PAID): (Kind.SETTLEMENT,),
    (Standing.HELD, Standing.RETURNED): (Kind.SETTLEMENT, Kind.RETURN),
    (Standing.PAID, Standing.RETURNED): (Kind.RETURN,),
}


@dataclass(frozen=True, slots=True)
class PaymentMove:
    """One event of the payment service, as far as the books care.

    Attributes:
        sequence: position in the payment service's feed.
        status: the status after the event, e.g. "SUBMITTING"; an unlisted one moves nothing.
        account: identification of the debtor account.
        amount: positive.
        occurred_on: our banking date (Asia/Shanghai) of the event.
        settlement_date, return_date: the bank's booking dates, once known.
        traceparent: W3C trace context of the payment's own trace; "" if it has none.
    """

    sequence: int
    instruction_id: str
    status: str
    account: str
    amount: Money
    occurred_on: date
    settlement_date: date | None = None
    return_date: date | None = None
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class PaymentStanding:
    """Where one payment's money stands, remembered between events.

    Attributes:
        hold_count: how often it was held; a payment that was certainly not sent is released and held again.
        traceparent: of the payment's own trace, so that a statement entry can continue the story.
    """

    instruction_id: str
    account: str
    amount: Money
    standing: Standing = Standing.AVAILABLE
    hold_count: int = 0
    traceparent: str = ""


def initial_standing(move: PaymentMove) -> PaymentStanding:
    """Return the standing of a payment that the books have not met yet."""
    return PaymentStanding(move.instruction_id, move.account, move.amount, traceparent=move.traceparent)


def contradicts(move: PaymentMove, before: PaymentStanding) -> bool:
    """Return whether the event says that money which left never did; somebody must look at it."""
    target = _STANDING_OF_STATUS.get(move.status)
    left = before.standing in (Standing.PAID, Standing.RETURNED)
    return left and target in (Standing.AVAILABLE, Standing.HELD)


def book_move(
    move: PaymentMove, before: PaymentStanding, opened_on: date | None
) -> tuple[list[Transaction], PaymentStanding]:
    """Return the transactions that an event books, oldest first, and the standing after it.

    Args:
        opened_on: date of the account's opening balance; None if it is not opened yet. The bank's opening balance
            already contains what it booked on or before that date, so such bookings are taken out of the opening.
    """
    target = _STANDING_OF_STATUS.get(move.status, before.standing)
    transactions: list[Transaction] = []
    standing = before
    for kind in _PATHS.get((before.standing, target), ()):
        standing = _after(standing, kind)
        transaction = _transaction(kind, move, standing)
        transactions.append(transaction)
        if opened_on is not None and kind in _BANK_BOOKED and transaction.booking_date <= opened_on:
            transactions.append(_taken_out_of_opening(transaction, standing))
    return transactions, standing


_STANDING_AFTER: Mapping[Kind, Standing] = {
    Kind.HOLD: Standing.HELD,
    Kind.RELEASE: Standing.AVAILABLE,
    Kind.SETTLEMENT: Standing.PAID,
    Kind.RETURN: Standing.RETURNED,
}
_BANK_BOOKED = (Kind.SETTLEMENT, Kind.RETURN)


def _after(standing: PaymentStanding, kind: Kind) -> PaymentStanding:
    hold_count = standing.hold_count + (kind is Kind.HOLD)
    return replace(standing, standing=_STANDING_AFTER[kind], hold_count=hold_count)


def _transaction(kind: Kind, move: PaymentMove, standing: PaymentStanding) -> Transaction:
    debit, credit = {
        Kind.HOLD: (held, available),
        Kind.RELEASE: (available, held),
        Kind.SETTLEMENT: (payables, held),
        Kind.RETURN: (available, payables),
    }[kind]
    return transfer(
        _transaction_id(kind, standing),
        kind,
        _booking_date(kind, move),
        debit=debit(standing.account),
        credit=credit(standing.account),
        amount=standing.amount,
        instruction_id=standing.instruction_id,
    )


def _transaction_id(kind: Kind, standing: PaymentStanding) -> str:
    again = f"-{standing.hold_count}" if kind in (Kind.HOLD, Kind.RELEASE) and standing.hold_count > 1 else ""
    return f"{standing.instruction_id}/{kind}{again}"


def _booking_date(kind: Kind, move: PaymentMove) -> date:
    if kind is Kind.SETTLEMENT:
        return move.settlement_date or move.occurred_on
    if kind is Kind.RETURN:
        return move.return_date or move.occurred_on
    return move.occurred_on


def _taken_out_of_opening(transaction: Transaction, standing: PaymentStanding) -> Transaction:
    account = available(standing.account), opening(standing.account)
    debit, credit = account if transaction.kind is Kind.SETTLEMENT else account[::-1]
    return transfer(
        f"{transaction.transaction_id}/opening",
        Kind.OPENING,
        transaction.booking_date,
        debit=debit,
        credit=credit,
        amount=standing.amount,
        instruction_id=standing.instruction_id,
    )
