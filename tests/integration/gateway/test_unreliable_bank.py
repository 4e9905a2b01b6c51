"""A bank that errs, lies, cuts the line or is away: nothing but its verified word moves a payment."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.kernel.clock import FixedClock, SystemClock
from yinqi.runtime.errors import error_reason
from yinqi.runtime.listening import free_port

UNKNOWN, NOT_SENT = gateway_pb2.BANK_STATUS_UNKNOWN, gateway_pb2.BANK_STATUS_NOT_SENT
PROCESSING, REJECTED = gateway_pb2.BANK_STATUS_PROCESSING, gateway_pb2.BANK_STATUS_REJECTED
SETTLED, NOT_FOUND = gateway_pb2.BANK_STATUS_SETTLED, gateway_pb2.BANK_STATUS_NOT_FOUND


def spoil_signature(bank: Any) -> None:
    bank.spoil_signature = True


def another_reqid(bank: Any) -> None:
    bank.head = {"reqid": "20261122140501123other"}


def another_function(bank: Any) -> None:
    bank.head = {"funcode": "NTQADINF"}


def old_signature(bank: Any) -> None:
    bank.sigtim_shift = dt.timedelta(minutes=-61)


def gateway_error(bank: Any) -> None:
    bank.answer = lambda call: b"CDCServer:LIM0001 too many concurrent calls"


def plain_error(bank: Any) -> None:
    bank.answer = lambda call: "ErrMsg:FRM0001 缺字段".encode()


def http_error(bank: Any) -> None:
    bank.status, bank.answer = 500, lambda call: b"internal error"


def cut_line(bank: Any) -> None:
    bank.answer = lambda call: None


def rubbish(bank: Any) -> None:
    bank.answer = lambda call: b"bm90IGNpcGhlcnRleHQ="


def flipped_byte(bank: Any) -> None:
    bank.mutate = lambda wire: wire[:40] + (b"A" if wire[40:41] != b"A" else b"B") + wire[41:]


def empty_body(bank: Any) -> None:
    bank.answer = lambda call: {}


def stranger_in_the_answer(bank: Any) -> None:
    bank.answer = lambda call: {"bb1payopz1": [{"yurRef": "SOMEBODY", "reqNbr": "1", "reqSts": "FIN", "rtnFlg": "F"}]}


FAULTS = [
    (spoil_signature, "BAD_SIGNATURE"),
    (another_reqid, "REQID_MISMATCH"),
    (another_function, "REQID_MISMATCH"),
    (old_signature, "SIGTIM_OUTSIDE_WINDOW"),
    (gateway_error, "GATEWAY_ERROR"),
    (plain_error, "GATEWAY_ERROR"),
    (http_error, "HTTP_ERROR"),
    (cut_line, "NO_ANSWER"),
    (rubbish, "ANSWER_UNREADABLE"),
    (flipped_byte, "ANSWER_UNREADABLE"),
    (empty_body, "ANSWER_MALFORMED"),
    (stranger_in_the_answer, "ANSWER_MALFORMED"),
]


async def test_an_answer_that_proves_nothing_leaves_the_payment_unknown_and_is_archived(
    scripted_bank: Any, run_gateway: Any, take_all: Callable[..., Any]
) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        for spoil, reason in FAULTS:
            healthy = dict(vars(scripted_bank))
            spoil(scripted_bank)
            submission = gateway.submission()
            (report,) = await gateway.submit(submission)
            assert (report.status, report.reason_code) == (UNKNOWN, reason), spoil.__name__
            sent, got = await gateway.messages(submission.instruction_id)
            assert (sent.direction, sent.failure) == (pb.MESSAGE_DIRECTION_SENT, "")
            assert got.failure == reason
            assert got.is_verified is (reason == "ANSWER_MALFORMED")
            assert scripted_bank.lines().count(submission.instruction_id) == 1
            (again,) = await gateway.submit(submission)
            assert (again.status, again.reason_code) == (UNKNOWN, "ALREADY_SUBMITTED")
            assert scripted_bank.lines().count(submission.instruction_id) == 1
            vars(scripted_bank).update(healthy)


async def test_a_query_without_a_usable_answer_says_so_and_never_not_found(
    scripted_bank: Any, run_gateway: Any
) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        submission = gateway.submission()
        for spoil, reason in FAULTS:
            if spoil is stranger_in_the_answer:
                continue
            healthy = dict(vars(scripted_bank))
            spoil(scripted_bank)
            (report,) = await gateway.query(submission)
            outside = {"GATEWAY_ERROR", "HTTP_ERROR", "NO_ANSWER"}
            expected = "BANK_UNAVAILABLE" if reason in outside else reason
            assert (report.status, report.reason_code) == (UNKNOWN, expected), spoil.__name__
            vars(scripted_bank).update(healthy)


async def test_a_bank_that_is_away_gets_nothing_and_the_same_attempt_goes_out_later(
    scripted_bank: Any, run_gateway: Any
) -> None:
    async with run_gateway(f"127.0.0.1:{free_port()}") as gateway:
        submission = gateway.submission()
        (report,) = await gateway.submit(submission)
        assert (report.status, report.reason_code) == (NOT_SENT, "BANK_UNREACHABLE")
    async with run_gateway(scripted_bank.address) as gateway:
        (report,) = await gateway.submit(submission)
        assert report.status == PROCESSING
        assert [(m.direction, m.failure) for m in await gateway.messages(submission.instruction_id)] == [
            (pb.MESSAGE_DIRECTION_SENT, ""),
            (pb.MESSAGE_DIRECTION_RECEIVED, "BANK_UNREACHABLE"),
            (pb.MESSAGE_DIRECTION_SENT, ""),
            (pb.MESSAGE_DIRECTION_RECEIVED, ""),
        ]
        (report,) = await gateway.submit(submission)
        assert report.reason_code == "ALREADY_SUBMITTED"
    assert scripted_bank.lines() == [submission.instruction_id]


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_what_was_called_not_sent_goes_out_under_a_new_release_only(
    scripted_bank: Any, run_gateway: Any, database_url: str
) -> None:
    def next_release(one: gateway_pb2.Submission) -> gateway_pb2.Submission:
        again = gateway_pb2.Submission()
        again.CopyFrom(one)
        again.release += 1
        return again

    async with run_gateway(f"127.0.0.1:{free_port()}", database_url=database_url) as gateway:
        away, unknown_account = gateway.submission(release=1), gateway.submission(release=1, account="999")
        refused = gateway.submission(release=1, creditor_account="6" * 70)
        reports = await gateway.submit(away, unknown_account, refused)
        assert [(report.status, report.reason_code) for report in reports[:2]] == [
            (NOT_SENT, "BANK_UNREACHABLE"),
            (NOT_SENT, "ACCOUNT_UNREACHABLE"),
        ]
        assert reports[2].status == REJECTED
        # Whoever did not hear it hears it by asking, without the bank; of no other release, and of nothing unheard of.
        told = await gateway.query(away, unknown_account, refused)
        assert {(report.status, report.reason_code) for report in told} == {(NOT_SENT, "NOT_SENT_ON_RECORD")}
        told = await gateway.query(next_release(away), gateway.submission(release=1), next_release(unknown_account))
        assert [(report.status, report.reason_code) for report in told] == [
            (UNKNOWN, "BANK_UNAVAILABLE"),
            (UNKNOWN, "BANK_UNAVAILABLE"),
            (UNKNOWN, "ACCOUNT_UNREACHABLE"),
        ]
    async with run_gateway(scripted_bank.address, database_url=database_url) as gateway:
        reports = await gateway.submit(away, unknown_account, refused)  # the same call is delivered a second time
        assert {(report.status, report.reason_code) for report in reports} == {(UNKNOWN, "ALREADY_SUBMITTED")}
        assert scripted_bank.calls == []
        (report,) = await gateway.submit(next_release(away))
        assert report.status == PROCESSING
        told = await gateway.query(away, next_release(away))  # a late question, and the present one
        assert NOT_SENT not in {report.status for report in told}
    assert scripted_bank.lines() == [away.instruction_id]


async def test_without_the_banks_key_nothing_is_sent(scripted_bank: Any, run_gateway: Any) -> None:
    key = scripted_bank.keys_dir / "bank_public_key.hex"
    text = key.read_text()
    key.unlink()
    async with run_gateway(scripted_bank.address) as gateway:
        submission = gateway.submission()
        (report,) = await gateway.submit(submission)
        assert (report.status, report.reason_code) == (NOT_SENT, "BANK_KEY_MISSING")
        assert scripted_bank.calls == []
        key.write_text(text)
        (report,) = await gateway.submit(submission)
        assert report.status == PROCESSING


async def test_a_slow_answer_is_no_answer(scripted_bank: Any, run_gateway: Any) -> None:
    scripted_bank.delay_s = 30
    async with run_gateway(scripted_bank.address, profile={"submit_ms = 30000": "submit_ms = 200"}) as gateway:
        (report,) = await gateway.submit(gateway.submission())
        assert (report.status, report.reason_code) == (UNKNOWN, "NO_ANSWER")


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_a_restart_sends_no_attempt_again(scripted_bank: Any, run_gateway: Any, database_url: str) -> None:
    scripted_bank.answer = lambda call: None
    async with run_gateway(scripted_bank.address, database_url=database_url) as gateway:
        batch = [gateway.submission() for _ in range(5)]
        assert {report.status for report in await gateway.submit(*batch)} == {UNKNOWN}
    async with run_gateway(scripted_bank.address, database_url=database_url) as gateway:
        reports = await gateway.submit(*batch)
        assert {(report.status, report.reason_code) for report in reports} == {(UNKNOWN, "ALREADY_SUBMITTED")}
    assert sorted(scripted_bank.lines()) == sorted(one.instruction_id for one in batch)


async def test_calls_at_the_same_time_send_a_payment_once(scripted_bank: Any, run_gateway: Any) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        shared = [gateway.submission() for _ in range(10)]
        own = [gateway.submission() for _ in range(8)]
        calls = [gateway.submit(*shared, one) for one in own]
        reports = await asyncio.gather(*calls)
        assert len(scripted_bank.lines()) == len(set(scripted_bank.lines())) == 18
        for index in range(10):
            told = [part[index] for part in reports]
            assert sum(report.status == PROCESSING for report in told) == 1
            assert sum(report.reason_code == "ALREADY_SUBMITTED" for report in told) == 7
        assert all(part[10].status == PROCESSING for part in reports)


async def test_a_payment_twice_in_one_call_goes_once(scripted_bank: Any, run_gateway: Any) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        one, other = gateway.submission(), gateway.submission()
        reports = await gateway.submit(one, other, one)
        assert [report.status for report in reports] == [PROCESSING, PROCESSING, UNKNOWN]
        assert sorted(scripted_bank.lines()) == sorted([one.instruction_id, other.instruction_id])


async def test_an_answer_that_comes_after_its_caller_left_is_recorded(scripted_bank: Any, run_gateway: Any) -> None:
    scripted_bank.delay_s = 0.4
    async with run_gateway(scripted_bank.address) as gateway:
        submission = gateway.submission()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.SubmitPayments(pb.SubmitPaymentsRequest(submissions=[submission]), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert scripted_bank.lines() == [submission.instruction_id]
    # The gateway was stopped at once: draining waited for the answer.
    async with run_gateway(scripted_bank.address) as gateway:
        messages = await gateway.messages(submission.instruction_id)
        assert [m.is_verified for m in messages] == [False, True]


async def test_calls_over_the_limit_are_refused_before_anything_is_sent(scripted_bank: Any, run_gateway: Any) -> None:
    scripted_bank.delay_s = 0.5
    limits = {"submit = 50": "submit = 1", "waiting_max = 200": "waiting_max = 1"}
    async with run_gateway(scripted_bank.address, profile=limits) as gateway:
        calls = [asyncio.create_task(gateway.submit(gateway.submission())) for _ in range(5)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        refused = [r for r in results if isinstance(r, grpc.aio.AioRpcError)]
        assert len(refused) == 3
        assert {error_reason(r).reason for r in refused} == {"BANK_QUEUE_FULL"}
        assert len(scripted_bank.lines()) == 2
        (report,) = await gateway.submit(gateway.submission())
        assert report.status == PROCESSING


async def refused_reason(gateway: Any, submission: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.submit(submission)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    return error_reason(caught.value).reason


async def test_another_attempt_needs_evidence_that_this_gateway_recorded(
    scripted_bank: Any, run_gateway: Any, take_all: Callable[..., Any], make_record: Callable[..., Any]
) -> None:
    clock = FixedClock(SystemClock().now())
    async with run_gateway(scripted_bank.address, clock=clock) as gateway:
        known = gateway.submission()
        await gateway.submit(known)
        scripted_bank.answer = lambda call: None
        lost = gateway.submission()
        assert (await gateway.submit(lost))[0].status == UNKNOWN

        line = scripted_bank.calls[0].body["bb1payopx1"][0]
        scripted_bank.answer = lambda call: (
            {"bb1payqrz1": [make_record(line)]} if call.function == "BB1PAYQR" else take_all(call)
        )
        (early,) = await gateway.query(lost)
        assert early.status == NOT_FOUND
        clock.advance(dt.timedelta(seconds=31))
        (late,) = await gateway.query(lost)

        def again(proof: Any, **changes: Any) -> Any:
            return gateway.submission(instruction_id=lost.instruction_id, attempt=2, resend_proof=proof, **changes)

        forged = gateway_pb2.NotFoundProof()
        forged.CopyFrom(late.not_found_proof)
        forged.archive_id = "AR" + "0" * 24
        blind = gateway_pb2.NotFoundProof()
        blind.CopyFrom(late.not_found_proof)
        blind.control_seen = False
        for bad in (again(None), again(early.not_found_proof), again(forged), again(blind)):
            assert await refused_reason(gateway, bad) == "RESEND_PROOF_INSUFFICIENT"
        assert await refused_reason(gateway, again(late.not_found_proof, minor_units=9)) == "RESEND_PROOF_INSUFFICIENT"
        assert scripted_bank.lines().count(lost.instruction_id) == 1

        (report,) = await gateway.submit(again(late.not_found_proof))
        assert report.status == PROCESSING
        assert scripted_bank.lines().count(lost.instruction_id) == 2
        # The first attempt, arriving late, and the second once more: nothing.
        for stale in (lost, again(late.not_found_proof)):
            assert (await gateway.submit(stale))[0].reason_code == "ALREADY_SUBMITTED"
        assert scripted_bank.lines().count(lost.instruction_id) == 2


async def test_absence_without_a_sight_of_the_control_is_no_proof(
    scripted_bank: Any, run_gateway: Any, take_all: Callable[..., Any]
) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        known, absent = gateway.submission(), gateway.submission()
        await gateway.submit(known)
        (report,) = await gateway.query(absent)  # the bank shows nothing at all
        assert (report.status, report.reason_code) == (NOT_FOUND, "NOT_FOUND_UNPROVEN")
        assert report.not_found_proof.control_reference == known.instruction_id
        assert not report.not_found_proof.control_seen
        asked = [line["yurRef"] for line in scripted_bank.calls[-1].body["bb1payqrx2"]]
        assert asked == [absent.instruction_id, known.instruction_id]


async def test_records_that_do_not_fit_leave_the_payment_unknown(
    scripted_bank: Any, run_gateway: Any, make_record: Callable[..., Any]
) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        submission = gateway.submission()
        await gateway.submit(submission)
        line = scripted_bank.calls[0].body["bb1payopx1"][0]

        async def told(*records: Any) -> tuple[int, str]:
            scripted_bank.answer = lambda call: {"bb1payqrz1": list(records)}
            (report,) = await gateway.query(submission)
            return report.status, report.reason_code

        assert await told(make_record(line)) == (SETTLED, "")
        assert await told(make_record(line, trsAmt="12.35")) == (UNKNOWN, "RECORD_MISMATCH")
        assert await told(make_record(line, trsAmt=12.34)) == (SETTLED, "")
        assert await told(make_record(line, crtAcc="1")) == (UNKNOWN, "RECORD_MISMATCH")
        assert await told(make_record(line, dbtAcc="1")) == (UNKNOWN, "RECORD_MISMATCH")
        assert await told(make_record(line, trsAmt="12.341")) == (UNKNOWN, "RECORD_MALFORMED")
        assert await told(make_record(line, reqSts="FIN ", rtnFlg="S  ")) == (SETTLED, "")
        assert await told(make_record(line, reqSts="NEW", rtnFlg="F")) == (PROCESSING, "STATE_UNLISTED")
        assert await told(make_record(line, reqSts="FIN", rtnFlg="Z")) == (UNKNOWN, "RESULT_UNLISTED")
        assert await told(make_record(line, reqSts="", rtnFlg="")) == (UNKNOWN, "STATE_MISSING")
        assert await told(make_record(line, reqSts="WRF", rtnFlg="F")) == (UNKNOWN, "SUSPICIOUS")
        failed = make_record(line, reqNbr="0000000009", rtnFlg="F", errCod="FUN0001")
        assert await told(failed) == (REJECTED, "AM04")
        # The newest record speaks; a failure followed by a success is a success …
        assert await told(failed, make_record(line, reqNbr="0000000010")) == (SETTLED, "")
        # … but a success cannot be followed by a failure.
        assert await told(failed, make_record(line, reqNbr="0000000008")) == (UNKNOWN, "RECORDS_CONTRADICT")


async def test_only_a_listed_code_refuses_a_whole_message(scripted_bank: Any, run_gateway: Any) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        for code, expected in {
            "NTF0003": (REJECTED, "AG01"),
            "BAT0001": (UNKNOWN, "BANK_REFUSED"),
            "XYZ9999": (UNKNOWN, "BANK_REFUSED"),
        }.items():
            scripted_bank.resultcode = code
            reports = await gateway.submit(gateway.submission(), gateway.submission())
            assert {(r.status, r.reason_code, r.proprietary_code) for r in reports} == {(*expected, code)}


async def test_lines_of_a_batch_follow_their_own_codes(scripted_bank: Any, run_gateway: Any) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        fine, doubled, refused, strange = (gateway.submission() for _ in range(4))

        pairs = [(doubled, "DUP0001"), (refused, "ACC0001 "), (strange, "QQQ0001")]

        def paired(call: Any) -> Any:
            head = call.body["bb1paybhx1"][0]
            return {
                "bb1paybhz1": [{"batNbr": head["batNbr"], "dtlNum": "1", "errCod": "SUC0000", "errTxt": ""}],
                "bb1paybhz2": [{"yurRef": one.instruction_id, "errCod": code, "errTxt": "x "} for one, code in pairs],
            }

        scripted_bank.answer = paired
        reports = await gateway.submit(fine, doubled, refused, strange)
        assert [(r.status, r.reason_code) for r in reports] == [
            (PROCESSING, ""),
            (UNKNOWN, "DUPLICATE"),
            (REJECTED, "AC03"),
            (UNKNOWN, "BANK_CODE_UNLISTED"),
        ]
        assert reports[2].reason_text == "x"


async def test_requests_out_of_bounds_are_invalid(scripted_bank: Any, run_gateway: Any) -> None:
    async with run_gateway(scripted_bank.address) as gateway:
        many = [gateway_pb2.Submission(instruction_id=f"A{i}", attempt=1) for i in range(1001)]
        bad_date = gateway_pb2.PaymentReference(instruction_id="A", submitted_date="2026-13-01")
        stub = gateway.stub
        for call, request in [
            (stub.SubmitPayments, pb.SubmitPaymentsRequest()),
            (stub.SubmitPayments, pb.SubmitPaymentsRequest(submissions=many)),
            (stub.SubmitPayments, pb.SubmitPaymentsRequest(submissions=[gateway_pb2.Submission(attempt=1)])),
            (stub.SubmitPayments, pb.SubmitPaymentsRequest(submissions=[gateway_pb2.Submission(instruction_id="A")])),
            (stub.QueryPayments, pb.QueryPaymentsRequest(references=[bad_date])),
            (stub.ListReturns, pb.ListReturnsRequest(from_date="2026-11-01", to_date="2026-11-08")),
            (stub.ListEntries, pb.ListEntriesRequest(account="755915678910001", cursor="zzz")),
        ]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request, timeout=60)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, request
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListEntries(pb.ListEntriesRequest(account="1"), timeout=60)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert scripted_bank.calls == []
