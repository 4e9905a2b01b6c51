"""Reconciliation: the days, the balance adjustment table, what is left over."""

from __future__ import annotations

from collections.abc import Sequence

from yinqi.api.account.v1 import account_pb2
from yinqi.api.common.v1 import money_pb2
from yinqi.api.reconciliation.v1 import reconciliation_pb2
from yinqi.monitoring.console.markup import Safe, div, join, span, tag
from yinqi.monitoring.console.parts import (
    Column,
    Row,
    action_button,
    badge,
    clock_time,
    decimal,
    link,
    money,
    payment_path,
    table,
)
from yinqi.monitoring.console.view_accounts import account_key
from yinqi.monitoring.console.words import Words
from yinqi.monitoring.mapping import break_reason_word
from yinqi.monitoring.masking import mask_account

PAIRS_SHOWN_MAX = 200
_RUN_COLUMNS = (
    Column("reconciliation.date"),
    Column("accounts.account", "wide"),
    Column("reconciliation.bookings", "number"),
    Column("reconciliation.entries", "number"),
    Column("reconciliation.matches", "number"),
    Column("reconciliation.breaks", "number"),
    Column("reconciliation.statement"),
    Column("reconciliation.result"),
    Column("reconciliation.ran_at"),
)


def runs_table(runs: Sequence[reconciliation_pb2.Reconciliation], names: dict[str, str], words: Words) -> Safe:
    """Return the latest run of each account and day."""
    return table(_RUN_COLUMNS, [_run(run, names, words) for run in runs], words)


def most_telling(runs: Sequence[reconciliation_pb2.Reconciliation]) -> list[reconciliation_pb2.Reconciliation]:
    """Return the runs, newest day first; within a day those with breaks, then those with the most entries."""
    by_weight = sorted(runs, key=lambda run: (-run.break_count, -run.entry_count))
    return sorted(by_weight, key=lambda run: run.date, reverse=True)


def _run(run: reconciliation_pb2.Reconciliation, names: dict[str, str], words: Words) -> Row:
    path = day_path(run.account, run.date)
    name = join(
        (div(names.get(run.account, ""), cls="yq-strong"), div(mask_account(run.account), cls="yq-code yq-muted"))
    )
    return Row(
        (
            link(path, run.date, cls="yq-link yq-nowrap"),
            name,
            f"{run.booking_count:,}",
            f"{run.entry_count:,}",
            f"{run.match_count:,}",
            badge(f"{run.break_count:,}", "unknown") if run.break_count else "0",
            statement_badge(run, words),
            result_badge(run, words),
            span(clock_time(run.ran_at), cls="yq-nowrap yq-muted"),
        ),
        href=path,
    )


def day_path(account: str, date: str) -> str:
    """Return the address of an account's day."""
    return f"/reconciliation/{account_key(account)}/{date}"


def statement_badge(run: reconciliation_pb2.Reconciliation, words: Words) -> Safe:
    """Return whether the bank's statement is complete by its own balances."""
    complete = run.is_statement_complete
    return badge(
        words(f"reconciliation.{'complete' if complete else 'incomplete'}"), "settled" if complete else "unknown"
    )


def result_badge(run: reconciliation_pb2.Reconciliation, words: Words) -> Safe:
    """Return whether the day adds up."""
    balanced = run.balance_adjustment.is_balanced
    return badge(
        words(f"reconciliation.{'balanced' if balanced else 'unbalanced'}"), "settled" if balanced else "rejected"
    )


def adjustment_table(run: reconciliation_pb2.Reconciliation, words: Words) -> Safe:
    """Return the 余额调节表 as accountants write it: the company's side left, the bank's side right."""
    a = run.balance_adjustment
    lines: tuple[tuple[str, money_pb2.Money, str, money_pb2.Money], ...] = (
        ("table.book_balance", a.book_balance, "table.bank_balance", a.bank_balance),
        ("table.bank_credits", a.bank_credits_not_in_books, "table.book_credits", a.book_credits_not_at_bank),
        ("table.bank_debits", a.bank_debits_not_in_books, "table.book_debits", a.book_debits_not_at_bank),
        ("table.adjusted", a.adjusted_book_balance, "table.adjusted", a.adjusted_bank_balance),
    )
    rows = [
        tag(
            "tr",
            *_side(left, left_amount, words),
            *_side(right, right_amount, words),
            cls="yq-adjusted" if left == "table.adjusted" else None,
        )
        for left, left_amount, right, right_amount in lines
    ]
    return div(tag("table", tag("tbody", *rows), cls="yq-adjustment"), cls="yq-table-box")


def _side(key: str, message: money_pb2.Money, words: Words) -> tuple[Safe, Safe]:
    name = join((div(words(key)), div(words.beside(key), cls="yq-beside")))
    shown = decimal(message.currency, message.minor_units) if message.currency else "–"
    return tag("th", name, scope="row"), tag("td", shown, cls="yq-number")


_BREAK_COLUMNS = (
    Column("reconciliation.date"),
    Column("break.reason"),
    Column("break.counterparty", "wide"),
    Column("break.reference"),
    Column("break.amount", "number"),
    Column("break.status"),
)


def breaks_table(breaks: Sequence[reconciliation_pb2.Break], words: Words) -> Safe:
    """Return what is left over, with a button where a person must explain it."""
    return table(_BREAK_COLUMNS, [_break(found, words) for found in breaks], words, empty="reconciliation.no_breaks")


def _break(found: reconciliation_pb2.Break, words: Words) -> Row:
    reason = break_reason_word(found.reason)
    is_debit = found.credit_debit_indicator == account_pb2.CREDIT_DEBIT_INDICATOR_DBIT
    direction = span(words("entry.out" if is_debit else "entry.in"), cls="yq-muted")
    who = join((div(found.counterparty_name), div(found.description, cls="yq-muted yq-small")))
    return Row(
        (
            link(day_path(found.account, found.date), found.date, cls="yq-link yq-nowrap"),
            span(words(f"reason.{reason}"), title=words.beside(f"reason.{reason}")),
            who,
            _reference(found),
            join((direction, " ", money(found.amount))),
            _break_state(found, words),
        )
    )


def _reference(found: reconciliation_pb2.Break) -> Safe:
    if found.instruction_id:
        return link(payment_path(found.instruction_id), found.instruction_id, cls="yq-link yq-code")
    return span(found.account_servicer_reference, cls="yq-code")


def _break_state(found: reconciliation_pb2.Break, words: Words) -> Safe:
    if found.status == reconciliation_pb2.BREAK_STATUS_OPEN:
        return action_button(words("break.resolve"), "resolve", found.break_id, "primary")
    state = reconciliation_pb2.BreakStatus.Name(found.status).removeprefix("BREAK_STATUS_")
    who = f"{found.resolved_by}: {found.resolution}" if found.resolved_by else ""
    return join((badge(words(f"breakstatus.{state}"), "settled"), div(who, cls="yq-muted yq-small")))


_PAIR_COLUMNS = (
    Column("story.match"),
    Column("story.instruction_id"),
    Column("entry.reference"),
    Column("payments.amount", "number"),
)


def pairs_table(matches: Sequence[reconciliation_pb2.Match], words: Words) -> Safe:
    """Return the first pairs of a day."""
    rows = [
        Row(
            (
                words(f"match.{reconciliation_pb2.MatchRule.Name(match.rule).removeprefix('MATCH_RULE_')}"),
                link(payment_path(match.instruction_id), match.instruction_id, cls="yq-link yq-code"),
                span(match.account_servicer_reference, cls="yq-code"),
                money(match.amount),
            )
        )
        for match in matches[:PAIRS_SHOWN_MAX]
    ]
    shown = table(_PAIR_COLUMNS, rows, words)
    if len(matches) <= PAIRS_SHOWN_MAX:
        return shown
    more = words("reconciliation.pairs_shown", count=PAIRS_SHOWN_MAX, total=f"{len(matches):,}")
    return join((shown, div(more, cls="yq-muted yq-small")))
