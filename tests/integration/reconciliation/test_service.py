"""The reconciliation service as a whole: real server, real feeds over gRPC from named fakes of its two sisters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from yinqi.api.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from yinqi.api.common.v1 import money_pb2, party_pb2
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.api.reconciliation.v1 import reconciliation_pb2 as pb
from yinqi.api.reconciliation.v1 import reconciliation_service_pb2, reconciliation_service_pb2_grpc
from yinqi.reconciliation.main import main
from yinqi.runtime.errors import error_reason
from yinqi.runtime.listening import free_port
from yinqi.runtime.settings import Settings

ACCOUNT, DAY = "755915678910001", "2026-11-22"


def money(minor_units: int) -> money_pb2.Money:
    return money_pb2.Money(currency="CNY", minor_units=minor_units)


def settled(sequence: int, amount: int) -> payment_pb2.PaymentEvent:
    payment = payment_pb2.Payment(
        instruction_id=f"YQ{sequence}",
        status=payment_pb2.PAYMENT_STATUS_SETTLED,
        settlement_date=DAY,
        instruction=payment_pb2.PaymentInstruction(
            end_to_end_id=f"E{sequence}",
            debtor_account=party_pb2.CashAccount(identification=ACCOUNT),
            creditor=party_pb2.Party(name="苏州某供应商有限公司"),
            creditor_account=party_pb2.CashAccount(identification=f"6225{sequence}"),
            instructed_amount=money(amount),
        ),
    )
    return payment_pb2.PaymentEvent(
        sequence=sequence,
        type="payment.settled",
        from_status=payment_pb2.PAYMENT_STATUS_PROCESSING,
        to_status=payment_pb2.PAYMENT_STATUS_SETTLED,
        payment=payment,
    )


def entry(sequence: int, amount: int, instruction_id: str = "") -> account_pb2.StatementEntry:
    return account_pb2.StatementEntry(
        sequence=sequence,
        account=ACCOUNT,
        account_servicer_reference=f"S{sequence}",
        instruction_id=instruction_id,
        amount=money(amount),
        credit_debit_indicator=account_pb2.CREDIT_DEBIT_INDICATOR_DBIT,
        booking_date=DAY,
        remittance_information="手续费" if not instruction_id else "货款",
        recorded_at=Timestamp(seconds=1),
    )


class FakePayments(payment_service_pb2_grpc.PaymentServiceServicer):
    """Two settled payments."""

    async def FollowPayments(self, request, context) -> AsyncIterator[payment_service_pb2.FollowPaymentsResponse]:
        events = [settled(1, 10_000), settled(2, 20_000)]
        yield payment_service_pb2.FollowPaymentsResponse(
            events=[e for e in events if e.sequence > request.after_sequence]
        )
        await asyncio.Event().wait()


class FakeAccounts(account_service_pb2_grpc.AccountServiceServicer):
    """The bank's side of the same day, with a fee nobody announced."""

    async def FollowEntries(self, request, context) -> AsyncIterator[account_service_pb2.FollowEntriesResponse]:
        entries = [entry(1, 10_000, "YQ1"), entry(2, 20_000, "YQ2"), entry(3, 500)]
        yield account_service_pb2.FollowEntriesResponse(
            entries=[e for e in entries if e.sequence > request.after_sequence]
        )
        await asyncio.Event().wait()

    async def GetBalances(self, request, context) -> account_service_pb2.GetBalancesResponse:
        if request.accounts[0] != ACCOUNT:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown")
        if request.date < DAY:
            before = account_pb2.Balance(account=ACCOUNT, ledger_balance=money(1_000_000))
            return account_service_pb2.GetBalancesResponse(balances=[before])
        balance = account_pb2.Balance(
            account=ACCOUNT,
            ledger_balance=money(970_000),
            statement_opening_balance=money(1_000_000),
            statement_closing_balance=money(969_500),
        )
        return account_service_pb2.GetBalancesResponse(balances=[balance])


@pytest.fixture
async def service(tmp_path) -> AsyncIterator[SimpleNamespace]:
    """The service beside its fakes, and a stub of it."""
    sisters = grpc.aio.server()
    payment_service_pb2_grpc.add_PaymentServiceServicer_to_server(FakePayments(), sisters)
    account_service_pb2_grpc.add_AccountServiceServicer_to_server(FakeAccounts(), sisters)
    port = sisters.add_insecure_port("127.0.0.1:0")
    await sisters.start()
    settings = Settings(
        var_dir=tmp_path,
        reconciliation_port=free_port(),
        payment_address=f"127.0.0.1:{port}",
        account_address=f"127.0.0.1:{port}",
        drain_grace_s=1.0,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(main(settings, stop))
    async with grpc.aio.insecure_channel(settings.address_of("reconciliation")) as channel:
        await asyncio.wait_for(channel.channel_ready(), 20)
        yield SimpleNamespace(
            stub=reconciliation_service_pb2_grpc.ReconciliationServiceStub(channel), settings=settings
        )
    stop.set()
    await asyncio.wait_for(running, 20)
    await sisters.stop(0)


async def reconcile(service: SimpleNamespace) -> pb.Reconciliation:
    request = reconciliation_service_pb2.ReconcileDayRequest(account=ACCOUNT, date=DAY)
    return (await service.stub.ReconcileDay(request, timeout=60)).reconciliation


async def test_a_day_is_reconciled_from_what_the_sisters_tell(service: SimpleNamespace) -> None:
    run = await reconcile(service)
    assert (run.booking_count, run.entry_count, run.reference_match_count, run.break_count) == (2, 3, 2, 1)
    assert run.balance_adjustment.is_balanced
    assert run.balance_adjustment.bank_debits_not_in_books == money(500)
    assert [b.reason for b in run.breaks] == [pb.BREAK_REASON_BANK_DEBIT_NOT_IN_BOOKS]
    request = reconciliation_service_pb2.GetReconciliationRequest(account=ACCOUNT, date=DAY, include_matches=True)
    again = (await service.stub.GetReconciliation(request)).reconciliation
    assert sorted(m.instruction_id for m in again.matches) == ["YQ1", "YQ2"]
    listed = await service.stub.ListReconciliations(reconciliation_service_pb2.ListReconciliationsRequest())
    assert [r.run_id for r in listed.reconciliations] == [run.run_id]


async def test_a_break_is_explained_and_the_feed_tells_it(service: SimpleNamespace) -> None:
    [item] = (await reconcile(service)).breaks
    request = reconciliation_service_pb2.ResolveBreakRequest(break_id=item.break_id, resolution="银行手续费，已入账")
    resolved = (await service.stub.ResolveBreak(request)).reconciliation_break
    assert resolved.status == pb.BREAK_STATUS_RESOLVED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.stub.ResolveBreak(request)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_reason(refused.value).reason == "BREAK_NOT_OPEN"
    open_ones = reconciliation_service_pb2.ListBreaksRequest(status=pb.BREAK_STATUS_OPEN)
    assert not (await service.stub.ListBreaks(open_ones)).breaks
    follow = service.stub.FollowReconciliations(reconciliation_service_pb2.FollowReconciliationsRequest())
    types: list[str] = []
    async for response in follow:
        types += [event.type for event in response.events]
        if "break.resolved" in types:
            break
    follow.cancel()
    assert types == ["break.opened", "reconciliation.completed", "break.resolved"]


@pytest.mark.parametrize(
    ("account", "date", "code", "field"),
    [
        (ACCOUNT, "22/11/2026", grpc.StatusCode.INVALID_ARGUMENT, "date"),
        ("", DAY, grpc.StatusCode.INVALID_ARGUMENT, "account"),
        ("000", DAY, grpc.StatusCode.NOT_FOUND, ""),
    ],
)
async def test_a_wrong_request_is_refused_in_words(service: SimpleNamespace, account, date, code, field) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.stub.ReconcileDay(reconciliation_service_pb2.ReconcileDayRequest(account=account, date=date))
    assert refused.value.code() is code
    assert field in refused.value.details()


async def test_a_day_that_was_not_reconciled_is_not_found_and_a_foreign_page_token_is_refused(service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.stub.GetReconciliation(
            reconciliation_service_pb2.GetReconciliationRequest(account=ACCOUNT, date="2026-01-01")
        )
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as foreign:
        await service.stub.ListBreaks(reconciliation_service_pb2.ListBreaksRequest(page_token="nonsense"))
    assert foreign.value.code() is grpc.StatusCode.INVALID_ARGUMENT
