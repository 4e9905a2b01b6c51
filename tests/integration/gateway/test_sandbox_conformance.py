"""The cdc adapter against the real sandbox bank, over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from yinqi.api.gateway.v1 import gateway_pb2
from yinqi.api.gateway.v1 import gateway_service_pb2 as pb
from yinqi.api.payment.v1 import payment_pb2

CNY, CNY_2, EUR = "755915678910001", "755915678910002", "755915678932001"
PROCESSING, SETTLED = gateway_pb2.BANK_STATUS_PROCESSING, gateway_pb2.BANK_STATUS_SETTLED


# One bank for all tests; what it does to a payment hangs on the creditor account.
SCRIPT = """
[[rule]]
refuse = { at = "receipt" }
when = { creditor_account = "6666" }
[[rule]]
refuse = { at = "execution" }
when = { creditor_account = "6667" }
[[rule]]
suspicious = { after_seconds = 3600 }
when = { creditor_account = "7777" }
[[rule]]
lose_answer = true
times = 100
when = { creditor_account = "8888" }
[[rule]]
lose_request = true
times = 100
when = { creditor_account = "9999" }
[[rule]]
return = { after_days = 0 }
when = { creditor_account = "5555" }
"""


@pytest.fixture(scope="module")
def bank_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bank")


@pytest.fixture
def exchange_dir(bank_folder: Path) -> Path:
    return bank_folder / "exchange"


@pytest.fixture(scope="module")
def bank(bank_folder: Path, sandbox_bank_runner: Callable[[Path, str], Any]) -> Iterator[Any]:
    with sandbox_bank_runner(bank_folder, SCRIPT) as running:
        yield running


async def until_final(
    gateway: Any, submissions: list[Any], open_statuses: tuple[int, ...] = (PROCESSING,)
) -> list[Any]:
    for _ in range(100):
        reports = await gateway.query(*submissions)
        if all(report.status not in open_statuses for report in reports):
            return list(reports)
        await asyncio.sleep(0.05)
    pytest.fail(f"not final: {reports}")


async def test_a_batch_is_received_executed_and_found_in_the_statement(bank: Any, run_gateway: Any) -> None:
    async with run_gateway(bank.address) as gateway:
        submissions = [gateway.submission(account=CNY_2, minor_units=100 + i) for i in range(30)]
        reports = await gateway.submit(*submissions)
        assert {report.status for report in reports} == {PROCESSING}
        assert [report.instruction_id for report in reports] == [one.instruction_id for one in submissions]

        settled = await until_final(gateway, submissions)
        assert {report.status for report in settled} == {SETTLED}
        assert all(report.booking_date and report.account_servicer_reference for report in settled)

        page = (await gateway.stub.ListEntries(pb.ListEntriesRequest(account=CNY_2), timeout=60)).page
        by_reference = {entry.instruction_id: entry for entry in page.entries}
        for submission, report in zip(submissions, settled, strict=True):
            entry = by_reference[submission.instruction_id]
            assert entry.amount == submission.instruction.instructed_amount
            assert entry.account_servicer_reference == report.account_servicer_reference
            assert entry.counterparty_name == "收款有限公司"
        assert page.opening_balance.minor_units - page.closing_balance.minor_units == sum(range(100, 130))


async def test_a_single_payment_goes_out_and_settles(bank: Any, run_gateway: Any) -> None:
    async with run_gateway(bank.address) as gateway:
        submission = gateway.submission(creditor="名 字 with blanks <&>\"'", memo="a b")
        (report,) = await gateway.submit(submission)
        assert report.status == PROCESSING, report
        (settled,) = await until_final(gateway, [submission])
        assert settled.status == SETTLED
        messages = await gateway.messages(submission.instruction_id)
        assert [m.function for m in messages][:3] == ["BB1PAYOP", "BB1PAYOP", "BB1PAYQR"]
        assert all(m.is_verified for m in messages if m.direction == pb.MESSAGE_DIRECTION_RECEIVED)


async def test_wages_and_taxes_go_in_batches_of_their_own_and_settle(bank: Any, run_gateway: Any) -> None:
    async with run_gateway(bank.address) as gateway:
        wage, tax, supplies = (gateway.submission() for _ in range(3))
        wage.instruction.category_purpose = payment_pb2.CATEGORY_PURPOSE_SALA
        tax.instruction.category_purpose = payment_pb2.CATEGORY_PURPOSE_TAXS
        assert {report.status for report in await gateway.submit(wage, tax, supplies)} == {PROCESSING}
        assert {report.status for report in await until_final(gateway, [wage, tax, supplies])} == {SETTLED}
        sent = [(await gateway.messages(one.instruction_id))[0] for one in (wage, tax, supplies)]
        assert [message.function for message in sent] == ["BB1PAYBH", "BB1PAYBH", "BB1PAYOP"]
        assert len({message.archive_id for message in sent}) == 3
        waiting = (await gateway.query(wage))[0]
        assert waiting.status == SETTLED
        assert not waiting.HasField("ask_after")  # nothing is open any more


async def test_balances_come_per_account_in_order(bank: Any, run_gateway: Any) -> None:
    async with run_gateway(bank.address) as gateway:
        response = await gateway.stub.GetBalances(
            pb.GetBalancesRequest(accounts=[EUR, "999", CNY, CNY_2, CNY]), timeout=10
        )
        assert [balance.account for balance in response.balances] == [EUR, "999", CNY, CNY_2, CNY]
        eur, strange, cny, _, again = response.balances
        assert strange.error_code == "ACCOUNT_UNREACHABLE"
        assert eur.booked_balance.currency == "EUR"
        assert 0 < eur.booked_balance.minor_units <= 500_000_000
        assert 0 < cny.available_balance.minor_units <= 1_000_000_000
        assert cny == again
        assert cny.bank_date


async def test_statement_pages_follow_the_cursor_and_it_shows_only_what_is_new_later(
    bank: Any, run_gateway: Any
) -> None:
    async with run_gateway(bank.address) as gateway:

        def euro() -> Any:
            return gateway.submission(account=EUR, currency="EUR", cnaps="", bic="DEUTDEFF", minor_units=1)

        first = [euro() for _ in range(450)]
        await gateway.submit(*first)
        await until_final(gateway, first)
        seen, cursor, pages = [], "", 0
        while True:
            page = (await gateway.stub.ListEntries(pb.ListEntriesRequest(account=EUR, cursor=cursor), timeout=60)).page
            seen += [entry.instruction_id for entry in page.entries]
            cursor, pages = page.next_cursor, pages + 1
            if not page.has_more:
                break
        assert pages == 3
        assert set(seen) == {one.instruction_id for one in first}
        assert len(seen) == 450
        later = euro()
        await gateway.submit(later)
        await until_final(gateway, [later])
        page = (await gateway.stub.ListEntries(pb.ListEntriesRequest(account=EUR, cursor=cursor), timeout=60)).page
        assert [entry.instruction_id for entry in page.entries] == [later.instruction_id]
        assert not page.is_final


async def test_a_refused_line_does_not_stop_the_others(bank: Any, run_gateway: Any) -> None:
    async with run_gateway(bank.address) as gateway:
        good, closed, foreign, long_memo = (
            gateway.submission(),
            gateway.submission(creditor_account="6666"),
            gateway.submission(currency="EUR"),
            gateway.submission(memo="长" * 101),
        )
        reports = await gateway.submit(good, closed, foreign, long_memo, gateway.submission())
        assert [report.status for report in reports] == [
            PROCESSING,
            gateway_pb2.BANK_STATUS_REJECTED,
            gateway_pb2.BANK_STATUS_REJECTED,
            gateway_pb2.BANK_STATUS_REJECTED,
            PROCESSING,
        ]
        assert reports[1].proprietary_code == "ACT0009"
        assert reports[1].reason_code == "AC04"
        assert reports[2].reason_code == "CURRENCY_NOT_OF_ACCOUNT"
        assert reports[3].reason_code == "FIELD_TOO_LONG"
        assert not reports[3].archive_id


async def test_a_payment_refused_at_execution_is_rejected_and_one_that_is_suspicious_is_unknown(
    bank: Any, run_gateway: Any
) -> None:
    async with run_gateway(bank.address) as gateway:
        closed, suspicious = gateway.submission(creditor_account="6667"), gateway.submission(creditor_account="7777")
        await gateway.submit(closed, suspicious)
        reports = await until_final(gateway, [closed, suspicious])
        assert reports[0].status == gateway_pb2.BANK_STATUS_REJECTED
        assert reports[0].proprietary_code == "ACT0009"
        assert reports[1].status == gateway_pb2.BANK_STATUS_UNKNOWN
        assert reports[1].reason_code == "SUSPICIOUS"


async def test_a_lost_answer_is_unknown_and_the_query_finds_the_payment(bank: Any, run_gateway: Any) -> None:
    async with run_gateway(bank.address) as gateway:
        submissions = [gateway.submission(creditor_account="8888") for _ in range(3)]
        reports = await gateway.submit(*submissions)
        assert {report.status for report in reports} == {gateway_pb2.BANK_STATUS_UNKNOWN}
        assert {report.reason_code for report in reports} == {"NO_ANSWER"}
        again = await gateway.submit(*submissions)
        assert {report.reason_code for report in again} == {"ALREADY_SUBMITTED"}
        assert {report.status for report in await until_final(gateway, submissions)} == {SETTLED}


async def test_a_request_that_never_arrived_is_proven_absent_only_with_a_control(bank: Any, run_gateway: Any) -> None:
    async with run_gateway(bank.address) as gateway:
        lost = gateway.submission(creditor_account="9999")
        (report,) = await gateway.submit(lost)
        assert report.status == gateway_pb2.BANK_STATUS_UNKNOWN
        (absent,) = await gateway.query(lost)
        assert absent.status == gateway_pb2.BANK_STATUS_NOT_FOUND
        # Nothing was ever known to this bank, so it is asked whether we may query at all.
        assert absent.not_found_proof.control_reference == "QUERY_PERMISSION"
        assert absent.not_found_proof.control_seen

        known = gateway.submission()
        await gateway.submit(known)
        (absent,) = await gateway.query(lost)
        proof = absent.not_found_proof
        assert (proof.control_reference, proof.control_seen) == (known.instruction_id, True)
        assert proof.archive_id
        assert proof.safe_window_ms == 30_000


async def test_returned_payments_are_listed_with_their_reason(bank: Any, run_gateway: Any) -> None:
    async with run_gateway(bank.address) as gateway:
        submissions = [gateway.submission(creditor_account="5555") for _ in range(3)]
        await gateway.submit(*submissions)
        await until_final(gateway, submissions, (PROCESSING, SETTLED))
        day = (await gateway.query(submissions[0]))[0].booking_date
        response = await gateway.stub.ListReturns(
            pb.ListReturnsRequest(debtor_account=CNY, from_date=day, to_date=day), timeout=10
        )
        assert {report.instruction_id for report in response.reports} == {one.instruction_id for one in submissions}
        assert {report.status for report in response.reports} == {gateway_pb2.BANK_STATUS_RETURNED}
        assert {report.proprietary_code for report in response.reports} == {"RTN0001"}


async def test_returns_of_many_accounts_are_one_call_and_nobody_elses_are_told(bank: Any, run_gateway: Any) -> None:
    async with run_gateway(bank.address) as gateway:
        mine, other = (gateway.submission(account=account, creditor_account="5555") for account in (CNY, CNY_2))
        await gateway.submit(mine)
        await gateway.submit(other)
        await until_final(gateway, [mine, other], (PROCESSING, SETTLED))
        day = (await gateway.query(mine))[0].booking_date

        async def returned(*accounts: str) -> tuple[set[str], list[str]]:
            request = pb.ListReturnsRequest(debtor_accounts=accounts, from_date=day, to_date=day)
            response = await gateway.stub.ListReturns(request, timeout=60)
            return {report.instruction_id for report in response.reports}, list(response.failed_accounts)

        found, failed = await returned(CNY, CNY_2, "1")
        assert {mine.instruction_id, other.instruction_id} <= found
        assert failed == ["1"]
        found, failed = await returned(CNY, EUR)
        assert mine.instruction_id in found
        assert other.instruction_id not in found
        assert failed == []
