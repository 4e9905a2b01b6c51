"""Starts the services as child processes, keeps them alive, stops them in order.

Children are started by exec, never by forking a process that already serves gRPC (gRPC cannot be forked).
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from yinqi.kernel.errors import Unavailable
from yinqi.runtime.listening import is_free, port_in_use
from yinqi.runtime.settings import child_environment
from yinqi.runtime.tls import channel_to
from yinqi.runtime.worker import backoff_s, pause

_log = structlog.get_logger(__name__)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_Probe = Callable[[], Awaitable[bool]]
_STEADY_AFTER_S = 10.0  # A child that ran this long has its failures forgiven.
_HEALTHY_WITHIN_S = 120.0  # For a busy machine; a child that cannot start is named after three tries.


class ChildNotHealthy(Unavailable):
    """A child did not come up in time; the message names it and its log."""


@dataclass(frozen=True)
class Child:
    """One process to run.

    Attributes:
        name: of the service; names its log file and, for gRPC, its port setting.
        argv: program and arguments.
        env: changes to this process's environment. without: variables that are not its business.
        port: where it listens; None if it does not.
        health: "grpc" (grpc.health.v1), "http" (GET /healthz), or "none".
        credentials: with what to ask a gRPC child for its health; None: plain text.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    health: str = "grpc"
    without: Collection[str] = ()
    host: str = "127.0.0.1"
    credentials: Callable[[], grpc.ChannelCredentials | None] = lambda: None


@dataclass(frozen=True)
class ChildState:
    """What became of a child so far."""

    name: str
    pid: int | None
    running: bool
    restarts: int
    last_exit_code: int | None


class _Running:
    """A child's process and its history."""

    def __init__(self, child: Child, log_path: Path) -> None:
        self.child = child
        self.log_path = log_path
        self.process: asyncio.subprocess.Process | None = None
        self.restarts = 0
        self.last_exit_code: int | None = None
        self.guard: asyncio.Task[None] | None = None
        self.stop = asyncio.Event()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Supervisor:
    """Runs children until told to stop.

    Args:
        children: in starting order; they are stopped in the reverse order.
        log_dir: gets `<name>.log` for each child.
        on_event: told in words what happens to a child: (name, text).
        grace_s: how long a child may take to end after SIGTERM before it is killed.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        log_dir: Path,
        on_event: Callable[[str, str], None] | None = None,
        grace_s: float = 15.0,
        backoff_max_s: float = 10.0,
    ) -> None:
        self._log_dir = log_dir
        self._on_event = on_event or (lambda _name, _text: None)
        self._grace_s = grace_s
        self._backoff_max_s = backoff_max_s
        self._running = {child.name: _Running(child, log_dir / f"{child.name}.log") for child in children}

    def check_ports(self) -> None:
        """Return if every child's port is free.

        Raises:
            PortInUse: names the first taken port, who holds it, and what to do. Nothing was started.
        """
        for running in self._running.values():
            child = running.child
            if child.port and not is_free(child.host, child.port):
                raise port_in_use(child.name, child.port)

    async def start(self, *, healthy_within_s: float = _HEALTHY_WITHIN_S) -> None:
        """Start all children and wait until each is healthy; on failure stop them again.

        Raises:
            PortInUse: nothing was started. ChildNotHealthy: names the child and the end of its log.
        """
        self.check_ports()
        self._log_dir.mkdir(parents=True, exist_ok=True)
        try:
            for running in self._running.values():
                await self._spawn(running)
                running.guard = asyncio.create_task(self._keep_alive(running), name=f"guard-{running.child.name}")
            await asyncio.gather(*(self.wait_healthy(name, healthy_within_s) for name in self._running))
        except BaseException:
            await self.stop()
            raise

    async def run(self, stop: asyncio.Event, *, healthy_within_s: float = _HEALTHY_WITHIN_S) -> None:
        """Start all, wait for `stop` (SIGTERM, Ctrl-C), stop all."""
        await self.start(healthy_within_s=healthy_within_s)
        try:
            await stop.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Ask each child to end, in reverse order; kill one that does not within the grace."""
        for running in reversed(self._running.values()):
            running.stop.set()
            if running.guard is not None:
                running.guard.cancel()
                await asyncio.wait([running.guard])
            await self._end(running)

    def kill(self, name: str) -> None:
        """Kill a child with SIGKILL, for drills; it is started again like one that died by itself."""
        process = self._running[name].process
        if process is not None and process.returncode is None:
            process.kill()

    def states(self) -> list[ChildState]:
        """Return the state of every child, in starting order."""
        return [
            ChildState(
                name,
                running.process.pid if running.process and running.alive else None,
                running.alive,
                running.restarts,
                running.last_exit_code,
            )
            for name, running in self._running.items()
        ]

    def log_path(self, name: str) -> Path:
        """Return where a child's output goes."""
        return self._running[name].log_path

    async def wait_healthy(self, name: str, timeout_s: float = _HEALTHY_WITHIN_S) -> None:
        """Return when the child answers its health check.

        Raises:
            ChildNotHealthy: it did not in time.
        """
        running = self._running[name]
        is_healthy = _PROBES[running.child.health](running.child)
        loop = asyncio.get_running_loop()
        end_at = loop.time() + timeout_s
        while loop.time() < end_at:
            if running.alive and await is_healthy():
                return
            if running.restarts >= 3 and not running.alive:
                break  # It will not come up by waiting.
            await asyncio.sleep(0.1)
        raise ChildNotHealthy(
            "CHILD_NOT_HEALTHY",
            f"{name} did not become healthy within {timeout_s:g} s. The end of {running.log_path}:\n{_tail(running.log_path)}",
            metadata={"service": name, "log": str(running.log_path)},
        )

    async def _spawn(self, running: _Running) -> None:
        child = running.child
        with running.log_path.open("ab") as log:
            running.process = await asyncio.create_subprocess_exec(
                *child.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child_environment(child.env, child.without),
                start_new_session=True,  # Ctrl-C reaches only us; we stop the children in order.
                preexec_fn=_die_with_parent if _LIBC is not None else None,
            )
        _log.info("child started", child=child.name, pid=running.process.pid, port=child.port)

    async def _keep_alive(self, running: _Running) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            started_at = loop.time()
            process = running.process
            if process is not None:
                code = await process.wait()
                running.last_exit_code = code
                failures = 1 if loop.time() - started_at > _STEADY_AFTER_S else failures + 1
                rest_s = backoff_s(failures, 0.1, self._backoff_max_s)
                name = running.child.name
                _log.warning("child ended, starting it again", child=name, exit_code=code, retry_in_s=rest_s)
                self._on_event(name, f"{name} ended ({_ending(code)}); starting it again in {rest_s:.1f} s")
                if await pause(rest_s, running.stop):
                    return
            running.restarts += 1
            try:
                await self._spawn(running)
            except OSError as error:
                running.process = None
                _log.error("child could not be started", child=running.child.name, exc_info=error)
                await asyncio.sleep(self._backoff_max_s)

    async def _end(self, running: _Running) -> None:
        process = running.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._grace_s)
        except TimeoutError:
            name = running.child.name
            _log.warning("child did not end in time, killing it", child=name, grace_s=self._grace_s)
            self._on_event(name, f"{name} did not stop within {self._grace_s:g} s and was killed")
            process.kill()
            await process.wait()
        running.last_exit_code = process.returncode


def _die_with_parent() -> None:
    """Ask Linux to kill this child when the supervisor dies, even by SIGKILL; runs between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def _grpc_probe(child: Child) -> _Probe:
    credentials = child.credentials()  # once: reading and checking them takes longer than asking

    async def is_healthy() -> bool:
        async with channel_to(f"{child.host}:{child.port}", credentials) as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1.0)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return is_healthy


def _http_probe(child: Child) -> _Probe:
    async def is_healthy() -> bool:
        async with httpx.AsyncClient(trust_env=False, timeout=1.0) as client:
            try:
                return (await client.get(f"http://{child.host}:{child.port}/healthz")).is_success
            except httpx.HTTPError:
                return False

    return is_healthy


def _no_probe(_child: Child) -> _Probe:
    async def is_healthy() -> bool:
        return True

    return is_healthy


_PROBES: Mapping[str, Callable[[Child], _Probe]] = {"grpc": _grpc_probe, "http": _http_probe, "none": _no_probe}
