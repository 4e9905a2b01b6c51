"""The gateway's rules on sending again, asking and believing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from yinqi.gateway.decisions import (
    ResendRefused,
    accounts_without_control,
    blocks,
    conclude,
    is_written_off,
    plan_queries,
    require_proof,
)
from yinqi.gateway.model import (
    PERMISSION_CONTROL,
    Absence,
    Attempt,
    KnownReference,
    NotFoundProof,
    PaymentRecord,
    PaymentReference,
    SendState,
)
from yinqi.gateway.status import BankStatus
from yinqi.kernel.money import Money

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
TODAY = date(2026, 11, 22)
WINDOW, LAST_BYTE = timedelta(seconds=30), timedelta(seconds=10)
SENDING, NOT_SENT, IN_DOUBT = SendState.SENDING, SendState.NOT_SENT, SendState.IN_DOUBT


def attempt(number: int, state: SendState = IN_DOUBT, **changes: Any) -> Attempt:
    row = Attempt("YQ0001", number, state, "demo_bank", "755", "622", Money("CNY", 100), "", "EX", NOW)
    return replace(row, **changes)


@pytest.mark.parametrize(
    ("earlier", "number", "expected"),
    [
        ([], 1, False),
        ([], 3, False),
        ([attempt(1)], 1, True),
        ([attempt(1, SENDING)], 1, True),
        ([attempt(1, NOT_SENT)], 1, False),
        ([attempt(1)], 2, False),
        ([attempt(2, NOT_SENT)], 1, True),  # a later one is on record: this call is stale
        ([attempt(1), attempt(2, NOT_SENT)], 2, False),
        ([attempt(1), attempt(2)], 2, True),
    ],
)
def test_an_attempt_is_blocked_by_itself_and_by_later_ones(earlier: list[Attempt], number: int, expected: bool) -> None:
    assert blocks(earlier, number) is expected


@pytest.mark.parametrize(
    ("earlier", "release", "expected"),
    [
        ([], 1, False),
        ([attempt(1, NOT_SENT, release=1)], 1, True),  # the same call, delivered a second time
        ([attempt(1, NOT_SENT, release=2)], 1, True),
        ([attempt(1, NOT_SENT, release=1)], 2, False),
        ([attempt(1, NOT_SENT, release=1)], 0, False),  # a caller that does not count
        ([attempt(1, release=1)], 2, True),
    ],
)
def test_what_was_called_not_sent_is_sent_under_a_later_release_only(
    earlier: list[Attempt], release: int, expected: bool
) -> None:
    assert blocks(earlier, 1, release) is expected


@pytest.mark.parametrize(
    ("earlier", "asked", "expected"),
    [
        ([attempt(1, NOT_SENT, release=1)], (1, 1), True),
        ([attempt(1, NOT_SENT, release=2)], (1, 1), True),  # written off again under a later release
        ([attempt(1), attempt(2, NOT_SENT, release=2)], (2, 2), True),
        ([], (1, 1), False),  # never heard of: its call may still be on the way
        ([attempt(1, NOT_SENT, release=1)], (1, 2), False),  # the registry is older than its caller
        ([attempt(1, NOT_SENT, release=1)], (1, 0), False),  # a caller that does not count
        ([attempt(1, NOT_SENT)], (1, 0), False),
        ([attempt(1, NOT_SENT, release=1)], (0, 1), False),
        ([attempt(1, SENDING, release=1)], (1, 1), False),
        ([attempt(1, release=1)], (1, 1), False),
        ([attempt(1, release=1), attempt(2, NOT_SENT, release=2)], (1, 1), False),
        ([attempt(2, NOT_SENT, release=2)], (1, 1), False),
        ([attempt(1, NOT_SENT, release=1)], (2, 2), False),
        ([attempt(1, NOT_SENT, release=1, known_at=NOW)], (1, 1), False),  # and yet the bank has shown it
        ([attempt(1, known_at=NOW), attempt(2, NOT_SENT, release=2)], (2, 2), False),
    ],
)
def test_only_a_record_of_that_release_or_a_later_one_proves_that_nothing_left(
    earlier: list[Attempt], asked: tuple[int, int], expected: bool
) -> None:
    assert is_written_off(earlier, *asked) is expected


@pytest.mark.parametrize("state", SendState)
def test_what_is_written_off_stays_blocked(state: SendState) -> None:
    for number in (1, 2):
        for release in (0, 1, 2):
            row = attempt(number, state, release=release)
            for asked in ((a, r) for a in (1, 2) for r in (0, 1, 2)):
                assert not is_written_off([row], *asked) or blocks([row], *asked)


def check(submission: Any, earlier: list[Attempt], absence: Absence | None, **proof_changes: Any) -> None:
    proof = replace(NotFoundProof(NOW, "AR1", "K", True, 1), **proof_changes)
    digest = submission().instruction.digest()
    require_proof(
        replace(submission(attempt=2), resend_proof=proof),
        [replace(one, content_digest=one.content_digest or digest) for one in earlier],
        absence,
        WINDOW,
        LAST_BYTE,
    )


def absent(after_s: float, *, control_seen: bool = True) -> Absence:
    return Absence("YQ0001", "AR1", NOW + timedelta(seconds=after_s), "K", control_seen)


def test_evidence_after_the_safe_window_lets_a_payment_go_again(submission: Any) -> None:
    check(submission, [attempt(1, ended_at=NOW + timedelta(seconds=1))], absent(31))
    check(submission, [attempt(1, SENDING)], absent(40))  # a crash: its last byte may have left 10 s later
    check(submission, [attempt(1, NOT_SENT)], absent(0))
    check(submission, [], absent(0))


@pytest.mark.parametrize(
    ("earlier", "absence", "says"),
    [
        ([attempt(1)], None, "no verified answer"),
        ([attempt(1)], absent(99, control_seen=False), "no verified answer"),
        ([attempt(1, ended_at=NOW + timedelta(seconds=1))], absent(30.9), "less than 30 s"),
        ([attempt(1, SENDING)], absent(39.9), "less than 30 s"),
        ([attempt(1, ended_at=NOW + timedelta(seconds=60))], absent(39.9), "less than 30 s"),
        ([attempt(1, known_at=NOW)], absent(99), "has this payment"),
        ([attempt(1, content_digest="other")], absent(99), "order differs"),
    ],
)
def test_evidence_that_falls_short_says_why(
    submission: Any, earlier: list[Attempt], absence: Absence | None, says: str
) -> None:
    with pytest.raises(ResendRefused, match=says):
        check(submission, earlier, absence)


def test_the_callers_own_word_is_not_enough_and_may_only_be_worse(submission: Any) -> None:
    with pytest.raises(ResendRefused):
        check(submission, [attempt(1)], absent(99), control_seen=False)
    with pytest.raises(ResendRefused, match="missing"):
        require_proof(submission(attempt=2), [], absent(99), WINDOW, LAST_BYTE)


def reference(number: int, account: str = "755", day: date | None = TODAY) -> PaymentReference:
    return PaymentReference(f"R{number}", account, day)


def plan(references: list[PaymentReference], known: dict[str, KnownReference] | None = None, **limits: int) -> Any:
    return plan_queries(references, known or {}, {}, TODAY, **{"references_max": 500, "days_max": 100, **limits})


def test_a_query_begins_a_day_before_and_reaches_into_the_future() -> None:
    (one,) = plan([reference(1)])
    assert one.first == TODAY - timedelta(days=1)
    assert (one.last - one.first).days == 99


def test_every_message_holds_its_control_within_the_banks_limit() -> None:
    known = {account: KnownReference(f"K{account}", TODAY) for account in ("755", "756")}
    references = [reference(i, "755" if i % 2 else "756") for i in range(25)]
    plans = plan(references, known, references_max=10)
    assert all(len(one.instruction_ids) <= 10 for one in plans)
    assert all(set(one.controls) == {r.debtor_account for r in one.asked} for one in plans)
    assert sorted(r.instruction_id for one in plans for r in one.asked) == sorted(r.instruction_id for r in references)


def test_old_and_new_references_go_in_messages_of_their_own() -> None:
    plans = plan([reference(1), reference(2, day=TODAY - timedelta(days=80)), reference(3, day=None)])
    assert [[r.instruction_id for r in one.asked] for one in plans] == [["R2", "R3"], ["R1"]]
    for one in plans:
        for asked in one.asked:
            assert one.first <= (asked.submitted_date or TODAY) <= one.last


def test_an_older_control_widens_the_range_and_one_out_of_reach_is_left_out() -> None:
    (near,) = plan([reference(1)], {"755": KnownReference("K", TODAY - timedelta(days=40))})
    assert near.first == TODAY - timedelta(days=41)
    assert near.first <= TODAY <= near.last
    (far,) = plan([reference(1)], {"755": KnownReference("K", TODAY - timedelta(days=200))})
    assert far.controls == {}


def test_a_date_to_come_is_asked_from_yesterday() -> None:
    (one,) = plan([reference(1, day=TODAY + timedelta(days=5))])
    assert one.first == TODAY - timedelta(days=1)


def record(
    instruction_id: str, status: BankStatus = BankStatus.SETTLED, number: str = "1", **changes: Any
) -> PaymentRecord:
    row = PaymentRecord(instruction_id, number, "755", "622", Money("CNY", 100), status, booking_date=TODAY)
    return replace(row, **changes)


def concluded(one: Any, records: list[PaymentRecord], permitted: frozenset[str] = frozenset()) -> Any:
    asked_at = dict.fromkeys((asked.instruction_id for asked in one.asked), NOW)
    return conclude(
        one, records, {}, permitted, archive_id="AR1", queried_at=asked_at, reported_at=NOW, safe_window_ms=30_000
    )


def test_one_report_per_reference_in_order() -> None:
    references = [reference(i) for i in (3, 1, 2)]
    (one,) = plan(references)
    reports, absences = concluded(one, [record("R1"), record("R2", BankStatus.PROCESSING)])
    assert [(r.instruction_id, r.status.value) for r in reports] == [
        ("R3", "NOT_FOUND"),
        ("R1", "SETTLED"),
        ("R2", "PROCESSING"),
    ]
    assert [a.instruction_id for a in absences] == ["R3"]


def test_another_payment_of_the_same_account_may_be_the_control_but_not_of_another() -> None:
    (one,) = plan([reference(1), reference(2), reference(3, "756")])
    reports, _ = concluded(one, [record("R1")])
    proofs = {r.instruction_id: r.not_found_proof for r in reports if r.not_found_proof}
    assert (proofs["R2"].control_reference, proofs["R2"].control_seen) == ("R1", True)
    assert (proofs["R3"].control_reference, proofs["R3"].control_seen) == (PERMISSION_CONTROL, False)
    assert accounts_without_control(one, [record("R1")]) == {"756"}
    reports, _ = concluded(one, [record("R1")], frozenset({"756"}))
    assert [r.not_found_proof.control_seen for r in reports if r.instruction_id == "R3" and r.not_found_proof] == [True]


def test_a_control_that_is_missing_is_not_replaced_by_anything() -> None:
    (one,) = plan([reference(1), reference(2)], {"755": KnownReference("K", TODAY)})
    reports, _ = concluded(one, [record("R1")], frozenset({"755"}))
    proof = reports[1].not_found_proof
    assert (proof.control_reference, proof.control_seen) == ("K", False)
    assert accounts_without_control(one, [record("R1")]) == frozenset()


def test_the_newest_record_is_the_longest_then_the_largest_number() -> None:
    (one,) = plan([reference(1)])
    failed = BankStatus.REJECTED
    (report,), _ = concluded(one, [record("R1", number="10"), record("R1", failed, number="9")])
    assert report.status is BankStatus.SETTLED
    (report,), _ = concluded(one, [record("R1", failed, number="2"), record("R1", failed, number="1")])
    assert report.status is failed
    (report,), _ = concluded(one, [record("R1", failed, number="2"), record("R1", BankStatus.PROCESSING, number="1")])
    assert (report.status, report.reason_code) == (BankStatus.UNKNOWN, "RECORDS_CONTRADICT")
