"""Each payment event takes effect once, whatever happens to the process in between; and its story goes on."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from yinqi.account import use_cases
from yinqi.account.repository import SqlBooks
from yinqi.api.account.v1 import account_service_pb2 as pb
from yinqi.runtime.database import Database
from yinqi.runtime.feed import load_cursor
from yinqi.runtime.migrations import migrate
from yinqi.runtime.settings import child_environment
from yinqi.runtime.telemetry import Telemetry, parse_traceparent

ACCOUNT = "755900000000001"
PAYMENTS = 300
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def start_process(sisters: Any, database_url: str, var_dir: Path) -> asyncio.subprocess.Process:
    environment = child_environment(
        {
            "YINQI_DATABASE_URL": database_url,
            "YINQI_VAR_DIR": str(var_dir),
            "YINQI_ACCOUNT_PORT": "0",
            "YINQI_GATEWAY_ADDRESS": sisters.gateway_address,
            "YINQI_PAYMENT_ADDRESS": sisters.payment_address,
            "YINQI_LOG_LEVEL": "WARNING",
            "PYTHONPATH": str(Path(__file__).parents[3] / "services"),
        }
    )
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "yinqi.account.main", env=environment)


async def cursor_reaches(database: Database, sequence: int) -> None:
    async with asyncio.timeout(60):
        while await database.read(lambda c: load_cursor(c, "payment")) < sequence:  # noqa: ASYNC110 (of another process)
            await asyncio.sleep(0.01)


async def test_a_killed_process_goes_on_where_it_was_and_books_nothing_twice(
    database_url: str, open_database: Callable[..., Database], sisters: Any, tmp_path: Path, payment_story: Any
) -> None:
    migrate(database_url, "account")
    database = open_database(database_url)
    sisters.payments.batch_size = 10
    for number in range(PAYMENTS):
        ending = ["REJECTED"] if number % 3 else ["SETTLED", "RETURNED"][: 1 + number % 2]
        await sisters.payments.tell(payment_story(f"YQ{number:04}", ["RECEIVED", "SUBMITTING", *ending], amount=100))
    events = len(sisters.payments.events)
    process = await start_process(sisters, database_url, tmp_path)
    await cursor_reaches(database, events // 4)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    cursor = await database.read(lambda connection: load_cursor(connection, "payment"))
    process = await start_process(sisters, database_url, tmp_path)
    await cursor_reaches(database, events)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert sisters.payments.served_after[:2] == [0, cursor]
    await database.read(lambda connection: use_cases.check_ledger(SqlBooks(connection)))
    running = await database.read(lambda connection: SqlBooks(connection).sum_running_balances())
    settled = sum(1 for number in range(PAYMENTS) if number % 3 == 0 and number % 2 == 0)
    assert running[f"payables:{ACCOUNT}", "CNY"] == 100 * settled
    assert running[f"bank:{ACCOUNT}:held", "CNY"] == 0


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


async def test_bookings_and_entries_continue_the_payments_own_trace(
    open_house: Any, sqlite_url: str, sisters: Any, payment_story: Any, until: Any, spans: InMemorySpanExporter
) -> None:
    house = await open_house(sqlite_url, telemetry=Telemetry("account", SimpleSpanProcessor(spans)))
    await sisters.payments.tell(payment_story("YQ1", ["SUBMITTING", "SETTLED"], amount=300, traceparent=TRACEPARENT))

    async def is_told() -> bool:
        return any(span.name == "account.book_batch" for span in spans.get_finished_spans())

    await until(is_told)
    sisters.bank.day().lines = [("S1", -300, "YQ1"), ("S2", 5, "")]
    await house.stub.FetchStatement(pb.FetchStatementRequest(account=ACCOUNT))
    found = spans.get_finished_spans()
    own = [span for span in found if span.context.trace_id == parse_traceparent(TRACEPARENT).trace_id]
    assert {span.name for span in own} == {"account.book", "account.entry"}
    assert all(span.parent.span_id == parse_traceparent(TRACEPARENT).span_id for span in own)
    sent = {span.context.span_id for span in found}
    assert all(link.context.span_id in sent for span in own for link in span.links), "links lead somewhere"
    names = {span.name for span in found}
    assert {"account.book_batch", "account.fetch_statement"} <= names
    assert not any(name.endswith("GetBalances") and "gateway" in name for name in names - {_fetch_name()}), names


def _fetch_name() -> str:
    # FetchStatement asks for the balance as part of its own story; the loops' questions leave no spans.
    return "yinqi.api.gateway.v1.GatewayService/GetBalances"


async def test_a_contradiction_is_not_booked_and_does_not_stop_the_feed(
    house: Any, sisters: Any, payment_story: Any, until: Any
) -> None:
    await sisters.payments.tell(payment_story("YQ1", ["SUBMITTING", "SETTLED", "REJECTED"], amount=300))
    await sisters.payments.tell(payment_story("YQ2", ["SUBMITTING"], amount=5))

    async def is_booked() -> bool:
        found = await house.stub.ListPostings(pb.ListPostingsRequest(instruction_id="YQ2"))
        return len(found.postings) == 2

    await until(is_booked)
    found = await house.stub.ListPostings(pb.ListPostingsRequest(instruction_id="YQ1"))
    assert [p.kind for p in found.postings][::2] == ["hold", "settlement"]
