"""The monitoring service as a process: killed, started again, refused a port, asked to stop."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.console.conftest import start_monitoring, wait_until_served
from tests.e2e.console.fake_sisters import FakeSisters, fake_sisters
from tests.integration.monitoring.test_service import AlertReceiver

from yinqi.runtime.listening import free_port

ALERTS = 45  # of the fakes' ordinary day


@pytest.fixture(scope="module")
def sisters() -> Iterator[FakeSisters]:
    with fake_sisters() as sisters:
        yield sisters


def test_kill_9_loses_no_alert_and_no_delivery(tmp_path: Path, sisters: FakeSisters) -> None:
    receiver = AlertReceiver()
    receiver.answer = 503
    changes = {"YINQI_ALERT_URLS": receiver.url, "YINQI_ALERT_LEASE_S": "1", "YINQI_ALERT_RETRY_MAX_S": "0.2"}
    port = free_port()
    try:
        for round_ in range(2):
            process = start_monitoring(tmp_path, sisters, port, **changes)
            wait_until_served(f"http://127.0.0.1:{port}", process)
            time.sleep(0.3 * round_)  # killed at different places: that is the point
            process.send_signal(signal.SIGKILL)
            process.wait()
        receiver.answer = 200
        process = start_monitoring(tmp_path, sisters, port, **changes)
        end_at = time.monotonic() + 30
        while len(set(receiver.alert_ids)) < ALERTS and time.monotonic() < end_at:
            time.sleep(0.05)
        assert len(set(receiver.alert_ids)) == ALERTS
        process.terminate()
        assert process.wait(30) == 0
    finally:
        receiver.close()


def test_a_taken_console_port_is_named_with_what_to_do(tmp_path: Path, sisters: FakeSisters) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start_monitoring(tmp_path, sisters, port)
        assert process.wait(60) == 78
    told = (tmp_path / "monitoring.log").read_text()
    assert f"port {port}" in told
    assert "YINQI_CONSOLE_PORT" in told
    assert "Traceback" not in told


def test_other_names_than_its_own_are_refused(tmp_path: Path, sisters: FakeSisters) -> None:
    port = free_port()
    process = start_monitoring(tmp_path, sisters, port)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_served(url, process)
        assert httpx.get(url, headers={"host": "evil.example"}, trust_env=False).status_code == 400
        page = httpx.get(url, trust_env=False)
        assert page.status_code == 200
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    finally:
        process.terminate()
        assert process.wait(30) == 0
