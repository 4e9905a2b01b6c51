"""The double-entry rule: a transaction whose postings do not sum to zero cannot be built (复式记账).

Seen from our books a bank account is an asset: positive amounts are debits and increase it, negative ones are credits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from yinqi.kernel.errors import YinqiError
from yinqi.kernel.money import Money


class LedgerUnbalanced(YinqiError):
    """Postings do not sum to zero: a defect of ours, never of the caller. Nothing may be built on such books."""


class Kind(StrEnum):
    """Why a transaction was booked (分录类型)."""

    OPENING = "opening"  # 期初
    HOLD = "hold"  # 冻结
    RELEASE = "release"  # 解冻
    SETTLEMENT = "settlement"  # 付出
    RETURN = "return"  # 退汇


def available(account: str) -> str:
    """Return the ledger account of money at the bank that may be used (可用)."""
    return f"bank:{account}:available"


def held(account: str) -> str:
    """Return the ledger account of money at the bank that is promised to released payments (冻结)."""
    return f"bank:{account}:held"


def payables(account: str) -> str:
    """Return the counter-account of what was paid from the account (应付)."""
    return f"payables:{account}"


def opening(account: str) -> str:
    """Return the counter-account of what the account held before our books began (期初)."""
    return f"opening:{account}"


def ledger_accounts_of(account: str) -> tuple[str, str, str, str]:
    """Return all ledger accounts that belong to a bank account."""
    return available(account), held(account), payables(account), opening(account)


@dataclass(frozen=True, slots=True)
class Posting:
    """One leg of a transaction; positive: debit, negative: credit."""

    ledger_account: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Transaction:
    """Postings that belong together (凭证).

    Attributes:
        transaction_id: unique for ever, made from its cause, e.g. "YQ…/hold": booking it again is refused by the store.
        booking_date: the day it counts for (记账日).
        instruction_id: the payment that caused it; "" if none did.
    """

    transaction_id: str
    kind: Kind
    booking_date: date
    postings: tuple[Posting, ...]
    instruction_id: str = ""

    def __post_init__(self) -> None:
        """Raise LedgerUnbalanced unless the postings sum to zero in each currency, each ledger account once."""
        if len({(p.ledger_account, p.amount.currency) for p in self.postings}) != len(self.postings):
            raise LedgerUnbalanced(
                "LEDGER_ACCOUNT_REPEATED", f"transaction {self.transaction_id} posts to one ledger account twice"
            )
        check_balanced(((p.amount for p in self.postings)), self.transaction_id)


def check_balanced(amounts: Iterable[Money], what: str) -> None:
    """Return if the amounts sum to zero in each currency.

    Raises:
        LedgerUnbalanced: names `what` and the currencies that are off.
    """
    off = {currency: units for currency, units in sum_by_currency(amounts).items() if units}
    if off:
        raise LedgerUnbalanced("LEDGER_UNBALANCED", f"{what} does not sum to zero: off by {off} minor units")


def sum_by_currency(amounts: Iterable[Money]) -> Mapping[str, int]:
    """Return the sums in minor units by currency."""
    sums: dict[str, int] = {}
    for amount in amounts:
        sums[amount.currency] = sums.get(amount.currency, 0) + amount.minor_units
    return sums


def transfer(
    transaction_id: str,
    kind: Kind,
    booking_date: date,
    *,
    debit: str,
    credit: str,
    amount: Money,
    instruction_id: str = "",
) -> Transaction:
    """Return the transaction that moves `amount` from the ledger account `credit` to `debit`."""
    postings = (Posting(debit, amount), Posting(credit, -amount))
    return Transaction(transaction_id, kind, booking_date, postings, instruction_id)
