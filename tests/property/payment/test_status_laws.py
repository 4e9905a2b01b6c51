"""Whatever the bank says, in whatever order and however often: the payment stays in a defined state."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from payment_builders import NOW, PACING, payment, proof

from yinqi.payment.decisions import decide_report
from yinqi.payment.model import BankWord, Payment, StatusReason, StatusReport
from yinqi.payment.status import FINAL, TRANSITIONS, PaymentStatus

S = PaymentStatus
REPORTS = st.builds(
    StatusReport,
    instruction_id=st.just("PI0001"),
    word=st.sampled_from(BankWord),
    attempt=st.integers(0, 3),
    reason=st.builds(StatusReason, st.text(max_size=50), st.text(max_size=50), st.text(max_size=20)),
    account_servicer_reference=st.sampled_from(["", "R1", "R2"]),
    booking_date=st.sampled_from(["", "2026-11-22", "2026-11-23", "x"]),
    proof=st.none() | st.just(proof()),
)
BEGINNINGS = st.sampled_from([S.RECEIVED, S.SCREENED, S.SUBMITTING, S.PROCESSING, S.UNKNOWN, S.CANCELLED, S.BLOCKED])


def tell(subject: Payment, reports: list[StatusReport]) -> list[Payment]:
    """Return the payment after each move."""
    states = []
    for number, one in enumerate(reports):
        for move in decide_report(subject, one, NOW + timedelta(seconds=number), PACING, "test"):
            assert move.from_status is subject.status
            states.append(move.payment)
            subject = move.payment
    return states


@given(BEGINNINGS, st.integers(1, 2), st.lists(REPORTS, max_size=12))
def test_reports_in_any_order_follow_the_table(status: PaymentStatus, attempts: int, reports: list[StatusReport]):
    before = payment(status, submission_attempts=attempts if status in (S.SUBMITTING, S.PROCESSING, S.UNKNOWN) else 0)
    allowed = {(a, c) for (a, _), c in TRANSITIONS.items()}
    for after in tell(before, reports):
        assert (before.status, after.status) in allowed | {(before.status, before.status)}
        if before.status in FINAL and after.status is not before.status:
            assert (before.status, after.status) == (S.SETTLED, S.RETURNED)
        if after.status is S.SETTLED:
            assert after.settlement_date
        if after.status is S.RETURNED:
            assert after.settlement_date
            assert after.return_date
        assert (after.next_action_at is None) >= (after.status in FINAL)
        before = after


@given(st.lists(REPORTS.filter(lambda r: r.word in (BankWord.UNKNOWN, BankWord.NOT_FOUND)), max_size=8))
def test_silence_alone_never_ends_a_payment(reports: list[StatusReport]):
    states = tell(payment(S.SUBMITTING), reports)
    assert all(state.status is S.UNKNOWN for state in states)


@given(st.lists(REPORTS, max_size=8))
def test_hearing_everything_twice_is_hearing_it_once(reports: list[StatusReport]):
    once = tell(payment(S.PROCESSING), reports)
    twice = tell(payment(S.PROCESSING), [one for report in reports for one in (report, report)])
    final_once = once[-1] if once else payment(S.PROCESSING)
    final_twice = twice[-1] if twice else payment(S.PROCESSING)
    assert (final_once.status, final_once.account_servicer_reference, final_once.settlement_date) == (
        final_twice.status,
        final_twice.account_servicer_reference,
        final_twice.settlement_date,
    )
