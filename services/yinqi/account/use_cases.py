"""What the account service does: one function per verb, each one transaction over a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from yinqi.account.booking import PaymentMove, book_move, contradicts, initial_standing
from yinqi.account.ledger import Kind, LedgerUnbalanced, Transaction, available, check_balanced, opening, transfer
from yinqi.account.model import (
    Account,
    Balance,
    BankBalance,
    Booked,
    EntryFilter,
    ImportedStatement,
    LedgerBalance,
    PageOutcome,
    PostingFilter,
    RecordedEntry,
    RecordedPosting,
)
from yinqi.account.ports import Books
from yinqi.account.statement import (
    FETCHED,
    IMPORTED,
    Recording,
    Statement,
    StatementEntry,
    StatementPage,
    decide_recordings,
    restarted,
    take_page,
)
from yinqi.kernel.errors import InvalidRequest, NotFound
from yinqi.kernel.money import Money

# --- payments -------------------------------------------------------------------------------------------------------


def book_payment_moves(moves: Sequence[PaymentMove], books: Books, recorded_at: datetime) -> list[Booked]:
    """Book what the payments' events mean for the money.

    Args:
        moves: in feed order, each once (the follower's cursor sees to that; transaction_id guards it again).
    Returns:
        Those moves that booked something, or that contradict the books.
    """
    books.lock_ledger()
    standings = books.find_standings(list({move.instruction_id for move in moves}))
    opened_on = books.find_opening_dates({move.account for move in moves})
    changed: dict[str, None] = {}
    results = []
    for move in moves:
        before = standings.get(move.instruction_id) or initial_standing(move)
        transactions, after = book_move(move, before, opened_on.get(before.account))
        is_contradiction = contradicts(move, before)
        if transactions:
            standings[move.instruction_id] = after
            changed[move.instruction_id] = None
        if transactions or is_contradiction:
            results.append(Booked(move, transactions, is_contradiction))
    books.save_standings([standings[instruction_id] for instruction_id in changed])
    books.add_transactions([t for booked in results for t in booked.transactions], recorded_at)
    return results


# --- accounts and balances ------------------------------------------------------------------------------------------


def learn_accounts(accounts: Sequence[Account], books: Books) -> None:
    """Record the accounts that the bank profiles reach."""
    books.add_accounts(accounts)


def record_bank_balances(balances: Sequence[BankBalance], books: Books, recorded_at: datetime) -> list[str]:
    """Store what the bank said; return the accounts whose ledger was opened by it."""
    good = [balance for balance in balances if not balance.error_code]
    books.save_bank_balances(good, recorded_at)
    unopened = {a.identification for a in books.list_accounts([b.account for b in good]) if a.opened_on is None}
    openings = {
        b.account: (b.previous_day, b.bank_date - timedelta(days=1))
        for b in good
        if b.account in unopened and b.previous_day is not None and b.bank_date is not None
    }
    _open_accounts(openings, books, recorded_at)
    return sorted(openings)


def _open_accounts(openings: dict[str, tuple[Money, date]], books: Books, recorded_at: datetime) -> None:
    """Book opening balances so that our ledger equals the bank's balance at the end of each opening date.

    Payments may have been booked before the bank was reached. What the bank booked on or before the opening date is in
    its balance already, so it is taken out of the opening.
    """
    if not openings:
        return
    books.lock_ledger()
    booked = {
        account: books.ledger_balances({account: balance.currency}, day).get(account, LedgerBalance()).minor_units
        for account, (balance, day) in openings.items()
    }
    books.add_transactions(
        [
            _opening(account, Money(balance.currency, balance.minor_units - booked[account]), day)
            for account, (balance, day) in openings.items()
        ],
        recorded_at,
    )
    books.save_opened({account: day for account, (_, day) in openings.items()})


def _opening(account: str, amount: Money, day: date) -> Transaction:
    return transfer(
        f"{account}/opening", Kind.OPENING, day, debit=available(account), credit=opening(account), amount=amount
    )


def get_balances(identifications: Sequence[str], at: date | None, books: Books) -> list[Balance]:
    """Return the balances of the named accounts (none: all), now or at the end of a day.

    Raises:
        NotFound: names the first account that is not known.
    """
    accounts = find_accounts(identifications, books)
    names = [account.identification for account in accounts]
    ledger = books.ledger_balances({a.identification: a.currency for a in accounts}, at)
    statements = books.statements_touching(names, at) if at and names else []
    return [
        _balance(account, ledger.get(account.identification, LedgerBalance()), at, statements) for account in accounts
    ]


def find_accounts(identifications: Sequence[str], books: Books) -> list[Account]:
    """Return the named accounts in the order asked for, or all by identification.

    Raises:
        NotFound: names the first account that is not known.
    """
    found = {account.identification: account for account in books.list_accounts(identifications)}
    for identification in identifications:
        if identification not in found:
            raise NotFound(
                "ACCOUNT_UNKNOWN",
                f"account …{identification[-4:]} is not known; see ListAccounts",
                f"账户 …{identification[-4:]} 不存在，请先查看账户列表",
                metadata={"account": identification[-4:]},
            )
    return [found[i] for i in dict.fromkeys(identifications)] if identifications else list(found.values())


def _balance(account: Account, ledger: LedgerBalance, at: date | None, statements: Sequence[Statement]) -> Balance:
    own = [s for s in statements if s.account == account.identification]
    # A complete statement outranks one with a flaw, and the bank's own file outranks what was fetched.
    own.sort(key=lambda s: (s.is_complete, s.source == IMPORTED), reverse=True)
    return Balance(
        account,
        ledger,
        at,
        next((s.opening for s in own if s.from_date == at), None),
        next((s.closing for s in own if s.to_date == at and _has_closed(s, account)), None),
    )


def _has_closed(statement: Statement, account: Account) -> bool:
    """Whether the closing balance may be relied on.

    While the day lasts at the bank, a statement is complete as of its last fetch. Once the bank is past that day, only
    the bank's own word that nothing will be added counts.
    """
    is_over = account.bank_date is not None and statement.to_date < account.bank_date
    return statement.is_complete and (statement.is_final or not is_over)


# --- statements -----------------------------------------------------------------------------------------------------


def begin_statement(account: str, day: date, books: Books) -> Statement:
    """Return a day's fetched statement as far as it was read; a new one if it was never.

    Raises:
        NotFound: the account is not known.
    """
    found = books.find_statement(account, FETCHED, day.isoformat())
    if found is not None:
        return found
    currency = find_accounts([account], books)[0].currency
    return Statement(account, FETCHED, day.isoformat(), day, day, currency)


def record_page(
    read_from: Statement, page: StatementPage, books: Books, recorded_at: datetime, traceparent: str
) -> PageOutcome:
    """Record one page's entries together with the cursor behind it.

    Args:
        read_from: the statement as it was when the page was asked for.
    """
    books.lock_accounts([read_from.account])
    current = books.find_statement(read_from.account, read_from.source, read_from.statement_id) or read_from
    if current.cursor != read_from.cursor:
        return PageOutcome(current, is_stale=True)
    recordings = decide_recordings(page.entries, books.known_entries(read_from.account, page.entries))
    statement = take_page(current, page, recordings, recorded_at)
    books.save_statement(statement)
    new_entries, traceparents = _add_entries(page.entries, recordings, books, recorded_at, traceparent)
    return PageOutcome(statement, new_entries, payment_traceparents=traceparents)


def restart_statement(read: Statement, books: Books) -> Statement:
    """Set reading back to the first page, to mend a statement in which something is missing."""
    books.lock_accounts([read.account])
    current = books.find_statement(read.account, read.source, read.statement_id) or read
    statement = restarted(current)
    books.save_statement(statement)
    return statement


def days_to_fetch(books: Books, now: datetime, retry_after: timedelta, days_max: int) -> dict[str, list[date]]:
    """Return the days whose statements must be read, oldest first, by account.

    These are the bank's current day, and every day since the account was opened that is not proven complete and final;
    one with a flaw is tried again only after `retry_after`.
    """
    accounts = [a for a in books.list_accounts() if a.bank_profile and a.bank_date]
    if not accounts:
        return {}
    since = min(_first_day(a, days_max) for a in accounts)
    statements = books.list_statements([a.identification for a in accounts], since)
    fetched = {(s.account, s.to_date): s for s in statements if s.source == FETCHED}
    return {
        account.identification: [
            day
            for day in _days(_first_day(account, days_max), account.bank_date)
            if _is_due(fetched.get((account.identification, day)), account, now, retry_after)
        ]
        for account in accounts
        if account.bank_date
    }


def _first_day(account: Account, days_max: int) -> date:
    today = account.bank_date or date.min
    opened = account.opened_on or today - timedelta(days=1)
    return max(opened + timedelta(days=1), today - timedelta(days=days_max - 1))


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _is_due(statement: Statement | None, account: Account, now: datetime, retry_after: timedelta) -> bool:
    if statement is None or statement.fetched_at is None or statement.to_date == account.bank_date:
        return True
    if statement.is_final and statement.is_complete:
        return False
    # Once when the bank has moved on to a new day, then at leisure: something is wrong, or the bank is not done yet.
    ended_since = account.bank_date_since is not None and statement.fetched_at <= account.bank_date_since
    return ended_since or now - statement.fetched_at >= retry_after


def import_statements(
    statements: Sequence[tuple[Statement, Sequence[StatementEntry]]],
    books: Books,
    recorded_at: datetime,
    traceparent: str,
) -> list[ImportedStatement]:
    """Record the statements of a file whose balances were proved; what is there already adds nothing.

    An account that no bank profile reaches is made known, and opened with the statement's opening balance.
    """
    books.add_accounts([Account(statement.account, statement.currency) for statement, _ in statements])
    accounts = {a.identification: a for a in books.lock_accounts([s.account for s, _ in statements])}
    imported = [_import(statement, entries, books, recorded_at, traceparent) for statement, entries in statements]
    openings: dict[str, tuple[Money, date]] = {}
    for statement, _ in sorted(statements, key=lambda pair: pair[0].from_date):
        account = accounts[statement.account]
        if not account.bank_profile and account.opened_on is None and statement.opening is not None:
            openings.setdefault(statement.account, (statement.opening, statement.from_date - timedelta(days=1)))
    _open_accounts(openings, books, recorded_at)
    return imported


def _import(
    statement: Statement,
    entries: Sequence[StatementEntry],
    books: Books,
    recorded_at: datetime,
    traceparent: str,
) -> ImportedStatement:
    recordings = decide_recordings(entries, books.known_entries(statement.account, entries))
    _refuse_changed(statement, entries, recordings)
    books.save_statement(replace(statement, fetched_at=recorded_at))
    new_entries, traceparents = _add_entries(entries, recordings, books, recorded_at, traceparent)
    days = [entry.booking_date for entry in entries] or [statement.from_date, statement.to_date]
    return ImportedStatement(statement, min(days), max(days), len(entries), new_entries, traceparents)


def _refuse_changed(statement: Statement, entries: Sequence[StatementEntry], recordings: Sequence[Recording]) -> None:
    changed = [e for e, recording in zip(entries, recordings, strict=True) if recording is Recording.CHANGED]
    if changed:
        raise InvalidRequest(
            "ENTRY_CHANGED",
            f"statement {statement.statement_id} gives entry {changed[0].account_servicer_reference} of "
            f"{changed[0].booking_date} with another amount than a file imported before; nothing was stored. Ask the bank",
            f"对账单 {statement.statement_id} 中明细 {changed[0].account_servicer_reference} 的金额与先前导入的不同，未导入",
            metadata={"statement_id": statement.statement_id, "entry": changed[0].account_servicer_reference},
        )


def _add_entries(
    entries: Sequence[StatementEntry],
    recordings: Sequence[Recording],
    books: Books,
    recorded_at: datetime,
    traceparent: str,
) -> tuple[list[StatementEntry], dict[str, str]]:
    """Return the new entries, and the traceparents of the payments they belong to."""
    books.add_entries(entries, recordings, recorded_at, traceparent)
    new = [entry for entry, recording in zip(entries, recordings, strict=True) if recording is Recording.NEW]
    standings = books.find_standings([entry.instruction_id for entry in new if entry.instruction_id])
    return new, {i: standing.traceparent for i, standing in standings.items() if standing.traceparent}


def list_entries(wanted: EntryFilter, books: Books) -> list[RecordedEntry]:
    """Return statement entries, by booking date, then as they came.

    Raises:
        NotFound: the account named is not known.
    """
    if wanted.account:
        find_accounts([wanted.account], books)
    return books.list_entries(wanted)


def list_postings(wanted: PostingFilter, books: Books) -> list[RecordedPosting]:
    """Return ledger postings, oldest first.

    Raises:
        NotFound: the account named is not known.
    """
    if wanted.account:
        find_accounts([wanted.account], books)
    return books.list_postings(wanted)


# --- proof ----------------------------------------------------------------------------------------------------------


def check_ledger(books: Books) -> None:
    """Return if the books hold: all ledger accounts sum to zero per currency, and the running balances are the postings'.

    Raises:
        LedgerUnbalanced: they do not. A defect of ours or a store that was tampered with: stop and look.
    """
    running = {key: units for key, units in books.sum_running_balances().items() if units}
    posted = {key: units for key, units in books.sum_postings().items() if units}
    check_balanced((Money(currency, units) for (_, currency), units in posted.items()), "the ledger")
    if running != posted:
        raise LedgerUnbalanced("LEDGER_BALANCES_DIFFER", "running balances are not the sums of their postings")
