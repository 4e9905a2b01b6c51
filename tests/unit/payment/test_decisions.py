"""What reports of the bank do to a payment."""

from __future__ import annotations

from datetime import timedelta

import pytest
from payment_builders import NOW, PACING, new_payment, payment, report

from yinqi.payment.decisions import decide_repeat, decide_report
from yinqi.payment.model import (
    AlreadyRecorded,
    BankWord,
    EndToEndIdReused,
    Move,
    Payment,
    RecordedKey,
    StatusReason,
    StatusReport,
)
from yinqi.payment.status import PaymentStatus

W, S = BankWord, PaymentStatus


def moves(subject: Payment, given: StatusReport) -> list[Move]:
    return decide_report(subject, given, NOW + timedelta(seconds=3), PACING, "test")


def test_a_settlement_carries_the_banks_reference_and_day_and_ends_the_questions():
    (move,) = moves(
        payment(S.PROCESSING), report(W.SETTLED, account_servicer_reference="REF9", booking_date="2026-11-21")
    )
    after = move.payment
    assert (move.type, move.from_status, after.status) == ("payment.settled", S.PROCESSING, S.SETTLED)
    assert (after.account_servicer_reference, after.settlement_date) == ("REF9", "2026-11-21")
    assert after.next_action_at is None
    assert after.reason == report(W.SETTLED).reason


def test_a_settlement_without_a_usable_day_gets_the_day_of_the_word():
    for day in ("", "21.11.2026", "2026-02-30"):
        (move,) = moves(payment(S.UNKNOWN), report(W.SETTLED, booking_date=day))
        assert move.payment.settlement_date == "2026-11-22"


def test_a_repeated_word_changes_nothing():
    assert moves(payment(S.PROCESSING), report(W.PROCESSING)) == []
    assert moves(payment(S.UNKNOWN), report(W.UNKNOWN)) == []
    settled = payment(S.SETTLED, settlement_date="2026-11-22")
    assert moves(settled, report(W.SETTLED, booking_date="2026-11-23")) == []


def test_a_reference_that_comes_later_is_learned_once_and_never_overwritten():
    (move,) = moves(payment(S.PROCESSING), report(W.PROCESSING, account_servicer_reference="REF1"))
    assert (move.type, move.payment.status) == ("payment.facts_learned", S.PROCESSING)
    assert move.payment.next_action_at == payment(S.PROCESSING).next_action_at
    assert moves(move.payment, report(W.PROCESSING, account_servicer_reference="REF2")) == []


def test_no_answer_makes_unknown_and_sets_the_first_question():
    (move,) = moves(payment(S.SUBMITTING), report(W.UNKNOWN))
    assert move.payment.status is S.UNKNOWN
    assert move.payment.next_action_at == NOW + timedelta(seconds=3) + PACING.first_query_delay


def test_the_bank_says_when_the_first_question_may_come():
    at = NOW + timedelta(minutes=5)
    for word in (W.UNKNOWN, W.PROCESSING):
        (move,) = moves(payment(S.SUBMITTING), report(word, ask_after=at))
        assert move.payment.next_action_at == at


def test_silence_of_a_bank_that_has_the_payment_leaves_it_processing_but_its_own_doubt_does_not():
    assert moves(payment(S.PROCESSING), report(W.UNKNOWN, reason=StatusReason("NO_ANSWER"))) == []
    (move,) = moves(payment(S.PROCESSING), report(W.UNKNOWN, reason=StatusReason("SUSPICIOUS", "WRF", "可疑")))
    assert move.payment.status is S.UNKNOWN
    assert move.reason.proprietary_code == "WRF"
    assert move.payment.next_action_at is not None


def test_nothing_left_puts_the_first_attempt_back_to_wait_and_does_not_count_it():
    (move,) = moves(payment(S.SUBMITTING), report(W.NOT_SENT))
    assert (move.type, move.payment.status, move.payment.submission_attempts) == ("payment.not_sent", S.SCHEDULED, 0)
    assert move.payment.next_action_at is not None
    assert move.payment.next_action_at > NOW + timedelta(seconds=3)


def test_nothing_left_of_a_resend_goes_back_to_unknown_because_its_evidence_is_used_up():
    (move,) = moves(payment(S.SUBMITTING, submission_attempts=2), report(W.NOT_SENT, attempt=2))
    assert (move.payment.status, move.payment.submission_attempts) == (S.UNKNOWN, 1)


def test_nothing_left_is_as_true_when_it_is_heard_by_asking():
    in_doubt = payment(S.UNKNOWN, releases=1, step_tries=6)
    (move,) = moves(in_doubt, report(W.NOT_SENT, release=1))
    assert (move.type, move.payment.status, move.payment.submission_attempts) == ("payment.not_sent", S.SCHEDULED, 0)
    assert move.payment.next_action_at == NOW + timedelta(seconds=3) + PACING.submission_delay(
        1
    )  # questions are no tries
    resent = payment(S.UNKNOWN, submission_attempts=2, releases=3, step_tries=6)
    (move,) = moves(resent, report(W.NOT_SENT, attempt=2, release=3))
    assert (move.payment.status, move.payment.submission_attempts, move.payment.step_tries) == (S.UNKNOWN, 1, 6)


@pytest.mark.parametrize("status", [S.SUBMITTING, S.UNKNOWN])
@pytest.mark.parametrize(("attempt", "release"), [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (0, 0), (2, 0), (0, 2)])
def test_nothing_left_of_another_attempt_or_release_says_nothing_of_the_present_one(
    status: PaymentStatus, attempt: int, release: int
):
    present = payment(status, submission_attempts=2, releases=2)
    assert moves(present, report(W.NOT_SENT, attempt=attempt, release=release)) == []


@pytest.mark.parametrize("status", [S.PROCESSING, S.SETTLED, S.REJECTED, S.RETURNED, S.SCHEDULED, S.CANCELLED])
def test_nothing_left_changes_nothing_of_what_the_bank_answered_or_what_is_not_out(status: PaymentStatus):
    assert moves(payment(status), report(W.NOT_SENT)) == []


def test_not_found_alone_moves_nothing():
    for status in S:
        assert moves(payment(status), report(W.NOT_FOUND)) == []


def test_a_refusal_of_an_earlier_attempt_says_nothing_of_the_present_one():
    resent = payment(S.SUBMITTING, submission_attempts=2)
    assert moves(resent, report(W.REJECTED, attempt=1)) == []
    assert moves(resent, report(W.UNKNOWN, attempt=1)) == []
    assert moves(resent, report(W.SETTLED, attempt=1))[0].payment.status is S.SETTLED


def test_a_return_is_its_own_move_with_its_own_day():
    settled = payment(S.SETTLED, settlement_date="2026-11-20")
    (move,) = moves(settled, report(W.RETURNED, attempt=0, booking_date="2026-11-23"))
    assert (move.payment.status, move.payment.settlement_date, move.payment.return_date) == (
        S.RETURNED,
        "2026-11-20",
        "2026-11-23",
    )
    assert moves(move.payment, report(W.RETURNED, attempt=0, booking_date="2026-11-23")) == []


@pytest.mark.parametrize("status", [S.SUBMITTING, S.PROCESSING, S.UNKNOWN])
def test_a_return_of_a_payment_not_known_settled_writes_the_settlement_first(status: PaymentStatus):
    settled, returned = moves(payment(status), report(W.RETURNED, booking_date="2026-11-23"))
    assert (settled.payment.status, settled.payment.settlement_date) == (S.SETTLED, "2026-11-22")
    assert settled.reason.code == "INFERRED_FROM_RETURN"
    assert (returned.payment.status, returned.payment.return_date) == (S.RETURNED, "2026-11-23")


def test_a_word_that_does_not_fit_is_noted_once_and_changes_nothing_else():
    rejected = payment(S.REJECTED)
    (move,) = moves(rejected, report(W.SETTLED))
    assert (move.type, move.payment.status, move.reason.code) == ("payment.contradicted", S.REJECTED, "CONTRADICTION")
    assert moves(move.payment, report(W.SETTLED)) == []


def test_a_payment_not_released_that_the_bank_claims_to_have_is_not_released():
    (move,) = moves(payment(S.SCREENED), report(W.SETTLED, attempt=0))
    assert move.payment.status is S.SCREENED
    assert move.payment.next_action_at is None


def test_bank_texts_are_cut_to_what_is_stored():
    long = report(W.REJECTED, reason=report(W.REJECTED).reason._replace(text="长" * 900, code="C" * 90))
    (move,) = moves(payment(S.PROCESSING), long)
    assert (len(move.payment.reason_text), len(move.payment.reason_code)) == (500, 35)


def test_the_same_content_is_recognised_and_other_content_refused():
    line = new_payment()
    assert decide_repeat(line, RecordedKey("INV-1", "PI1", line.request_hash, NOW)) == AlreadyRecorded("PI1", NOW)
    assert decide_repeat(line, RecordedKey("INV-1", "PI1", b"other", NOW)) == EndToEndIdReused("INV-1")
