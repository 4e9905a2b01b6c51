"""Statements over the wire: pages, cursors, cuts, gaps, files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from yinqi.api.account.v1 import account_pb2
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


def fetch(house: Any, date: str = "") -> Any:
    return house.stub.FetchStatement(pb.FetchStatementRequest(account=ACCOUNT, date=date))


async def references(house: Any) -> list[str]:
    response = await house.stub.ListEntries(pb.ListEntriesRequest(account=ACCOUNT))
    return [entry.account_servicer_reference for entry in response.entries]


def lines(*amounts: int) -> list[tuple[str, int, str]]:
    return [(f"S{number}", amount, "") for number, amount in enumerate(amounts, 1)]


async def test_a_day_is_read_page_by_page_and_once(house: Any, sisters: Any) -> None:
    sisters.bank.day().lines = lines(-100, 200, -300, 400, -500, 600, -700)
    first = await fetch(house)
    assert (first.entry_count, first.new_entry_count, first.page_count) == (7, 7, 3)
    assert sisters.bank.cursors == ["", "3", "6"]
    assert first.balance.statement_closing_balance.minor_units == 100_000 - 400
    assert first.balance.bank_booked_balance.minor_units == 100_000 - 400
    again = await fetch(house)
    assert (again.entry_count, again.new_entry_count, again.page_count) == (7, 0, 1)
    assert sisters.bank.cursors[3:] == ["7"]


async def test_what_came_later_the_same_day_is_read_from_the_last_cursor(house: Any, sisters: Any) -> None:
    sisters.bank.day().lines = lines(-100)
    await fetch(house)
    sisters.bank.day().lines += [("S2", 250, "YQ9")]
    later = await fetch(house, BANK_DATE)
    assert (later.entry_count, later.new_entry_count) == (2, 1)
    assert sisters.bank.cursors == ["", "1"]
    assert await references(house) == ["S1", "S2"]


async def test_a_cut_in_the_middle_keeps_what_was_read_and_goes_on_there(house: Any, sisters: Any) -> None:
    sisters.bank.day().lines = lines(*range(1, 9))
    sisters.bank.cut_after = 2
    error = await failing(fetch(house))
    assert (error.code, error.reason) == (CODE.UNAVAILABLE, "BANK_UNAVAILABLE")
    assert await references(house) == ["S1", "S2", "S3", "S4", "S5", "S6"]
    sisters.bank.cut_after = None
    rest = await fetch(house)
    assert (rest.entry_count, rest.new_entry_count) == (8, 2)
    assert sisters.bank.cursors == ["", "3", "6", "6"]


async def test_a_statement_that_does_not_add_up_is_flagged_and_mended_later(house: Any, sisters: Any) -> None:
    day = sisters.bank.day()
    day.lines, day.hidden = lines(-100, 200, -300, 400), {"S2"}
    error = await failing(fetch(house))
    assert (error.code, error.reason) == (CODE.FAILED_PRECONDITION, "STATEMENT_INCOMPLETE")
    assert error.metadata["flaw"] == "BALANCE_GAP"
    assert "不完整" in error.message_zh
    request = pb.GetBalancesRequest(accounts=[ACCOUNT], date=BANK_DATE)
    balance = (await house.stub.GetBalances(request)).balances[0]
    assert not balance.HasField("statement_closing_balance")
    assert await references(house) == ["S1", "S3", "S4"], "what was read is kept"
    day.hidden = set()
    mended = await fetch(house)
    assert (mended.entry_count, mended.new_entry_count) == (4, 1)
    assert mended.balance.statement_closing_balance.minor_units == 100_200


async def test_entries_flow_by_themselves_and_the_day_change_closes_the_day(
    open_house: Any, sisters: Any, sqlite_url: str, until: Until
) -> None:
    house = await open_house(sqlite_url, account_statement_interval_s=0.05)
    sisters.bank.day().lines = lines(-100)
    await until(lambda: _lists(house, ["S1"]))
    sisters.bank.day().lines += [("S2", -100, "")]
    sisters.bank.day().is_final = True
    sisters.bank.previous_day = {ACCOUNT: 99_800}
    sisters.bank.bank_date = "2026-11-23"
    sisters.bank.day("2026-11-23").lines = [("T1", 5, "")]
    await until(lambda: _lists(house, ["S1", "S2", "T1"]))

    async def is_closed() -> bool:
        response = await house.stub.GetBalances(pb.GetBalancesRequest(accounts=[ACCOUNT], date=BANK_DATE))
        return bool(response.balances[0].HasField("statement_closing_balance"))

    await until(is_closed)


async def _lists(house: Any, wanted: list[str]) -> bool:
    try:
        return await references(house) == wanted
    except grpc.aio.AioRpcError:
        return False


async def test_a_bank_that_is_away_at_the_start_is_waited_for(
    open_house: Any, sisters: Any, sqlite_url: str, until: Until, payment_story: Any
) -> None:
    sisters.bank.is_away = True
    await sisters.payments.tell(payment_story("YQ1", ["SUBMITTING", "SETTLED"]))
    house = await open_house(sqlite_url)

    async def booked() -> int:
        return len((await house.stub.ListPostings(pb.ListPostingsRequest(instruction_id="YQ1"))).postings)

    await until(booked)
    assert not (await house.stub.ListAccounts(pb.ListAccountsRequest())).accounts
    sisters.bank.is_away = False

    async def is_opened() -> bool:
        found = (await house.stub.GetBalances(pb.GetBalancesRequest())).balances
        return bool(found) and found[0].ledger_balance.minor_units == 99_000

    await until(is_opened)


async def test_followers_get_what_is_there_and_what_comes(house: Any, sisters: Any) -> None:
    sisters.bank.day().lines = lines(-100, 200)
    await fetch(house)
    stream = house.stub.FollowEntries(pb.FollowEntriesRequest(after_sequence=1))
    first = await stream.read()
    assert [entry.account_servicer_reference for entry in first.entries] == ["S2"]
    entry: account_pb2.StatementEntry = first.entries[0]
    assert (entry.sequence, entry.source, entry.amount.minor_units) == (2, "cdc", 200)
    assert entry.credit_debit_indicator == account_pb2.CREDIT_DEBIT_INDICATOR_CRDT
    sisters.bank.day().lines += [("S3", -7, "YQ1")]
    await fetch(house)
    assert [e.instruction_id for e in (await asyncio.wait_for(stream.read(), 10)).entries] == ["YQ1"]
    stream.cancel()


def camt053(*amounts: int, closing: int | None = None, account: str = "DE75512108001245126199") -> bytes:
    """Return a statement that opens with 1,000.00; `closing` in cents breaks its sum."""
    end = 100_000 + sum(amounts) if closing is None else closing
    entries = "".join(
        f"<Ntry><Amt Ccy='EUR'>{abs(a) / 100:.2f}</Amt><CdtDbtInd>{'CRDT' if a > 0 else 'DBIT'}</CdtDbtInd>"
        f"<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-20</Dt></BookgDt><AcctSvcrRef>R{n}</AcctSvcrRef></Ntry>"
        for n, a in enumerate(amounts)
    )
    balances = "".join(
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy='EUR'>{units / 100:.2f}</Amt>"
        f"<CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-20</Dt></Dt></Bal>"
        for code, units in (("OPBD", 100_000), ("CLBD", end))
    )
    return (
        "<?xml version='1.0' encoding='UTF-8'?><Document xmlns='urn:iso:std:iso:20022:tech:xsd:camt.053.001.08'>"
        f"<BkToCstmrStmt><GrpHdr><MsgId>M</MsgId></GrpHdr><Stmt><Id>ST-1</Id><Acct><Id><IBAN>{account}</IBAN></Id>"
        f"<Ccy>EUR</Ccy></Acct>{balances}{entries}</Stmt></BkToCstmrStmt></Document>"
    ).encode()


async def test_importing_a_file_twice_adds_nothing(house: Any) -> None:
    request = pb.ImportStatementRequest(content=camt053(-5_000, 1_234), file_name="november.xml")
    first = (await house.stub.ImportStatement(request)).statements[0]
    assert (first.statement_id, first.entry_count, first.new_entry_count) == ("ST-1", 2, 2)
    assert (first.from_date, first.to_date) == ("2026-11-20", "2026-11-20")
    again = (await house.stub.ImportStatement(request)).statements[0]
    assert (again.entry_count, again.new_entry_count) == (2, 0)
    accounts = (await house.stub.ListAccounts(pb.ListAccountsRequest())).accounts
    assert [(a.currency, a.bank_profile) for a in accounts if a.identification.startswith("DE")] == [("EUR", "")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "FILE_EMPTY"),
        (b"date,amount\n2026-11-20,5", "XML_MALFORMED"),
        (camt053(-5_000, closing=99_999), "STATEMENT_UNBALANCED"),
        (camt053(1)[:-40], "XML_MALFORMED"),
    ],
)
async def test_a_file_that_proves_nothing_is_refused_in_words(house: Any, content: bytes, reason: str) -> None:
    error = await failing(house.stub.ImportStatement(pb.ImportStatementRequest(content=content)))
    assert (error.code, error.reason) == (CODE.INVALID_ARGUMENT, reason)
    assert error.message
    assert error.message_zh
    assert len((await house.stub.ListAccounts(pb.ListAccountsRequest())).accounts) == 1


async def test_a_statement_of_an_account_that_only_files_tell_of_cannot_be_fetched(house: Any) -> None:
    await house.stub.ImportStatement(pb.ImportStatementRequest(content=camt053(-5_000)))
    error = await failing(house.stub.FetchStatement(pb.FetchStatementRequest(account="DE75512108001245126199")))
    assert (error.code, error.reason) == (CODE.NOT_FOUND, "ACCOUNT_NOT_REACHABLE")
