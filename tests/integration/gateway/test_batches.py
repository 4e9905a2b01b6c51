"""Batches at the bank's door: half-answered is half-known, totals are proven, and the registry forgets nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.kernel.clock import FixedClock, SystemClock

IN_PARTS = {"lines_max = 1000": "lines_max = 2\nmessages_max = 3"}
PROCESSING, UNKNOWN, NOT_SENT = (
    gateway_pb2.BANK_STATUS_PROCESSING,
    gateway_pb2.BANK_STATUS_UNKNOWN,
    gateway_pb2.BANK_STATUS_NOT_SENT,
)


async def test_a_batch_goes_in_several_messages_with_one_number(run_gateway: Any, scripted_bank: Any) -> None:
    async with run_gateway(scripted_bank.address, profile=IN_PARTS) as gateway:
        reports = await gateway.submit(*(gateway.submission() for _ in range(5)))
    assert {report.status for report in reports} == {PROCESSING}
    heads = [call.body["bb1paybhx1"][0] for call in scripted_bank.submits]
    assert [head["ctnSts"] for head in heads] == ["1", "2", "3"]
    assert len({head["batNbr"] for head in heads}) == 1


async def test_a_batch_half_answered_is_half_known(run_gateway: Any, scripted_bank: Any, take_all: Any) -> None:
    def answer(call: Any) -> Any:
        return None if len(scripted_bank.submits) == 2 else take_all(call)

    scripted_bank.answer = answer
    async with run_gateway(scripted_bank.address, profile=IN_PARTS) as gateway:
        lines = [gateway.submission() for _ in range(6)]
        reports = await gateway.submit(*lines)
        assert [one.status for one in reports] == [PROCESSING, PROCESSING, UNKNOWN, UNKNOWN, NOT_SENT, NOT_SENT]
        assert reports[4].reason_code == "BATCH_INTERRUPTED"
        scripted_bank.answer = take_all
        again = await gateway.submit(*lines)  # only what certainly never left goes out
        assert [one.status for one in again] == [UNKNOWN] * 4 + [PROCESSING] * 2
    assert sorted(scripted_bank.lines()) == sorted(line.instruction_id for line in lines)


async def test_an_answer_that_counts_otherwise_leaves_the_refused_known_and_the_rest_in_doubt(
    run_gateway: Any, scripted_bank: Any, take_all: Any
) -> None:
    def answer(call: Any) -> Any:
        body = take_all(call)
        body["bb1paybhz1"][0]["dtlNum"] = "1"
        refused = call.body["bb1paybhx2"][0]["yurRef"]
        body["bb1paybhz2"] = [{"yurRef": refused, "errCod": "ACC0001", "errTxt": "no"}]
        return body

    scripted_bank.answer = answer
    async with run_gateway(scripted_bank.address) as gateway:
        reports = await gateway.submit(*(gateway.submission() for _ in range(4)))
    assert [one.status for one in reports] == [gateway_pb2.BANK_STATUS_REJECTED, UNKNOWN, UNKNOWN, UNKNOWN]
    assert reports[1].reason_code == "COUNT_DIFFERS"


async def test_totals_that_differ_stop_before_a_byte_leaves(run_gateway: Any, scripted_bank: Any) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        line = gateway.submission()
        total = gateway_pb2.ControlTotal(debtor_account=line.instruction.debtor_account.identification, count=1)
        total.amount.currency, total.amount.minor_units = "CNY", 1233
        request = pb.SubmitPaymentsRequest(submissions=[line], control_totals=[total])
        with pytest.raises(grpc.aio.AioRpcError, match="not the sum of the lines") as caught:
            await gateway.stub.SubmitPayments(request, timeout=60)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert scripted_bank.calls == []
        total.amount.minor_units = 1234
        request = pb.SubmitPaymentsRequest(submissions=[line], control_totals=[total])
        assert (await gateway.stub.SubmitPayments(request, timeout=60)).reports[0].status == PROCESSING


async def test_the_registry_outlives_the_banks_memory(run_gateway: Any, scripted_bank: Any) -> None:
    now = SystemClock().now()
    async with run_gateway(scripted_bank.address, clock=FixedClock(now)) as gateway:
        line = gateway.submission()
        await gateway.submit(line)
    years_later = FixedClock(now + dt.timedelta(days=5 * 366))
    async with run_gateway(scripted_bank.address, clock=years_later) as gateway:
        (report,) = await gateway.submit(line)
    assert (report.status, report.reason_code) == (UNKNOWN, "ALREADY_SUBMITTED")
    assert scripted_bank.lines() == [line.instruction_id]


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_two_gateways_on_one_store_stay_within_the_banks_limit(
    run_gateway: Any, scripted_bank: Any, take_all: Any, store: str, request: pytest.FixtureRequest
) -> None:

    url = request.getfixturevalue(f"{store}_url")
    limits = {"submit = 50": "submit = 2", "waiting_max = 200": "waiting_max = 30"}
    answered, peak = 0, 0

    def answer(call: Any) -> Any:
        nonlocal answered, peak
        peak = max(peak, len(scripted_bank.calls) - answered)
        answered += 1
        return take_all(call)

    scripted_bank.answer, scripted_bank.delay_s = answer, 0.02
    async with (
        run_gateway(scripted_bank.address, profile=limits, database_url=url) as one,
        run_gateway(scripted_bank.address, profile=limits, database_url=url) as other,
    ):
        calls = [gateway.submit(gateway.submission()) for _ in range(15) for gateway in (one, other)]
        reports = [report for reports in await asyncio.gather(*calls) for report in reports]
        assert {report.status for report in reports} == {PROCESSING}
        assert 1 <= peak <= 2
        scripted_bank.delay_s = 1.0
        flood = [asyncio.ensure_future(one.submit(one.submission())) for _ in range(40)]
        done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_EXCEPTION)
        error = next(task.exception() for task in done if task.exception())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        status = rpc_status.from_call(error)
        advice = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(advice) for detail in status.details)
        assert advice.retry_delay.seconds >= 1
        scripted_bank.delay_s = 0
        for task in flood:
            task.cancel()
