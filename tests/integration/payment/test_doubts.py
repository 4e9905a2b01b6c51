"""The people's queue on the real stores, and over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from fakes import until
from payment_builders import NOW, PACING, instruction_message, new_payment, proof, report
from running import House, run_house

from yinqi.api.payment.v1 import doubt_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.kernel.clock import FixedClock
from yinqi.kernel.errors import InvalidRequest
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.payment import use_cases
from yinqi.payment.doubt_use_cases import DoubtDecided, resolve_doubt
from yinqi.payment.doubts import Decision, DecisionRefused, Doubt, DoubtReason, Proposal
from yinqi.payment.model import BankWord, Pacing, Payment, Screening, StatusReport
from yinqi.payment.repository import SqlPaymentStore
from yinqi.payment.resend import EvidenceInsufficient
from yinqi.payment.status import PaymentStatus
from yinqi.runtime.database import Database
from yinqi.runtime.errors import error_reason
from yinqi.runtime.grpc_client import open_channel
from yinqi.runtime.settings import Settings

API = payment_service_pb2
S, W = PaymentStatus, BankWord
LATER = NOW + timedelta(minutes=1)
LIMITED = Pacing(lease=PACING.lease, resends_max=0)


def run(database: Database, work: Any) -> Any:
    return database.run_sync(lambda connection: work(SqlPaymentStore(connection)))


def in_doubt(database: Database, pacing: Pacing = PACING) -> Payment:
    """A payment that was sent and about which nothing was heard."""

    def work(store: SqlPaymentStore) -> Payment:
        use_cases.initiate_payments([new_payment()], store, ids=TimeOrderedIds(FixedClock(NOW)), now=NOW)
        (due,) = use_cases.claim_for_screening(store, now=NOW, limit=1, pacing=pacing)
        use_cases.record_screenings([Screening(due.instruction_id, True)], store, now=NOW, actor="t")
        (sent,) = use_cases.claim_for_submission(
            store, now=NOW, today=NOW.date(), limit=1, accounts_max=1, pacing=pacing, actor="t"
        )
        use_cases.record_status_reports(
            [report(W.UNKNOWN, sent.payment.instruction_id)], store, now=NOW, pacing=pacing, actor="t"
        )
        return sent.payment

    return run(database, work)


def hear(
    database: Database, reports: Sequence[StatusReport], now: datetime = LATER, *, pacing: Pacing = PACING
) -> use_cases.RecordedReports:
    def work(store: SqlPaymentStore) -> use_cases.RecordedReports:
        asked = use_cases.claim_for_query(store, now=now + timedelta(days=9), limit=9, pacing=pacing)
        return use_cases.record_status_reports(reports, store, now=now, pacing=pacing, actor="t", asked=asked)

    return run(database, work)


def doubt_of(database: Database, key: str) -> Doubt | None:
    return run(database, lambda store: store.find_doubts([key]).get(key))


def journal(database: Database, key: str) -> list[str]:
    return [entry.type for entry in run(database, lambda store: store.journal(key))]


def say(
    database: Database, person: str, decision: Decision, now: datetime = LATER, pacing: Pacing = PACING, **facts: str
) -> DoubtDecided:
    given = {"document_reference": "LETTER-7", "account_servicer_reference": "", "booking_date": "", "note": ""} | facts
    proposal = Proposal(decision, person=person, proposed_at=now, **given)
    return run(database, lambda store: resolve_doubt("INV-1", proposal, store, pacing=pacing))


def test_after_enough_questions_a_payment_goes_to_the_people_and_is_asked_for_as_before(payment_database: Database):
    key = in_doubt(payment_database).instruction_id
    blind = proof(control_seen=False)
    for _ in range(PACING.doubt_queries - 1):
        hear(payment_database, [report(W.NOT_FOUND, key, proof=blind)])
    assert doubt_of(payment_database, key) is None
    hear(payment_database, [report(W.NOT_FOUND, key, proof=blind)])
    found = doubt_of(payment_database, key)
    assert found is not None
    assert (found.reason, found.is_open, found.proof) == (DoubtReason.QUERIES_EXHAUSTED, True, blind)
    assert journal(payment_database, key)[-1] == "payment.doubted"
    hear(payment_database, [report(W.NOT_FOUND, key, proof=blind)])
    assert journal(payment_database, key).count("payment.doubted") == 1
    ((payment, listed),) = run(payment_database, lambda store: store.list_doubts(None, 10, with_closed=False))
    assert (payment.instruction_id, listed) == (key, found)
    assert payment.next_action_at is not None
    # The bank speaks after all: it leaves the queue by itself.
    hear(payment_database, [report(W.SETTLED, key)])
    after = doubt_of(payment_database, key)
    assert after is not None
    assert (after.is_open, after.closing) == (False, "SETTLED")
    assert run(payment_database, lambda store: store.list_doubts(None, 10, with_closed=False)) == []


def test_time_alone_brings_it_there_too(payment_database: Database):
    key = in_doubt(payment_database).instruction_id
    hear(payment_database, [report(W.UNKNOWN, key)], NOW + PACING.doubt_after)
    found = doubt_of(payment_database, key)
    assert found is not None
    assert found.reason is DoubtReason.UNKNOWN_TOO_LONG


def test_a_bank_that_never_ends_a_payment_is_for_people(payment_database: Database):
    key = in_doubt(payment_database).instruction_id
    hear(payment_database, [report(W.PROCESSING, key)])
    assert doubt_of(payment_database, key) is None
    hear(payment_database, [report(W.PROCESSING, key)], NOW + PACING.processing_doubt_after)
    found = doubt_of(payment_database, key)
    assert found is not None
    assert found.reason is DoubtReason.PROCESSING_TOO_LONG


def test_one_person_proposes_and_a_second_who_says_the_same_settles_it(payment_database: Database):
    key = in_doubt(payment_database).instruction_id
    hear(payment_database, [report(W.UNKNOWN, key)], NOW + PACING.doubt_after)
    facts = {"account_servicer_reference": "BANK-77", "booking_date": "2026-11-22"}
    first = say(payment_database, "wang", Decision.DECLARE_SETTLED, **facts)
    assert (first.has_effect, first.payment.status) == (False, S.UNKNOWN)
    again = say(payment_database, "wang", Decision.DECLARE_SETTLED, **facts)
    assert (again.has_effect, again.is_news) == (False, False)
    other = say(payment_database, "li", Decision.DECLARE_SETTLED, **facts | {"booking_date": "2026-11-21"})
    assert not other.has_effect  # other words are another proposal
    done = say(payment_database, "wang", Decision.DECLARE_SETTLED, **facts | {"booking_date": "2026-11-21"})
    assert (done.has_effect, done.payment.status) == (True, S.SETTLED)
    assert (done.payment.account_servicer_reference, done.payment.settlement_date) == ("BANK-77", "2026-11-21")
    assert journal(payment_database, key)[-3:] == [
        "payment.decision_proposed",
        "payment.decision_proposed",
        "payment.settled",
    ]
    (entry,) = run(payment_database, lambda store: store.journal(key))[-1:]
    assert (entry.reason_code, entry.actor) == ("DECLARED_SETTLED", "wang")
    assert "LETTER-7" in entry.reason_text
    assert "li" in entry.reason_text
    with pytest.raises(DecisionRefused, match="left the queue"):
        say(payment_database, "wang", Decision.DECLARE_FAILED)


def test_nobody_may_allow_a_resend_without_recorded_proof(payment_database: Database):
    key = in_doubt(payment_database).instruction_id
    hear(payment_database, [report(W.NOT_FOUND, key, proof=proof(control_seen=False))], NOW + PACING.doubt_after)
    with pytest.raises(EvidenceInsufficient) as error:
        say(payment_database, "wang", Decision.ALLOW_RESEND)
    assert "CONTROL_NOT_SEEN" in error.value.metadata["missing"]
    say(payment_database, "wang", Decision.DECLARE_FAILED)
    done = say(payment_database, "li", Decision.DECLARE_FAILED)
    assert (done.payment.status, done.payment.next_action_at) == (S.REJECTED, None)


def test_two_people_and_fresh_proof_send_it_beyond_the_limit_and_the_proof_is_kept_as_data(payment_database: Database):
    key = in_doubt(payment_database, LIMITED).instruction_id
    heard = hear(payment_database, [report(W.NOT_FOUND, key, proof=proof())], pacing=LIMITED)
    assert heard.permits == []
    found = doubt_of(payment_database, key)
    assert found is not None
    assert found.reason is DoubtReason.RESENDS_EXHAUSTED
    say(payment_database, "wang", Decision.ALLOW_RESEND, pacing=LIMITED)
    assert say(payment_database, "li", Decision.ALLOW_RESEND, pacing=LIMITED).has_effect
    newer = proof(queried_at=LATER)
    (permit,) = hear(payment_database, [report(W.NOT_FOUND, key, proof=newer)], pacing=LIMITED).permits
    (sent,) = run(
        payment_database,
        lambda store: use_cases.resend_payments([permit], store, now=LATER, pacing=LIMITED, actor="payment.resend"),
    )
    assert (sent.attempt, sent.payment.instruction_id) == (2, key)
    (kept,) = run(payment_database, lambda store: store.permits_of(key))
    assert (kept.attempt, kept.proof, kept.used_at) == (2, newer, LATER)
    assert kept.expires_at == newer.queried_at + LIMITED.permit_lifetime
    after = doubt_of(payment_database, key)
    assert after is not None
    assert (after.is_open, after.closing) == (False, "SUBMITTING")


def test_an_expired_permit_sends_nothing(payment_database: Database):
    key = in_doubt(payment_database).instruction_id
    (permit,) = hear(payment_database, [report(W.NOT_FOUND, key, proof=proof())]).permits
    sent = run(
        payment_database,
        lambda store: use_cases.resend_payments([permit], store, now=permit.expires_at, pacing=PACING, actor="t"),
    )
    assert sent == []
    old = proof(queried_at=LATER)
    late = LATER + PACING.permit_lifetime
    assert hear(payment_database, [report(W.NOT_FOUND, key, proof=old)], late).permits == []


@pytest.mark.parametrize(
    ("first", "second", "decision", "ends"),
    [
        (W.SETTLED, W.REJECTED, Decision.DECLARE_SETTLED, S.SETTLED),
        (W.SETTLED, W.REJECTED, Decision.DECLARE_FAILED, S.RETURNED),
        (W.REJECTED, W.SETTLED, Decision.DECLARE_SETTLED, S.SETTLED),
        (W.REJECTED, W.RETURNED, Decision.DECLARE_FAILED, S.REJECTED),
    ],
)
def test_a_bank_that_contradicts_itself_is_for_two_people(
    payment_database: Database, first: BankWord, second: BankWord, decision: Decision, ends: PaymentStatus
):
    key = in_doubt(payment_database).instruction_id
    hear(payment_database, [report(first, key)])
    hear(payment_database, [report(second, key, attempt=0)])
    found = doubt_of(payment_database, key)
    assert found is not None
    assert found.reason is DoubtReason.CONTRADICTION
    facts = {"account_servicer_reference": "B-1", "booking_date": "2026-11-23"}
    say(payment_database, "wang", decision, **facts)
    done = say(payment_database, "li", decision, **facts)
    assert (done.has_effect, done.payment.status) == (True, ends)
    # The same word again is known; people have looked at it.
    hear(payment_database, [report(second, key, attempt=0)])
    after = doubt_of(payment_database, key)
    assert after is not None
    assert not after.is_open


def test_a_decision_without_its_proof_names_each_field(payment_database: Database):
    key = in_doubt(payment_database).instruction_id
    hear(payment_database, [report(W.UNKNOWN, key)], NOW + PACING.doubt_after)
    with pytest.raises(InvalidRequest) as error:
        say(payment_database, "wang", Decision.DECLARE_SETTLED, document_reference=" ", booking_date="22.11.2026")
    assert [v.field for v in error.value.violations] == [
        "document_reference",
        "account_servicer_reference",
        "booking_date",
    ]


async def test_the_queue_is_read_and_resolved_over_grpc_by_two_people(sqlite_url: str, settings: Settings):
    async with run_house(sqlite_url, settings, payment_doubt_queries=2) as house:
        house.gateway.script["A"] = ["lost_before"]
        house.gateway.safe_window_ms = 3_600_000
        await house.initiate(instruction_message("A"))
        await _resolved_by_two(house)


async def _resolved_by_two(house: House) -> None:
    async def listed() -> Any:
        return (await house.stub.ListDoubts(API.ListDoubtsRequest(), timeout=60)).doubts

    await until(listed, "a doubt")
    (doubt,) = await listed()
    assert doubt.reason == doubt_pb2.DOUBT_REASON_QUERIES_EXHAUSTED
    assert list(doubt.missing_for_permit) == ["INSIDE_SAFE_WINDOW"]
    assert list(doubt.allowed_decisions) == [
        doubt_pb2.DOUBT_DECISION_DECLARE_SETTLED,
        doubt_pb2.DOUBT_DECISION_DECLARE_FAILED,
    ]
    request = API.ResolveDoubtRequest(
        end_to_end_id="A",
        decision=doubt_pb2.DOUBT_DECISION_DECLARE_FAILED,
        document_reference="LETTER-1",
        note="银行书面确认未收到",
    )
    for person, has_effect in (("wang", False), ("wang", False), ("li", True)):
        async with open_channel(
            house.channel_address, service_name=person, settings=house.settings, roles="payment_resolver"
        ) as channel:
            stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
            assert (await stub.ResolveDoubt(request, timeout=60)).has_effect is has_effect
    found = await house.reaches("A", "REJECTED")
    assert [event.type for event in found.journal][-2:] == ["payment.decision_proposed", "payment.rejected"]
    assert house.gateway.paid == {}
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await house.stub.GetDoubt(API.GetDoubtRequest(end_to_end_id="B"), timeout=60)
    assert error_reason(error.value).reason == "DOUBT_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await house.stub.ResolveDoubt(API.ResolveDoubtRequest(end_to_end_id="A"), timeout=60)
    assert error_reason(error.value).violations[0].field == "decision"
