"""Ten times the load that `payment` is rated for: what is accepted stays quick, the rest hears at once when to come back."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.bench.orders import unary_requests
from tests.bench.suite import running_suite

_METHOD = "/yinqi.api.payment.v1.PaymentService/InitiatePayment"
_RATED_CALLERS = 64
_BOUND = {"YINQI_PAYMENT_INITIATIONS_MAX": "128"}
_TIMES = 10
# Refused callers come back after the second they are told, give or take half of it as clients of gRPC do.
_PAUSE_S = (0.5, 1.5)
_BACK_TO_NORMAL_S = 5.0


@dataclass(slots=True)
class Phase:
    """What callers met: latencies of accepted calls in seconds, refusals by status."""

    accepted: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    advised: int = 0
    seconds: float = 0.0

    def percentile(self, share: float) -> float:
        """Return the latency in ms below which this share of accepted calls stayed."""
        ordered = sorted(self.accepted)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

    def told(self, name: str) -> str:
        """Return one row of the table."""
        refused = ", ".join(f"{count} {status}" for status, count in self.refused.items()) or "none"
        return (
            f"{name:<28}{len(self.accepted) / self.seconds:>8.0f}/s{self.percentile(0.5):>9.1f} ms"
            f"{self.percentile(0.99):>9.1f} ms   refused: {refused}"
        )


def overload(short: bool) -> None:
    """Measure at the rated load, at ten times it, and after."""
    asyncio.run(_measure(3.0 if short else 15.0))


async def _measure(seconds: float) -> None:
    requests = iter(unary_requests(400_000))
    async with running_suite(None, only=("payment",), more=_BOUND) as (settings, _):
        address = settings.address_of("payment")
        await _drive(address, requests, _RATED_CALLERS, 2.0)
        rated = await _drive(address, requests, _RATED_CALLERS, seconds)
        over = await _drive(address, requests, _RATED_CALLERS * _TIMES, seconds)
        after = await _drive(address, requests, _RATED_CALLERS, _BACK_TO_NORMAL_S)
    print(f"{'':<28}{'accepted':>10}{'p50':>12}{'p99':>12}")
    for name, phase in (("64 callers (rated)", rated), ("640 callers", over), ("64 callers, the 5 s after", after)):
        print(phase.told(name))
    assert not rated.refused, "the rated load is refused"
    assert set(over.refused) == {"RESOURCE_EXHAUSTED"}, "something else than a refusal for overload"
    assert over.advised == sum(over.refused.values()), "a refusal without advice when to come back"
    assert over.percentile(0.99) <= 2 * rated.percentile(0.99), "accepted calls wait more than twice as long"
    assert not after.refused, "refusals after the overload"
    assert after.percentile(0.99) <= 2 * rated.percentile(0.99), "not back to normal in 5 s"


async def _drive(address: str, requests: Iterator[bytes], callers: int, seconds: float) -> Phase:
    phase, jitter = Phase(), random.Random(callers)
    channels = [grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(2)]
    until = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        call = channels[number % len(channels)].unary_unary(_METHOD)
        await asyncio.sleep(jitter.uniform(0, 0.5))
        while time.perf_counter() < until:
            started = time.perf_counter()
            try:
                await call(next(requests), timeout=60)
            except grpc.aio.AioRpcError as error:
                phase.refused[error.code().name] += 1
                phase.advised += _has_advice(error)
                await asyncio.sleep(jitter.uniform(*_PAUSE_S))
            else:
                phase.accepted.append(time.perf_counter() - started)

    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    started = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    phase.seconds = time.perf_counter() - started
    await asyncio.gather(*(channel.close() for channel in channels))
    return phase


def _has_advice(error: grpc.aio.AioRpcError) -> bool:
    status = rpc_status.from_call(error)
    return status is not None and any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
