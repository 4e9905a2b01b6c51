"""Asks banks what became of payments. Silence is reported as UNKNOWN, absence only with its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from yinqi.gateway import use_cases
from yinqi.gateway.decisions import (
    QueryPlan,
    accounts_without_control,
    conclude,
    is_written_off,
    paced,
    plan_queries,
)
from yinqi.gateway.exchange import Bank, BankCaller, Exchange, Failure, Step
from yinqi.gateway.limits import run_all
from yinqi.gateway.model import (
    Attempt,
    PaymentRecord,
    PaymentReference,
    StatusReport,
)
from yinqi.gateway.profile import Profiles
from yinqi.gateway.repository import SqlStore
from yinqi.gateway.status import BankStatus
from yinqi.kernel.clock import BANK_ZONE, Clock
from yinqi.kernel.errors import Overloaded, YinqiError
from yinqi.runtime.database import Database

_KNOWN = (BankStatus.PROCESSING, BankStatus.SETTLED, BankStatus.RETURNED)
_UNVERIFIED = frozenset(
    {"ANSWER_UNREADABLE", "BAD_SIGNATURE", "REQID_MISMATCH", "SIGTIM_OUTSIDE_WINDOW", "ANSWER_MALFORMED"}
)
Attempts = Mapping[str, Sequence[Attempt]]


class Querier:
    """Queries payments; see `query`."""

    def __init__(
        self, banks: Mapping[str, Bank], profiles: Profiles, database: Database, caller: BankCaller, clock: Clock
    ) -> None:
        self._banks = banks
        self._profiles = profiles
        self._database = database
        self._caller = caller
        self._clock = clock

    async def query(self, references: Sequence[PaymentReference]) -> list[StatusReport]:
        """Return one report per reference, in order; safe to repeat.

        What our own record proves never to have left is said at once; no bank could say more.

        Raises:
            Overloaded: too many calls wait for a bank.
        """
        ids = [reference.instruction_id for reference in references]
        attempts = await self._database.read(lambda connection: SqlStore(connection).registry.find(ids))
        by_bank: dict[str, dict[str, PaymentReference]] = {}
        reports: dict[str, StatusReport] = {}
        for reference in references:
            account = self._profiles.account(reference.debtor_account)
            if is_written_off(attempts.get(reference.instruction_id, ()), reference.attempt, reference.release):
                reports[reference.instruction_id] = self._never_left(reference)
            elif account is None:
                reports[reference.instruction_id] = self._unknown(reference, "ACCOUNT_UNREACHABLE")
            else:
                by_bank.setdefault(account.profile, {})[reference.instruction_id] = reference
        found = [self._query_bank(self._banks[name], list(its.values()), attempts) for name, its in by_bank.items()]
        for name, part in zip(by_bank, await run_all(found), strict=True):
            spacing = timedelta(milliseconds=self._profiles.profile(name).in_doubt.query_interval_ms)
            reports |= {instruction_id: paced(report, spacing) for instruction_id, report in part.items()}
        return [reports[reference.instruction_id] for reference in references]

    async def _query_bank(
        self, bank: Bank, references: Sequence[PaymentReference], attempts: Attempts
    ) -> dict[str, StatusReport]:
        accounts = sorted({reference.debtor_account for reference in references})
        known = await self._database.read(lambda connection: SqlStore(connection).registry.known_references(accounts))
        plans = plan_queries(
            references,
            known,
            {one: its[0].claimed_at.astimezone(BANK_ZONE).date() for one, its in attempts.items()},
            self._clock.today(),
            references_max=bank.profile.batch.references_max,
            days_max=bank.profile.in_doubt.query_days_max,
        )
        companies = [self._company_of(plan.asked[0].debtor_account) for plan in plans]
        tickets = await bank.limits.reserve("query", companies)

        async def run(index: int) -> list[StatusReport]:
            await tickets[index].take()
            try:
                return await self._ask(bank, plans[index], attempts)
            finally:
                tickets[index].give_back()

        parts = await run_all([run(index) for index in range(len(plans))], tickets)
        return {report.instruction_id: report for part in parts for report in part}

    async def _ask(self, bank: Bank, plan: QueryPlan, attempts: Attempts) -> list[StatusReport]:
        try:
            outgoing = await bank.made(lambda: bank.dialect.make_query(plan.instruction_ids, plan.first, plan.last))
        except YinqiError as error:  # the bank's key or our device is not there
            return [self._unknown(one, "BANK_UNAVAILABLE", error.reason, error.message) for one in plan.asked]
        asked_at = self._asked_at(bank, plan, attempts)
        exchange = await self._caller.call(
            bank,
            outgoing,
            "query",
            lambda message, store: use_cases.record_request(message, plan.instruction_ids, store),
            bank.dialect.read_query,
            [reference.traceparent for reference in plan.asked],
        )
        reports = await self._conclude(bank, plan, attempts, asked_at, exchange)
        self._caller.tell("bank.query", bank, exchange.story, _steps(plan, reports))
        return reports

    def _asked_at(self, bank: Bank, plan: QueryPlan, attempts: Attempts) -> dict[str, datetime]:
        """Return by payment when a query that leaves now was asked."""
        window = timedelta(milliseconds=bank.profile.in_doubt.safe_window_ms)
        last_byte_after, now = timedelta(milliseconds=bank.profile.last_byte_ms), self._clock.now()
        ids = {reference.instruction_id for reference in plan.asked}
        return {
            one: self._caller.since_sent.asked_at(attempts.get(one, ()), now, window, last_byte_after) for one in ids
        }

    async def _conclude(
        self,
        bank: Bank,
        plan: QueryPlan,
        attempts: Attempts,
        asked_at: Mapping[str, datetime],
        exchange: Exchange[list[PaymentRecord]],
    ) -> list[StatusReport]:
        received, records = exchange.received, exchange.value
        if records is None:
            await self._database.run(lambda connection: use_cases.record_answer(received, SqlStore(connection)))
            reason, code, text = _failure_reason(exchange.failure)
            return [self._unknown(one, reason, code, text, received.archive_id) for one in plan.asked]
        reports, absences = conclude(
            plan,
            records,
            attempts,
            await self._permitted(bank, plan, records),
            archive_id=received.archive_id,
            queried_at=asked_at,
            reported_at=exchange.received_at,
            safe_window_ms=bank.profile.in_doubt.safe_window_ms,
        )
        known = [report.instruction_id for report in reports if report.status in _KNOWN]
        store_it = partial(use_cases.record_findings, received, known, absences, exchange.received_at)
        await self._database.run(lambda connection: store_it(SqlStore(connection)))
        return reports

    async def _permitted(self, bank: Bank, plan: QueryPlan, records: Sequence[PaymentRecord]) -> frozenset[str]:
        """Ask the bank whether we may query at all, where no payment came back to show it."""
        blind = accounts_without_control(plan, records)
        if not blind:
            return frozenset()
        try:
            (ticket,) = await bank.limits.reserve("other", [self._company_of(sorted(blind)[0])])
        except Overloaded:
            return frozenset()  # No proof this time; the next query tries again.
        concerned = [one.instruction_id for one in plan.asked if one.debtor_account in blind]
        await ticket.take()
        try:
            exchange = await self._caller.call(
                bank,
                await bank.made(bank.dialect.make_permission_query),
                "other",
                lambda message, store: use_cases.record_request(message, concerned, store),
                bank.dialect.read_permissions,
            )
        finally:
            ticket.give_back()
        received = exchange.received
        await self._database.run(lambda connection: use_cases.record_answer(received, SqlStore(connection)))
        return (exchange.value or frozenset()) & blind

    def _company_of(self, debtor_account: str) -> str:
        account = self._profiles.account(debtor_account)
        return "" if account is None else account.company

    def _never_left(self, reference: PaymentReference) -> StatusReport:
        text = (
            "on record: nothing left for the bank under this release, and nothing will 有记录证明未曾发出，亦不会发出"
        )
        return StatusReport(
            reference.instruction_id,
            BankStatus.NOT_SENT,
            self._clock.now(),
            "NOT_SENT_ON_RECORD",
            reason_text=text,
        )

    def _unknown(
        self, reference: PaymentReference, reason: str, code: str = "", text: str = "", archive_id: str = ""
    ) -> StatusReport:
        now = self._clock.now()
        return StatusReport(
            reference.instruction_id, BankStatus.UNKNOWN, now, reason, code, text, archive_id=archive_id
        )


def _failure_reason(failure: Failure | None) -> tuple[str, str, str]:
    if failure is None:
        return "BANK_UNAVAILABLE", "", ""
    if failure.is_refusal or failure.reason in _UNVERIFIED:
        return failure.reason, failure.code, failure.text
    return "BANK_UNAVAILABLE", failure.code or failure.reason, failure.text


def _steps(plan: QueryPlan, reports: Sequence[StatusReport]) -> list[Step]:
    return [
        Step(reference.instruction_id, reference.traceparent, report.status, report.reason_code)
        for reference, report in zip(plan.asked, reports, strict=True)
    ]
