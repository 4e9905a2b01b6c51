"""Accounts: what our books say and what the bank says, side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from yinqi.api.account.v1 import account_pb2
from yinqi.monitoring.console.markup import Safe, div, join, span
from yinqi.monitoring.console.parts import Column, Row, badge, clock_time, decimal, link, table
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.masking import mask_account

_COLUMNS = (
    Column("accounts.account", "wide"),
    Column("accounts.ledger", "number"),
    Column("accounts.held", "number"),
    Column("accounts.available", "number"),
    Column("accounts.bank_booked", "number"),
    Column("accounts.bank_available", "number"),
    Column("accounts.difference", "number"),
    Column("accounts.as_of"),
)


def account_key(identification: str) -> str:
    """Return a name for an account that may stand in an address: account numbers do not belong in histories and logs."""
    return hashlib.sha256(identification.encode()).hexdigest()[:16]


def accounts_table(
    balances: Sequence[account_pb2.Balance], accounts: Sequence[account_pb2.Account], words: Words
) -> Safe:
    """Return one row per account."""
    known = {account.identification: account for account in accounts}
    rows = [_row(balance, known.get(balance.account, account_pb2.Account()), words) for balance in balances]
    return table(_COLUMNS, rows, words)


def _row(balance: account_pb2.Balance, account: account_pb2.Account, words: Words) -> Row:
    path = f"/accounts/{account_key(balance.account)}"
    has_bank = balance.HasField("bank_booked_balance")
    return Row(
        (
            account_name(balance.account, account, words, path),
            _amount(balance, "ledger_balance"),
            _amount(balance, "held_balance"),
            _amount(balance, "ledger_available_balance"),
            _amount(balance, "bank_booked_balance") if has_bank else span(words("accounts.never"), cls="yq-muted"),
            _amount(balance, "bank_available_balance"),
            _difference(balance, words) if has_bank else "",
            span(clock_time(balance.bank_as_of), cls="yq-nowrap yq-muted"),
        ),
        href=path,
    )


def account_name(identification: str, account: account_pb2.Account, words: Words, path: str = "") -> Safe:
    """Return name, masked number, currency and bank profile."""
    name = account.name or mask_account(identification)
    more = " · ".join(part for part in (mask_account(identification), account.currency, account.bank_profile) if part)
    return join((div(link(path, name) if path else name, cls="yq-strong"), div(more, cls="yq-code yq-muted")))


def _amount(balance: account_pb2.Balance, field: str) -> str:
    if not balance.HasField(field):  # type: ignore[arg-type]
        return ""
    message = getattr(balance, field)
    return decimal(message.currency, message.minor_units)


def _difference(balance: account_pb2.Balance, words: Words) -> Safe:
    """Return what our books have more than the bank; in-flight payments make it differ for a while."""
    difference = balance.ledger_balance.minor_units - balance.bank_booked_balance.minor_units
    if difference == 0:
        return badge(words("accounts.equal"), "settled")
    return badge(decimal(balance.ledger_balance.currency, difference), "unknown")
