"""The table is the whole rule: each row, and each row that is not there."""

from __future__ import annotations

import itertools

import pytest

from yinqi.payment.status import (
    BEFORE_RELEASE,
    FINAL,
    RELEASABLE,
    TRANSITIONS,
    InvalidTransition,
    PaymentStatus,
    StatusEvent,
    advance,
    can_advance,
)

S, E = PaymentStatus, StatusEvent
ALL = list(itertools.product(PaymentStatus, StatusEvent))
DECLARED = {E.DECLARED_SETTLED, E.DECLARED_FAILED}
BANK_WORDS = {e for e in StatusEvent if e.name.startswith("BANK_")}
# Written out again on purpose: a slip in the table must not also be a slip in its test.
EXPECTED = """
RECEIVED          SCREENING_PASSED  SCREENED
RECEIVED          SCREENING_BLOCKED BLOCKED
RECEIVED          CANCEL            CANCELLED
RECEIVED          EXPIRE            EXPIRED
SCREENED          APPROVAL_ASKED    AWAITING_APPROVAL
SCREENED          SCHEDULE          SCHEDULED
SCREENED          RELEASE           SUBMITTING
SCREENED          CANCEL            CANCELLED
SCREENED          EXPIRE            EXPIRED
AWAITING_APPROVAL APPROVAL_GIVEN    APPROVED
AWAITING_APPROVAL APPROVAL_DENIED   CANCELLED
AWAITING_APPROVAL CANCEL            CANCELLED
AWAITING_APPROVAL EXPIRE            EXPIRED
APPROVED          SCHEDULE          SCHEDULED
APPROVED          RELEASE           SUBMITTING
APPROVED          CANCEL            CANCELLED
APPROVED          EXPIRE            EXPIRED
SCHEDULED         RELEASE           SUBMITTING
SCHEDULED         CANCEL            CANCELLED
SCHEDULED         EXPIRE            EXPIRED
SUBMITTING        NOT_SENT          SCHEDULED
SUBMITTING        RESEND_NOT_SENT   UNKNOWN
SUBMITTING        NO_ANSWER         UNKNOWN
SUBMITTING        BANK_SUSPICIOUS   UNKNOWN
SUBMITTING        BANK_PROCESSING   PROCESSING
SUBMITTING        BANK_SETTLED      SETTLED
SUBMITTING        BANK_REJECTED     REJECTED
PROCESSING        NO_ANSWER         PROCESSING
PROCESSING        BANK_SUSPICIOUS   UNKNOWN
PROCESSING        BANK_PROCESSING   PROCESSING
PROCESSING        BANK_SETTLED      SETTLED
PROCESSING        BANK_REJECTED     REJECTED
UNKNOWN           NOT_SENT          SCHEDULED
UNKNOWN           RESEND_NOT_SENT   UNKNOWN
UNKNOWN           NO_ANSWER         UNKNOWN
UNKNOWN           BANK_SUSPICIOUS   UNKNOWN
UNKNOWN           BANK_PROCESSING   PROCESSING
UNKNOWN           BANK_SETTLED      SETTLED
UNKNOWN           BANK_REJECTED     REJECTED
UNKNOWN           RESEND            SUBMITTING
SETTLED           BANK_RETURNED     RETURNED
SETTLED           BANK_SETTLED      SETTLED
SETTLED           BANK_PROCESSING   SETTLED
SETTLED           NO_ANSWER         SETTLED
SETTLED           BANK_SUSPICIOUS   SETTLED
REJECTED          BANK_REJECTED     REJECTED
REJECTED          BANK_PROCESSING   REJECTED
REJECTED          NO_ANSWER         REJECTED
REJECTED          BANK_SUSPICIOUS   REJECTED
RETURNED          BANK_RETURNED     RETURNED
RETURNED          BANK_SETTLED      RETURNED
RETURNED          BANK_PROCESSING   RETURNED
RETURNED          NO_ANSWER         RETURNED
RETURNED          BANK_SUSPICIOUS   RETURNED
CANCELLED         CANCEL            CANCELLED
RECEIVED          DECLARED_SETTLED  SETTLED
SCREENED          DECLARED_SETTLED  SETTLED
AWAITING_APPROVAL DECLARED_SETTLED  SETTLED
APPROVED          DECLARED_SETTLED  SETTLED
SCHEDULED         DECLARED_SETTLED  SETTLED
PROCESSING        DECLARED_SETTLED  SETTLED
UNKNOWN           DECLARED_SETTLED  SETTLED
SETTLED           DECLARED_SETTLED  SETTLED
REJECTED          DECLARED_SETTLED  SETTLED
CANCELLED         DECLARED_SETTLED  SETTLED
BLOCKED           DECLARED_SETTLED  SETTLED
EXPIRED           DECLARED_SETTLED  SETTLED
RECEIVED          DECLARED_FAILED   REJECTED
SCREENED          DECLARED_FAILED   REJECTED
AWAITING_APPROVAL DECLARED_FAILED   REJECTED
APPROVED          DECLARED_FAILED   REJECTED
SCHEDULED         DECLARED_FAILED   REJECTED
PROCESSING        DECLARED_FAILED   REJECTED
UNKNOWN           DECLARED_FAILED   REJECTED
SETTLED           DECLARED_FAILED   RETURNED
REJECTED          DECLARED_FAILED   REJECTED
RETURNED          DECLARED_FAILED   RETURNED
CANCELLED         DECLARED_FAILED   CANCELLED
BLOCKED           DECLARED_FAILED   BLOCKED
EXPIRED           DECLARED_FAILED   EXPIRED
"""
ROWS = {(S(a), E(b)): S(c) for a, b, c in (line.split() for line in EXPECTED.strip().splitlines())}


def test_the_table_is_the_expected_one():
    assert TRANSITIONS == ROWS


@pytest.mark.parametrize(("status", "event"), sorted(ROWS))
def test_each_row_leads_where_it_says(status: PaymentStatus, event: StatusEvent):
    assert advance(status, event) is ROWS[status, event]


@pytest.mark.parametrize(("status", "event"), [pair for pair in ALL if pair not in ROWS])
def test_each_absent_row_is_a_forbidden_move(status: PaymentStatus, event: StatusEvent):
    assert not can_advance(status, event)
    with pytest.raises(InvalidTransition) as error:
        advance(status, event)
    assert error.value.metadata == {"status": status.value, "event": event.value}


def test_silence_never_rejects_or_settles():
    for status in PaymentStatus:
        if can_advance(status, E.NO_ANSWER) and status not in FINAL:
            assert advance(status, E.NO_ANSWER) in (S.UNKNOWN, S.PROCESSING)


def test_what_is_in_flight_is_left_by_a_word_of_the_bank_a_record_that_nothing_left_a_permit_or_two_people_only():
    def ways_out(status: PaymentStatus) -> set[StatusEvent]:
        return {event for (before, event), after in TRANSITIONS.items() if before is status and after is not before}

    assert ways_out(S.UNKNOWN) <= BANK_WORDS | {E.NOT_SENT, E.RESEND} | DECLARED
    assert ways_out(S.SUBMITTING) <= BANK_WORDS | {E.NO_ANSWER, E.NOT_SENT, E.RESEND_NOT_SENT}


def test_sending_begins_from_what_may_be_released_or_with_a_permit_only():
    ways_in = {(status, event) for (status, event), after in TRANSITIONS.items() if after is S.SUBMITTING}
    assert ways_in == {(status, E.RELEASE) for status in RELEASABLE} | {(S.UNKNOWN, E.RESEND)}


def test_a_payment_that_awaits_approval_is_never_released_without_it():
    ways_out = {event for (status, event) in TRANSITIONS if status is S.AWAITING_APPROVAL}
    assert E.RELEASE not in ways_out
    assert {after for (_, event), after in TRANSITIONS.items() if event is E.APPROVAL_GIVEN} == {S.APPROVED}


def test_nothing_that_was_ever_released_is_cancelled_or_expires():
    for (status, event), after in TRANSITIONS.items():
        if after in (S.CANCELLED, S.EXPIRED) and after is not status:
            assert status in BEFORE_RELEASE, (status, event)


def test_nothing_leaves_a_final_status_but_a_return_and_two_people():
    left = {
        (status, event)
        for (status, event), after in TRANSITIONS.items()
        if status in FINAL and after is not status and event not in DECLARED
    }
    assert left == {(S.SETTLED, E.BANK_RETURNED)}
