"""The whole service in this process: real gRPC both ways, real feeds, a real receiver of alerts."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.e2e.console.fake_sisters import FakeSisters, ordinary_day

from yinqi.api.monitoring.v1 import monitoring_pb2, monitoring_service_pb2, monitoring_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2
from yinqi.kernel.clock import SystemClock
from yinqi.kernel.errors import YinqiError
from yinqi.monitoring.main import main
from yinqi.monitoring.settings import MonitoringSettings
from yinqi.runtime.otlp_sink import OtlpSink

SERVICE = (("x-yinqi-identity", "payment"), ("x-yinqi-roles", "service/payment,alert_viewer"))
HANDLER = (("x-yinqi-identity", "li.na"), ("x-yinqi-roles", "alert_handler"))


class AlertReceiver:
    """A webhook that remembers what it was told; may be down, or answer with an error."""

    def __init__(self, port: int = 0) -> None:
        received = self.received = []  # type: list[dict[str, Any]]
        self.answer = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.answer == 200:
                    received.append(json.loads(body))
                self.send_response(receiver.answer)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/alerts"

    @property
    def alert_ids(self) -> list[str]:
        return [
            line[10:] for one in self.received for line in one["message"].splitlines() if line.startswith("alert_id")
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    receiver = AlertReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def sisters() -> Iterator[FakeSisters]:
    sisters = FakeSisters(ordinary_day(SystemClock().now()))
    yield sisters
    sisters.close()


@asynccontextmanager
async def serving(
    tmp_path: Path, sisters: FakeSisters, **changes: Any
) -> AsyncIterator[monitoring_service_pb2_grpc.MonitoringServiceStub]:
    settings = MonitoringSettings(
        **{  # type: ignore[arg-type]
            "var_dir": tmp_path,
            "monitoring_port": 0,
            "console_enabled": False,
            "poll_interval_ms": 20,
            "drain_grace_s": 1.0,
            "unknown_alert_after_s": 0.0,
            **{f"{service}_address": f"127.0.0.1:{port}" for service, port in sisters.ports.items()},
            **changes,
        }
    )
    stop = asyncio.Event()
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    service = asyncio.create_task(main(settings, stop, on_started=lambda port, _console: started.set_result(port)))
    await asyncio.wait([service, started], return_when=asyncio.FIRST_COMPLETED)
    if service.done():
        service.result()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{started.result()}") as channel:
        try:
            yield monitoring_service_pb2_grpc.MonitoringServiceStub(channel)
        finally:
            stop.set()
            await service


async def until(happened: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not await happened():  # noqa: ASYNC110 (what is waited for is in another process)
            await asyncio.sleep(0.05)


async def alerts(stub: Any, **wanted: Any) -> list[monitoring_pb2.Alert]:
    request = monitoring_service_pb2.ListAlertsRequest(page_size=1_000, **wanted)
    return list((await stub.ListAlerts(request, metadata=SERVICE)).alerts)


def rules_of(found: list[monitoring_pb2.Alert]) -> dict[str, int]:
    return {rule: sum(alert.rule == rule for alert in found) for rule in {alert.rule for alert in found}}


EXPECTED = {
    "payment_rejected": 20,
    "payment_returned": 20,
    "payment_blocked": 1,
    "payment_unknown_too_long": 1,
    "break_opened": 3,
}


async def test_feeds_become_alerts_once_even_when_followed_from_the_beginning_again(
    tmp_path: Path, sisters: FakeSisters
) -> None:
    async def all_there() -> bool:
        return rules_of(await alerts(stub)) == EXPECTED

    async with serving(tmp_path, sisters) as stub:
        await until(all_there)
    _forget_cursors(tmp_path)
    async with serving(tmp_path, sisters) as stub:
        await until(all_there)
        await asyncio.sleep(0.3)
        assert rules_of(await alerts(stub)) == EXPECTED


def _forget_cursors(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "monitoring.db") as connection:
        connection.execute("DELETE FROM feed_cursor")


async def test_an_overdue_payment_closes_its_alert_when_it_becomes_final(tmp_path: Path, sisters: FakeSisters) -> None:
    payment = sisters.books.payment_of("INV-202611-00400")

    async def status_is(status: monitoring_pb2.AlertStatus.ValueType) -> bool:
        found = await alerts(stub, subject=payment.instruction_id)
        return [alert.status for alert in found] == [status]

    async with serving(tmp_path, sisters) as stub:
        await until(lambda: status_is(monitoring_pb2.ALERT_STATUS_OPEN))
        sisters.books.events.append(
            payment_pb2.PaymentEvent(
                sequence=len(sisters.books.events) + 1,
                occurred_at=payment.received_at,
                to_status=payment_pb2.PAYMENT_STATUS_SETTLED,
                payment=payment,
            )
        )
        await until(lambda: status_is(monitoring_pb2.ALERT_STATUS_CLOSED))


async def test_a_sister_that_comes_back_is_followed_from_where_it_was_left(
    tmp_path: Path, sisters: FakeSisters
) -> None:
    sisters.stop("payment")

    async def breaks_only() -> bool:
        return rules_of(await alerts(stub)) == {"break_opened": 3}

    async def all_there() -> bool:
        return rules_of(await alerts(stub)) == EXPECTED

    async with serving(tmp_path, sisters) as stub:
        await until(breaks_only)
        sisters.start("payment")
        await until(all_there)


async def test_every_alert_reaches_the_receiver_and_only_then_counts_as_delivered(
    tmp_path: Path, sisters: FakeSisters, receiver: AlertReceiver
) -> None:
    async with serving(tmp_path, sisters, alert_urls=receiver.url) as stub:

        async def all_delivered() -> bool:
            found = await alerts(stub)
            return rules_of(found) == EXPECTED and all(alert.HasField("delivered_at") for alert in found)

        await until(all_delivered)
        found = await alerts(stub)
        assert {alert.alert_id for alert in found} == set(receiver.alert_ids)
        assert len(receiver.alert_ids) == len(found), "nothing failed, so nothing came twice"
    for one in receiver.received:
        for account in (b"755915678910101", b"6225880100000401"):
            assert account.decode() not in one["message"]


async def test_a_receiver_that_is_down_gets_its_alerts_when_it_is_up_again(
    tmp_path: Path, sisters: FakeSisters, receiver: AlertReceiver
) -> None:
    receiver.answer = 503
    changes = {"alert_urls": f"CRITICAL|{receiver.url}", "alert_retry_max_s": 0.1}
    async with serving(tmp_path, sisters, **changes) as stub:

        async def critical() -> list[monitoring_pb2.Alert]:
            return [a for a in await alerts(stub) if a.severity == monitoring_pb2.SEVERITY_CRITICAL]

        async def tried_twice() -> bool:
            return any(alert.delivery_attempts >= 2 for alert in await critical())

        await until(tried_twice)
        assert not any(alert.HasField("delivered_at") for alert in await critical())
        receiver.answer = 200

        async def delivered() -> bool:
            found = await critical()
            return bool(found) and all(alert.HasField("delivered_at") for alert in found)

        await until(delivered)
        assert receiver.alert_ids == [alert.alert_id for alert in await critical()], "below CRITICAL is not sent here"
        assert not any(a.HasField("delivered_at") for a in await alerts(stub) if a.severity < 3)


async def test_a_channel_that_has_an_alert_does_not_get_it_again_because_another_failed(
    tmp_path: Path, sisters: FakeSisters, receiver: AlertReceiver
) -> None:
    other = AlertReceiver()
    other.answer = 500
    urls = f"CRITICAL|{receiver.url} CRITICAL|{other.url}"
    try:
        async with serving(tmp_path, sisters, alert_urls=urls, alert_retry_max_s=0.1) as stub:

            async def tried_thrice() -> bool:
                return any(alert.delivery_attempts >= 3 for alert in await alerts(stub))

            await until(tried_thrice)
            other.answer = 200

            async def delivered() -> bool:
                return any(alert.HasField("delivered_at") for alert in await alerts(stub))

            await until(delivered)
        assert len(receiver.alert_ids) == len(other.alert_ids) == 1
    finally:
        other.close()


async def test_deliveries_pending_at_a_restart_are_made_afterwards(
    tmp_path: Path, sisters: FakeSisters, receiver: AlertReceiver
) -> None:
    receiver.answer = 503

    async def some_tried() -> bool:
        return any(alert.delivery_attempts for alert in await alerts(stub))

    async with serving(tmp_path, sisters, alert_urls=receiver.url, alert_retry_max_s=0.1) as stub:
        await until(some_tried)
    receiver.answer = 200

    async def all_delivered() -> bool:
        found = await alerts(stub)
        return rules_of(found) == EXPECTED and all(alert.HasField("delivered_at") for alert in found)

    async with serving(tmp_path, sisters, alert_urls=receiver.url, alert_retry_max_s=0.1) as stub:
        await until(all_delivered)


async def test_screening_answers_in_order_tells_each_payments_story_and_repeats_itself(
    tmp_path: Path, sisters: FakeSisters, otlp_sink: OtlpSink
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[amount_limit.max]\nCNY = "20000.00"\n')
    subjects = [
        monitoring_pb2.ScreeningSubject(
            instruction_id=payment.instruction_id, instruction=payment.instruction, traceparent=payment.traceparent
        )
        for payment in sisters.books.payments[:20]
    ]
    request = monitoring_service_pb2.ScreenPaymentsRequest(subjects=subjects)
    async with serving(
        tmp_path, sisters, screening_rules=rules, otlp_endpoint=otlp_sink.endpoint, payment_address="127.0.0.1:1"
    ) as stub:
        first = await stub.ScreenPayments(request, metadata=SERVICE)
        again = await stub.ScreenPayments(request, metadata=SERVICE)
        blocked = [a.subject for a in await alerts(stub) if a.rule == "payment_blocked"]
    assert first == again
    assert [s.instruction_id for s in first.screenings] == [s.instruction_id for s in subjects]
    by_verdict = {s.instruction_id: s.verdict for s in first.screenings}
    assert sorted(blocked) == sorted(i for i, v in by_verdict.items() if v == monitoring_pb2.VERDICT_BLOCK)
    assert blocked
    spans = [span for span in otlp_sink.spans if span.name == "monitoring.screen"]
    assert {span.trace_id.hex() for span in spans} == {s.traceparent.split("-")[1] for s in subjects}
    assert len(spans) == 20, "the second, repeated answer is no new step"
    assert all(len(span.links) == 1 for span in spans)


@pytest.mark.parametrize("count", [0, 1_001])
async def test_a_call_without_subjects_or_with_too_many_is_refused(
    tmp_path: Path, sisters: FakeSisters, count: int
) -> None:
    request = monitoring_service_pb2.ScreenPaymentsRequest(
        subjects=[monitoring_pb2.ScreeningSubject(instruction_id=f"YQ{n}") for n in range(count)]
    )
    async with serving(tmp_path, sisters) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ScreenPayments(request, metadata=SERVICE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "1000" in (caught.value.details() or "")


async def test_people_follow_and_acknowledge(tmp_path: Path, sisters: FakeSisters) -> None:
    async with serving(tmp_path, sisters) as stub:
        stream = stub.FollowAlerts(monitoring_service_pb2.FollowAlertsRequest(), metadata=SERVICE)
        events: list[monitoring_pb2.AlertEvent] = []
        async with asyncio.timeout(20):
            while len(events) < sum(EXPECTED.values()):
                events += (await stream.read()).events
            request = monitoring_service_pb2.AcknowledgeAlertRequest(alert_id=events[0].alert.alert_id, note="on it")
            acknowledged = (await stub.AcknowledgeAlert(request, metadata=HANDLER)).alert
            while events[-1].type != "alert.acknowledged":
                events += (await stream.read()).events
        assert acknowledged.acknowledged_by == "li.na"
        assert events[-1].alert == acknowledged
        assert [e.sequence for e in events] == sorted({e.sequence for e in events})
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.AcknowledgeAlert(request, metadata=SERVICE)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"alert_urls": "nosuch://host"}, "ALERT_URL_INVALID"),
        ({"screening_rules": Path("/nowhere/rules.toml")}, "SCREENING_RULES_INVALID"),
    ],
)
async def test_a_wrong_setting_is_told_in_words_before_anything_starts(
    tmp_path: Path, sisters: FakeSisters, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(YinqiError) as caught:
        async with serving(tmp_path, sisters, **changes):
            pass
    assert caught.value.reason == reason
    assert not (tmp_path / "monitoring.db").exists()


async def test_the_threshold_is_a_setting(tmp_path: Path, sisters: FakeSisters) -> None:
    hour = timedelta(hours=1).total_seconds()
    async with serving(tmp_path, sisters, unknown_alert_after_s=hour) as stub:

        async def the_rest_is_there() -> bool:
            return sum(rules_of(await alerts(stub)).values()) == 44

        await until(the_rest_is_there)
        assert "payment_unknown_too_long" not in rules_of(await alerts(stub))
