"""Loops that act at their own pace: book the payments' events, keep accounts and balances fresh, read statements."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, cast

import structlog
from sqlalchemy import Connection

from yinqi.account import story, use_cases
from yinqi.account.booking import PaymentMove
from yinqi.account.model import Account, Booked, PageOutcome
from yinqi.account.ports import Bank, Payments
from yinqi.account.repository import SqlBooks
from yinqi.account.settings import AccountSettings
from yinqi.account.statement import FLAW_TEXTS, Flaw, Statement
from yinqi.kernel.clock import Clock, epoch_ns
from yinqi.kernel.errors import FailedPrecondition, NotFound, Unavailable, YinqiError
from yinqi.runtime import attributes
from yinqi.runtime.database import Database
from yinqi.runtime.feed import Follower
from yinqi.runtime.telemetry import Telemetry, untraced

_log = structlog.get_logger(__name__)

# What reading a day again from its first page may mend.
_MENDABLE = (Flaw.BALANCE_GAP, Flaw.SUM_DIFFERS, Flaw.ENTRY_CHANGED)


class PaymentBooker:
    """Follows the payment service's events and books each once."""

    def __init__(self, database: Database, payments: Payments, clock: Clock, telemetry: Telemetry) -> None:
        self._payments = payments
        self._clock = clock
        self._telemetry = telemetry
        self._booked: Sequence[Booked] = ()
        self.follower = Follower("payment", database, self._follow, lambda move: move.sequence, self._apply)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop` is set."""
        await self.follower.run(stop)

    async def _follow(self, after: int) -> AsyncIterator[Sequence[PaymentMove]]:
        async with aclosing(cast("Any", self._payments.follow(after))) as batches:
            async for moves in batches:
                self._booked, start_ns = (), epoch_ns()
                yield moves
                # Asked for the next batch: this one is committed, so its story may be told.
                self._tell(self._booked, start_ns)

    def _apply(self, connection: Connection, moves: Sequence[PaymentMove]) -> None:
        self._booked = use_cases.book_payment_moves(moves, SqlBooks(connection), self._clock.now())

    def _tell(self, booked: Sequence[Booked], start_ns: int) -> None:
        story.tell_booked(self._telemetry, booked, start_ns)
        for b in booked:
            if b.is_contradiction:
                _log.error(
                    "payment event contradicts the books; nothing was booked, somebody must look at it",
                    instruction_id=b.move.instruction_id,
                    status=b.move.status,
                    sequence=b.move.sequence,
                )


class AccountRefresher:
    """Keeps the list of accounts and the bank's balances fresh; opens an account's ledger at first sight."""

    def __init__(self, database: Database, bank: Bank, clock: Clock, settings: AccountSettings) -> None:
        self._database = database
        self._bank = bank
        self._clock = clock
        self._batch_max = settings.account_balance_batch_max
        self._list_interval_s = settings.account_list_interval_s
        self._listed_at: float | None = None
        self._errors: dict[str, str] = {}

    async def run_once(self) -> None:
        """Learn the accounts when that is due, then ask for all balances.

        Raises:
            Unavailable: the gateway is away; what came before that is kept.
        """
        with untraced():
            if self._listed_at is None or asyncio.get_running_loop().time() - self._listed_at >= self._list_interval_s:
                await self.learn_accounts()
            await self.refresh_balances()

    async def learn_accounts(self) -> None:
        """Record the accounts that the bank profiles reach."""
        accounts = await self._bank.list_accounts()
        await self._database.run(lambda connection: use_cases.learn_accounts(accounts, SqlBooks(connection)))
        self._listed_at = asyncio.get_running_loop().time()

    async def refresh_balances(self, identifications: Sequence[str] = ()) -> None:
        """Ask for the balances of the named accounts, or of all that a bank profile reaches, in batches."""
        known = await self._database.read(lambda connection: SqlBooks(connection).list_accounts(identifications))
        reachable = [account.identification for account in known if account.bank_profile]
        for start in range(0, len(reachable), self._batch_max):
            await self._refresh_batch(reachable[start : start + self._batch_max])

    async def _refresh_batch(self, identifications: Sequence[str]) -> None:
        balances = await self._bank.get_balances(identifications)
        now = self._clock.now()
        opened = await self._database.run(
            lambda connection: use_cases.record_bank_balances(balances, SqlBooks(connection), now)
        )
        if opened:
            _log.info("accounts opened in the ledger", count=len(opened))
        for balance in balances:
            _log_change(self._errors, balance.account, balance.error_code, "bank gives no balance")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch of a day's statement did."""

    statement: Statement
    new_entry_count: int
    page_count: int


@dataclass(slots=True)
class _Reading:
    """One fetch on its way; `began_at`: the cursor that reading began at."""

    account: str
    day: date
    traceparent: str
    start_ns: int
    began_at: str = ""
    page_count: int = 0
    new_entry_count: int = 0


class StatementFetcher:
    """Reads statements page by page; each page's entries and the cursor behind it are stored in one transaction."""

    def __init__(
        self, database: Database, bank: Bank, clock: Clock, telemetry: Telemetry, settings: AccountSettings
    ) -> None:
        self._database = database
        self._bank = bank
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._retry_s = settings.account_statement_retry_s
        self._places = asyncio.Semaphore(settings.account_fetches_max)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._mended_at: dict[tuple[str, date], float] = {}
        self._errors: dict[str, str] = {}

    async def run_once(self) -> None:
        """Read on every statement that is due: the bank's current day of each account, and days not proven complete."""
        now, settings = self._clock.now(), self._settings
        due = await self._database.read(
            lambda connection: use_cases.days_to_fetch(
                SqlBooks(connection), now, timedelta(seconds=self._retry_s), settings.account_statement_days_max
            )
        )
        with untraced():
            await asyncio.gather(*(self._fetch_days(account, days) for account, days in due.items()))

    async def _fetch_days(self, account: str, days: Sequence[date]) -> None:
        """Fetch one account's days; its failure is logged once and must not hold up the other accounts."""
        try:
            async with self._places:
                for day in days:
                    fetched = await self.fetch(account, day)
                    _log_change(
                        self._errors, f"{account} {day}", fetched.statement.flaw.value, "statement is not complete"
                    )
        except YinqiError as error:
            _log_change(self._errors, account, error.reason, "statement cannot be read")
        else:
            self._errors.pop(account, None)

    async def fetch(
        self, account: str, day: date, *, parent_traceparent: str = "", is_mend_wanted: bool = False
    ) -> Fetched:
        """Read a day's statement on from where it was left to its end.

        Args:
            parent_traceparent: of the call that asked for it; "" for a loop.
            is_mend_wanted: read it again from the start if something is missing, however recently that was tried.
        Raises:
            NotFound: unknown account. Unavailable: the gateway or the bank is away; what was read is kept.
        """
        reading = _Reading(account, day, self._telemetry.child_traceparent(parent_traceparent), epoch_ns())
        try:
            async with self._locks[account]:
                statement = await self._read_to_end(reading)
                if statement.flaw in _MENDABLE and reading.began_at and self._may_mend(reading, is_mend_wanted):
                    statement = await self._read_again(reading, statement)
            return Fetched(statement, reading.new_entry_count, reading.page_count)
        finally:
            self._tell(reading, parent_traceparent)

    def _may_mend(self, reading: _Reading, is_mend_wanted: bool) -> bool:
        now, key = asyncio.get_running_loop().time(), (reading.account, reading.day)
        last = self._mended_at.get(key)
        if not is_mend_wanted and last is not None and now - last < self._retry_s:
            return False
        self._mended_at[key] = now
        return True

    async def _read_again(self, reading: _Reading, statement: Statement) -> Statement:
        await self._database.run(lambda connection: use_cases.restart_statement(statement, SqlBooks(connection)))
        return await self._read_to_end(reading)

    async def _read_to_end(self, reading: _Reading) -> Statement:
        statement = await self._database.read(
            lambda connection: use_cases.begin_statement(reading.account, reading.day, SqlBooks(connection))
        )
        reading.began_at = statement.cursor
        for _ in range(self._settings.account_statement_pages_max):
            outcome, has_more = await self._read_page(reading, statement)
            is_stuck = has_more and not outcome.is_stale and outcome.statement.cursor == statement.cursor
            statement = outcome.statement
            if is_stuck:
                break
            if not has_more and not outcome.is_stale:
                return statement
        raise Unavailable(
            "STATEMENT_PAGING_BROKEN",
            f"the bank says that there are more pages of {reading.day} but its cursor comes to no end; ask the bank",
            f"银行 {reading.day} 的明细分页未能结束，请联系银行",
        )

    async def _read_page(self, reading: _Reading, statement: Statement) -> tuple[PageOutcome, bool]:
        start_ns = epoch_ns()
        page = await self._bank.read_page(reading.account, reading.day, statement.cursor)
        now = self._clock.now()
        outcome = await self._database.run(
            lambda connection: use_cases.record_page(statement, page, SqlBooks(connection), now, reading.traceparent)
        )
        reading.page_count += 1
        reading.new_entry_count += len(outcome.new_entries)
        story.tell_entries(
            self._telemetry, outcome.new_entries, outcome.payment_traceparents, reading.traceparent, start_ns
        )
        return outcome, page.has_more

    def _tell(self, reading: _Reading, parent_traceparent: str) -> None:
        """Write the fetch's span, also after a failure: the entries it brought name it."""
        if reading.new_entry_count or parent_traceparent:
            self._telemetry.emit_span(
                "account.fetch_statement",
                traceparent_of_span=reading.traceparent,
                parent_traceparent=parent_traceparent,
                start_ns=reading.start_ns,
                attributes={
                    attributes.BOOKING_DATE: reading.day.isoformat(),
                    attributes.BATCH_SIZE: reading.new_entry_count,
                    "yinqi.statement.pages": reading.page_count,
                },
            )


async def fetch_on_request(
    account: str,
    day: date | None,
    database: Database,
    refresher: AccountRefresher,
    fetcher: StatementFetcher,
    parent_traceparent: str,
) -> Fetched:
    """Fetch balances and one day's statement now; `day` None: the bank's current day.

    Raises:
        NotFound: unknown account, or no bank profile reaches it. Unavailable: the bank is away; what came is kept.
        FailedPrecondition: STATEMENT_INCOMPLETE, everything was read but it does not prove complete.
    """
    await _check_reachable(account, database)
    await refresher.refresh_balances([account])
    known = await _check_reachable(account, database)
    day = day or known.bank_date
    if day is None:
        raise Unavailable(
            "BANK_DATE_UNKNOWN",
            "the bank did not tell its date with this account's balance; name the date to fetch",
            "银行未返回当前日期，请指定日期",
        )
    fetched = await fetcher.fetch(account, day, parent_traceparent=parent_traceparent, is_mend_wanted=True)
    _check_complete(fetched.statement)
    return fetched


async def _check_reachable(account: str, database: Database) -> Account:
    known = await database.read(lambda connection: use_cases.find_accounts([account], SqlBooks(connection)))
    if not known[0].bank_profile:
        raise NotFound(
            "ACCOUNT_NOT_REACHABLE",
            f"no bank profile reaches account …{account[-4:]}; import its statements as files",
            f"账户 …{account[-4:]} 未配置银行接口，请导入对账单文件",
            metadata={"account": account[-4:]},
        )
    return known[0]


def _check_complete(statement: Statement) -> None:
    if statement.flaw in (Flaw.NONE, Flaw.BALANCES_MISSING):
        return
    english, chinese = FLAW_TEXTS[statement.flaw]
    raise FailedPrecondition(
        "STATEMENT_INCOMPLETE",
        f"the statement of {statement.to_date} is not proven complete: {english}; what was fetched is kept",
        f"{statement.to_date} 对账单不完整：{chinese}；已取得的明细已保存",
        metadata={
            "flaw": statement.flaw.value,
            "date": statement.to_date.isoformat(),
            "opening": str(statement.opening),
            "net_minor_units": str(statement.net_minor_units),
            "closing": str(statement.closing),
            "entry_count": str(statement.entry_count),
        },
    )


def _log_change(last: dict[str, str], key: str, reason: str, what: str) -> None:
    """Log a fault when it begins and when it ends, not every two seconds."""
    if last.get(key, "") == reason:
        return
    account, _, day = key.partition(" ")
    if reason:
        last[key] = reason
        _log.warning(what, account=account, booking_date=day, reason=reason)
    else:
        del last[key]
        _log.info(f"no longer: {what}", account=account, booking_date=day)
