"""Bugs that peers had in public or that we fear, planted into the running code. The simulation must find each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from yinqi.account import booking
from yinqi.account import use_cases as account_use_cases
from yinqi.account.booking import PaymentMove, PaymentStanding, Standing
from yinqi.account.ledger import Kind, available, payables, transfer
from yinqi.gateway import use_cases as gateway_use_cases
from yinqi.gateway.adapters.cdc.dialect import CdcDialect
from yinqi.gateway.exchange import BankCaller
from yinqi.payment import resend, status
from yinqi.payment import use_cases as payment_use_cases
from yinqi.payment.model import AlreadyRecorded, BankWord, Pacing
from yinqi.payment.repository import SqlPaymentStore
from yinqi.payment.status import PaymentStatus, StatusEvent
from yinqi.payment.worker import PaymentWorker
from yinqi.runtime import feed, pending_events
from yinqi.simulation.bank import TagKey

Patch = pytest.MonkeyPatch
PLANTED: dict[str, Callable[[Patch], None]] = {}


def planted(bug: Callable[[Patch], None]) -> Callable[[Patch], None]:
    PLANTED[bug.__name__] = bug
    return bug


# --- sending --------------------------------------------------------------------------------------------------------


@planted
def the_line_repeats_a_post_that_got_no_answer(patch: Patch) -> None:
    original = BankCaller._send_and_read

    async def twice(self: Any, *arguments: Any) -> Any:
        value, failure, received = await original(self, *arguments)
        if failure is not None and failure.reason == "NO_ANSWER":
            return await original(self, *arguments)
        return value, failure, received

    patch.setattr(BankCaller, "_send_and_read", twice)


@planted
def no_answer_counts_as_not_sent(patch: Patch) -> None:
    original = BankCaller._send_and_read

    async def unsent(self: Any, *arguments: Any) -> Any:
        value, failure, received = await original(self, *arguments)
        return value, failure and replace(failure, is_unsent=True), received

    patch.setattr(BankCaller, "_send_and_read", unsent)


@planted
def a_timeout_sends_the_payment_back_to_be_sent(patch: Patch) -> None:
    patch.setitem(status.TRANSITIONS, (PaymentStatus.SUBMITTING, StatusEvent.NO_ANSWER), PaymentStatus.SCREENED)


@planted
def recovery_takes_what_was_being_sent_for_not_sent(patch: Patch) -> None:
    original = payment_use_cases.advance

    def wrong(before: PaymentStatus, event: StatusEvent) -> PaymentStatus:
        return PaymentStatus.SCREENED if event is StatusEvent.NO_ANSWER else original(before, event)

    patch.setattr(payment_use_cases, "advance", wrong)


@planted
def a_permit_needs_no_control_query(patch: Patch) -> None:
    original = resend.missing_evidence

    def lenient(*arguments: Any) -> tuple[str, ...]:
        return tuple(one for one in original(*arguments) if one != "CONTROL_NOT_SEEN")

    patch.setattr(resend, "missing_evidence", lenient)
    patch.setattr(gateway_use_cases, "require_proof", lambda *_: None)


@planted
def a_resend_takes_a_new_reference(patch: Patch) -> None:
    original = CdcDialect.make_submission

    def renamed(self: Any, lines: Sequence[Any], *rest: Any) -> Any:
        fresh = [one if one.attempt == 1 else replace(one, instruction_id=f"{one.instruction_id}R2") for one in lines]
        return original(self, fresh, *rest)

    patch.setattr(CdcDialect, "make_submission", renamed)


@planted
def what_was_called_not_sent_may_still_be_sent(patch: Patch) -> None:
    original = gateway_use_cases.blocks
    patch.setattr(gateway_use_cases, "blocks", lambda earlier, attempt, _release: original(earlier, attempt))
    patch.setattr(gateway_use_cases, "void_submissions", lambda *_: frozenset())


@planted
def a_stop_is_looked_at_on_intake_only(patch: Patch) -> None:
    patch.setattr(gateway_use_cases, "require_running", lambda *_: None)


@planted
def one_person_lifts_a_stop(patch: Patch) -> None:
    original = gateway_use_cases.lift

    def alone(stop: Any, word: Any) -> Any:
        change = original(stop, word)
        return original(change.stop, replace(word, person="nobody")) if change.stop.is_active else change

    patch.setattr(gateway_use_cases, "lift", alone)


@planted
def what_a_stop_held_is_forgotten(patch: Patch) -> None:
    patch.setattr(SqlPaymentStore, "wake_stopped", lambda *_: None)
    patch.setattr(Pacing, "submission_delay", lambda *_: timedelta(days=1))


# --- believing ------------------------------------------------------------------------------------------------------


@planted
def answers_are_believed_unverified(patch: Patch) -> None:
    patch.setattr(TagKey, "verify", lambda *_: None)


def _reports_read_as(patch: Patch, change: Callable[[Any], Any]) -> None:
    original = payment_use_cases.decide_report

    def wrong(payment: Any, report: Any, *rest: Any) -> Any:
        return original(payment, change(report), *rest)

    patch.setattr(payment_use_cases, "decide_report", wrong)


@planted
def a_timeout_is_a_rejection(patch: Patch) -> None:
    def change(report: Any) -> Any:
        is_silence = report.word is BankWord.UNKNOWN and report.reason.code == "NO_ANSWER"
        return replace(report, word=BankWord.REJECTED) if is_silence else report

    _reports_read_as(patch, change)


@planted
def not_found_is_a_rejection(patch: Patch) -> None:
    def change(report: Any) -> Any:
        return replace(report, word=BankWord.REJECTED) if report.word is BankWord.NOT_FOUND else report

    _reports_read_as(patch, change)


@planted
def received_is_settled(patch: Patch) -> None:
    def change(report: Any) -> Any:
        return replace(report, word=BankWord.SETTLED) if report.word is BankWord.PROCESSING else report

    _reports_read_as(patch, change)


@planted
def a_late_reject_is_ignored(patch: Patch) -> None:
    patch.delitem(status.TRANSITIONS, (PaymentStatus.PROCESSING, StatusEvent.BANK_REJECTED))


@planted
def returns_are_ignored(patch: Patch) -> None:
    async def nothing(self: Any) -> None: ...

    patch.setattr(PaymentWorker, "look_for_returns", nothing)


# --- operators ------------------------------------------------------------------------------------------------------


@planted
def a_released_payment_can_be_cancelled(patch: Patch) -> None:
    for before in (PaymentStatus.SUBMITTING, PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN):
        patch.setitem(status.TRANSITIONS, (before, StatusEvent.CANCEL), PaymentStatus.CANCELLED)


@planted
def another_body_under_the_same_key_is_accepted(patch: Patch) -> None:
    def careless(_line: Any, earlier: Any) -> AlreadyRecorded:
        return AlreadyRecorded(earlier.instruction_id, earlier.received_at)

    patch.setattr(payment_use_cases, "decide_repeat", careless)


# --- books ----------------------------------------------------------------------------------------------------------


@planted
def the_hold_is_released_while_in_doubt(patch: Patch) -> None:
    patch.setitem(booking._STANDING_OF_STATUS, "UNKNOWN", Standing.AVAILABLE)  # type: ignore[arg-type]


@planted
def payment_and_event_are_two_commits(patch: Patch) -> None:
    original = pending_events.Pending.flush

    def flush(self: Any, connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.execute("COMMIT")
        driver.execute("BEGIN IMMEDIATE")
        original(self, connection)

    patch.setattr(pending_events.Pending, "flush", flush)


@planted
def the_cursor_is_saved_before_the_effect(patch: Patch) -> None:
    async def take(self: Any, batch: Sequence[Any]) -> None:
        fresh = [event for event in batch if self._sequence_of(event) > self.cursor]
        if fresh:
            self.cursor = self._sequence_of(fresh[-1])
            await self._database.run(lambda connection: feed.save_cursor(connection, self.name, self.cursor))
            await self._database.run(lambda connection: self._apply(connection, fresh))

    patch.setattr(feed.Follower, "_take", take)


@planted
def a_repeated_event_is_booked_again(patch: Patch) -> None:
    original = account_use_cases.book_move

    def again(move: PaymentMove, before: PaymentStanding, opened_on: Any) -> Any:
        transactions, after = original(move, before, opened_on)
        if move.status == "SETTLED" and before.standing is Standing.PAID:
            debit, credit = payables(move.account), available(move.account)
            name = f"{move.instruction_id}/again/{id(move)}"
            day = move.settlement_date or move.occurred_on
            transactions.append(transfer(name, Kind.SETTLEMENT, day, debit=debit, credit=credit, amount=move.amount))
        return transactions, after

    async def take(self: Any, batch: Sequence[Any]) -> None:
        def apply(connection: Connection) -> None:
            self._apply(connection, batch)
            feed.save_cursor(connection, self.name, self._sequence_of(batch[-1]))

        await self._database.run(apply)

    patch.setattr(account_use_cases, "book_move", again)
    patch.setattr(feed.Follower, "_take", take)
