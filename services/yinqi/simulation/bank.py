"""The sandbox bank's synchronous core, behind a line that loses, delays, repeats and forges messages."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast
from urllib.parse import parse_qs, urlencode

from yinqi.crypto import InvalidSignature, VerifyKey, sm4_cbc_decrypt, sm4_cbc_encrypt
from yinqi.gateway.open_keys import BankUse, CipherUse, OpenKeys, OurKey, SigningUse
from yinqi.gateway.ports import AnswerUnusable, MayLeave, NotSent, WireAnswer
from yinqi.sandbox_bank.bank import Bank
from yinqi.sandbox_bank.clock import china_time
from yinqi.sandbox_bank.config import Account, BankConfig
from yinqi.sandbox_bank.effects import Effects, Ending, Json, Message, Notice
from yinqi.sandbox_bank.envelope import PLACEHOLDER, canonical
from yinqi.sandbox_bank.functions import SUBMITS
from yinqi.simulation.clock import WorldTime
from yinqi.simulation.network import Link, Tell

_SM4_KEY = bytes(range(16))
_EXECUTION_MS = 300
_NOTICES_EVERY_S = 3.0
Door = Callable[[bytes], Awaitable[bool]]
_FORGED = {"reqSts": "FIN", "rtnFlg": "F", "errCod": "ACC0001"}


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

    _keys = OpenKeys(
        SigningUse("company", cast("OurKey", TagKey("company"))),
        (CipherUse("shared", _SM4_KEY),),
        (BankUse("bank", cast("VerifyKey", TagKey("bank"))),),
    )

    def now(self) -> OpenKeys:
        return self._keys

    def sending(self) -> OpenKeys:
        return self._keys


def open_bank(
    accounts: Iterable[Account], time: WorldTime, rules: Iterable[Mapping[str, Any]], *, sends_notices: bool
) -> Bank:
    """Return a bank whose book lives in memory, with these accounts and these fault rules."""
    url = "simulated" if sends_notices else ""
    config = BankConfig(database=None, execution_delay_ms=_EXECUTION_MS, accounts=tuple(accounts), notice_url=url)
    tokens = itertools.count(1)
    bank = Bank(config, time.wall_ms, lambda: f"{next(tokens):012d}")
    bank.load_script(json.dumps({"rule": list(rules)}))
    return bank


def raw_book(bank: Bank) -> sqlite3.Connection:
    """Return the connection of the book, for the judge."""
    return bank.book._writer


class BankSide:
    """The bank as the line meets it: closed or open, executing by its own clock.

    Args:
        on_submitted: told the references of every submission that reaches the bank, before the bank looks at it, and when
            it left us.
    """

    def __init__(self, bank: Bank, on_submitted: Callable[[list[str], float], None]) -> None:
        self.bank = bank
        self.closed_until = 0.0
        self.door: Door | None = None
        self._on_submitted = on_submitted
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, message: Message, left_at: float, *, is_repeat: bool = False) -> Effects:
        """Let the bank answer a message that arrived."""
        if message.function in SUBMITS and not is_repeat:
            self._on_submitted(references_of(message.body), left_at)
        effects = self.bank.handle(message)
        self._tick_when_due()
        return effects

    def tick(self) -> None:
        """Execute what is due, pass business days."""
        while self.bank.tick():
            pass
        self._tick_when_due()

    def _tick_when_due(self) -> None:
        wait_ms = self.bank.wait_ms(notices=False)
        if self._timer is not None:
            self._timer.cancel()
        if wait_ms is not None:
            self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000 + 0.001, self.tick)


class NoticePost:
    """Posts the bank's notices, one at a time in its order, until the company says that it has them."""

    def __init__(self, side: BankSide, link: Link, tell: Tell) -> None:
        self._side = side
        self._link = link
        self._tell = tell

    async def run(self) -> None:
        """Post for ever."""
        bank = self._side.bank
        while True:
            notices = bank.take_notices()
            for notice in notices:
                if await self._is_acknowledged(notice):
                    bank.notice_answered(notice, acknowledged=True)
            if not notices:
                await asyncio.sleep(_NOTICES_EVERY_S)

    async def _is_acknowledged(self, notice: Notice) -> bool:
        fault, loop = self._link.take_fault(), asyncio.get_running_loop()
        if fault.kind:
            self._tell("bank line", "notice {}: {}", notice.number, fault.kind.replace("_", " "))
        await asyncio.sleep(self._link.latency_s() + (fault.seconds if fault.kind == "delay" else 0.0))
        door = self._side.door
        if door is None or fault.kind == "lose_request" or loop.time() < self._link.cut_until:
            return False
        signer = "forger" if notice.forged else "bank"
        data = seal("notice", notice.notice, notice.user_id, notice.signed_at_ms, signer)
        head = urlencode({"UID": notice.user_id, "FUNCODE": "BBNOTICE", "ALG": "SM"})
        content = head.encode("ascii") + b"&DATA=" + _quoted(data)
        is_acknowledged = await door(content)
        if fault.kind == "duplicate":
            await door(content)
        return is_acknowledged and fault.kind not in ("lose_answer", "break_answer")


class SimulatedLine:
    """Implements the gateway's `BankLine`: one message out, at most one answer in, faults between."""

    def __init__(self, side: BankSide, link: Link, tell: Tell, is_alive: Callable[[], bool]) -> None:
        self._side = side
        self._link = link
        self._tell = tell
        self._is_alive = is_alive

    async def post(
        self, body: bytes, *, timeout_ms: int, send_before: float, traceparent: str, may_leave: MayLeave | None = None
    ) -> WireAnswer:
        if not self._is_alive():
            raise asyncio.CancelledError
        loop = asyncio.get_running_loop()
        if loop.time() < max(self._side.closed_until, self._link.cut_until):
            raise NotSent("BANK_UNREACHABLE", "no connection to the bank")
        message = open_form(body)
        fault = self._link.take_fault()
        if fault.kind:
            self._tell("bank line", "{}: {}", message.function, fault.kind.replace("_", " "))
        arrival_s = self._link.latency_s() + (fault.seconds if fault.kind == "delay" else 0.0)
        answered: asyncio.Future[Effects] = loop.create_future()
        # The bytes have left: what happens to them does not depend on the sender any more.
        if fault.kind != "lose_request":
            loop.call_later(arrival_s, self._arrive, message, loop.time(), answered, False)
        if fault.kind == "duplicate":
            loop.call_later(arrival_s + 1.0, self._arrive, message, loop.time(), None, True)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                effects = await answered
                await asyncio.sleep(self._link.latency_s() + effects.wait_ms / 1000)
                if fault.kind == "lose_answer":
                    await loop.create_future()
        except TimeoutError:
            raise AnswerUnusable("NO_ANSWER", "the bank did not answer") from None
        is_broken = fault.kind == "break_answer" or loop.time() < self._link.cut_until
        if is_broken or effects.ending is not Ending.ANSWERED:
            raise AnswerUnusable("NO_ANSWER", "the connection broke")
        if effects.response is None:
            return WireAnswer(effects.status, effects.text.encode())
        response = forged(effects.response, message.body) if fault.kind == "forge" else effects.response
        signer = "forger" if fault.kind == "forge" or effects.spoil_signature else "bank"
        return WireAnswer(200, seal("response", response, message.user_id, effects.signed_at_ms, signer))

    def _arrive(
        self, message: Message, left_at: float, answered: asyncio.Future[Effects] | None, is_repeat: bool
    ) -> None:
        effects = self._side.receive(message, left_at, is_repeat=is_repeat)
        if answered is not None and not answered.done():
            answered.set_result(effects)


def open_form(body: bytes) -> Message:
    """Return the message of a posted form; the bank's check of our signature is not what is simulated."""
    form = {name: values[0] for name, values in parse_qs(body.decode("ascii")).items()}
    identity = form["UID"].encode().ljust(16, b"0")
    message = json.loads(sm4_cbc_decrypt(_SM4_KEY, identity, base64.b64decode(form["DATA"])))
    head = message["request"]["head"]
    return Message(head["userid"], head["funcode"], message["request"]["body"], head["reqid"])


def seal(member: str, content: Json, user_id: str, wall_ms: int, signer: str) -> bytes:
    """Return an answer (`response`) or a `notice` as it goes on the wire."""
    identity = user_id.encode().ljust(16, b"0")
    signature = {"sigdat": PLACEHOLDER, "sigtim": china_time(wall_ms).strftime("%Y%m%d%H%M%S")}
    message = {member: content, "signature": signature}
    tag = TagKey(signer).sign(canonical(message), identity)
    signature["sigdat"] = base64.b64encode(tag).decode("ascii")
    return base64.b64encode(sm4_cbc_encrypt(_SM4_KEY, identity, canonical(message)))


def forged(response: Json, request: Mapping[str, Any]) -> Json:
    """Return the answer as a forger would like it: every payment in it has failed for good."""
    body: dict[str, Any] = {}
    for name, records in response["body"].items():
        is_list = isinstance(records, list)
        body[name] = [{**one, **_FORGED} if "reqSts" in one else one for one in records] if is_list else records
    if "bb1paybhz2" in body:
        body["bb1paybhz2"] = [
            {"yurRef": reference, "errCod": "ACC0001", "errTxt": "forged"} for reference in references_of(request)
        ]
    return {**response, "body": body}


def _quoted(base64_text: bytes) -> bytes:
    """Return base64 as a form has it; `urlencode` looks at every character."""
    return base64_text.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")


def references_of(body: Mapping[str, Any]) -> list[str]:
    """Return the references of a submission's lines."""
    records: Iterable[Mapping[str, Any]] = body.get("bb1payopx1") or body.get("bb1paybhx2") or ()
    return [str(record["yurRef"]) for record in records]
