"""The table is the whole rule: each row, and each row that is not there."""

from __future__ import annotations

import itertools

import pytest

from yinqi.payment.status import FINAL, TRANSITIONS, InvalidTransition, PaymentStatus, StatusEvent, advance, can_advance

ALL = list(itertools.product(PaymentStatus, StatusEvent))
BANK_WORDS = {e for e in StatusEvent if e.name.startswith("BANK_")}
S, E = PaymentStatus, StatusEvent

# Written out again on purpose: a slip in the table must not also be a slip in its test.
EXPECTED = """
RECEIVED    SCREENING_PASSED  SCREENED
RECEIVED    SCREENING_BLOCKED BLOCKED
RECEIVED    CANCEL            CANCELLED
SCREENED    CANCEL            CANCELLED
SCREENED    RELEASE           SUBMITTING
SUBMITTING  NOT_SENT          SCREENED
SUBMITTING  RESEND_NOT_SENT   UNKNOWN
SUBMITTING  NO_ANSWER         UNKNOWN
SUBMITTING  BANK_SUSPICIOUS   UNKNOWN
SUBMITTING  BANK_PROCESSING   PROCESSING
SUBMITTING  BANK_SETTLED      SETTLED
SUBMITTING  BANK_REJECTED     REJECTED
PROCESSING  NO_ANSWER         PROCESSING
PROCESSING  BANK_SUSPICIOUS   UNKNOWN
PROCESSING  BANK_PROCESSING   PROCESSING
PROCESSING  BANK_SETTLED      SETTLED
PROCESSING  BANK_REJECTED     REJECTED
UNKNOWN     NO_ANSWER         UNKNOWN
UNKNOWN     BANK_SUSPICIOUS   UNKNOWN
UNKNOWN     BANK_PROCESSING   PROCESSING
UNKNOWN     BANK_SETTLED      SETTLED
UNKNOWN     BANK_REJECTED     REJECTED
UNKNOWN     RESEND            SUBMITTING
SETTLED     BANK_RETURNED     RETURNED
SETTLED     BANK_SETTLED      SETTLED
SETTLED     BANK_PROCESSING   SETTLED
SETTLED     NO_ANSWER         SETTLED
SETTLED     BANK_SUSPICIOUS   SETTLED
REJECTED    BANK_REJECTED     REJECTED
REJECTED    BANK_PROCESSING   REJECTED
REJECTED    NO_ANSWER         REJECTED
REJECTED    BANK_SUSPICIOUS   REJECTED
RETURNED    BANK_RETURNED     RETURNED
RETURNED    BANK_SETTLED      RETURNED
RETURNED    BANK_PROCESSING   RETURNED
RETURNED    NO_ANSWER         RETURNED
RETURNED    BANK_SUSPICIOUS   RETURNED
CANCELLED   CANCEL            CANCELLED
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


def test_unknown_is_left_by_a_word_of_the_bank_or_a_permit_only():
    ways_out = {
        event for (status, event), after in TRANSITIONS.items() if status is S.UNKNOWN and after is not S.UNKNOWN
    }
    assert ways_out <= BANK_WORDS | {E.RESEND}


def test_sending_begins_in_screened_or_with_a_permit_only():
    ways_in = {(status, event) for (status, event), after in TRANSITIONS.items() if after is S.SUBMITTING}
    assert ways_in == {(S.SCREENED, E.RELEASE), (S.UNKNOWN, E.RESEND)}


def test_nothing_leaves_a_final_status_but_a_return():
    left = {
        (status, event) for (status, event), after in TRANSITIONS.items() if status in FINAL and after is not status
    }
    assert left == {(S.SETTLED, E.BANK_RETURNED)}
