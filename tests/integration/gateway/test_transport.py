"""A POST leaves once or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from yinqi.gateway.ports import AnswerUnusable, NotSent
from yinqi.gateway.transport import HttpLine
from yinqi.runtime.listening import free_port

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    running = await asyncio.start_server(serve, "127.0.0.1", 0)  # type: ignore[arg-type]
    async with running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}/cdc"


async def post(url: str, *, line: HttpLine | None = None, timeout_ms: int = 2_000, late_s: float = 0.0) -> bytes:
    line = line or HttpLine(url, connections_max=2, step_ms=500, answer_bytes_max=1_000)
    answer = await line.post(
        b"DATA=1", timeout_ms=timeout_ms, send_before=time.monotonic() + 1 - late_s, traceparent="00-a-b-01"
    )
    return answer.body


def answering(answers: list[bytes], seen: list[bytes], *, keep_open: bool = False) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while answers:
            seen.append(await reader.readuntil(b"DATA=1"))
            writer.write(answers.pop(0))
            await writer.drain()
            if not keep_open:
                break
        writer.close()

    return serve


async def test_the_request_says_what_the_dialect_wants() -> None:
    seen: list[bytes] = []
    async with server(answering([OK], seen)) as url:
        assert await post(url) == b"ok"
    head = seen[0].lower()
    assert b"post /cdc http/1.1" in head
    assert b"content-type: application/x-www-form-urlencoded" in head
    assert b"traceparent: 00-a-b-01" in head


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5_000,
        b"nonsense\r\n\r\n",
    ],
    ids=["cut before the answer", "cut in the answer", "too long", "not HTTP"],
)
async def test_a_broken_answer_is_no_answer_and_nothing_is_sent_again(answer: bytes) -> None:
    seen: list[bytes] = []
    async with server(answering([answer, OK], seen)) as url:
        with pytest.raises(AnswerUnusable, match="NO_ANSWER"):
            await post(url)
        await asyncio.sleep(0.05)
    assert len(seen) == 1


async def test_a_connection_the_bank_closed_meanwhile_does_not_repeat_the_request() -> None:
    seen: list[bytes] = []
    async with server(answering([OK, b""], seen, keep_open=True)) as url:
        line = HttpLine(url, connections_max=1, step_ms=500)
        assert await post(url, line=line) == b"ok"
        with pytest.raises(AnswerUnusable, match="NO_ANSWER"):
            await post(url, line=line)
    assert len(seen) == 2


async def test_silence_ends_at_the_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with server(silent) as url:
        with pytest.raises(AnswerUnusable, match="NO_ANSWER"):
            await post(url, timeout_ms=100)


async def test_a_slow_drip_ends_at_the_deadline_too() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()

    async with server(drip) as url:
        with pytest.raises(AnswerUnusable, match="NO_ANSWER"):
            await post(url, timeout_ms=200)


async def test_a_refused_connection_or_an_unknown_host_sent_nothing() -> None:
    for url in (f"http://127.0.0.1:{free_port()}/cdc", "http://no-such-host.invalid/cdc"):
        with pytest.raises(NotSent, match="BANK_UNREACHABLE"):
            await post(url)


async def test_what_was_held_up_too_long_is_not_sent_any_more() -> None:
    seen: list[bytes] = []
    async with server(answering([OK], seen)) as url:
        with pytest.raises(NotSent, match="SEND_WINDOW_PASSED"):
            await post(url, late_s=5)
    assert seen == []
