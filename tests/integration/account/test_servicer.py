"""The RPCs as a caller sees them, over a real server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from yinqi.api.account.v1 import account_service_pb2 as pb
from yinqi.runtime.grpc_client import error_reason

ACCOUNT = "755900000000001"
BANK_DATE = "2026-11-22"
CODE = grpc.StatusCode
Until = Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]


async def failing(call: Awaitable[object]) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return error_reason(failed.value)


async def posting_count(house: Any) -> int:
    return len((await house.stub.ListPostings(pb.ListPostingsRequest(page_size=1_000))).postings)


async def test_accounts_come_from_the_gateway(house: Any) -> None:
    accounts = (await house.stub.ListAccounts(pb.ListAccountsRequest())).accounts
    assert [(a.identification, a.currency, a.name, a.bank_profile) for a in accounts] == [
        (ACCOUNT, "CNY", "基本户", "cdc-demo")
    ]


async def test_balances_show_books_and_bank(house: Any, sisters: Any, payment_story: Any, until: Until) -> None:
    await sisters.payments.tell(payment_story("YQ1", ["SUBMITTING", "UNKNOWN"], amount=300))
    await sisters.payments.tell(payment_story("YQ2", ["SUBMITTING", "SETTLED"], amount=700))

    async def is_booked() -> bool:
        return await posting_count(house) == 2 + 2 * 3

    await until(is_booked)
    balance = (await house.stub.GetBalances(pb.GetBalancesRequest(accounts=[ACCOUNT]))).balances[0]
    assert balance.ledger_balance.minor_units == 99_300
    assert balance.held_balance.minor_units == 300
    assert balance.ledger_available_balance.minor_units == 99_000
    assert balance.bank_booked_balance.minor_units == 100_000
    assert balance.bank_as_of.seconds > 0
    assert balance.date == ""
    eve = (await house.stub.GetBalances(pb.GetBalancesRequest(date="2026-11-21"))).balances[0]
    assert (eve.date, eve.ledger_balance.minor_units) == ("2026-11-21", 100_000)


async def test_postings_are_listed_by_payment_and_page(
    house: Any, sisters: Any, payment_story: Any, until: Until
) -> None:
    await sisters.payments.tell(payment_story("YQ1", ["SUBMITTING", "SETTLED", "RETURNED"], amount=300))

    async def is_booked() -> bool:
        return await posting_count(house) == 2 + 2 * 3

    await until(is_booked)
    found, token = [], ""
    while True:
        response = await house.stub.ListPostings(
            pb.ListPostingsRequest(instruction_id="YQ1", page_size=4, page_token=token)
        )
        found += response.postings
        token = response.next_page_token
        if not token:
            break
    assert [p.kind for p in found][::2] == ["hold", "settlement", "return"]
    assert [p.booking_date for p in found][::2] == [BANK_DATE, BANK_DATE, "2026-11-23"]
    assert sum(p.amount.minor_units for p in found) == 0


async def test_entries_are_listed_page_by_page(house: Any, sisters: Any) -> None:
    sisters.bank.day().lines = [(f"S{n}", n, "YQ1" if n == 3 else "") for n in range(1, 6)]
    await house.stub.FetchStatement(pb.FetchStatementRequest(account=ACCOUNT))
    first = await house.stub.ListEntries(pb.ListEntriesRequest(account=ACCOUNT, page_size=3))
    second = await house.stub.ListEntries(
        pb.ListEntriesRequest(account=ACCOUNT, page_size=3, page_token=first.next_page_token)
    )
    assert [e.account_servicer_reference for page in (first, second) for e in page.entries] == [
        "S1",
        "S2",
        "S3",
        "S4",
        "S5",
    ]
    assert second.next_page_token == ""
    only = await house.stub.ListEntries(pb.ListEntriesRequest(instruction_id="YQ1"))
    assert [e.account_servicer_reference for e in only.entries] == ["S3"]
    none = await house.stub.ListEntries(pb.ListEntriesRequest(from_date="2026-11-23"))
    assert not none.entries


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetBalances", pb.GetBalancesRequest(accounts=[ACCOUNT, "622"])),
        ("FetchStatement", pb.FetchStatementRequest(account="622")),
        ("ListEntries", pb.ListEntriesRequest(account="622")),
        ("ListPostings", pb.ListPostingsRequest(account="622")),
    ],
)
async def test_an_unknown_account_is_named(house: Any, method: str, request_: Any) -> None:
    error = await failing(getattr(house.stub, method)(request_))
    assert (error.code, error.reason, error.metadata) == (CODE.NOT_FOUND, "ACCOUNT_UNKNOWN", {"account": "622"})
    assert "账户" in error.message_zh


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("GetBalances", pb.GetBalancesRequest(date="22.11.2026"), "date"),
        ("FetchStatement", pb.FetchStatementRequest(account=ACCOUNT, date="2026-02-30"), "date"),
        ("ListEntries", pb.ListEntriesRequest(to_date="x"), "to_date"),
        ("ListEntries", pb.ListEntriesRequest(page_token="x"), "page_token"),
        ("ListPostings", pb.ListPostingsRequest(page_size=2_000), "page_size"),
    ],
)
async def test_a_wrong_field_is_named(house: Any, method: str, request_: Any, field: str) -> None:
    error = await failing(getattr(house.stub, method)(request_))
    assert error.code is CODE.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [field]


async def test_only_those_who_may_read_accounts_may(house: Any) -> None:
    metadata = (("x-yinqi-identity", "zhang"), ("x-yinqi-roles", "payment_initiator"))
    error = await failing(house.stub.ListAccounts(pb.ListAccountsRequest(), metadata=metadata))
    assert error.code is CODE.PERMISSION_DENIED
