"""The sandbox bank's own book and rules, behind a line that loses, delays, repeats and forges messages."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from yinqi.crypto import InvalidSignature, sm4_cbc_decrypt, sm4_cbc_encrypt
from yinqi.gateway.ports import AnswerUnusable, NotSent, WireAnswer
from yinqi.sandbox_bank.bank import Bank
from yinqi.sandbox_bank.book import Book, create_account, put_setting
from yinqi.sandbox_bank.clock import china_time
from yinqi.sandbox_bank.config import BankConfig
from yinqi.sandbox_bank.envelope import PLACEHOLDER, Json, Opened, canonical
from yinqi.sandbox_bank.errors import GatewayError
from yinqi.sandbox_bank.fault_script import parse_script
from yinqi.sandbox_bank.schema import SCHEMA
from yinqi.simulation.clock import WorldTime
from yinqi.simulation.network import Link, Tell

SUBMITS = ("BB1PAYOP", "BB1PAYBH")
_SM4_KEY = bytes(range(16))
_EXECUTION_MS = 300
_DAYS_FORGED = {"reqSts": "FIN", "rtnFlg": "F", "errCod": "ACC0001"}


class TagKey:
    """Signs and verifies with a digest: as exact as SM2 for whoever does not know the name, and a thousand times faster."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()

    def sign(self, message: bytes, identity: bytes) -> bytes:
        return hashlib.sha256(self._name + identity + message).digest() * 2

    def verify(self, message: bytes, signature: bytes, identity: bytes) -> None:
        if signature != self.sign(message, identity):
            raise InvalidSignature("INVALID_SIGNATURE")


class TagKeys:
    """What the gateway's dialect asks of `BankKeys`."""

    sm4_key = _SM4_KEY
    signing_key = TagKey("company")

    def bank_key(self) -> TagKey:
        return TagKey("bank")


class MemoryBook(Book):
    """The bank's book in memory; begins as a book with these accounts and nothing in it."""

    def __init__(self, config: BankConfig) -> None:
        self._writer = self._reader = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._writer.row_factory = sqlite3.Row
        self._writer_lock, self._reader_lock = threading.Lock(), threading.Lock()
        self._writer.deserialize(_template(config))

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection, for the judge."""
        return self._writer


class SimulatedBank(Bank):
    """`Bank` on a book in memory, whose messages carry tags instead of SM2 signatures.

    Args:
        script: fault rules of single payments, as the sandbox bank reads them.
    """

    book: MemoryBook

    def __init__(self, config: BankConfig, time: WorldTime, script: Mapping[str, Any]) -> None:
        # Not super().__init__(): it opens files.
        from yinqi.sandbox_bank.clock import BusinessClock

        self.config = config
        self.book = MemoryBook(config)
        self.clock = BusinessClock(time.wall_ms)
        self.script = parse_script(json.dumps(script))
        self._tokens = 0
        self._token = self._next_token
        self._reqids_of_queries = {}
        self._reqids_lock = threading.Lock()

    def answer(self, opened: Opened) -> Json | None:
        """Perform a request; None: the bank's own front refused it with a text."""
        try:
            return self._perform(opened)[1]
        except GatewayError:
            return None

    def permit(self, name: str, is_allowed: bool) -> None:
        """Let the users `pay` or `query`, or not."""
        with self.book.write() as connection:
            put_setting(connection, f"permission.{name}", "Y" if is_allowed else "N")

    def _next_token(self) -> str:
        self._tokens += 1
        return f"{self._tokens:012d}"


class BankSide:
    """The bank as the line meets it: closed or open, executing by its own clock.

    Args:
        on_submitted: told the references of every submission that reaches the bank, before the bank looks at it.
    """

    def __init__(self, bank: SimulatedBank, tell: Tell, on_submitted: Callable[[list[str]], None]) -> None:
        self.bank = bank
        self.closed_until = 0.0
        self._tell = tell
        self._on_submitted = on_submitted

    def receive(self, opened: Opened, *, is_repeat: bool = False) -> Json | None:
        """Let the bank answer a message that arrived."""
        if opened.function in SUBMITS and not is_repeat:
            self._on_submitted(references_of(opened.body))
        answer = self.bank.answer(opened)
        self._tick_when_due()
        return answer

    def tick(self) -> None:
        """Execute what is due, pass business days."""
        while self.bank.tick():
            pass
        self._tick_when_due()

    def _tick_when_due(self) -> None:
        wait_ms = self.bank.wait_ms()
        if wait_ms is not None:
            asyncio.get_running_loop().call_later(wait_ms / 1000 + 0.001, self._tick_if_due)

    def _tick_if_due(self) -> None:
        if self.bank.wait_ms() == 0:
            self.tick()


class SimulatedLine:
    """Implements the gateway's `BankLine`: one message out, at most one answer in, faults between."""

    def __init__(self, side: BankSide, link: Link, time: WorldTime, tell: Tell, is_alive: Callable[[], bool]) -> None:
        self._side = side
        self._link = link
        self._time = time
        self._tell = tell
        self._is_alive = is_alive

    async def post(self, body: bytes, *, timeout_ms: int, send_before: float, traceparent: str) -> WireAnswer:
        if not self._is_alive():
            raise asyncio.CancelledError
        loop = asyncio.get_running_loop()
        if loop.time() < max(self._side.closed_until, self._link.cut_until):
            raise NotSent("BANK_UNREACHABLE", "no connection to the bank")
        opened = open_form(body)
        fault = self._link.take_fault()
        if fault.kind:
            self._tell("bank line", "{}: {}", opened.function, fault.kind.replace("_", " "))
        arrival_s = self._link.latency_s() + (fault.seconds if fault.kind == "delay" else 0.0)
        answered: asyncio.Future[Json | None] = loop.create_future()
        # The bytes have left: what happens to them does not depend on the sender any more.
        if fault.kind != "lose_request":
            loop.call_later(arrival_s, self._arrive, opened, answered, False)
        if fault.kind == "duplicate":
            loop.call_later(arrival_s + 1.0, self._arrive, opened, None, True)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                response = await answered
                await asyncio.sleep(self._link.latency_s())
                if fault.kind == "lose_answer":
                    await loop.create_future()
        except TimeoutError:
            raise AnswerUnusable("NO_ANSWER", "the bank did not answer") from None
        if fault.kind == "break_answer" or loop.time() < self._link.cut_until:
            raise AnswerUnusable("NO_ANSWER", "the connection broke")
        if response is None:
            return WireAnswer(200, b"CDCServer:REQ0002 reqid was used before")
        if fault.kind == "forge":
            return WireAnswer(200, seal(forged(response, opened.body), opened.user_id, self._time.wall_ms(), "forger"))
        return WireAnswer(200, seal(response, opened.user_id, self._time.wall_ms(), "bank"))

    def _arrive(self, opened: Opened, answered: asyncio.Future[Json | None] | None, is_repeat: bool) -> None:
        response = self._side.receive(opened, is_repeat=is_repeat)
        if answered is not None and not answered.done():
            answered.set_result(response)


def open_form(body: bytes) -> Opened:
    """Return the message of a posted form; the bank's check of our signature is not what is simulated."""
    form = {name: values[0] for name, values in parse_qs(body.decode("ascii")).items()}
    identity = form["UID"].encode().ljust(16, b"0")
    message = json.loads(sm4_cbc_decrypt(_SM4_KEY, identity, base64.b64decode(form["DATA"])))
    head = message["request"]["head"]
    return Opened(head["userid"], head["funcode"], head["reqid"], message["request"]["body"])


def seal(response: Json, user_id: str, wall_ms: int, signer: str) -> bytes:
    """Return the answer as it goes on the wire."""
    identity = user_id.encode().ljust(16, b"0")
    signature = {"sigdat": PLACEHOLDER, "sigtim": china_time(wall_ms).strftime("%Y%m%d%H%M%S")}
    message = {"response": response, "signature": signature}
    tag = TagKey(signer).sign(canonical(message), identity)
    signature["sigdat"] = base64.b64encode(tag).decode("ascii")
    return base64.b64encode(sm4_cbc_encrypt(_SM4_KEY, identity, canonical(message)))


def forged(response: Json, request: Mapping[str, Any]) -> Json:
    """Return the answer as a forger would like it: every payment in it has failed for good."""
    body: dict[str, Any] = {}
    for name, records in response["body"].items():
        is_list = isinstance(records, list)
        body[name] = [{**one, **_DAYS_FORGED} if "reqSts" in one else one for one in records] if is_list else records
    if "bb1paybhz2" in body:
        body["bb1paybhz2"] = [
            {"yurRef": reference, "errCod": "ACC0001", "errTxt": "forged"} for reference in references_of(request)
        ]
    return {**response, "body": body}


def references_of(body: Mapping[str, Any]) -> list[str]:
    """Return the references of a submission's lines."""
    records: Iterable[Mapping[str, Any]] = body.get("bb1payopx1") or body.get("bb1paybhx2") or ()
    return [str(record["yurRef"]) for record in records]


def bank_config(accounts: Iterable[Any]) -> BankConfig:
    """Return the settings of a bank with these accounts."""
    return BankConfig(
        database=Path("none"), keys_dir=Path("none"), execution_delay_ms=_EXECUTION_MS, accounts=tuple(accounts)
    )


@cache
def _template(config: BankConfig) -> bytes:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    for one in config.accounts:
        create_account(connection, one.account, one.currency, one.name, one.opening)
    return connection.serialize()
