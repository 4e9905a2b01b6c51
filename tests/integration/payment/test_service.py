"""The service as its callers meet it: over gRPC, with its sisters and its store."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from fakes import FakeGateway, until
from payment_builders import CNAPS, instruction_message
from running import House, run_house, start_sister

from yinqi.api.gateway.v1 import gateway_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.runtime.errors import error_reason
from yinqi.runtime.settings import Settings

API = payment_service_pb2


async def refused(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error_reason(error.value)


async def test_a_payment_goes_from_acceptance_to_settlement(house: House):
    response = await house.initiate(instruction_message("A"))
    (outcome,) = response.outcomes
    assert outcome.result == API.INITIATION_RESULT_RECORDED
    found = await house.reaches("A", "SETTLED")
    payment = found.payment
    assert payment.instruction_id == outcome.instruction_id
    assert payment.instruction == instruction_message("A")
    assert (payment.settlement_date, payment.submission_attempts) == ("2026-11-22", 1)
    assert payment.account_servicer_reference == "BANK-1"
    assert [event.type for event in found.journal] == [
        "payment.received",
        "payment.screened",
        "payment.submitting",
        "payment.processing",
        "payment.settled",
    ]
    assert found.journal[0].actor == "dev"
    assert house.gateway.paid == {"A": 1}


async def test_a_refused_line_does_not_stop_the_others(house: House):
    response = await house.initiate(
        instruction_message("A"),
        instruction_message("B", creditor_agent__clearing_member_id=CNAPS[:-1] + "1", creditor__name=""),
        instruction_message("A", purpose="other"),
        instruction_message("C"),
    )
    names = [API.InitiationResult.Name(outcome.result).rpartition("_")[2] for outcome in response.outcomes]
    assert names == ["RECORDED", "REFUSED", "REFUSED", "RECORDED"]
    wrong, reused = response.outcomes[1].error, response.outcomes[2].error
    assert (wrong.reason, reused.reason) == ("FIELD_INVALID", "END_TO_END_ID_REUSED")
    assert {v.field for v in wrong.violations} == {"creditor.name", "creditor_agent.clearing_member_id"}
    assert all(v.description_zh for v in wrong.violations)
    assert wrong.message_zh
    assert reused.message_zh
    await house.reaches("C", "SETTLED")
    assert house.gateway.paid == {"A": 1, "C": 1}


async def test_a_single_payment_is_idempotent_and_its_refusals_are_rich_errors(house: House):
    async def initiate(message: payment_pb2.PaymentInstruction) -> Any:
        return await house.stub.InitiatePayment(API.InitiatePaymentRequest(instruction=message))

    first, again = await initiate(instruction_message("A")), await initiate(instruction_message("A"))
    assert first.outcome.result == API.INITIATION_RESULT_RECORDED
    assert again.outcome.result == API.INITIATION_RESULT_ALREADY_RECORDED
    assert again.outcome.instruction_id == first.outcome.instruction_id
    assert again.outcome.received_at == first.outcome.received_at
    reused = await refused(initiate(instruction_message("A", purpose="other")))
    assert (reused.code, reused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "END_TO_END_ID_REUSED")
    wrong = await refused(initiate(instruction_message("B", instructed_amount__minor_units=0)))
    assert (wrong.code, wrong.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert wrong.violations[0].field == "instructed_amount.minor_units"
    assert wrong.message_zh
    empty = await refused(house.stub.InitiatePayment(API.InitiatePaymentRequest()))
    assert len(empty.violations) >= 5


async def test_many_callers_at_once_each_get_their_own_answer(house: House):
    async def initiate(number: int) -> Any:
        message = instruction_message(f"U-{number % 50}", instructed_amount__minor_units=100 + number % 50)
        return await house.stub.InitiatePayment(API.InitiatePaymentRequest(instruction=message))

    responses = await asyncio.gather(*(initiate(number) for number in range(100)))
    assert [r.outcome.end_to_end_id for r in responses] == [f"U-{number % 50}" for number in range(100)]
    assert len({r.outcome.instruction_id for r in responses}) == 50
    recorded = [r for r in responses if r.outcome.result == API.INITIATION_RESULT_RECORDED]
    assert len(recorded) == 50


async def test_ten_thousand_lines_are_taken_and_one_more_is_refused(house: House):
    many = [instruction_message(f"L-{number}", creditor__name="制裁名单") for number in range(10_000)]
    response = await house.initiate(*many)
    assert {outcome.result for outcome in response.outcomes} == {API.INITIATION_RESULT_RECORDED}
    found = await refused(house.initiate(*many, instruction_message("L-X")))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "LINES_TOO_MANY")
    assert (await refused(house.initiate())).reason == "LINES_MISSING"


async def test_a_blocked_payment_never_reaches_the_gateway(house: House):
    await house.initiate(instruction_message("A", creditor__name="制裁名单公司"))
    found = await house.reaches("A", "BLOCKED")
    assert found.payment.status_reason.code == "blocked_creditor"
    assert not house.gateway.submitted


async def test_payments_wait_while_monitoring_is_away(house: House):
    house.monitoring.is_away = True
    await house.initiate(instruction_message("A"))
    await asyncio.sleep(0.2)
    assert await house.status("A") == "RECEIVED"
    house.monitoring.is_away = False
    await house.reaches("A", "SETTLED")


async def test_payments_wait_while_the_gateway_is_away(sqlite_url: str, settings: Settings, free_port: Any):
    port = free_port()
    async with run_house(sqlite_url, settings, with_gateway=False, gateway_address=f"127.0.0.1:{port}") as house:
        await house.initiate(instruction_message("A"))
        await house.reaches("A", "SCREENED")
        await asyncio.sleep(0.3)
        assert await house.status("A") == "SCREENED"  # not in doubt: nothing was begun
        house.sisters["gateway"] = await start_sister(
            "gateway", gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server, house.gateway, settings, port
        )
        found = await house.reaches("A", "SETTLED")
        assert found.payment.submission_attempts == 1


async def test_what_the_bank_writes_is_stored_without_control_characters(house: House):
    house.gateway.text = "账户\x00已\x1b销户" + "。" * 600
    house.gateway.script["A"] = ["reject"]
    await house.initiate(instruction_message("A"))
    text = (await house.reaches("A", "REJECTED")).payment.status_reason.text
    assert text.startswith("账户 已 销户。")
    assert len(text) == 500


async def test_a_refusal_of_the_bank_is_final_and_says_why(house: House):
    house.gateway.script["A"] = ["reject"]
    await house.initiate(instruction_message("A"))
    reason = (await house.reaches("A", "REJECTED")).payment.status_reason
    assert (reason.code, reason.proprietary_code, reason.text) == ("AC04", "E123", "账户已销户")


async def test_an_answer_lost_after_the_debit_is_found_by_query_and_not_sent_again(house: House):
    house.gateway.script["A"] = ["lost_after"]
    await house.initiate(instruction_message("A"))
    found = await house.reaches("A", "SETTLED")
    assert "payment.unknown" in [event.type for event in found.journal]
    assert found.payment.submission_attempts == 1
    assert house.gateway.paid == {"A": 1}


async def test_a_payment_the_bank_provably_never_had_is_sent_again_with_the_same_reference(house: House):
    house.gateway.script["A"] = ["lost_before", "lost_before"]
    await house.initiate(instruction_message("A"))
    found = await house.reaches("A", "SETTLED")
    reference = found.payment.instruction_id
    assert house.gateway.submitted == {(reference, 1): 1, (reference, 2): 1, (reference, 3): 1}
    assert house.gateway.proofs[reference].archive_id == "ARC-7"
    assert house.gateway.paid == {"A": 1}
    assert [e.reason.code for e in found.journal if e.type == "payment.submitting"] == [
        "",
        "RESEND_PERMIT",
        "RESEND_PERMIT",
    ]


async def test_without_the_safe_window_nothing_is_sent_again(house: House):
    house.gateway.safe_window_ms = 3_600_000
    house.gateway.script["A"] = ["lost_before"]
    await house.initiate(instruction_message("A"))
    await house.reaches("A", "UNKNOWN")
    reference = (await house.get("A")).payment.instruction_id
    await until(lambda: house.gateway.queried[reference] >= 3, "three questions")
    assert await house.status("A") == "UNKNOWN"
    assert house.gateway.submitted == {(reference, 1): 1}


async def test_a_payment_that_never_left_is_sent_later(house: House):
    house.gateway.script["A"] = ["not_sent", "not_sent"]
    await house.initiate(instruction_message("A"))
    found = await house.reaches("A", "SETTLED")
    assert found.payment.submission_attempts == 1
    assert [e.type for e in found.journal].count("payment.not_sent") == 2
    assert house.gateway.paid == {"A": 1}


async def test_that_it_never_left_is_heard_by_asking_when_the_answer_was_lost(house: House):
    house.gateway.safe_window_ms = 3_600_000  # no permit could be made of an empty answer
    house.gateway.script["A"] = ["unheard", "unheard", "ok"]
    await house.initiate(instruction_message("A"))
    found = await house.reaches("A", "SETTLED")
    assert house.gateway.written_off == {found.payment.instruction_id: (1, 2)}
    told = [(e.type, e.reason.code) for e in found.journal if e.type == "payment.not_sent"]
    assert told == [("payment.not_sent", "NOT_SENT_ON_RECORD")] * 2
    assert found.payment.submission_attempts == 1
    assert house.gateway.paid == {"A": 1}


async def test_a_line_the_gateway_cannot_read_does_not_stop_its_batch(house: House):
    house.gateway.unreadable.add("A-3")
    house.monitoring.is_away = True
    await house.initiate(*(instruction_message(f"A-{n}") for n in range(8)))
    house.monitoring.is_away = False
    for n in range(8):
        if n != 3:
            await house.reaches(f"A-{n}", "SETTLED")
    house.gateway.unreadable.clear()
    found = await house.reaches("A-3", "SETTLED")
    assert {e.reason.code for e in found.journal if e.type == "payment.not_sent"} == {"FIELD_INVALID"}
    assert "payment.unknown" not in [e.type for e in found.journal]
    assert set(house.gateway.paid.values()) == {1}


async def test_a_refusal_of_the_evidence_does_not_use_up_an_attempt(house: House):
    house.gateway.script["A"] = ["lost_before"]
    house.gateway.proofs_refused = 2
    await house.initiate(instruction_message("A"))
    found = await house.reaches("A", "SETTLED")
    assert found.payment.submission_attempts == 2
    assert [e.reason.code for e in found.journal if e.type == "payment.not_sent"] == ["RESEND_PROOF_INSUFFICIENT"] * 2
    assert house.gateway.paid == {"A": 1}


async def test_money_that_comes_back_is_noticed(house: House):
    await house.initiate(instruction_message("A"))
    settled = await house.reaches("A", "SETTLED")
    house.gateway.returns.append(settled.payment.instruction_id)
    found = await house.reaches("A", "RETURNED")
    assert (found.payment.settlement_date, found.payment.return_date) == ("2026-11-22", "2026-11-23")


async def test_each_account_is_submitted_in_calls_of_its_own(house: House):
    house.monitoring.is_away = True
    await house.initiate(
        *(instruction_message(f"A-{n}", debtor_account__identification=f"10000{n % 3}") for n in range(30))
    )
    house.monitoring.is_away = False
    await asyncio.gather(*(house.reaches(f"A-{n}", "SETTLED") for n in range(30)))
    assert sum(size for _, size in house.gateway.batches) == 30
    assert len(house.gateway.batches) <= 9


async def test_a_bank_that_does_not_answer_does_not_hold_up_the_others(sqlite_house: House):
    house = sqlite_house
    released = asyncio.Event()

    async def hold(account: str) -> None:
        if account == "666":
            await released.wait()

    house.gateway.before_answer = hold
    for n in range(20):
        await house.initiate(instruction_message(f"SLOW-{n}", debtor_account__identification="666"))
        await asyncio.sleep(0.01)
    await house.initiate(instruction_message("OTHER", debtor_account__identification="777"))
    await house.reaches("OTHER", "SETTLED")
    assert sum(account == "666" for account, _ in house.gateway.batches) <= 2
    released.set()
    await asyncio.gather(*(house.reaches(f"SLOW-{n}", "SETTLED") for n in range(20)))
    assert set(house.gateway.paid.values()) == {1}


async def test_the_feed_tells_every_state_once_and_goes_on_live(house: House):
    await house.initiate(instruction_message("A"))
    stream = house.stub.FollowPayments(API.FollowPaymentsRequest())
    events: list[Any] = []
    async for response in stream:
        events += response.events
        if events[-1].to_status == payment_pb2.PAYMENT_STATUS_SETTLED:
            break
    stream.cancel()
    assert [
        e.type.removeprefix("payment.") for e in events
    ] == "received screened submitting processing settled".split()
    assert [e.sequence for e in events] == sorted({e.sequence for e in events})
    for event in events:
        assert event.payment.instruction == instruction_message("A")
        assert event.payment.status == event.to_status
        assert event.payment.traceparent
    # The state after that event, not the state now.
    assert [e.payment.submission_attempts for e in events] == [0, 0, 1, 1, 1]
    assert [e.payment.settlement_date for e in events] == ["", "", "", "", "2026-11-22"]
    resumed = house.stub.FollowPayments(API.FollowPaymentsRequest(after_sequence=events[2].sequence))
    async for response in resumed:
        assert response.events[0].sequence == events[3].sequence
        break
    resumed.cancel()


async def test_the_list_pages_and_counts(house: House):
    house.monitoring.is_away = True
    await house.initiate(*(instruction_message(f"P-{n}") for n in range(7)))
    seen, token = [], ""
    while True:
        page = await house.stub.ListPayments(API.ListPaymentsRequest(page_size=3, page_token=token))
        seen += [payment.instruction.end_to_end_id for payment in page.payments]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(f"P-{n}" for n in range(7))
    counts = (await house.stub.CountPayments(API.CountPaymentsRequest())).counts
    assert [(c.count, c.minor_units, c.currency) for c in counts] == [(7, 7 * 123_450, "CNY")]


@pytest.mark.parametrize(
    ("method", "request_", "code", "reason"),
    [
        ("GetPayment", API.GetPaymentRequest(), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("GetPayment", API.GetPaymentRequest(end_to_end_id="none"), "NOT_FOUND", "PAYMENT_NOT_FOUND"),
        ("GetPayment", API.GetPaymentRequest(instruction_id="none"), "NOT_FOUND", "PAYMENT_NOT_FOUND"),
        ("GetPayment", API.GetPaymentRequest(end_to_end_id="a\x00b"), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("GetPayment", API.GetPaymentRequest(end_to_end_id="a" * 36), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("ListPayments", API.ListPaymentsRequest(page_size=1001), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("ListPayments", API.ListPaymentsRequest(page_size=-1), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("ListPayments", API.ListPaymentsRequest(page_token="nonsense"), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("ListPayments", API.ListPaymentsRequest(page_token="é"), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("CancelPayment", API.CancelPaymentRequest(end_to_end_id="none"), "NOT_FOUND", "PAYMENT_NOT_FOUND"),
        ("CancelPayment", API.CancelPaymentRequest(), "INVALID_ARGUMENT", "FIELD_INVALID"),
        (
            "CancelPayment",
            API.CancelPaymentRequest(end_to_end_id="a", reason="x" * 141),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
    ],
)
async def test_wrong_requests_get_typed_errors(sqlite_house: House, method: str, request_: Any, code: str, reason: str):
    found = await refused(getattr(sqlite_house.stub, method)(request_))
    assert (found.code.name, found.reason) == (code, reason)


async def test_a_page_token_belongs_to_its_filter(sqlite_house: House):
    house = sqlite_house
    house.monitoring.is_away = True
    await house.initiate(*(instruction_message(f"P-{n}") for n in range(3)))
    page = await house.stub.ListPayments(API.ListPaymentsRequest(page_size=1))
    other = API.ListPaymentsRequest(page_token=page.next_page_token, filter=API.PaymentFilter(creditor_name="甲"))
    assert (await refused(house.stub.ListPayments(other))).reason == "FIELD_INVALID"


async def test_a_payment_can_be_cancelled_until_it_is_released(sqlite_house: House):
    house = sqlite_house
    house.monitoring.is_away = True
    await house.initiate(instruction_message("A"), instruction_message("B"))
    for _ in range(2):
        response = await house.stub.CancelPayment(API.CancelPaymentRequest(end_to_end_id="A", reason="订单取消"))
        assert response.payment.status == payment_pb2.PAYMENT_STATUS_CANCELLED
    house.monitoring.is_away = False
    await house.reaches("B", "SETTLED")
    found = await refused(house.stub.CancelPayment(API.CancelPaymentRequest(end_to_end_id="B")))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PAYMENT_RELEASED")
    assert house.gateway.paid == {"B": 1}


async def test_an_answer_that_is_under_way_at_the_end_is_still_recorded(sqlite_url: str, settings: Settings):
    gateway = FakeGateway()
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_account: str) -> None:
        entered.set()
        await go_on.wait()

    gateway.before_answer = hold
    async with run_house(sqlite_url, settings, gateway=gateway) as house:
        await house.initiate(instruction_message("A"))
        await entered.wait()
        house.stop.set()
        await asyncio.sleep(0.1)
        assert not house.task.done()
        go_on.set()
        await house.task
    gateway.before_answer = None
    async with run_house(sqlite_url, settings, gateway=gateway) as house:
        found = await house.reaches("A", "SETTLED")
        assert "payment.unknown" not in [event.type for event in found.journal]
    assert gateway.paid == {"A": 1}


async def test_a_hanging_bank_does_not_hold_up_the_end(sqlite_url: str, settings: Settings):
    gateway, entered = FakeGateway(), asyncio.Event()

    async def hang(_account: str) -> None:
        entered.set()
        await asyncio.Event().wait()

    gateway.before_answer = hang
    async with run_house(sqlite_url, settings, gateway=gateway, drain_grace_s=0.2) as house:
        await house.initiate(instruction_message("A"))
        await entered.wait()
        house.stop.set()
        await asyncio.wait_for(house.task, 2)
    gateway.before_answer = None
    async with run_house(sqlite_url, settings, gateway=gateway) as house:
        found = await house.reaches("A", "SETTLED")
        assert "payment.unknown" in [event.type for event in found.journal]
    assert gateway.paid == {"A": 1}


async def test_names_and_accounts_never_reach_the_logs(
    sqlite_url: str, settings: Settings, capsys: pytest.CaptureFixture[str]
):
    from yinqi.runtime.logging import configure_logging

    configure_logging("payment", level="DEBUG")
    async with run_house(sqlite_url, settings) as house:
        house.gateway.script["A"] = ["lost_before", "reject"]
        await house.initiate(instruction_message("A"), instruction_message("B", creditor__name=""))
        await house.reaches("A", "REJECTED")
        await refused(house.stub.InitiatePayment(API.InitiatePaymentRequest(instruction=instruction_message("A B"))))
    written = capsys.readouterr().err
    assert "submission call failed" in written
    for secret in ("北京某某供应商有限公司", "6222020200112233445", "755901234567890", "账户已销户"):
        assert secret not in written
