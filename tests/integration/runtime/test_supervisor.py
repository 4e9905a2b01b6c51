"""The supervisor: ports checked first, dead children replaced, nobody left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from yinqi.runtime.listening import PortInUse
from yinqi.runtime.supervisor import Child, ChildNotHealthy, Supervisor

SERVICES = str(Path(__file__).parents[3] / "services")
HTTP_CHILD = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
GRPC_CHILD = """
import asyncio, sys
from yinqi.runtime.grpc_server import run_with_settings, serve
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import Telemetry

async def main(settings, stop):
    await serve("payment", settings.listen_address("payment"), [], settings=settings, telemetry=Telemetry.off(), stop=stop)
    print("drained", flush=True)

sys.exit(run_with_settings("payment", Settings, main))
"""


def http_child(name: str, port: int) -> Child:
    return Child(name, [sys.executable, "-c", HTTP_CHILD, str(port)], port=port, health="http")


def grpc_environment(port: int | str) -> dict[str, str]:
    return {"PYTHONPATH": SERVICES, "YINQI_PAYMENT_PORT": str(port), "YINQI_TLS_MODE": "off"}


def grpc_child(name: str, port: int) -> Child:
    return Child(name, [sys.executable, "-c", GRPC_CHILD], grpc_environment(port), port)


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
async def supervise(tmp_path: Path) -> AsyncIterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(*children: Child, **options: object) -> Supervisor:
        supervisor = Supervisor(children, log_dir=tmp_path / "log", **options)  # type: ignore[arg-type]
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        await supervisor.stop()


async def test_children_start_are_healthy_and_stop_in_order(
    supervise: Callable[..., Supervisor], free_port: Callable[[], int]
) -> None:
    supervisor = supervise(http_child("bank", free_port()), grpc_child("payment", free_port()))
    await supervisor.start()
    pids = [state.pid for state in supervisor.states()]
    assert all(state.running for state in supervisor.states())
    await supervisor.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    assert [state.last_exit_code for state in supervisor.states()] == [-signal.SIGTERM, 0]
    assert "drained" in supervisor.log_path("payment").read_text()


async def test_a_killed_child_is_replaced_and_it_is_said(
    supervise: Callable[..., Supervisor], free_port: Callable[[], int]
) -> None:
    said: list[str] = []
    supervisor = supervise(http_child("bank", free_port()), on_event=lambda _name, words: said.append(words))
    await supervisor.start()
    (before,) = supervisor.states()
    supervisor.kill("bank")
    await until(lambda: supervisor.states()[0].restarts == 1 and supervisor.states()[0].running)
    await supervisor.wait_healthy("bank", 10)
    (after,) = supervisor.states()
    assert after.pid != before.pid
    assert said == ["bank ended (signal SIGKILL); starting it again in 0.1 s"]


async def test_a_taken_port_is_named_before_anything_starts(
    supervise: Callable[..., Supervisor], free_port: Callable[[], int]
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        supervisor = supervise(http_child("bank", free_port()), http_child("payment", taken))
        with pytest.raises(PortInUse) as refused:
            await supervisor.start()
    for word in ("payment", str(taken), f"pid {os.getpid()}", "YINQI_PAYMENT_PORT"):
        assert word in refused.value.message
    assert not any(state.running for state in supervisor.states())


async def test_a_child_that_cannot_start_is_shown_with_its_last_words(supervise: Callable[..., Supervisor]) -> None:
    child = Child("payment", [sys.executable, "-c", "raise SystemExit('no such bank')"], port=1, health="http")
    supervisor = supervise(child, backoff_max_s=0.1)
    with pytest.raises(ChildNotHealthy, match="no such bank"):
        await supervisor.start(healthy_within_s=10)


async def test_a_child_that_ignores_sigterm_is_killed(supervise: Callable[..., Supervisor]) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    supervisor = supervise(Child("deaf", [sys.executable, "-c", stubborn], health="none"), grace_s=0.2)
    await supervisor.start()
    await until(lambda: "up" in supervisor.log_path("deaf").read_text())
    await supervisor.stop()
    assert supervisor.states()[0].last_exit_code == -signal.SIGKILL


SUPERVISOR = """
import asyncio, pathlib, sys
from yinqi.runtime.logging import configure_logging
from yinqi.runtime.supervisor import Child, Supervisor

async def main():
    supervisor = Supervisor([Child("sleeper", ["sleep", "300"], health="none")], log_dir=pathlib.Path(sys.argv[1]))
    await supervisor.start()
    print(supervisor.states()[0].pid, flush=True)
    await asyncio.sleep(300)

configure_logging("test")
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SUPERVISOR, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": SERVICES, "PATH": "/usr/bin:/bin"},
    )
    assert process.stdout
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


async def test_trap_7_children_are_new_programs_not_forks_of_a_grpc_process(
    supervise: Callable[..., Supervisor], free_port: Callable[[], int]
) -> None:
    """The supervisor's own gRPC channels are open (health checks) while it starts further children."""
    supervisor = supervise(grpc_child("payment", free_port()))
    await supervisor.start()  # health-checked over gRPC
    for restarts in (1, 2):
        supervisor.kill("payment")
        await until(lambda n=restarts: supervisor.states()[0].restarts == n)  # type: ignore[misc]
        await supervisor.wait_healthy("payment", 15)


async def test_sigterm_drains_a_service_and_a_second_start_on_its_port_is_refused(free_port: Callable[[], int]) -> None:
    port = free_port()
    environment = grpc_environment(port)

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", GRPC_CHILD],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    first = start()
    from yinqi.runtime.listening import is_free

    await until(lambda: not is_free("127.0.0.1", port))
    second = start()
    _, words = await asyncio.to_thread(second.communicate, timeout=60)
    assert second.returncode == 78
    assert f"port {port}" in words
    assert "Traceback" not in words
    first.send_signal(signal.SIGTERM)
    out, _ = await asyncio.to_thread(first.communicate, timeout=60)
    assert (first.returncode, out.splitlines()[-1]) == (0, "drained")


def test_a_wrong_setting_keeps_a_service_from_starting_in_words() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GRPC_CHILD], env=grpc_environment("many"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert "YINQI_PAYMENT_PORT" in done.stderr
    assert "many" in done.stderr
    assert "Traceback" not in done.stderr
