"""The store behind the port `Books`: SQLAlchemy Core, set-based, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Insert,
    Integer,
    Row,
    Table,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from yinqi.account.booking import PaymentStanding, Standing
from yinqi.account.ledger import Kind, Transaction, available, held, ledger_accounts_of
from yinqi.account.model import (
    Account,
    BankBalance,
    EntryFilter,
    LedgerBalance,
    PostingFilter,
    RecordedEntry,
    RecordedPosting,
)
from yinqi.account.statement import Flaw, Indicator, KnownEntries, Recording, Statement, StatementEntry
from yinqi.account.tables import (
    SEALED_ENTRIES,
    accounts,
    ledger_balances,
    ledger_postings,
    payment_standings,
    statement_entries,
    statement_entry_keys,
    statements,
)
from yinqi.kernel.money import Money
from yinqi.runtime.feed import append
from yinqi.runtime.sealing import sealing_of
from yinqi.runtime.statements import among, prepared

# Below SQLite's limit of variables in one statement (32,766).
_CHUNK = 10_000
_LEDGER_LOCK = 0x5919_1EDE  # any number that no feed or migration lock uses


class SqlBooks:
    """`Books` on one connection, inside the caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_postgresql = connection.dialect.name == "postgresql"

    # --- accounts ---------------------------------------------------------------------------------------------------

    def add_accounts(self, new: Sequence[Account]) -> None:
        rows = {
            a.identification: {
                "identification": a.identification,
                "currency": a.currency,
                "name": a.name,
                "bank_profile": a.bank_profile,
            }
            for a in new
        }
        self._execute_many(_ADD_ACCOUNT[self._connection.dialect.name], [rows[key] for key in sorted(rows)])

    def list_accounts(self, identifications: Sequence[str] = ()) -> list[Account]:
        return self._accounts(identifications, lock=False)

    def lock_accounts(self, identifications: Sequence[str]) -> list[Account]:
        return self._accounts(identifications, lock=True)

    def _accounts(self, identifications: Sequence[str], *, lock: bool) -> list[Account]:
        query = _ACCOUNTS[bool(identifications), lock]
        given = {"ids": sorted(set(identifications))} if identifications else None
        return [_account(row) for row in self._connection.execute(query, given)]

    def save_bank_balances(self, balances: Sequence[BankBalance], recorded_at: datetime) -> None:
        rows = [
            {
                "account": b.account,
                "booked": _units(b.booked),
                "available": _units(b.available),
                "as_of": b.as_of or recorded_at,
                "day": b.bank_date,
                "recorded_at": recorded_at,
            }
            for b in sorted(balances, key=lambda b: b.account)
        ]
        if rows:
            self._connection.execute(_SAVE_BANK_BALANCE, rows)

    def save_opened(self, opened_on: Mapping[str, date]) -> None:
        rows = [{"account": account, "day": day} for account, day in sorted(opened_on.items())]
        if rows:
            self._connection.execute(_SAVE_OPENED, rows)

    # --- ledger -----------------------------------------------------------------------------------------------------

    def lock_ledger(self) -> None:
        if self._is_postgresql:  # SQLite has one writer anyway.
            self._connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LEDGER_LOCK})

    def find_standings(self, instruction_ids: Sequence[str]) -> dict[str, PaymentStanding]:
        found: dict[str, PaymentStanding] = {}
        for chunk in _chunks(list(instruction_ids)):
            for row in self._connection.execute(_FIND_STANDINGS, {"ids": chunk}):
                found[row.instruction_id] = PaymentStanding(
                    row.instruction_id,
                    row.account,
                    Money(row.currency, row.minor_units),
                    Standing(row.standing),
                    row.hold_count,
                    row.traceparent,
                )
        return found

    def save_standings(self, standings: Sequence[PaymentStanding]) -> None:
        self._execute_many(
            _SAVE_STANDING[self._connection.dialect.name],
            [
                {
                    "instruction_id": s.instruction_id,
                    "account": s.account,
                    "currency": s.amount.currency,
                    "minor_units": s.amount.minor_units,
                    "standing": s.standing.value,
                    "hold_count": s.hold_count,
                    "traceparent": s.traceparent,
                }
                for s in standings
            ],
        )

    def find_opening_dates(self, identifications: Iterable[str]) -> dict[str, date]:
        rows = self._connection.execute(_FIND_OPENED, {"ids": list(identifications)})
        return {row.identification: row.opened_on for row in rows}

    def add_transactions(self, transactions: Sequence[Transaction], recorded_at: datetime) -> None:
        rows = [
            {
                "transaction_id": t.transaction_id,
                "ledger_account": posting.ledger_account,
                "currency": posting.amount.currency,
                "minor_units": posting.amount.minor_units,
                "booking_date": t.booking_date,
                "kind": t.kind.value,
                "instruction_id": t.instruction_id,
                "recorded_at": recorded_at,
            }
            for t in transactions
            for posting in t.postings
        ]
        self._execute_many(_ADD_POSTINGS, rows)
        self._add_to_balances(rows)

    def _add_to_balances(self, rows: Sequence[Mapping[str, Any]]) -> None:
        sums: dict[tuple[str, str], int] = {}
        for row in rows:
            key = row["ledger_account"], row["currency"]
            sums[key] = sums.get(key, 0) + row["minor_units"]
        self._execute_many(
            _ADD_TO_BALANCE[self._connection.dialect.name],
            [
                {"ledger_account": account, "currency": currency, "minor_units": units}
                for (account, currency), units in sorted(sums.items())
            ],
        )

    def ledger_balances(self, currencies: Mapping[str, str], at: date | None) -> dict[str, LedgerBalance]:
        found: dict[tuple[str, str], int] = {}
        names = [name(account) for account in currencies for name in (available, held)]
        for chunk in _chunks(names):
            found |= self._balances_now(chunk) if at is None else self._balances_at(chunk, at)
        balances = {
            account: (found.get((available(account), currency)), found.get((held(account), currency)))
            for account, currency in currencies.items()
        }
        return {
            account: LedgerBalance(available_units or 0, held_units or 0)
            for account, (available_units, held_units) in balances.items()
            if available_units is not None or held_units is not None
        }

    def _balances_now(self, names: Sequence[str]) -> dict[tuple[str, str], int]:
        query = select(ledger_balances).where(among(ledger_balances.c.ledger_account, names))
        return {(row.ledger_account, row.currency): row.minor_units for row in self._connection.execute(query)}

    def _balances_at(self, names: Sequence[str], at: date) -> dict[tuple[str, str], int]:
        rows = self._connection.execute(_BALANCES_AT, {"names": names, "at": at})
        return {(row.ledger_account, row.currency): int(row.minor_units) for row in rows}

    def sum_running_balances(self) -> dict[tuple[str, str], int]:
        rows = self._connection.execute(select(ledger_balances))
        return {(row.ledger_account, row.currency): row.minor_units for row in rows}

    def sum_postings(self) -> dict[tuple[str, str], int]:
        table = ledger_postings.c
        query = select(table.ledger_account, table.currency, func.sum(table.minor_units).label("minor_units")).group_by(
            table.ledger_account, table.currency
        )
        return {(row.ledger_account, row.currency): int(row.minor_units) for row in self._connection.execute(query)}

    def list_postings(self, wanted: PostingFilter) -> list[RecordedPosting]:
        table = ledger_postings.c
        query = select(ledger_postings).where(table.sequence > wanted.after)
        if wanted.instruction_id:
            query = query.where(table.instruction_id == wanted.instruction_id)
        if wanted.account:
            query = query.where(table.ledger_account.in_(ledger_accounts_of(wanted.account)))
        return [_posting(row) for row in self._connection.execute(query.order_by(table.sequence).limit(wanted.limit))]

    # --- statements -------------------------------------------------------------------------------------------------

    def find_statement(self, account: str, source: str, statement_id: str) -> Statement | None:
        key = {"of_account": account, "of_source": source, "of_id": statement_id}
        row = self._connection.execute(_FIND_STATEMENT, key).one_or_none()
        return None if row is None else _statement(row)

    def list_statements(self, identifications: Sequence[str], since: date) -> list[Statement]:
        query = select(statements).where(statements.c.account.in_(list(identifications)), statements.c.to_date >= since)
        return [_statement(row) for row in self._connection.execute(query)]

    def statements_touching(self, identifications: Sequence[str], day: date) -> list[Statement]:
        given = {"accounts": list(identifications), "day": day}
        return [_statement(row) for row in self._connection.execute(_STATEMENTS_TOUCHING, given)]

    def save_statement(self, statement: Statement) -> None:
        self._connection.execute(_SAVE_STATEMENT[self._connection.dialect.name], [_statement_row(statement)])

    def known_entries(self, account: str, entries: Sequence[StatementEntry]) -> KnownEntries:
        known: dict[tuple[date, str], dict[str, int]] = {}
        days = sorted({entry.booking_date for entry in entries})
        table = statement_entry_keys.c
        for chunk in _chunks([entry.account_servicer_reference for entry in entries]):
            query = select(statement_entry_keys).where(
                table.account == account,
                table.booking_date.in_(days),
                table.account_servicer_reference.in_(chunk),
            )
            for row in self._connection.execute(query):
                key = row.booking_date, row.account_servicer_reference
                known.setdefault(key, {})[row.source] = row.signed_minor_units
        return known

    def add_entries(
        self,
        entries: Sequence[StatementEntry],
        recordings: Sequence[Recording],
        recorded_at: datetime,
        traceparent: str,
    ) -> None:
        pairs = list(zip(entries, recordings, strict=True))
        self._execute_many(
            _ADD_ENTRY_KEYS,
            [
                {
                    "account": entry.account,
                    "booking_date": entry.booking_date,
                    "account_servicer_reference": entry.account_servicer_reference,
                    "source": entry.source,
                    "signed_minor_units": entry.signed_minor_units,
                }
                for entry, recording in pairs
                if recording in (Recording.NEW, Recording.CONFIRMED)
            ],
        )
        new = [_entry_row(e, recorded_at, traceparent) for e, recording in pairs if recording is Recording.NEW]
        append(
            self._connection,
            statement_entries,
            sealing_of(self._connection).seal(self._connection, SEALED_ENTRIES, new),
        )

    def list_entries(self, wanted: EntryFilter) -> list[RecordedEntry]:
        table = statement_entries.c
        query = select(statement_entries)
        if wanted.account:
            query = query.where(table.account == wanted.account)
        if wanted.instruction_id:
            query = query.where(table.instruction_id == wanted.instruction_id)
        if wanted.from_date:
            query = query.where(table.booking_date >= wanted.from_date)
        if wanted.to_date:
            query = query.where(table.booking_date <= wanted.to_date)
        if wanted.after:
            day, sequence = wanted.after
            later = and_(table.booking_date == day, table.sequence > sequence)
            query = query.where(or_(table.booking_date > day, later))
        query = query.order_by(table.booking_date, table.sequence).limit(wanted.limit)
        return _recorded_entries(self._connection, self._connection.execute(query).all())

    # ----------------------------------------------------------------------------------------------------------------

    def _execute_many(self, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, list(rows))


def read_entries_after(connection: Connection, after: int, limit: int) -> list[RecordedEntry]:
    """Return up to `limit` entries of the feed above a sequence, ascending (for runtime.feed.Feed)."""
    return _recorded_entries(connection, connection.execute(_ENTRIES_AFTER, {"after": after, "limit": limit}).all())


# --- statements that every booking and every page of a statement runs ----------------------------------------------

_OF_ACCOUNTS = select(accounts).order_by(accounts.c.identification)
_NAMED_ACCOUNTS = _OF_ACCOUNTS.where(among(accounts.c.identification, "ids"))
_ACCOUNTS = {  # by: some only, locked
    (False, False): prepared(_OF_ACCOUNTS),
    (True, False): prepared(_NAMED_ACCOUNTS),
    (False, True): prepared(_OF_ACCOUNTS.with_for_update()),
    (True, True): prepared(_NAMED_ACCOUNTS.with_for_update()),
}
_SAVE_BANK_BALANCE = prepared(
    update(accounts)
    .where(accounts.c.identification == bindparam("account"))
    .values(
        bank_booked_minor_units=bindparam("booked"),
        bank_available_minor_units=bindparam("available"),
        bank_as_of=bindparam("as_of"),
        bank_date=bindparam("day"),
        bank_date_since=case(
            (accounts.c.bank_date == bindparam("day"), accounts.c.bank_date_since),
            else_=bindparam("recorded_at", type_=accounts.c.bank_date_since.type),
        ),
    )
)
_SAVE_OPENED = prepared(
    update(accounts).where(accounts.c.identification == bindparam("account")).values(opened_on=bindparam("day"))
)
_FIND_STANDINGS = prepared(select(payment_standings).where(among(payment_standings.c.instruction_id, "ids")))
_FIND_OPENED = prepared(
    select(accounts.c.identification, accounts.c.opened_on).where(
        among(accounts.c.identification, "ids"), accounts.c.opened_on.is_not(None)
    )
)
_FIND_STATEMENT = prepared(
    select(statements).where(
        statements.c.account == bindparam("of_account"),
        statements.c.source == bindparam("of_source"),
        statements.c.statement_id == bindparam("of_id"),
    )
)
_STATEMENTS_TOUCHING = prepared(
    select(statements).where(
        among(statements.c.account, "accounts"),
        or_(statements.c.from_date == bindparam("day"), statements.c.to_date == bindparam("day")),
    )
)
_ADD_ENTRY_KEYS = prepared(insert(statement_entry_keys))
_ADD_POSTINGS = prepared(insert(ledger_postings))
_BALANCES_AT = prepared(
    select(
        ledger_postings.c.ledger_account,
        ledger_postings.c.currency,
        func.sum(ledger_postings.c.minor_units).label("minor_units"),
    )
    .where(among(ledger_postings.c.ledger_account, "names"), ledger_postings.c.booking_date <= bindparam("at"))
    .group_by(ledger_postings.c.ledger_account, ledger_postings.c.currency)
)
_ENTRIES_AFTER = prepared(
    select(statement_entries)
    .where(statement_entries.c.sequence > bindparam("after"))
    .order_by(statement_entries.c.sequence)
    .limit(bindparam("limit", type_=Integer))
)


def _upserts(table: Table, keys: Sequence[str], changes: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
    """Return, by dialect, an insert that changes the row instead where there is one."""
    inserts: dict[str, Any] = {"postgresql": postgresql.insert(table), "sqlite": sqlite.insert(table)}
    return {
        name: prepared(new.on_conflict_do_update(index_elements=keys, set_=changes(new.excluded)))
        for name, new in inserts.items()
    }


def _unless_empty(new: Any, old: Any) -> Any:
    return case((new != "", new), else_=old)


_ADD_ACCOUNT = _upserts(
    accounts,
    ["identification"],
    lambda new: {name: _unless_empty(new[name], accounts.c[name]) for name in ("name", "bank_profile")},
)
_SAVE_STANDING = _upserts(
    payment_standings, ["instruction_id"], lambda new: {"standing": new.standing, "hold_count": new.hold_count}
)
_ADD_TO_BALANCE = _upserts(
    ledger_balances,
    ["ledger_account", "currency"],
    lambda new: {"minor_units": ledger_balances.c.minor_units + new.minor_units},
)
_STATEMENT_KEY = ("account", "source", "statement_id")
_SAVE_STATEMENT = _upserts(
    statements, _STATEMENT_KEY, lambda new: {c.name: new[c.name] for c in statements.c if c.name not in _STATEMENT_KEY}
)


def _chunks(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK))


def _units(amount: Money | None) -> int | None:
    return None if amount is None else amount.minor_units


def _money(currency: str, minor_units: int | None) -> Money | None:
    return None if minor_units is None else Money(currency, minor_units)


def _account(row: Row[Any]) -> Account:
    return Account(
        row.identification,
        row.currency,
        row.name,
        row.bank_profile,
        row.opened_on,
        _money(row.currency, row.bank_booked_minor_units),
        _money(row.currency, row.bank_available_minor_units),
        row.bank_as_of,
        row.bank_date,
        row.bank_date_since,
    )


def _posting(row: Row[Any]) -> RecordedPosting:
    return RecordedPosting(
        row.sequence,
        row.transaction_id,
        row.ledger_account,
        Money(row.currency, row.minor_units),
        row.booking_date,
        Kind(row.kind),
        row.instruction_id,
        row.recorded_at,
    )


def _statement(row: Row[Any]) -> Statement:
    return Statement(
        row.account,
        row.source,
        row.statement_id,
        row.from_date,
        row.to_date,
        row.currency,
        _money(row.currency, row.opening_minor_units),
        _money(row.currency, row.closing_minor_units),
        row.cursor,
        _money(row.currency, row.balance_at_cursor_minor_units),
        row.entry_count,
        row.net_minor_units,
        row.is_final,
        Flaw(row.flaw),
        row.fetched_at,
    )


def _statement_row(statement: Statement) -> dict[str, Any]:
    return {
        "account": statement.account,
        "source": statement.source,
        "statement_id": statement.statement_id,
        "from_date": statement.from_date,
        "to_date": statement.to_date,
        "currency": statement.currency,
        "opening_minor_units": _units(statement.opening),
        "closing_minor_units": _units(statement.closing),
        "cursor": statement.cursor,
        "balance_at_cursor_minor_units": _units(statement.balance_at_cursor),
        "entry_count": statement.entry_count,
        "net_minor_units": statement.net_minor_units,
        "is_final": statement.is_final,
        "flaw": statement.flaw.value,
        "fetched_at": statement.fetched_at,
    }


def _entry_row(entry: StatementEntry, recorded_at: datetime, traceparent: str) -> dict[str, Any]:
    return {
        "occurred_at": recorded_at,
        "account": entry.account,
        "account_servicer_reference": entry.account_servicer_reference,
        "instruction_id": entry.instruction_id,
        "end_to_end_id": entry.end_to_end_id,
        "currency": entry.amount.currency,
        "minor_units": entry.amount.minor_units,
        "credit_debit_indicator": entry.indicator.value,
        "is_reversal": entry.is_reversal,
        "booking_date": entry.booking_date,
        "value_date": entry.value_date,
        "counterparty_name": entry.counterparty_name,
        "counterparty_account": entry.counterparty_account,
        "remittance_information": entry.remittance_information,
        "balance_after_minor_units": _units(entry.balance_after),
        "source": entry.source,
        "traceparent": traceparent,
    }


def _recorded_entries(connection: Connection, rows: Sequence[Row[Any]]) -> list[RecordedEntry]:
    opened = sealing_of(connection).open(connection, SEALED_ENTRIES, rows)
    return [_recorded_entry(_EntryRow._make(row)) for row in opened]


_EntryRow = namedtuple("_EntryRow", statement_entries.c.keys())  # type: ignore[misc]


def _recorded_entry(row: Any) -> RecordedEntry:
    entry = StatementEntry(
        account=row.account,
        account_servicer_reference=row.account_servicer_reference,
        amount=Money(row.currency, row.minor_units),
        indicator=Indicator(row.credit_debit_indicator),
        booking_date=row.booking_date,
        source=row.source,
        value_date=row.value_date,
        instruction_id=row.instruction_id,
        end_to_end_id=row.end_to_end_id,
        is_reversal=row.is_reversal,
        counterparty_name=row.counterparty_name,
        counterparty_account=row.counterparty_account,
        remittance_information=row.remittance_information,
        balance_after=_money(row.currency, row.balance_after_minor_units),
    )
    return RecordedEntry(row.sequence, row.occurred_at, row.traceparent, entry)
