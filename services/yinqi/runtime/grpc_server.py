"""gRPC servers: health, reflection, limits, interceptor, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import grpc
import structlog
import uvloop
from google.protobuf import descriptor_pool
from grpc_core import Server
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from yinqi.kernel.errors import Overloaded, YinqiError
from yinqi.runtime.authentication import Authenticator
from yinqi.runtime.call_context import CallContext
from yinqi.runtime.core_dumps import forbid_core_dumps
from yinqi.runtime.custody import check_custody
from yinqi.runtime.denials import Denials
from yinqi.runtime.durable_files import Stamp
from yinqi.runtime.errors import status_of
from yinqi.runtime.identity import AccessPolicy, roles_from_proto
from yinqi.runtime.interceptors import Method, ServerInterceptor
from yinqi.runtime.listening import is_free, port_in_use
from yinqi.runtime.logging import configure_logging
from yinqi.runtime.settings import Settings, SettingsT, load_settings
from yinqi.runtime.telemetry import Telemetry
from yinqi.runtime.tls import MUTUAL, OFF, files_of, invalid, read, require_loopback_without_tls

_log = structlog.get_logger(__name__)

# (the generated add_XServicer_to_server function, the servicer)
Servicer = tuple[Callable[[Any, Any], None], object]

# Kinds of what grpc_core brings (see grpc_core.pyi).
_MESSAGE, _CANCELLED, _WRITABLE, _DRAINED, _REFUSED = range(5)
_FLUSH_S = 1.0
_NO_BOUNDS: Mapping[str, int] = MappingProxyType({})
_OVERLOADED = Overloaded(
    "TOO_MANY_CALLS",
    "The server is serving as many calls as it may; try again in a second.",
    "服务繁忙，请稍后重试。",
)

# Threads hand over the GIL this often. The default of 5 ms makes a writer thread wait that long after every
# statement while the event loop is busy.
_SWITCH_INTERVAL_S = 0.0005
_GC_THRESHOLDS = (20_000, 20, 20)
_EXIT_REFUSED_TO_START = 78  # EX_CONFIG of sysexits.h


class _Recorder:
    """Looks like a server to a generated add-function, to learn the handlers."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, _handlers: Sequence[Any]) -> None:
        """Part of the interface; the same handlers come by name."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self.names.append(service)
        self.handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}


@dataclass(slots=True)
class _Served:
    """A call that a task is serving."""

    method: Method
    context: CallContext
    task: asyncio.Task[None]


class GrpcServer:
    """One service's server: grpc_core speaks the protocol, tasks of this loop serve the calls.

    Args:
        service_name: short name ("payment"); used in messages and as a health name.
        address: host:port; port 0 lets the system choose (see `port`).
        servicers: what to serve.
        access: roles by method; a test may pass its own.
        calls_max: calls of a method (by its name) served at once, where it needs a bound of its own.
        denials: hears of callers that may not do what they asked for; by default only the log does.
    """

    def __init__(
        self,
        service_name: str,
        address: str,
        servicers: Sequence[Servicer],
        *,
        settings: Settings,
        telemetry: Telemetry,
        access: AccessPolicy = roles_from_proto,
        calls_max: Mapping[str, int] = _NO_BOUNDS,
        denials: Denials | None = None,
    ) -> None:
        self.service_name = service_name
        self.port = 0
        self._address = address
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._authenticator = Authenticator(settings)
        self._interceptor = ServerInterceptor(settings, telemetry, self._authenticator, access=access, denials=denials)
        self._tls_files = files_of(settings, service_name)
        self._tls_stamp: Stamp = ()
        self._watching: asyncio.Task[None] | None = None
        self._served: dict[int, _Served] = {}
        self._drained = asyncio.Event()
        self._ended = False
        recorder = _Recorder()
        for add, servicer in servicers:
            add(servicer, recorder)
        self._names = list(recorder.names)
        described = [name for name in self._names if _is_described(name)]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, recorder)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer([*described, health.SERVICE_NAME, reflection.SERVICE_NAME]), recorder
        )
        self._methods = [self._interceptor.method(path, handler) for path, handler in recorder.handlers.items()]
        overloaded = status_of(_OVERLOADED)
        self._core = Server(
            [
                (m.path, m.streams_requests, m.streams_responses, m.is_exempt, calls_max.get(m.path.rpartition("/")[2]))
                for m in self._methods
            ],
            message_bytes_max=settings.message_bytes_max,
            in_flight_max=settings.in_flight_max,
            streams_max=settings.streams_max,
            arrival_s_max=settings.deadline_default_s,
            handshake_s_max=settings.tls_handshake_s,
            handshakes_max=settings.tls_handshakes_max,
            overloaded=(overloaded.code, overloaded.message, overloaded.SerializeToString()),
        )

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            PortInUse: names the service, the port, its holder and what to do.
            TlsInvalid: a certificate or key cannot be used, or plain text would leave this machine.
        """
        host, _, port = self._address.rpartition(":")
        host = host.strip("[]")
        require_loopback_without_tls(self._settings, self.service_name, host)
        if self._settings.tls_mode != OFF:
            self._set_tls()
        if int(port) and not is_free(host, int(port)):
            raise port_in_use(self.service_name, int(port))
        try:
            self.port = self._core.start(host, int(port), self._settings.health_port or None)
        except OSError:
            raise port_in_use(self.service_name, int(port)) from None
        asyncio.get_running_loop().add_reader(self._core.fileno(), self._take)
        for name in (*self._names, self.service_name):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._watching = asyncio.create_task(self._watch(), name="credentials")
        _log.info("serving", service=self.service_name, port=self.port)

    def _set_tls(self) -> None:
        self._tls_stamp = self._tls_files.stamp()  # before reading: a change meanwhile is seen later
        material = read(self._tls_files)
        try:
            self._core.set_tls(
                certificates=material.certificate,
                private_key=material.key,
                client_authorities=material.authorities,
                revocation_lists=material.revocation_lists,
                is_client_required=self._settings.tls_mode == MUTUAL,
            )
        except ValueError as error:
            part, why = error.args
            raise invalid(self._tls_files.certificate, f"cannot be served with ({part}: {why})", "无法使用") from None

    async def _watch(self) -> None:
        """Take new certificates, keys, roles and token keys when their files change; what is wrong leaves the old."""
        while True:
            await asyncio.sleep(self._settings.tls_reload_interval_s)
            self._authenticator.reload()
            if self._settings.tls_mode == OFF or self._tls_files.stamp() == self._tls_stamp:
                continue
            try:
                self._set_tls()
            except YinqiError as error:
                _log.error("new certificate not taken, the old one stays", error=error.message)
            else:
                _log.info("new certificate taken", service=self.service_name)

    def _take(self) -> None:
        """Start a task for each call that has come in, and pass on what happened to the others."""
        loop = asyncio.get_running_loop()
        calls, events = self._core.take()
        for call in calls:
            method = self._methods[call.method]
            context = method.context(call)
            served = _Served(method, context, loop.create_task(self._interceptor.serve(method, call, context)))
            # Not at the task's own end: a task that is cancelled before its first step has none.
            served.task.add_done_callback(partial(self._forget, call.id))
            self._served[call.id] = served
        for kind, call_id, message in events:
            if kind == _DRAINED:
                self._drained.set()
                continue
            if kind == _REFUSED:
                _log.warning(
                    "connections refused at the handshake",
                    count=call_id,
                    latest=(message or b"").decode("utf-8", "replace"),
                )
                continue
            about = self._served.get(call_id)
            if about is None:
                continue  # it ended just now
            if kind == _CANCELLED:
                about.task.cancel()
            elif kind == _MESSAGE:
                about.context.got_message(message)
            elif kind == _WRITABLE:
                about.context.got_room()

    def _forget(self, call_id: int, _task: asyncio.Task[None]) -> None:
        del self._served[call_id]

    def _cancel(self, served: _Served, why: str) -> None:
        served.context.why_cancelled = why
        served.task.cancel()

    async def drain(self, grace_s: float | None = None) -> None:
        """Stop accepting, let calls finish within the grace, end streams; then stop. May be called twice."""
        grace_s = self._settings.drain_grace_s if grace_s is None else grace_s
        await self._health.enter_graceful_shutdown()
        if self._ended or not self.port:
            return
        self._ended = True
        if self._watching is not None:
            self._watching.cancel()
        loop = asyncio.get_running_loop()
        for served in list(self._served.values()):
            if served.method.is_stream and not served.method.is_exempt:
                self._cancel(served, "draining")
        _log.info("draining", service=self.service_name, in_flight=self._core.in_flight, grace_s=grace_s)
        self._core.shut_down()
        ends_at = loop.time() + grace_s
        while tasks := [served.task for served in self._served.values() if not served.method.is_exempt]:
            _, pending = await asyncio.wait(tasks, timeout=max(0.0, ends_at - loop.time()))
            if pending and loop.time() >= ends_at:
                break
        for served in list(self._served.values()):
            self._cancel(served, "stopped")
        with suppress(TimeoutError):  # the last answers are on their way
            await asyncio.wait_for(self._drained.wait(), max(_FLUSH_S, ends_at - loop.time()))
        loop.remove_reader(self._core.fileno())
        await asyncio.to_thread(self._core.close)


def _is_described(name: str) -> bool:
    try:
        descriptor_pool.Default().FindServiceByName(name)
    except KeyError:
        return False
    return True


async def serve(
    service_name: str,
    address: str,
    servicers: Sequence[Servicer],
    *,
    settings: Settings,
    telemetry: Telemetry,
    stop: asyncio.Event,
    on_started: Callable[[GrpcServer], None] | None = None,
    calls_max: Mapping[str, int] = _NO_BOUNDS,
) -> None:
    """Serve until `stop` is set, then drain and flush the telemetry. The caller closes its database afterwards.

    Raises:
        PortInUse: see `GrpcServer.start`.
    """
    server = GrpcServer(service_name, address, servicers, settings=settings, telemetry=telemetry, calls_max=calls_max)
    await server.start()
    if on_started is not None:
        on_started(server)
    try:
        await stop.wait()
    finally:
        await server.drain()
        await asyncio.to_thread(telemetry.flush)


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask(number: signal.Signals) -> None:
        if stop.is_set():
            loop.remove_signal_handler(number)
            signal.raise_signal(number)
        _log.info("asked to stop", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number)
    return stop


def run_service(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Run a service's main coroutine on uvloop; return the exit code.

    Args:
        main: gets the event that SIGTERM or SIGINT sets; it must return soon after.
    Returns:
        0 after an orderly end; 78 if the service refused to start (its message is on standard error).
    """

    async def run() -> None:
        await main(stop_on_signals())

    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    # A batch makes tens of thousands of short-lived values; looking for cycles among them every 700 cost about a tenth
    # of the time, and going through all modules again and again is idle.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    if not structlog.is_configured():  # A service's main names itself; logs must not go to standard output either way.
        configure_logging("yinqi")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    except YinqiError as error:
        return _refuse(error)
    return 0


def run_with_settings(
    service_name: str, kind: type[SettingsT], main: Callable[[SettingsT, asyncio.Event], Coroutine[Any, Any, None]]
) -> int:
    """Read the settings, set up logging and run the service; return the exit code (see `run_service`).

    A wrong setting is told in words on standard error, like everything else that keeps a service from starting.
    """
    try:
        settings = load_settings(kind)
        check_custody(service_name, settings)
    except YinqiError as error:
        return _refuse(error)
    configure_logging(service_name, level=settings.log_level, format_=settings.log_format)
    if not settings.core_dumps_enabled:
        forbid_core_dumps()
    return run_service(lambda stop: main(settings, stop))


def _refuse(error: YinqiError) -> int:
    sys.stderr.write(f"{error.message}\n" + (f"{error.message_zh}\n" if error.message_zh else ""))
    return _EXIT_REFUSED_TO_START
