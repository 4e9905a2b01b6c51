"""One HTTP POST to a bank. It is sent at most once; what cannot be told apart from "sent" counts as sent."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import httpx

from yinqi.gateway.ports import AnswerUnusable, MayLeave, NotSent, WireAnswer

_MEBIBYTE = 1024 * 1024
# Shorter than any server's own limit (5 s and more are usual): a connection that the bank has just closed would cost
# a submission its answer.
_KEEPALIVE_S = 2.0
# No byte of the request left: the connection or the TLS handshake failed, or there was no connection to be had.
_BEFORE_THE_FIRST_BYTE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class HttpLine:
    """Implements `ports.BankLine` with httpx.

    Args:
        connections_max: must be at least the sum of the profile's concurrency classes, so that no call waits here.
        step_ms: limit for connecting and for each write.
        answer_bytes_max: a longer answer is none.
    """

    def __init__(self, url: str, *, connections_max: int, step_ms: int, answer_bytes_max: int = 8 * _MEBIBYTE) -> None:
        self._url = url
        self._step_s = step_ms / 1000
        self._answer_bytes_max = answer_bytes_max
        self._client = httpx.AsyncClient(
            # retries=0: httpx could only repeat the connecting, but a POST is nobody's to repeat.
            transport=httpx.AsyncHTTPTransport(
                retries=0, limits=httpx.Limits(max_connections=connections_max, keepalive_expiry=_KEEPALIVE_S)
            ),
            follow_redirects=False,
            trust_env=False,  # the machine's web proxy is not on the way to a bank
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "identity"},
        )

    async def post(
        self, body: bytes, *, timeout_ms: int, send_before: float, traceparent: str, may_leave: MayLeave | None = None
    ) -> WireAnswer:
        if time.monotonic() > send_before:
            raise NotSent("SEND_WINDOW_PASSED", "the process was held up; sending now would be too late")
        step, whole = self._step_s, timeout_ms / 1000
        try:
            async with asyncio.timeout(whole):
                limits = httpx.Timeout(whole, connect=step, write=step, pool=step)
                return await self._post(body, limits, traceparent, may_leave)
        except _BEFORE_THE_FIRST_BYTE as error:
            raise NotSent("BANK_UNREACHABLE", f"no connection to the bank ({type(error).__name__})") from error
        except TimeoutError:
            raise AnswerUnusable("NO_ANSWER", f"the bank did not answer within {whole:g} s") from None
        except httpx.HTTPError as error:
            raise AnswerUnusable("NO_ANSWER", f"the connection broke ({type(error).__name__})") from error

    async def _post(
        self, body: bytes, timeout: httpx.Timeout, traceparent: str, may_leave: MayLeave | None
    ) -> WireAnswer:
        headers = {"traceparent": traceparent} if traceparent else {}
        extensions = {} if may_leave is None else {"trace": partial(_ask_before_the_first_byte, may_leave)}
        async with self._client.stream(
            "POST", self._url, content=body, headers=headers, timeout=timeout, extensions=extensions
        ) as response:
            received = bytearray()
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > self._answer_bytes_max:
                    raise AnswerUnusable("NO_ANSWER", f"the answer is longer than {self._answer_bytes_max} bytes")
            return WireAnswer(response.status_code, bytes(received))

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()


async def _ask_before_the_first_byte(may_leave: MayLeave, event: str, _facts: dict[str, Any]) -> None:
    """Ask when the connection stands and nothing was written yet. Source: httpcore's `trace` extension."""
    if event == "http11.send_request_headers.started":
        await may_leave()
