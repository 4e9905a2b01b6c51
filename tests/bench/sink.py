"""A span receiver as a process of its own, so that its cost is not the client's."""

from __future__ import annotations

import asyncio
import sys

from yinqi.runtime.grpc_server import stop_on_signals
from yinqi.runtime.otlp_sink import OtlpSink


class CountingSink(OtlpSink):
    """Counts spans and keeps none: a benchmark makes millions."""

    def add(self, request: object) -> None:
        """Parse (gRPC did) and forget."""


async def main(port: int) -> None:
    """Receive until told to stop."""
    sink = CountingSink()
    await sink.start(f"127.0.0.1:{port}")
    await stop_on_signals().wait()
    await sink.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
