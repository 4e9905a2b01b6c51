"""Use cases on the real stores."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from payment_builders import DEBTOR_ACCOUNT, NOW, PACING, new_payment, proof, report
from sqlalchemy import inspect

from yinqi.kernel.clock import BANK_ZONE, FixedClock
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.payment import use_cases
from yinqi.payment.model import (
    AlreadyRecorded,
    BankWord,
    Cancellation,
    CancellationRefused,
    EndToEndIdReused,
    NewPayment,
    Outcome,
    Payment,
    PaymentFilter,
    PaymentMissing,
    Position,
    Recorded,
    RefusedLine,
    Screening,
    Withdrawn,
)
from yinqi.payment.repository import SqlPaymentStore
from yinqi.payment.status import PaymentStatus
from yinqi.payment.tables import metadata
from yinqi.runtime.database import Database

IDS = TimeOrderedIds(FixedClock(NOW))
S, W = PaymentStatus, BankWord


def initiate(database: Database, lines: Sequence[NewPayment | RefusedLine], now: datetime = NOW) -> list[Outcome]:
    return database.run_sync(lambda c: use_cases.initiate_payments(lines, SqlPaymentStore(c), ids=IDS, now=now))


def screen(database: Database, *, passed: bool = True, now: datetime = NOW) -> list[Payment]:
    def both(connection):
        store = SqlPaymentStore(connection)
        due = use_cases.claim_for_screening(store, now=now, limit=20_000, pacing=PACING)
        verdicts = [
            Screening(p.instruction_id, passed, "" if passed else "blocked_creditor", "why", "原因") for p in due
        ]
        return use_cases.record_screenings(verdicts, store, now=now, actor="screen")

    return database.run_sync(both)


def claim(database: Database, now: datetime = NOW, **options: int):
    given = {"limit": 1_000, "accounts_max": 10} | options
    return database.run_sync(
        lambda c: use_cases.claim_for_submission(
            SqlPaymentStore(c), now=now, today=now.astimezone(BANK_ZONE).date(), pacing=PACING, actor="submit", **given
        )
    )


def hear(database: Database, reports, now: datetime = NOW, asked: Sequence[Payment] = ()):
    return database.run_sync(
        lambda c: use_cases.record_status_reports(
            reports, SqlPaymentStore(c), now=now, pacing=PACING, actor="query", asked=asked
        )
    )


def get(database: Database, end_to_end_id: str = "INV-1") -> Payment:
    found = database.read_sync(lambda c: SqlPaymentStore(c).get(end_to_end_id=end_to_end_id))
    assert found is not None
    return found


def journal(database: Database, end_to_end_id: str = "INV-1") -> list[str]:
    key = get(database, end_to_end_id).instruction_id
    return [entry.type for entry in database.read_sync(lambda c: SqlPaymentStore(c).journal(key))]


def submitted(database: Database) -> Payment:
    """A payment whose intention to send is committed."""
    initiate(database, [new_payment()])
    screen(database)
    (submission,) = claim(database)
    return submission.payment


def test_the_migration_makes_what_the_tables_say(payment_database: Database):
    inspector = inspect(payment_database.read_engine)
    for table in metadata.sorted_tables:
        made = {column["name"]: column for column in inspector.get_columns(table.name)}
        assert list(made) == [column.name for column in table.columns]
        for column in table.columns:
            assert made[column.name]["nullable"] == column.nullable, column
            length = getattr(made[column.name]["type"], "length", None)
            expected = column.type.compile(payment_database.read_engine.dialect)
            assert length is None or f"({length})" in expected
        # A unique column has a unique index of the store's own making beside those we name.
        indexes = {index["name"]: bool(index["unique"]) for index in inspector.get_indexes(table.name)}
        assert {index.name: bool(index.unique) for index in table.indexes}.items() <= indexes.items()
        assert {name for name, unique in indexes.items() if not unique} <= {index.name for index in table.indexes}


def test_each_payment_is_recorded_once_and_its_journal_begins(payment_database: Database):
    first, second = initiate(payment_database, [new_payment("A"), new_payment("B", initiator="clerk")])
    assert isinstance(first, Recorded)
    assert isinstance(second, Recorded)
    assert first.instruction_id != second.instruction_id
    assert len(first.instruction_id) <= 30
    stored = get(payment_database, "A")
    assert stored.order_bytes == new_payment("A").order_bytes
    assert (stored.status, stored.received_at, stored.creditor_name) == (S.RECEIVED, NOW, "北京某某供应商有限公司")
    events = payment_database.read_sync(lambda c: SqlPaymentStore(c).events_after(0, 10))
    assert [(e.entry.type, e.entry.actor, e.entry.from_status) for e in events] == [
        ("payment.received", "erp", None),
        ("payment.received", "clerk", None),
    ]


def test_a_repeat_gets_the_first_answer_and_other_content_is_refused(payment_database: Database):
    (first,) = initiate(payment_database, [new_payment()])
    later = NOW + timedelta(minutes=1)
    again, other = initiate(payment_database, [new_payment(), new_payment(instructed_amount__minor_units=1)], now=later)
    assert again == AlreadyRecorded(first.instruction_id, NOW)
    assert other == EndToEndIdReused("INV-1")
    assert journal(payment_database) == ["payment.received"]
    assert get(payment_database).amount_minor_units == 123_450


def test_duplicates_inside_one_call_are_handled_in_order(payment_database: Database):
    refused = RefusedLine("C", [])
    outcomes = initiate(
        payment_database,
        [new_payment("A"), new_payment("A"), new_payment("A", purpose="x"), refused, new_payment("B")],
    )
    assert [type(outcome) for outcome in outcomes] == [
        Recorded,
        AlreadyRecorded,
        EndToEndIdReused,
        RefusedLine,
        Recorded,
    ]
    assert outcomes[1].instruction_id == outcomes[0].instruction_id


async def test_callers_who_race_for_one_id_all_get_the_same_payment(payment_database: Database):
    def attempt(number: int):
        line = new_payment("RACE", purpose="x" if number % 4 == 3 else "货款")
        return payment_database.run(lambda c: use_cases.initiate_payments([line], SqlPaymentStore(c), ids=IDS, now=NOW))

    outcomes = [one for (one,) in await asyncio.gather(*(attempt(number) for number in range(40)))]
    recorded = [outcome for outcome in outcomes if isinstance(outcome, Recorded)]
    same = [outcome for outcome in outcomes if isinstance(outcome, AlreadyRecorded)]
    other = [outcome for outcome in outcomes if isinstance(outcome, EndToEndIdReused)]
    assert len(recorded) == 1
    assert {one.instruction_id for one in same} == {recorded[0].instruction_id}
    assert len(same) + len(other) == 39
    assert len(other) in (10, 30)  # whichever content came first wins
    assert journal(payment_database, "RACE") == ["payment.received"]


def test_ten_thousand_lines_are_one_transaction(payment_database: Database):
    outcomes = initiate(payment_database, [new_payment(f"L-{number}") for number in range(10_000)])
    assert all(isinstance(outcome, Recorded) for outcome in outcomes)
    (count,) = payment_database.read_sync(lambda c: SqlPaymentStore(c).count(PaymentFilter()))
    assert (count.status, count.debtor_account, count.number, count.minor_units) == (
        S.RECEIVED,
        DEBTOR_ACCOUNT,
        10_000,
        10_000 * 123_450,
    )


def test_what_the_rules_block_is_never_submitted(payment_database: Database):
    initiate(payment_database, [new_payment()])
    screen(payment_database, passed=False)
    stored = get(payment_database)
    assert (stored.status, stored.reason_code, stored.next_action_at) == (S.BLOCKED, "blocked_creditor", None)
    assert claim(payment_database) == []


def test_a_claim_holds_until_its_lease_ends(payment_database: Database):
    initiate(payment_database, [new_payment()])

    def claim_screening(now: datetime) -> list[Payment]:
        return payment_database.run_sync(
            lambda c: use_cases.claim_for_screening(SqlPaymentStore(c), now=now, limit=10, pacing=PACING)
        )

    assert [payment.step_tries for payment in claim_screening(NOW)] == [0]
    assert claim_screening(NOW + timedelta(seconds=19)) == []
    assert [payment.step_tries for payment in claim_screening(NOW + timedelta(seconds=20))] == [1]


def test_the_intention_to_send_is_committed_before_anything_leaves(payment_database: Database):
    payment = submitted(payment_database)
    stored = get(payment_database)
    assert stored == payment
    assert (stored.status, stored.submission_attempts, stored.last_submitted_at) == (S.SUBMITTING, 1, NOW)
    assert claim(payment_database, NOW + timedelta(hours=1)) == []
    assert journal(payment_database) == ["payment.received", "payment.screened", "payment.submitting"]


def test_a_payment_waits_for_its_execution_date(payment_database: Database):
    initiate(payment_database, [new_payment(requested_execution_date="2026-11-24")])
    screen(payment_database)
    beijing_midnight = datetime(2026, 11, 24, tzinfo=BANK_ZONE)
    assert claim(payment_database, beijing_midnight - timedelta(seconds=1)) == []
    assert len(claim(payment_database, beijing_midnight)) == 1


def test_a_claim_takes_no_more_accounts_than_there_are_calls_free(payment_database: Database):
    lines = [new_payment(f"{a}-{n}", debtor_account__identification=f"10{a}") for n in range(3) for a in range(5)]
    initiate(payment_database, lines)
    screen(payment_database)
    taken = claim(payment_database, accounts_max=2)
    assert len(taken) == 6
    assert len({submission.payment.debtor_account for submission in taken}) == 2
    assert len(claim(payment_database, accounts_max=10)) == 9


def test_two_workers_never_claim_the_same_payment(payment_database: Database):
    initiate(payment_database, [new_payment(f"W-{number}") for number in range(200)])
    screen(payment_database)
    claimed: list[str] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while submissions := claim(payment_database, limit=7):
                claimed.extend(submission.payment.instruction_id for submission in submissions)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(claimed) == len(set(claimed)) == 200


def test_a_locked_row_is_skipped_not_waited_for(payment_database: Database):
    if payment_database.dialect != "postgresql":
        pytest.skip("SQLite has one writer")
    initiate(payment_database, [new_payment("A"), new_payment("B")])
    screen(payment_database)
    with payment_database.write_engine.connect() as other, other.begin():
        held = SqlPaymentStore(other).claim_due([S.SCREENED], NOW, 1)
        taken = claim(payment_database)
        assert {held[0].end_to_end_id, taken[0].payment.end_to_end_id} == {"A", "B"}
        assert len(taken) == 1


def test_a_crash_between_intention_and_answer_leaves_the_payment_in_doubt(payment_database: Database):
    submitted(payment_database)

    def recover(now: datetime) -> list[Payment]:
        return payment_database.run_sync(
            lambda c: use_cases.recover_submitting(
                SqlPaymentStore(c), now=now, stale_at=now, limit=10, pacing=PACING, actor="recover"
            )
        )

    assert recover(NOW + timedelta(seconds=19)) == []
    (recovered,) = recover(NOW + timedelta(seconds=20))
    assert (recovered.status, recovered.reason_code) == (S.UNKNOWN, "NO_ANSWER")
    assert get(payment_database).status is S.UNKNOWN
    assert claim(payment_database, NOW + timedelta(days=1)) == []
    # The answer comes after all.
    hear(payment_database, [report(W.SETTLED, recovered.instruction_id, booking_date="2026-11-22")])
    assert get(payment_database).status is S.SETTLED


def ask(database: Database, now: datetime) -> list[Payment]:
    return database.run_sync(lambda c: use_cases.claim_for_query(SqlPaymentStore(c), now=now, limit=10, pacing=PACING))


def test_questions_come_further_and_further_apart(payment_database: Database):
    payment = submitted(payment_database)
    hear(payment_database, [report(W.PROCESSING, payment.instruction_id)])
    asked, now = [], NOW
    for second in range(40):
        now += timedelta(seconds=1)
        if due := ask(payment_database, now):
            asked.append(int((now - NOW).total_seconds()))
            answers = [] if second % 2 else [report(W.PROCESSING, payment.instruction_id)]
            hear(payment_database, answers, now, asked=due)
    assert asked == [1, 6, 16, 36]


def test_no_question_comes_before_the_bank_wants_it(payment_database: Database):
    payment = submitted(payment_database)
    hear(payment_database, [report(W.PROCESSING, payment.instruction_id)])
    asked, now = [], NOW
    for _ in range(80):
        now += timedelta(seconds=1)
        if due := ask(payment_database, now):
            asked.append(int((now - NOW).total_seconds()))
            answer = report(W.PROCESSING, payment.instruction_id, ask_after=now + timedelta(seconds=15))
            hear(payment_database, [answer], now, asked=due)
    assert asked == [1, 16, 31, 51]  # 15 s as the bank wants it, then our own doubling is longer


def test_nobody_asks_again_while_a_question_is_under_way(payment_database: Database):
    payment = submitted(payment_database)
    hear(payment_database, [report(W.PROCESSING, payment.instruction_id)])
    now = NOW + timedelta(seconds=5)
    assert len(ask(payment_database, now)) == 1
    assert ask(payment_database, now + PACING.lease - timedelta(seconds=1)) == []
    assert len(ask(payment_database, now + PACING.lease)) == 1


def test_a_dead_process_gives_its_claims_back_but_not_its_submissions(payment_database: Database):
    payment = submitted(payment_database)
    initiate(payment_database, [new_payment("B"), new_payment("C")])
    payment_database.run_sync(
        lambda c: use_cases.claim_for_screening(SqlPaymentStore(c), now=NOW, limit=10, pacing=PACING)
    )
    until = NOW + PACING.first_query_delay
    payment_database.run_sync(lambda c: SqlPaymentStore(c).free_claims(NOW, until))
    assert get(payment_database) == payment
    assert (get(payment_database, "B").next_action_at, get(payment_database, "B").step_tries) == (NOW, 0)
    hear(payment_database, [report(W.PROCESSING, payment.instruction_id)])
    ask(payment_database, until)
    payment_database.run_sync(lambda c: SqlPaymentStore(c).free_claims(NOW, until))
    assert get(payment_database).next_action_at == until


def test_reports_are_written_with_their_journal(payment_database: Database):
    payment = submitted(payment_database)
    recorded = hear(
        payment_database,
        [
            report(W.PROCESSING, payment.instruction_id, account_servicer_reference="REF1"),
            report(W.PROCESSING, payment.instruction_id),
            report(W.SETTLED, payment.instruction_id, booking_date="2026-11-22"),
            report(W.SETTLED, "PI-NOT-OURS"),
        ],
    )
    assert recorded.unknown_ids == ["PI-NOT-OURS"]
    assert [move.type for move in recorded.moves] == ["payment.processing", "payment.settled"]
    stored = get(payment_database)
    assert (stored.status, stored.account_servicer_reference, stored.settlement_date) == (
        S.SETTLED,
        "REF1",
        "2026-11-22",
    )
    events = payment_database.read_sync(lambda c: SqlPaymentStore(c).events_after(0, 100))
    assert [(e.entry.to_status, e.entry.account_servicer_reference) for e in events][-2:] == [
        (S.PROCESSING, "REF1"),
        (S.SETTLED, "REF1"),
    ]
    assert [e.entry.sequence for e in events] == sorted({e.entry.sequence for e in events})


def test_a_payment_in_doubt_goes_out_again_only_with_a_permit(payment_database: Database):
    payment = submitted(payment_database)
    key = payment.instruction_id
    hear(payment_database, [report(W.UNKNOWN, key)])
    later = NOW + timedelta(minutes=1)
    assert hear(payment_database, [report(W.NOT_FOUND, key)], later).permits == []
    assert hear(payment_database, [report(W.NOT_FOUND, key, proof=proof(control_seen=False))], later).permits == []
    assert hear(payment_database, [report(W.NOT_FOUND, key, attempt=0, proof=proof())], later).permits == []
    permits = hear(payment_database, [report(W.NOT_FOUND, key, proof=proof())], later).permits
    assert get(payment_database).status is S.UNKNOWN

    def resend():
        return payment_database.run_sync(
            lambda c: use_cases.resend_payments(
                [*permits, *permits], SqlPaymentStore(c), now=later, pacing=PACING, actor="resend"
            )
        )

    (submission,) = resend()
    assert (submission.payment.instruction_id, submission.attempt, submission.proof) == (key, 2, proof())
    assert resend() == []  # used once, it is void
    stored = get(payment_database)
    assert (stored.status, stored.submission_attempts, stored.last_submitted_at) == (S.SUBMITTING, 2, later)
    entries = payment_database.read_sync(lambda c: SqlPaymentStore(c).journal(key))
    assert entries[-1].reason_code == "RESEND_PERMIT"
    assert "ARC-1" in entries[-1].reason_text
    assert "PI-CONTROL" in entries[-1].reason_text


def test_the_next_question_comes_as_soon_as_the_safe_window_is_over(payment_database: Database):
    key = submitted(payment_database).instruction_id
    hear(payment_database, [report(W.UNKNOWN, key)])
    payment_database.run_sync(lambda c: SqlPaymentStore(c).postpone([get(payment_database)], NOW, step_tries=7))
    now = NOW + timedelta(seconds=16)
    early = proof(queried_at=now)
    (asked,) = ask(payment_database, now)
    assert hear(payment_database, [report(W.NOT_FOUND, key, proof=early)], now, [asked]).permits == []
    assert get(payment_database).next_action_at == NOW + early.safe_window
    later = NOW + early.safe_window
    (asked,) = ask(payment_database, later)
    blind = proof(queried_at=later, control_seen=False)
    hear(payment_database, [report(W.NOT_FOUND, key, proof=blind)], later, [asked])
    assert get(payment_database).next_action_at == later + PACING.query_interval_max


def test_a_permit_is_void_once_the_bank_has_answered(payment_database: Database):
    key = submitted(payment_database).instruction_id
    hear(payment_database, [report(W.UNKNOWN, key)])
    later = NOW + timedelta(minutes=1)
    permits = hear(payment_database, [report(W.NOT_FOUND, key, proof=proof())], later).permits
    hear(payment_database, [report(W.PROCESSING, key)], later)
    assert len(permits) == 1
    assert (
        payment_database.run_sync(
            lambda c: use_cases.resend_payments(permits, SqlPaymentStore(c), now=later, pacing=PACING, actor="resend")
        )
        == []
    )


def test_resends_have_a_limit(payment_database: Database):
    key = submitted(payment_database).instruction_id
    now = NOW
    for attempt in range(1, PACING.resends_max + 2):
        hear(payment_database, [report(W.UNKNOWN, key, attempt=attempt)], now)
        later = now + timedelta(minutes=1)
        evidence = proof(queried_at=now + timedelta(seconds=40))
        permits = hear(payment_database, [report(W.NOT_FOUND, key, attempt=attempt, proof=evidence)], later).permits
        payment_database.run_sync(
            lambda c: use_cases.resend_payments(permits, SqlPaymentStore(c), now=later, pacing=PACING, actor="r")  # noqa: B023
        )
        now = later
    stored = get(payment_database)
    assert (stored.status, stored.submission_attempts) == (S.UNKNOWN, PACING.resends_max + 1)


def test_a_payment_that_never_left_is_sent_later_with_the_same_attempt(payment_database: Database):
    key = submitted(payment_database).instruction_id
    hear(payment_database, [report(W.NOT_SENT, key, release=1)])
    assert get(payment_database).status is S.SCHEDULED
    assert claim(payment_database) == []  # not at once
    (again,) = claim(payment_database, NOW + timedelta(seconds=1))
    assert (again.payment.instruction_id, again.attempt, again.payment.releases) == (key, 1, 2)


def test_that_it_never_left_may_be_heard_by_asking_once_and_of_no_later_release(payment_database: Database):
    key = submitted(payment_database).instruction_id
    hear(payment_database, [report(W.UNKNOWN, key, release=1)])
    later = NOW + timedelta(minutes=1)
    (asked,) = ask(payment_database, later)
    never_left = report(W.NOT_SENT, key, attempt=asked.submission_attempts, release=asked.releases)
    hear(payment_database, [never_left], later, [asked])
    assert (get(payment_database).status, journal(payment_database)[-1]) == (S.SCHEDULED, "payment.not_sent")
    (again,) = claim(payment_database, later + timedelta(seconds=1))
    assert (again.payment.instruction_id, again.attempt, again.payment.releases) == (key, 1, 2)
    hear(payment_database, [report(W.UNKNOWN, key, release=again.payment.releases)], later)
    hear(payment_database, [never_left], later)  # the same answer once more, late: another release is out now
    assert get(payment_database).status is S.UNKNOWN


def test_returns_are_recorded_once(payment_database: Database):
    key = submitted(payment_database).instruction_id
    hear(payment_database, [report(W.SETTLED, key, booking_date="2026-11-22")])
    since = NOW.date() - timedelta(days=5)
    assert payment_database.read_sync(lambda c: SqlPaymentStore(c).settled_accounts(since)) == [DEBTOR_ACCOUNT]
    back = [report(W.RETURNED, key, attempt=0, booking_date="2026-11-23"), report(W.RETURNED, "PI-OTHER", attempt=0)]
    for _ in range(2):
        payment_database.run_sync(
            lambda c: use_cases.record_returns(back, SqlPaymentStore(c), now=NOW, pacing=PACING, actor="returns")
        )
    stored = get(payment_database)
    assert (stored.status, stored.settlement_date, stored.return_date) == (S.RETURNED, "2026-11-22", "2026-11-23")
    assert journal(payment_database).count("payment.returned") == 1
    assert payment_database.read_sync(lambda c: SqlPaymentStore(c).settled_accounts(since)) == []


def test_a_payment_is_cancelled_before_release_and_never_after(payment_database: Database):
    initiate(payment_database, [new_payment("A"), new_payment("B")])
    wishes = [Cancellation("A", "double"), Cancellation("A", "again"), Cancellation("Z", "")]

    def cancel(given):
        return payment_database.run_sync(
            lambda c: use_cases.cancel_payments(given, SqlPaymentStore(c), now=NOW, actor="clerk")
        )

    first, second, missing = cancel(wishes)
    assert isinstance(first, Withdrawn)
    assert isinstance(second, Withdrawn)
    assert (first.payment.status, first.previous, second.previous) == (S.CANCELLED, S.RECEIVED, None)
    assert missing == PaymentMissing("Z")
    assert journal(payment_database, "A") == ["payment.received", "payment.cancelled"]
    screen(payment_database)
    claim(payment_database)
    (refused,) = cancel([Cancellation("B", "")])
    assert isinstance(refused, CancellationRefused)
    assert (get(payment_database, "A").status, get(payment_database, "B").status) == (S.CANCELLED, S.SUBMITTING)


def test_the_list_pages_newest_first_without_gap_or_repeat(payment_database: Database):
    for minute in range(3):
        now = NOW + timedelta(minutes=minute)
        lines = [new_payment(f"{minute}-{n}", creditor__name=f"公司{n}%_") for n in range(5)]
        initiate(payment_database, lines, now=now)
    seen: list[Payment] = []
    position = None
    while page := payment_database.read_sync(lambda c: SqlPaymentStore(c).search(PaymentFilter(), position, 4)):  # noqa: B023
        seen += page
        position = Position(page[-1].received_at, page[-1].instruction_id)
    assert len(seen) == len({payment.instruction_id for payment in seen}) == 15
    assert [payment.received_at for payment in seen] == sorted((p.received_at for p in seen), reverse=True)


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        (PaymentFilter(statuses=(S.RECEIVED,)), {"A", "B"}),
        (PaymentFilter(statuses=(S.SETTLED,)), set()),
        (PaymentFilter(debtor_account="111"), {"B"}),
        (PaymentFilter(payment_information_id="BATCH"), {"A"}),
        (PaymentFilter(creditor_name="某某"), {"A"}),
        (PaymentFilter(creditor_name="%"), {"B"}),
        (PaymentFilter(received_from=NOW, received_until=NOW), set()),
        (PaymentFilter(received_from=NOW), {"A", "B"}),
    ],
)
def test_filters_find_what_they_say(payment_database: Database, filter_: PaymentFilter, expected: set[str]):
    initiate(
        payment_database,
        [
            new_payment("A", payment_information_id="BATCH"),
            new_payment("B", debtor_account__identification="111", creditor__name="100% 公司"),
        ],
    )
    found = payment_database.read_sync(lambda c: SqlPaymentStore(c).search(filter_, None, 10))
    assert {payment.end_to_end_id for payment in found} == expected


def test_looking_for_work_uses_the_index_of_open_payments(payment_database: Database):
    if payment_database.dialect != "sqlite":
        pytest.skip("the planner of PostgreSQL decides by table size")
    with payment_database.read_engine.connect() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT 1 FROM payments WHERE status IN ('SCREENED') AND next_action_at <= 1 LIMIT 1"
        ).fetchall()
    assert "payments_by_next_action" in str(plan)


def test_a_payment_whose_window_passed_before_its_release_expires(payment_database: Database):
    initiate(payment_database, [new_payment(), new_payment("LATER", requested_execution_date="2026-11-27")])
    screen(payment_database)
    assert (get(payment_database).status, get(payment_database, "LATER").status) == (S.SCREENED, S.SCHEDULED)
    last_day = NOW + timedelta(days=PACING.execution_window_days)
    assert claim(payment_database, last_day, accounts_max=0) == []
    (sent,) = claim(payment_database, last_day + timedelta(days=1))
    assert sent.payment.end_to_end_id == "LATER"  # its own day counts
    expired = get(payment_database)
    assert (expired.status, expired.reason_code) == (S.EXPIRED, "EXECUTION_WINDOW_PASSED")
    assert expired.next_action_at is None
    assert journal(payment_database) == ["payment.received", "payment.screened", "payment.expired"]
    assert journal(payment_database, "LATER")[-2:] == ["payment.scheduled", "payment.submitting"]
