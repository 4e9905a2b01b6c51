"""Sends payments to their banks. Every path that does not end in a verified answer ends in UNKNOWN or NOT_SENT."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from yinqi.gateway import use_cases
from yinqi.gateway.batching import Lines, by_kind, check_totals, parts, trains
from yinqi.gateway.decisions import ALREADY_SUBMITTED, ResendRefused, paced
from yinqi.gateway.exchange import Bank, BankCaller, Exchange, Step
from yinqi.gateway.last_door import Door
from yinqi.gateway.limits import Ticket, run_all
from yinqi.gateway.model import (
    ArchivedMessage,
    Attempt,
    BankAccount,
    BatchPart,
    ControlTotal,
    LineAnswer,
    Refusal,
    SendState,
    StatusReport,
    Submission,
)
from yinqi.gateway.ports import BankDialect, Store
from yinqi.gateway.profile import Profiles
from yinqi.gateway.repository import SqlStore
from yinqi.gateway.routing import Obstacle
from yinqi.gateway.status import BankStatus
from yinqi.gateway.stops import STOPPED, Stop, held_words, stop_of
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import InvalidRequest, Overloaded, YinqiError
from yinqi.orders.evidence import Evidence
from yinqi.runtime.database import Database

_log = structlog.get_logger(__name__)
_CLAIMS_MAX = 5
_NEVER = datetime.max.replace(tzinfo=UTC)
_ACCOUNT_CHARACTERS_MAX = 35


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lines of one debtor account and kind that go in one message. `part`: its place in a batch of several."""

    bank: Bank
    account: BankAccount
    lines: tuple[Submission, ...]
    part: BatchPart | None = None

    @property
    def call_class(self) -> str:
        """Whose slots it takes."""
        return "payroll" if self.lines[0].instruction.kind in self.bank.profile.batch.kinds else "submit"


_Train = Sequence[_Batch]  # the messages of one batch, which go one after another

Reports = dict[str, StatusReport]  # by instruction_id


class Submitter:
    """Sends payments; see `submit`."""

    def __init__(
        self,
        banks: Mapping[str, Bank],
        profiles: Profiles,
        database: Database,
        caller: BankCaller,
        clock: Clock,
        door: Door | None = None,
    ) -> None:
        self._door = door
        self._banks = banks
        self._profiles = profiles
        self._database = database
        self._caller = caller
        self._clock = clock
        self._running: set[asyncio.Task[Reports]] = set()

    async def submit(
        self,
        submissions: Sequence[Submission],
        control_totals: Sequence[ControlTotal] = (),
        orders: Sequence[Evidence] = (),
    ) -> list[StatusReport]:
        """Send payments once each; return one report per submission, in order.

        Args:
            control_totals: what the caller says the lines come to, by account; empty: not checked.
            orders: the signed orders they are lines of; asked for where a policy is in force.

        A caller that goes away stops only what has not begun: a message on its way is awaited and its answer recorded.

        Raises:
            InvalidRequest: the totals are not those of the lines. Nothing was sent.
            ResendRefused: an attempt after the first lacks recorded evidence. Nothing was sent.
            Overloaded: too many calls wait for a bank. Nothing was sent.
        """
        try:
            check_totals(submissions, control_totals)
        except InvalidRequest as error:
            if self._door is not None:
                await self._door.alarm(submissions, error.reason)
            raise
        try:
            standing = await self._database.read(
                lambda connection: use_cases.examine_submissions(submissions, self._profiles, SqlStore(connection))
            )
            unsent = [one for one in submissions if one.instruction_id not in standing.blocked]
            if self._door is not None and (altered := [s for s in submissions if s.instruction_id in standing.altered]):
                await self._door.alarm(altered, "CONTENT_DIFFERS")  # nothing is sent; an honest sister never asks that
            reports: Reports = await self._door.admit(unsent, orders) if self._door is not None and unsent else {}
            trains = self._trains(self._sendable(submissions, standing, reports))
            tickets = await self._reserve(trains)
        except (ResendRefused, Overloaded) as error:
            if self._door is not None and isinstance(error, ResendRefused):
                await self._door.alarm([one for one in submissions if one.attempt > 1], error.reason)
            reports = self._unsent(submissions, error)
            if not await self._void(submissions, reports):
                raise
            return self._in_order(submissions, reports)
        sent = [self._send(train, ticket, standing.counts) for train, ticket in zip(trains, tickets, strict=True)]
        for found in await run_all(sent, tickets):
            reports.update(found)
        await self._void(submissions, reports)
        return self._in_order(submissions, reports)

    async def drain(self) -> None:
        """Wait for the messages that are on their way."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def _void(self, submissions: Sequence[Submission], reports: Reports) -> bool:
        """Record that what was not sent will not be, under this release; return whether a report had to change.

        NOT_SENT is said only of what is on record: until then another delivery of the same call may still send it.
        """
        unsent = [one for one in submissions if one.release and _is_unsent(reports[one.instruction_id])]
        if not unsent:
            return False
        attempts = list({one.instruction_id: self._voided(one) for one in unsent}.values())
        try:
            left = await self._database.run(lambda c: use_cases.void_submissions(attempts, SqlStore(c)))
        except YinqiError as error:
            _log.error("what was not sent could not be recorded", reason=error.reason, lines=len(attempts))
            at, text = self._clock.now(), "not on record whether it may still be sent; query it 请查询"
            for attempt in attempts:
                reports[attempt.instruction_id] = StatusReport(
                    attempt.instruction_id, BankStatus.UNKNOWN, at, "NOT_SENT_NOT_RECORDED", reason_text=text
                )
            return True
        reports |= {instruction_id: self._already(instruction_id) for instruction_id in left}
        return bool(left)

    def _voided(self, line: Submission) -> Attempt:
        account, now = self._profiles.account(line.instruction.debtor_account), self._clock.now()
        return Attempt(
            instruction_id=line.instruction_id,
            attempt=line.attempt,
            state=SendState.NOT_SENT,
            profile=account.profile if account else "",
            debtor_account=account.identification if account else "",
            creditor_account=line.instruction.creditor_account[
                :_ACCOUNT_CHARACTERS_MAX
            ],  # it may be refused for its length
            amount=line.instruction.amount,
            content_digest=line.instruction.digest(),
            exchange_id="",
            claimed_at=now,
            ended_at=now,
            release=line.release,
        )

    def _sendable(
        self, submissions: Sequence[Submission], standing: use_cases.Standing, reports: Reports
    ) -> list[tuple[Submission, BankAccount]]:
        """Return what can be sent; the rest gets its report at once."""
        sendable: dict[str, tuple[Submission, BankAccount]] = {}
        for submission in submissions:
            instruction_id = submission.instruction_id
            account = self._profiles.account(submission.instruction.debtor_account)
            if instruction_id in standing.blocked:
                reports[instruction_id] = self._already(instruction_id)
            elif instruction_id in sendable or instruction_id in reports:
                continue  # twice in one call; `_in_order` reports the second
            elif account is None:
                reports[instruction_id] = self._unreachable(instruction_id)
            elif (stop := stop_of(account, standing.stops)) is not None:
                reports[instruction_id] = self._held(instruction_id, stop)
            elif refusal := self._banks[account.profile].dialect.refusal(submission, account):
                reports[instruction_id] = self._refused(instruction_id, refusal)
            else:
                way = self._banks[account.profile].route(submission.instruction, self._clock.now())
                if way.channel is None:
                    reports[instruction_id] = self._without_way(instruction_id, way.obstacles)
                else:
                    sendable[instruction_id] = (replace(submission, route=way.channel), account)
        return list(sendable.values())

    def _trains(self, lines: Sequence[tuple[Submission, BankAccount]]) -> list[_Train]:
        by_account: dict[str, tuple[BankAccount, list[Submission]]] = {}
        for submission, account in lines:
            by_account.setdefault(account.identification, (account, []))[1].append(submission)
        return [
            self._train(account, messages)
            for account, its in by_account.values()
            for same in by_kind(its)
            for messages in trains(same, self._profiles.profile(account.profile), self._bank_of(account).line_bytes)
        ]

    def _train(self, account: BankAccount, messages: Sequence[Lines]) -> _Train:
        bank = self._banks[account.profile]
        places = parts(messages, bank.dialect.batch_number())
        return [_Batch(bank, account, lines, part) for lines, part in zip(messages, places, strict=True)]

    def _bank_of(self, account: BankAccount) -> BankDialect:
        return self._banks[account.profile].dialect

    async def _reserve(self, found: Sequence[_Train]) -> list[Ticket]:
        """Return a ticket per train, in order: one batch is one call at a time."""
        wanted: dict[tuple[str, str], list[int]] = {}
        for index, train in enumerate(found):
            wanted.setdefault((train[0].account.profile, train[0].call_class), []).append(index)
        tickets: dict[int, Ticket] = {}
        try:
            for (profile, call_class), indexes in sorted(wanted.items()):
                companies = [found[index][0].account.company for index in indexes]
                reserved = await self._banks[profile].limits.reserve(call_class, companies)
                tickets |= dict(zip(indexes, reserved, strict=True))
        except BaseException:
            for ticket in tickets.values():
                ticket.give_back()
            raise
        return [tickets[index] for index in range(len(found))]

    async def _send(self, train: _Train, ticket: Ticket, counts: Mapping[str, int]) -> Reports:
        await ticket.take()
        task = asyncio.get_running_loop().create_task(self._send_train(train, counts))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: ticket.give_back())
        return await asyncio.shield(task)

    async def _send_train(self, train: _Train, counts: Mapping[str, int]) -> Reports:
        """Send the messages of one batch in order, up to the first that the bank did not answer.

        What was answered is known, that one's lines are in doubt, and the rest was not sent.
        """
        reports: Reports = {}
        broken: Reports = {}
        for batch in train:
            if broken:
                reports |= self._interrupted(batch, broken)
                continue
            its = await self._send_now(batch, counts)
            reports |= its
            if not any(one.status in (BankStatus.PROCESSING, BankStatus.REJECTED) for one in its.values()):
                broken = its
        return reports

    def _interrupted(self, batch: _Batch, broken: Reports) -> Reports:
        """Return what is said of a message that was not sent because of one before it; of a stop, that it is one."""
        first = next(iter(broken.values()))
        if first.reason_code == STOPPED:
            return self._all(batch, BankStatus.NOT_SENT, STOPPED, text=first.reason_text)
        return self._all(batch, BankStatus.NOT_SENT, "BATCH_INTERRUPTED")

    async def _send_now(self, batch: _Batch, counts: Mapping[str, int]) -> Reports:
        reports: Reports = {}
        for _ in range(_CLAIMS_MAX):
            try:
                return reports | await self._exchange(batch, counts)
            except use_cases.ClaimLost as lost:
                reports |= {instruction_id: self._already(instruction_id) for instruction_id in lost.instruction_ids}
                left = tuple(line for line in batch.lines if line.instruction_id not in lost.instruction_ids)
                if not left:
                    return reports
                batch = replace(batch, lines=left)
                if batch.part is not None:  # The batch's totals hold no more; nothing of this message was sent.
                    return reports | self._all(batch, BankStatus.NOT_SENT, "BATCH_INTERRUPTED")
            except YinqiError as error:  # The store or the keys: nothing was sent.
                return reports | self._all(batch, BankStatus.NOT_SENT, error.reason, text=error.message)
        return reports | self._all(batch, BankStatus.NOT_SENT, "CLAIM_CONTENDED")

    async def _exchange(self, batch: _Batch, counts: Mapping[str, int]) -> Reports:
        """Claim, send and record one message.

        Raises:
            ClaimLost, YinqiError: nothing was sent.
        """
        bank, lines = batch.bank, batch.lines
        outgoing = await bank.made(lambda: bank.dialect.make_submission(lines, batch.account, batch.part))
        exchange = await self._caller.call(
            bank,
            outgoing,
            batch.call_class,
            partial(_claim, batch, counts),
            lambda answer: bank.dialect.read_submission(answer, lines, outgoing),
            [line.traceparent for line in lines],
            may_leave=partial(use_cases.require_running, batch.account),
        )
        reports = await self._record(batch, exchange)
        self._caller.tell("bank.submit", bank, exchange.story, [_step(line, reports) for line in lines])
        return reports

    async def _record(self, batch: _Batch, exchange: Exchange[list[LineAnswer]]) -> Reports:
        """Record what came back. From here on nothing may raise: the bytes have left."""
        received, at = exchange.received, exchange.received_at
        ids = [line.instruction_id for line in batch.lines]
        if exchange.value is not None:
            answers = dict(zip(ids, exchange.value, strict=True))
            reports = {
                one: StatusReport(
                    one,
                    answer.status,
                    at,
                    answer.reason_code,
                    answer.proprietary_code,
                    answer.reason_text,
                    archive_id=received.archive_id,
                )
                for one, answer in answers.items()
            }
            store_it = partial(use_cases.record_submission_answer, exchange.sent.exchange_id, answers, received, at)
        else:
            failure = exchange.failure
            is_unsent = failure is not None and failure.is_unsent
            status = BankStatus.NOT_SENT if is_unsent else BankStatus.UNKNOWN
            state = SendState.NOT_SENT if is_unsent else SendState.IN_DOUBT
            reason, code, text = (failure.reason, failure.code, failure.text) if failure else ("NO_ANSWER", "", "")
            reports = self._all(batch, status, reason, code, text, received.archive_id)
            store_it = partial(use_cases.record_submission_failure, exchange.sent.exchange_id, state, received, at)
        self._caller.since_sent.ended([(line.instruction_id, line.attempt) for line in batch.lines], at)
        try:
            await self._database.run(lambda connection: store_it(SqlStore(connection)))
        except YinqiError as error:
            # An answer that is not on record is no answer: after a restart nobody could show it.
            _log.error("the bank's answer could not be recorded", reason=error.reason, lines=len(ids))
            return self._all(batch, BankStatus.UNKNOWN, "ANSWER_NOT_RECORDED")
        return reports

    def _all(
        self, batch: _Batch, status: BankStatus, reason: str, code: str = "", text: str = "", archive_id: str = ""
    ) -> Reports:
        at = self._clock.now()
        return {
            line.instruction_id: StatusReport(
                line.instruction_id, status, at, reason, code, text, archive_id=archive_id
            )
            for line in batch.lines
        }

    def _unsent(self, submissions: Sequence[Submission], error: YinqiError) -> Reports:
        at = self._clock.now()
        return {
            one.instruction_id: StatusReport(
                one.instruction_id, BankStatus.NOT_SENT, at, error.reason, reason_text=error.message
            )
            for one in submissions
        }

    def _refused(self, instruction_id: str, refusal: Refusal) -> StatusReport:
        text = f"{refusal.violation.description} {refusal.violation.description_zh}"
        return StatusReport(
            instruction_id, BankStatus.REJECTED, self._clock.now(), refusal.reason_code, reason_text=text
        )

    def _without_way(self, instruction_id: str, obstacles: Sequence[Obstacle]) -> StatusReport:
        """No channel can take it now. If one could later, nothing is refused: it was not sent."""
        first = min(obstacles, key=lambda one: (not one.passes, one.opens_at or _NEVER))
        text = "; ".join(f"{one.words} {one.words_zh}" for one in obstacles)
        status = BankStatus.NOT_SENT if first.passes else BankStatus.REJECTED
        return StatusReport(instruction_id, status, self._clock.now(), first.reason, reason_text=text)

    def _already(self, instruction_id: str) -> StatusReport:
        text = "sent before; query it 此前已提交，请查询"
        return StatusReport(instruction_id, BankStatus.UNKNOWN, self._clock.now(), ALREADY_SUBMITTED, reason_text=text)

    def _held(self, instruction_id: str, stop: Stop) -> StatusReport:
        return StatusReport(
            instruction_id, BankStatus.NOT_SENT, self._clock.now(), STOPPED, reason_text=held_words(stop)
        )

    def _unreachable(self, instruction_id: str) -> StatusReport:
        # Not a refusal: an operator can add the account to a profile, and then the payment goes out.
        text = "no bank profile reaches the debtor account; add it to one 付款账户未配置银行，请在银行配置中添加"
        return StatusReport(
            instruction_id, BankStatus.NOT_SENT, self._clock.now(), "ACCOUNT_UNREACHABLE", reason_text=text
        )

    def _in_order(self, submissions: Sequence[Submission], reports: Reports) -> list[StatusReport]:
        seen: set[str] = set()
        ordered = []
        for submission in submissions:
            instruction_id = submission.instruction_id
            report = self._already(instruction_id) if instruction_id in seen else reports[instruction_id]
            seen.add(instruction_id)
            ordered.append(self._paced(report, submission))
        return ordered

    def _paced(self, report: StatusReport, submission: Submission) -> StatusReport:
        account = self._profiles.account(submission.instruction.debtor_account)
        if account is None:
            return report
        delay_ms = self._profiles.profile(account.profile).in_doubt.first_query_delay_ms
        return paced(report, timedelta(milliseconds=delay_ms))


def _is_unsent(report: StatusReport) -> bool:
    """Whether it tells of a line that never came to an exchange (an exchange that did not leave is on record)."""
    return report.status in (BankStatus.NOT_SENT, BankStatus.REJECTED) and not report.archive_id


def _claim(batch: _Batch, counts: Mapping[str, int], message: ArchivedMessage, store: Store) -> None:
    attempts = [
        Attempt(
            instruction_id=line.instruction_id,
            attempt=line.attempt,
            state=SendState.SENDING,
            profile=batch.bank.profile.name,
            debtor_account=batch.account.identification,
            creditor_account=line.instruction.creditor_account,
            amount=line.instruction.amount,
            content_digest=line.instruction.digest(),
            exchange_id=message.exchange_id,
            claimed_at=message.recorded_at,
            release=line.release,
        )
        for line in batch.lines
    ]
    use_cases.require_running(batch.account, store)
    use_cases.claim_submissions(attempts, counts, message, store)


def _step(line: Submission, reports: Reports) -> Step:
    report = reports[line.instruction_id]
    return Step(line.instruction_id, line.traceparent, report.status, report.reason_code, line.attempt)
