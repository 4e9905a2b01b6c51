"""The real server on a free port, its book in a temporary directory, and a client of its own on the other side."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from yinqi.sandbox_bank.clock import system_wall_ms
from yinqi.sandbox_bank.config import BankConfig
from yinqi.sandbox_bank.main import build_server, listen

from .wire_client import WireClient

SERVICES = Path(__file__).parents[3] / "services"


class BankUnderTest:
    """A sandbox bank over a directory, seen through its control API."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def control(self, path: str, content: dict[str, Any] | str | None = None) -> dict[str, Any]:
        if content is None:
            response = self.http.get(f"/control/{path}")
        elif isinstance(content, str):
            response = self.http.post(f"/control/{path}", content=content.encode())
        else:
            response = self.http.post(f"/control/{path}", json=content)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def book(self) -> dict[str, Any]:
        report = self.control("book")
        assert not any(report["integrity"].values()), report["integrity"]
        return report

    def payment(self, reference: str) -> dict[str, Any]:
        return next(one for one in self.book()["payments"] if one["reference"] == reference)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, f"waited too long for {what}"
            time.sleep(0.02)

    def until_executed(self) -> dict[str, Any]:
        self.until(lambda: self.control("book?payments=false")["totals"]["in_process"] == 0, "execution")
        return self.book()


class BankThread(BankUnderTest):
    """The real server inside this process, on its own event loop; quick to start."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        super().__init__(directory)
        self.settings: dict[str, Any] = {"execution_delay_ms": 10, **settings}

    def start(self) -> None:
        config = BankConfig(
            listen=f"127.0.0.1:{self.port}",
            database=self.directory / "bank.db",
            keys_dir=self.directory / "keys",
            **self.settings,
        )
        listening = listen(config)
        self.server = build_server(config, system_wall_ms)
        self.thread = threading.Thread(target=lambda: uvloop.run(self.server.serve(sockets=[listening])))
        self.thread.start()
        self.until(lambda: self.server.started, "the bank to start")

    def stop(self) -> None:
        self.server.should_exit = True
        self.http.close()
        self.thread.join(20)
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def restart(self, **settings: Any) -> None:
        self.stop()
        self.settings.update(settings)
        self.start()


class BankProcess(BankUnderTest):
    """One sandbox bank as its own process; can be killed and started again over the same book."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str, **environment: str) -> None:
        command = [sys.executable, "-m", "yinqi.sandbox_bank.main", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--database", str(self.directory / "bank.db"), "--keys-dir", str(self.directory / "keys"), *flags]
        with (self.directory / "bank.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env={"PYTHONPATH": str(SERVICES), **environment}, stdout=log, stderr=log
            )
        self.until(self.answers, "the bank to answer")

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "bank.log").read_text()
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[BankThread]:
    bank = BankThread(tmp_path)
    bank.start()
    yield bank
    bank.stop()


@pytest.fixture
def process_bank(tmp_path: Path) -> Iterator[BankProcess]:
    bank = BankProcess(tmp_path)
    yield bank
    if bank.process is not None and bank.process.poll() is None:
        bank.kill()


@pytest.fixture
def client(bank: BankThread) -> WireClient:
    client = WireClient(bank.url, bank.directory / "keys")
    client.install_keys()
    return client
