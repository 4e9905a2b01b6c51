"""The sandbox bank as a process of its own, which outlives the services that are killed; its book is the judge.

Frames on a Unix socket are one byte of kind, four bytes of length (big endian), content. A message that breaks off is dropped.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import selectors
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from urllib.parse import urlencode

from yinqi.gateway.ports import AnswerUnusable, MayLeave, NotSent, WireAnswer
from yinqi.kernel.clock import SystemClock
from yinqi.sandbox_bank.bank import Bank
from yinqi.sandbox_bank.book import Book
from yinqi.sandbox_bank.config import Account, BankConfig
from yinqi.sandbox_bank.effects import Ending, Notice
from yinqi.simulation.bank import open_form, seal
from yinqi.simulation.house import accounts_of_the_company

_HEAD = struct.Struct("!cI")
POST, TAKE_NOTICES, ACKNOWLEDGE = b"P", b"N", b"A"
_EXECUTION_MS = 20
_OPENING = 10**12


class BankBeside:
    """The running bank: `address` to post to, `book` to judge by."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "bank.sock")
        self.book = folder / "bank.db"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.address)
        listener.listen(64)
        Book(self.book).close()  # it is there from the first moment on
        self._process_id = os.fork()
        if self._process_id == 0:
            try:
                _Serving(listener, self.book).run()
            except BaseException:  # noqa: BLE001 (a forked child must not go on as its parent)
                traceback.print_exc(file=sys.stderr)
            finally:
                os._exit(1)
        listener.close()

    def stop(self) -> None:
        """End it."""
        os.kill(self._process_id, signal.SIGKILL)
        os.waitpid(self._process_id, 0)


class _Serving:
    """One thread, one message after another; executes what is due in between."""

    def __init__(self, listener: socket.socket, book: Path) -> None:
        accounts = tuple(Account(one, "CNY", "银企示例制造有限公司", _OPENING) for one in accounts_of_the_company())
        config = BankConfig(
            database=book, execution_delay_ms=_EXECUTION_MS, accounts=accounts, notice_url="beside", submits_max=500
        )
        clock, tokens = SystemClock(), itertools.count(1)
        self._bank = Bank(config, lambda: int(clock.now().timestamp() * 1000), lambda: f"{next(tokens):012d}")
        self._listener = listener
        self._sent: dict[str, Notice] = {}
        self._parent = os.getppid()

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while os.getppid() == self._parent:
                wait_ms = self._bank.wait_ms(notices=False)
                if selector.select(min(0.5, (wait_ms if wait_ms is not None else 500) / 1000)):
                    connection, _ = self._listener.accept()
                    with connection:
                        self._serve(connection)
                while self._bank.tick():
                    pass

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(2.0)
        try:
            kind, content = _read_frame(connection)
            answer = {POST: self._handle, TAKE_NOTICES: self._notices, ACKNOWLEDGE: self._acknowledge}[kind](content)
            if answer is not None:
                connection.sendall(_HEAD.pack(kind, len(answer)) + answer)
        except (ConnectionError, TimeoutError):
            return  # the caller was killed; what was received stands

    def _handle(self, content: bytes) -> bytes | None:
        message = open_form(content)
        effects = self._bank.handle(message)
        if effects.ending is not Ending.ANSWERED or effects.response is None:
            return None
        return seal("response", effects.response, message.user_id, effects.signed_at_ms, "bank")

    def _notices(self, _content: bytes) -> bytes:
        """Return the notices that are due, sealed; each stays due until it is acknowledged."""
        forms = []
        for notice in self._bank.take_notices():
            number = notice.notice["head"]["notnbr"]
            self._sent[number] = notice
            data = seal("notice", notice.notice, notice.user_id, notice.signed_at_ms, "bank")
            fields = {"UID": notice.user_id, "FUNCODE": "BBNOTICE", "ALG": "SM", "DATA": data.decode("ascii")}
            forms.append([number, urlencode(fields)])
        return json.dumps(forms).encode()

    def _acknowledge(self, content: bytes) -> bytes:
        found = self._sent.pop(content.decode(), None)
        if found is not None:
            self._bank.notice_answered(found, acknowledged=True)
        return b"ok"


def _read_frame(connection: socket.socket) -> tuple[bytes, bytes]:
    kind, length = _HEAD.unpack(_read(connection, _HEAD.size))
    return kind, _read(connection, length)


def _read(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        more = connection.recv(length - len(received))
        if not more:
            raise ConnectionResetError("broken off")
        received += more
    return received


class LineBeside:
    """Implements the gateway's `BankLine` on the socket."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def post(
        self, body: bytes, *, timeout_ms: int, send_before: float, traceparent: str, may_leave: MayLeave | None = None
    ) -> WireAnswer:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return WireAnswer(200, await self.ask(POST, body))
        except (ConnectionRefusedError, FileNotFoundError):
            raise NotSent("BANK_UNREACHABLE", "no connection to the bank") from None
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            raise AnswerUnusable("NO_ANSWER", "the connection broke") from None

    async def ask(self, kind: bytes, content: bytes = b"") -> bytes:
        """Send one frame, return the content of the answer."""
        reader, writer = await asyncio.open_unix_connection(self._address)
        try:
            writer.write(_HEAD.pack(kind, len(content)) + content)
            _, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
            return await reader.readexactly(length)
        finally:
            writer.close()
