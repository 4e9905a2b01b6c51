"""The loop that posts notices to the company, one at a time in the bank's order, and hears whether they arrived."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import httpx

from yinqi.sandbox_bank.effects import Notice
from yinqi.sandbox_bank.errors import GatewayError
from yinqi.sandbox_bank.sealed import SealedBank

ACKNOWLEDGEMENT = "SUC0000"
ANSWER_SECONDS_MAX = 10
_IDLE_SECONDS = 0.5
_ANSWER_BYTES_MAX = 1_024
_log = logging.getLogger(__name__)


class NoticeLoop:
    """Posts whatever `Bank.take_notices` gives."""

    def __init__(self, bank: SealedBank, workers: ThreadPoolExecutor) -> None:
        self._bank, self._workers = bank, workers
        self._wake, self._stopping = asyncio.Event(), False

    def wake(self) -> None:
        """Look again now; call from the event loop."""
        self._wake.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the loop for as long as the block lasts; a notice under way is given up and sent again next time."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._stopping = True
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            client: httpx.AsyncClient | None = None
            while not self._stopping:
                self._wake.clear()
                if notices := await self._take():
                    # Made late: most banks send no notices, and its TLS context takes a while.
                    if client is None:
                        # No proxy of the machine's may see what a bank tells.
                        made = httpx.AsyncClient(timeout=ANSWER_SECONDS_MAX, trust_env=False)
                        client = await stack.enter_async_context(made)
                    for notice in notices:
                        await self._send(client, notice)
                else:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), _IDLE_SECONDS)

    async def _take(self) -> list[Notice]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, self._bank.bank.take_notices)
        except sqlite3.Error:
            _log.exception("the book cannot be written, trying again 账簿写入失败")
            return []

    async def _send(self, client: httpx.AsyncClient, notice: Notice) -> None:
        loop = asyncio.get_running_loop()
        try:
            form = await loop.run_in_executor(self._workers, self._bank.notice_form, notice)
            acknowledged = await _post(client, self._bank.bank.notice_url, form)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, GatewayError) as error:
            _log.info("notice %s, attempt %s: %s", notice.number, notice.attempt, type(error).__name__)
            acknowledged = False
        if acknowledged:
            await loop.run_in_executor(
                self._workers, lambda: self._bank.bank.notice_answered(notice, acknowledged=True)
            )


async def _post(client: httpx.AsyncClient, url: str, form: dict[str, str]) -> bool:
    """Whether the company said in so many words that it has the notice; reads no more than that takes."""
    async with asyncio.timeout(ANSWER_SECONDS_MAX), client.stream("POST", url, data=form) as response:
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _ANSWER_BYTES_MAX:
                return False
        return response.status_code == 200 and body.strip() == ACKNOWLEDGEMENT.encode()
