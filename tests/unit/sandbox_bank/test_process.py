"""The bank as a process: killed at any moment its book is sound; told to stop it ends in order."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from .conftest import SERVICES, BankProcess
from .test_payments import query
from .wire_client import WireClient, batch, line


def test_killed_in_the_middle_of_batches_every_answered_line_is_in_the_book_and_debited_once(
    process_bank: BankProcess,
) -> None:
    process_bank.start("--execution-delay-ms", "5")
    client = WireClient(process_bank.url, process_bank.directory / "keys")
    client.install_keys()
    answered: list[int] = []

    def send_batches() -> None:
        for number in range(1, 40):
            lines = [line(f"B{number}-{n}", "1.01") for n in range(200)]
            try:
                client.call("BB1PAYBH", batch(f"B{number}", lines))
            except httpx.TransportError:
                return
            answered.append(number)

    sender = threading.Thread(target=send_batches)
    sender.start()
    process_bank.until(lambda: len(answered) >= 4, "some batches")
    process_bank.kill(signal.SIGKILL)
    sender.join(30)
    process_bank.start("--execution-delay-ms", "5")
    report = process_bank.until_executed()
    times_debited = {one["reference"]: one["times_debited"] for one in report["payments"]}
    assert all(times_debited[f"B{number}-{n}"] == 1 for number in answered for n in range(200))
    assert set(times_debited.values()) == {1}
    # The batch under way at the kill is there whole or not at all.
    assert len(times_debited) % 200 == 0
    assert len(times_debited) - 200 * len(answered) in (0, 200)


def test_told_to_stop_it_ends_in_order_and_keeps_its_clock_and_script(process_bank: BankProcess) -> None:
    process_bank.start()
    process_bank.control("clock", {"advance_days": 2})
    before = process_bank.control("clock")["business_date"]
    process_bank.control("script", "[[rule]]\nwhen = { function = 'DCLISACC' }\nlose_request = true")
    assert process_bank.kill(signal.SIGTERM) == 0
    process_bank.start()
    assert process_bank.control("clock")["business_date"] == before
    client = WireClient(process_bank.url, process_bank.directory / "keys")
    client.install_keys()
    try:
        client.call("DCLISACC", {})
    except httpx.TransportError:
        return
    raise AssertionError("the script was forgotten")


def test_a_port_in_use_is_said_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "yinqi.sandbox_bank.main", "--listen", f"127.0.0.1:{port}"]
        command += ["--database", str(tmp_path / "bank.db"), "--keys-dir", str(tmp_path / "keys")]
        ended = subprocess.run(command, env={"PYTHONPATH": str(SERVICES)}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert str(port) in ended.stderr
    assert not (tmp_path / "bank.db").exists()


class SpanSink(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that is exported to it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            name = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            self.spans += [(name, span) for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


def test_each_call_continues_the_callers_trace_and_is_exported_at_the_latest_when_it_stops(
    process_bank: BankProcess,
) -> None:
    sink, server = SpanSink(), grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(sink, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    process_bank.start(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    client = WireClient(process_bank.url, process_bank.directory / "keys")
    client.install_keys()
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    form = client.form("BB1PAYBH", batch("B1", [line("R1"), line("R2")]))
    client.post(form, traceparent=f"00-{trace_id}-{parent_id}-01")
    client.post({**form, "ALG": "RSA"})
    assert len(query(client, "R1")) == 1
    assert process_bank.kill(signal.SIGTERM) == 0
    limit = time.monotonic() + 10
    while len(sink.spans) < 3 and time.monotonic() < limit:
        time.sleep(0.02)
    server.stop(None)
    assert {name for name, _ in sink.spans} == {"sandbox_bank"}
    submit, refused, _ = sorted((span for _, span in sink.spans), key=lambda span: span.start_time_unix_nano)
    assert submit.name == "cdc BB1PAYBH"
    assert (submit.trace_id.hex(), submit.parent_span_id.hex()) == (trace_id, parent_id)
    attributes = {one.key: one.value for one in submit.attributes}
    assert attributes["sandbox_bank.lines"].int_value == 2
    assert attributes["sandbox_bank.outcome"].string_value == "SUC0000"
    assert refused.status.message == "FRM0001"
