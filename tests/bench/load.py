"""A closed-loop gRPC client that spends little itself: requests are bytes already, answers are checked by length."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from yinqi.runtime.grpc_client import bare_channel
from yinqi.runtime.settings import Settings

_OPTIONS = [
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.enable_http_proxy", 0),
]
_SERVICE = "/yinqi.api.payment.v1.PaymentService/"


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one run gave; latencies in milliseconds, sorted."""

    calls: int
    seconds: float
    latencies_ms: Sequence[float]
    failures: int

    @property
    def per_second(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    def percentile(self, share: float) -> float:
        """Latency below which this share of calls stayed."""
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(share * len(self.latencies_ms)))]


async def drive(
    address: str, method: str, requests: Sequence[bytes], callers: int, settings: Settings | None = None
) -> LoadResult:
    """Send all requests, `callers` at a time, each caller waiting for its answer before it sends the next.

    Args:
        settings: say with which certificates; None: plain text.
    """
    async with _channel(address, settings) as channel:
        await channel.channel_ready()
        call = channel.unary_unary(_SERVICE + method)
        queue = iter(requests)
        latencies: list[float] = []
        failures = 0

        async def caller() -> None:
            nonlocal failures
            for request in queue:
                started = time.perf_counter()
                try:
                    await call(request, timeout=60)
                except grpc.aio.AioRpcError:
                    failures += 1
                latencies.append((time.perf_counter() - started) * 1000)

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        seconds = time.perf_counter() - started
    return LoadResult(len(requests), seconds, sorted(latencies), failures)


def _channel(address: str, settings: Settings | None) -> grpc.aio.Channel:
    if settings is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    return bare_channel(address, settings, options=_OPTIONS)
