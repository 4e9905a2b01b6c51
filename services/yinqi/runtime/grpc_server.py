"""gRPC servers: health, reflection, limits, interceptor, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import grpc
import structlog
import uvloop
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from yinqi.kernel.errors import YinqiError
from yinqi.runtime.identity import AccessPolicy, roles_from_proto
from yinqi.runtime.interceptors import ServerInterceptor
from yinqi.runtime.listening import is_free, port_in_use
from yinqi.runtime.logging import configure_logging
from yinqi.runtime.settings import Settings, SettingsT, load_settings
from yinqi.runtime.telemetry import Telemetry

_log = structlog.get_logger(__name__)

# (the generated add_XServicer_to_server function, the servicer)
Servicer = tuple[Callable[[Any, Any], None], object]

# Threads hand over the GIL this often. The default of 5 ms makes a writer thread wait that long after every
# statement while the event loop is busy.
_SWITCH_INTERVAL_S = 0.0005
_GC_THRESHOLDS = (20_000, 20, 20)
_EXIT_REFUSED_TO_START = 78  # EX_CONFIG of sysexits.h


class _NameRecorder:
    """Looks like a server to a generated add-function, to learn the service's full name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self.names += [name for handler in handlers if (name := handler.service_name())]

    def add_registered_method_handlers(self, _service: str, _handlers: object) -> None:
        """Part of the interface; the names are known already."""


class GrpcServer:
    """One service's server.

    Args:
        service_name: short name ("payment"); used in messages and as a health name.
        address: host:port; port 0 lets the system choose (see `port`).
        servicers: what to serve.
        access: roles by method; a test may pass its own.
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
    ) -> None:
        self.service_name = service_name
        self.port = 0
        self.interceptor = ServerInterceptor(settings, telemetry, access=access)
        self._address = address
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[self.interceptor],
            options=[
                ("grpc.so_reuseport", 0),  # else two servers share a port, and nobody notices
                ("grpc.max_receive_message_length", settings.message_bytes_max),
                ("grpc.max_send_message_length", settings.message_bytes_max),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        self._names = self._add(servicers)

    def _add(self, servicers: Sequence[Servicer]) -> list[str]:
        recorder = _NameRecorder()
        for add, servicer in servicers:
            add(servicer, recorder)
            add(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        described = [name for name in recorder.names if _is_described(name)]
        reflection.enable_server_reflection([*described, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        return recorder.names

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            PortInUse: names the service, the port, its holder and what to do.
        """
        host, _, port = self._address.rpartition(":")
        if int(port) and not is_free(host.strip("[]"), int(port)):
            raise port_in_use(self.service_name, int(port))
        try:
            self.port = self._server.add_insecure_port(self._address)
        except RuntimeError:
            raise port_in_use(self.service_name, int(port)) from None
        await self._server.start()
        for name in (*self._names, self.service_name):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        _log.info("serving", service=self.service_name, port=self.port)

    async def drain(self, grace_s: float | None = None) -> None:
        """Stop accepting, let calls finish within the grace, end streams; then stop. May be called twice."""
        grace_s = self._settings.drain_grace_s if grace_s is None else grace_s
        await self._health.enter_graceful_shutdown()
        self.interceptor.end_streams()
        _log.info("draining", service=self.service_name, in_flight=self.interceptor.in_flight, grace_s=grace_s)
        await self._server.stop(grace_s)


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
) -> None:
    """Serve until `stop` is set, then drain and flush the telemetry. The caller closes its database afterwards.

    Raises:
        PortInUse: see `GrpcServer.start`.
    """
    server = GrpcServer(service_name, address, servicers, settings=settings, telemetry=telemetry)
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
    except YinqiError as error:
        return _refuse(error)
    configure_logging(service_name, level=settings.log_level, format_=settings.log_format)
    return run_service(lambda stop: main(settings, stop))


def _refuse(error: YinqiError) -> int:
    sys.stderr.write(f"{error.message}\n" + (f"{error.message_zh}\n" if error.message_zh else ""))
    return _EXIT_REFUSED_TO_START
