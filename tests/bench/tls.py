"""What mutual TLS costs a unary call: `python -m tests.bench.tls`.

One server process listens twice, in plain text and with TLS, and echoes; rounds alternate, so that both meet the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.protobuf.wrappers_pb2 import StringValue

from yinqi.kernel.clock import SystemClock
from yinqi.runtime.certificates import make_certificates
from yinqi.runtime.grpc_client import bare_channel
from yinqi.runtime.grpc_server import GrpcServer
from yinqi.runtime.settings import Settings, child_environment
from yinqi.runtime.telemetry import Telemetry

_SERVICE = "yinqi.bench.v1.EchoService"
_MODES = ("off", "mutual")
_MESSAGE = StringValue(value="x" * 400)  # about the size of a payment


class _Echo:
    async def Echo(self, request: StringValue, _context: Any) -> StringValue:
        return request


def _add(servicer: _Echo, server: Any) -> None:
    io = (StringValue.FromString, StringValue.SerializeToString)
    server.add_registered_method_handlers(_SERVICE, {"Echo": grpc.unary_unary_rpc_method_handler(servicer.Echo, *io)})


def _settings(folder: Path, mode: str) -> Settings:
    return Settings(var_dir=folder, tls_mode=mode, dev_identity_enabled=True)  # type: ignore[arg-type]


async def _serve(folder: Path) -> None:
    servers = []
    for mode in _MODES:
        server = GrpcServer(
            "payment",
            "127.0.0.1:0",
            [(_add, _Echo())],
            settings=_settings(folder, mode),
            telemetry=Telemetry.off(),
            access=lambda _method: frozenset({"maker"}),
        )
        await server.start()
        servers.append(server)
    (folder / "ports.new").write_text(" ".join(str(server.port) for server in servers))
    (folder / "ports.new").rename(folder / "ports")
    await asyncio.Event().wait()


async def _round(echo: Any, callers: int, calls: int) -> list[float]:
    left, took = iter(range(calls)), []

    async def caller() -> None:
        for _ in left:
            began = time.perf_counter()
            await echo(_MESSAGE, timeout=60)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return took


async def _connect(folder: Path, mode: str, port: str) -> float:
    began = time.perf_counter()
    async with bare_channel(f"127.0.0.1:{port}", _settings(folder, mode)) as channel:
        await channel.channel_ready()
        return time.perf_counter() - began


async def _measure(rounds: int, calls: int) -> None:
    with tempfile.TemporaryDirectory(prefix="yinqi-tls-") as name:
        folder = Path(name)
        make_certificates(
            folder / "tls",
            services=["payment"],
            clients={"client": "maker"},
            trust_domain="yinqi",
            clock=SystemClock(),
        )
        command = [sys.executable, "-m", "tests.bench.tls", "--serve", name]
        process = await asyncio.create_subprocess_exec(
            *command, env=child_environment({}), stdout=asyncio.subprocess.DEVNULL
        )
        try:
            while not (folder / "ports").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            ports = dict(zip(_MODES, (folder / "ports").read_text().split(), strict=True))
            server = psutil.Process(process.pid)
            print(f"{'callers':>8}{'mode':>8}{'calls/s':>10}{'p50':>9}{'p99':>9}{'server CPU':>12}  a call")
            for callers in (1, 16):
                await _compare(folder, ports, server, callers, rounds, calls)
            for mode in _MODES:
                times = [await _connect(folder, mode, ports[mode]) for _ in range(20)]
                print(f"a new connection, {mode}: {statistics.median(times) * 1e3:.1f} ms (median of 20)")
        finally:
            process.kill()
            await process.wait()


async def _compare(
    folder: Path, ports: dict[str, str], server: psutil.Process, callers: int, rounds: int, calls: int
) -> None:
    channels = {mode: bare_channel(f"127.0.0.1:{ports[mode]}", _settings(folder, mode)) for mode in _MODES}
    io = (StringValue.SerializeToString, StringValue.FromString)
    headers = (("x-yinqi-identity", "bench"), ("x-yinqi-roles", "maker"))
    took: dict[str, list[float]] = {mode: [] for mode in _MODES}
    wall, cpu = dict.fromkeys(_MODES, 0.0), dict.fromkeys(_MODES, 0.0)
    for number in range(rounds + 1):
        for mode, channel in channels.items():
            call = channel.unary_unary(f"/{_SERVICE}/Echo", *io)
            before, began = sum(server.cpu_times()[:2]), time.perf_counter()
            found = await _round(lambda *a, call=call, **k: call(*a, metadata=headers, **k), callers, calls)
            if number:  # the first is for warming up
                took[mode] += found
                wall[mode] += time.perf_counter() - began
                cpu[mode] += sum(server.cpu_times()[:2]) - before
    for mode in _MODES:
        ordered = sorted(took[mode])
        print(
            f"{callers:>8}{mode:>8}{len(ordered) / wall[mode]:>10,.0f}{ordered[len(ordered) // 2] * 1e6:>6.0f} µs"
            f"{ordered[int(len(ordered) * 0.99)] * 1e6:>6.0f} µs{cpu[mode] / len(ordered) * 1e6:>9.0f} µs"
        )
        await channels[mode].close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--calls", type=int, default=1_000, help="calls a round")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    asyncio.run(_serve(options.serve) if options.serve else _measure(options.rounds, options.calls))
