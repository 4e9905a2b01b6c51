"""Reads balances, statement entries, returned payments and receipts from banks. All of it is safe to repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import TypeVar

from yinqi.gateway import use_cases
from yinqi.gateway.exchange import Bank, BankCaller
from yinqi.gateway.limits import run_all
from yinqi.gateway.model import (
    RETURN_DAYS_MAX,
    ArchivedMessage,
    BankAccount,
    BankBalance,
    EntryPage,
    PaymentRecord,
    Receipt,
    StatusReport,
)
from yinqi.gateway.ports import Answer, Outgoing
from yinqi.gateway.profile import Profiles
from yinqi.gateway.repository import SqlStore
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import FailedPrecondition, InvalidRequest, NotFound, Overloaded, Unavailable, YinqiError
from yinqi.runtime.database import Database

T = TypeVar("T")


class AccountReader:
    """Reads accounts at banks."""

    def __init__(
        self, banks: Mapping[str, Bank], profiles: Profiles, database: Database, caller: BankCaller, clock: Clock
    ) -> None:
        self._banks = banks
        self._profiles = profiles
        self._database = database
        self._caller = caller
        self._clock = clock

    async def balances(self, identifications: Sequence[str]) -> list[BankBalance]:
        """Return one balance per account, in order; an account's failure stays its own.

        Raises:
            Overloaded: too many calls wait for a bank.
        """
        found: dict[str, BankBalance] = {}
        by_bank: dict[str, dict[str, BankAccount]] = {}
        for identification in identifications:
            account = self._profiles.account(identification)
            if account is None:
                text = "no bank profile reaches the account 账户未配置银行"
                found[identification] = BankBalance(identification, error_code="ACCOUNT_UNREACHABLE", error_text=text)
            else:
                by_bank.setdefault(account.profile, {})[identification] = account
        calls = [
            self._balances_of(self._banks[name], chunk)
            for name, accounts in by_bank.items()
            for chunk in _chunks(list(accounts.values()), self._banks[name].profile.batch.balances_max)
        ]
        for part in await run_all(calls):
            found |= {balance.account: balance for balance in part}
        return [found[identification] for identification in identifications]

    async def entries(self, identification: str, day: date | None, cursor: str) -> EntryPage:
        """Return one page of a statement; `day` None: the bank's current day, or the cursor's.

        Raises:
            NotFound: no profile reaches the account. InvalidRequest: the cursor is not ours.
            Unavailable: no usable answer. FailedPrecondition: the bank refused.
        """
        account, bank = self._reach(identification)
        if day is None:
            day = bank.dialect.cursor_day(cursor) if cursor else await self._bank_day(account, bank)
        wanted = day
        return await self._call(
            bank,
            account,
            lambda: bank.dialect.make_entry_query(account, wanted, cursor),
            lambda answer: bank.dialect.read_entries(answer, account, wanted),
        )

    async def returns(
        self, identifications: Sequence[str], first: date, last: date
    ) -> tuple[list[StatusReport], list[str]]:
        """Return the payments that came back between two dates, both included, and the accounts not known this time.

        Accounts of one bank are asked for together.

        Raises:
            InvalidRequest: the range is empty or over RETURN_DAYS_MAX days.
            NotFound, Unavailable, FailedPrecondition: as for `entries`, if there is no answer for any account.
        """
        if not 0 <= (last - first) / timedelta(days=1) < RETURN_DAYS_MAX:
            raise InvalidRequest(
                "DATE_RANGE_INVALID",
                f"from_date to to_date: 1 to {RETURN_DAYS_MAX} days.",
                f"日期范围须为 1 至 {RETURN_DAYS_MAX} 天。",
            )
        by_bank: dict[str, list[BankAccount]] = {}
        failures: dict[str, YinqiError] = {}
        for identification in identifications:
            try:
                account, _ = self._reach(identification)
                by_bank.setdefault(account.profile, []).append(account)
            except NotFound as error:
                failures[identification] = error
        reports: list[StatusReport] = []
        for name, accounts in by_bank.items():
            try:
                reports += await self._returns_of(self._banks[name], accounts, first, last)
            except (Unavailable, FailedPrecondition, Overloaded) as error:
                failures |= {account.identification: error for account in accounts}
        if len(failures) == len(identifications):
            raise next(iter(failures.values()))
        return reports, list(failures)

    async def receipts(
        self, bank: Bank, account: BankAccount, instruction_ids: Sequence[str]
    ) -> tuple[ArchivedMessage, list[Receipt]]:
        """Return the receipts of payments of one bank, and the answer they came in.

        Args:
            account: one of theirs; its company takes the turn.
        Raises:
            Unavailable: no usable answer, or a receipt is not the bank's. FailedPrecondition: the bank refused.
            Overloaded: too many calls wait for the bank.
        """
        archived: list[ArchivedMessage] = []
        found = await self._call(
            bank,
            account,
            lambda: bank.dialect.make_receipt_query(instruction_ids),
            lambda answer: bank.dialect.read_receipts(answer, frozenset(instruction_ids)),
            archived.append,
        )
        return archived[0], found

    async def _returns_of(
        self, bank: Bank, accounts: Sequence[BankAccount], first: date, last: date
    ) -> list[StatusReport]:
        wanted = {account.identification for account in accounts}
        reports: list[StatusReport] = []
        page_key = ""
        for _ in range(bank.profile.batch.pages_max):
            page, page_key = await self._return_page(bank, accounts, first, last, page_key)
            # What no caller may see is not theirs: without an account named, the bank tells of all.
            reports += [report for account, report in page if account in wanted]
            if not page_key:
                return reports
        raise Unavailable(
            "TOO_MANY_PAGES",
            f"The bank gave more than {bank.profile.batch.pages_max} pages; ask for fewer days.",
            "页数过多，请缩小日期范围。",
        )

    async def _return_page(
        self, bank: Bank, accounts: Sequence[BankAccount], first: date, last: date, page_key: str
    ) -> tuple[list[tuple[str, StatusReport]], str]:
        archived: list[ArchivedMessage] = []
        only = accounts[0] if len(accounts) == 1 else None
        records, next_key = await self._call(
            bank,
            accounts[0],
            lambda: bank.dialect.make_return_query(only, first, last, page_key),
            bank.dialect.read_returns,
            archived.append,
        )
        found = [(one.debtor_account, _return_report(one, archived[0].archive_id, self._clock)) for one in records]
        return found, next_key

    async def _balances_of(self, bank: Bank, accounts: Sequence[BankAccount]) -> list[BankBalance]:
        try:
            return await self._call(
                bank,
                accounts[0],
                lambda: bank.dialect.make_balance_query(accounts),
                lambda answer: bank.dialect.read_balances(answer, accounts, self._clock.now()),
            )
        except (Unavailable, FailedPrecondition) as error:
            code = error.metadata.get("bank_code") or error.reason
            return [
                BankBalance(account.identification, error_code=code, error_text=error.message) for account in accounts
            ]

    async def _bank_day(self, account: BankAccount, bank: Bank) -> date:
        balance = (await self._balances_of(bank, [account]))[0]
        if balance.error_code:
            raise Unavailable("BANK_UNAVAILABLE", balance.error_text, metadata={"bank_code": balance.error_code})
        return balance.bank_date or self._clock.today()

    def _reach(self, identification: str) -> tuple[BankAccount, Bank]:
        account = self._profiles.account(identification)
        if account is None:
            raise NotFound(
                "ACCOUNT_UNREACHABLE",
                "No bank profile reaches this account; add it to one.",
                "账户未配置银行，请在银行配置中添加。",
            )
        return account, self._banks[account.profile]

    async def _call(
        self,
        bank: Bank,
        account: BankAccount,
        make: Callable[[], Outgoing],
        read: Callable[[Answer], T],
        on_archived: Callable[[ArchivedMessage], None] = lambda _: None,
    ) -> T:
        (ticket,) = await bank.limits.reserve("statement", [account.company])
        await ticket.take()
        try:
            outgoing = await bank.made(make)
            exchange = await self._caller.call(
                bank, outgoing, "statement", lambda message, store: use_cases.record_request(message, [], store), read
            )
        finally:
            ticket.give_back()
        received = exchange.received
        await self._database.run(lambda connection: use_cases.record_answer(received, SqlStore(connection)))
        on_archived(received)
        failure = exchange.failure
        if failure is not None:
            raise _error(bank, failure.reason, failure.code, failure.text, is_refusal=failure.is_refusal)
        if exchange.value is None:
            raise _error(bank, "NO_ANSWER", "", "", is_refusal=False)
        return exchange.value


def _error(bank: Bank, reason: str, code: str, text: str, *, is_refusal: bool) -> YinqiError:
    facts = {"bank_profile": bank.profile.name, "bank_code": code or reason}
    if is_refusal:
        return FailedPrecondition(
            "BANK_REFUSED",
            f"Bank {bank.profile.name} refused: {code} {text}",
            f"银行拒绝：{code} {text}",
            metadata=facts,
        )
    return Unavailable(
        "BANK_UNAVAILABLE",
        f"Bank {bank.profile.name} gave no usable answer: {reason} {code} {text}".strip(),
        "银行没有给出可用应答，请稍后重试。",
        metadata=facts,
    )


def _return_report(record: PaymentRecord, archive_id: str, clock: Clock) -> StatusReport:
    return StatusReport(
        record.instruction_id,
        record.status,
        clock.now(),
        record.reason_code,
        record.proprietary_code,
        record.reason_text,
        record.account_servicer_reference,
        record.booking_date,
        archive_id,
    )


def _chunks(accounts: Sequence[BankAccount], size: int) -> list[Sequence[BankAccount]]:
    return [accounts[start : start + size] for start in range(0, len(accounts), size)]
