"""A channel that shows a new certificate when its files change, without restart.

grpc's Python channels keep the certificate with which they were made. So calls go over a new channel once the files have
changed; streams that were open live on over the old.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

import grpc
import structlog

from yinqi.kernel.errors import YinqiError

_log = structlog.get_logger(__name__)


class RenewedChannel(grpc.aio.Channel):
    """A channel over channels.

    Args:
        connect: makes a channel with the files as they are.
        stamp: changes when the files do.
        interval_s: how often the files are looked at, at most.
    """

    def __init__(self, connect: Callable[[], grpc.aio.Channel], stamp: Callable[[], object], interval_s: float) -> None:
        self._connect = connect
        self._stamp = stamp
        self._interval_s = interval_s
        self._looked_at = time.monotonic()
        self._seen = stamp()
        self._channels = [connect()]  # the last is in use

    def current(self) -> grpc.aio.Channel:
        """Return the channel for the next call."""
        now = time.monotonic()
        if now - self._looked_at >= self._interval_s:
            self._looked_at = now
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._renew()
        return self._channels[-1]

    def _renew(self) -> None:
        try:
            self._channels.append(self._connect())
        except YinqiError as error:
            _log.error("new client certificate not taken, the old one stays", error=error.message)
        else:
            _log.info("new client certificate taken")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close all."""
        for channel in self._channels:
            await channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the channel in use."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel in use has another state."""
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel in use is connected."""
        await self.current().channel_ready()

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return a call of this kind."""
        return _Call(self, "unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a call of this kind."""
        return _Call(self, "unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return a call of this kind."""
        return _Call(self, "stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a call of this kind."""
        return _Call(self, "stream_stream", arguments, options)


class _Call:
    """What a stub calls: made anew for each new channel."""

    def __init__(self, owner: RenewedChannel, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._owner = owner
        self._make = (kind, arguments, options)
        self._channel: grpc.aio.Channel | None = None
        self._callable: Any = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        channel = self._owner.current()
        if channel is not self._channel:
            kind, made_with, made_options = self._make
            self._callable = getattr(channel, kind)(*made_with, **made_options)
            self._channel = channel
        return self._callable(*arguments, **options)
