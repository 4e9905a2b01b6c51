"""Malformed messages at every door of the bank, from a seed; run it for longer by hand:

PYTHONPATH=services:. python -m tests.unit.sandbox_bank.door_storm --messages 100000 --seed 7
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import json
import random
import resource
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from yinqi import crypto
from yinqi.sandbox_bank.bank import Bank
from yinqi.sandbox_bank.clock_moves import read_move
from yinqi.sandbox_bank.config import BankConfig, read_account
from yinqi.sandbox_bank.effects import Message
from yinqi.sandbox_bank.errors import ControlRefused
from yinqi.sandbox_bank.fault_catalog import FAULTS
from yinqi.sandbox_bank.functions import QUERIES, SUBMITS
from yinqi.sandbox_bank.keys import KeyRing
from yinqi.sandbox_bank.sealed import SealedBank
from yinqi.sandbox_bank.tables import example

from .wire_client import CHINA, USER_ID, WireClient, batch, canonical, line

NOW = dt.datetime(2026, 11, 2, 8, 0, tzinfo=CHINA)
CNY = "755915678910001"
ODD: list[Any] = ["", " ", "0", "-1", "1.00", "9999999999999.99", "1e9", "20261102", "99999999", "00000000", "R1", "B1", CNY,
                  "CLEARING-CNY", "\x00", "’; DROP TABLE payments; --", "深" * 200, "\ud800", "٣", "A" * 70_000,
                  None, True, False, 0, -1, 2**63, 10**30, 1.5, 1e308, [], {}, [[]], [{}], [None], {"a": {"b": []}}]  # fmt: skip


class Storm:
    """One bank and an endless choice of ways to annoy it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.lots = random.Random(seed)
        self.now_ms = int(NOW.timestamp() * 1000)
        config = BankConfig(database=None, notice_url="in-process")
        self.bank = Bank(config, lambda: self.now_ms, lambda: "token", seed=seed)
        self.door = SealedBank(self.bank, KeyRing(directory))
        self.client = ClientAt(directory, self)
        self.client.install_keys()
        self.sound: list[tuple[str, dict[str, Any]]] = [
            ("BB1PAYBH", batch("B1", [line("R1"), line("R2")])),
            ("BB1PAYOP", {"bb1payopx1": [{**line("R3"), "dbtAcc": CNY}]}),
            (
                "BB1PAYQR",
                {"bb1payqrx1": [{"begDat": "20261101", "endDat": "20261201"}], "bb1payqrx2": [{"yurRef": "R1"}]},
            ),
            ("BB1QRYBD", {"bb1qrybdx1": [{"batNbr": "B1", "ctnKey": ""}]}),
            ("BB1QRYOB", {"bb1qryobx1": [{"begDat": "20261101", "endDat": "20261105", "ctnKey": ""}]}),
            ("BB1PAYQB", {"bb1payqbx1": [{"begDat": "20261101", "endDat": "20261105", "accNbr": CNY}]}),
            ("NTQADINF", {"ntqadinfx1": [{"accNbr": CNY}]}),
            ("NTQACINF", {"ntqacinfx1": [{"accNbr": CNY}]}),
            ("trsQryByBreakPoint", {"trsqryx1": [{"accNbr": CNY, "trxDat": "20261102"}], "trsqryy1": []}),
            ("DCLISACC", {}),
        ]
        self.forms = [self.client.form(function, body) for function, body in self.sound]

    def strike(self) -> str:
        """One message at one door; what the bank said. Any exception is a crash."""
        self.now_ms += self.lots.randrange(50)
        doors = (self.random_form, self.mutated_form, self.mutated_plaintext, self.signed_nonsense, self.plain_nonsense)
        door = self.lots.choices((*doors, self.script, self.control), (2, 4, 2, 1, 6, 1, 1))[0]
        said = door()
        if self.lots.random() < 0.02:
            self.bank.tick()
            for notice in self.bank.take_notices():
                self.bank.notice_answered(notice, acknowledged=self.lots.random() < 0.5)
        return f"{door.__name__} {said}"

    def random_form(self) -> str:
        names = ("UID", "FUNCODE", "ALG", "DATA")
        return self.door.exchange({name: self._noise() for name in names if self.lots.random() < 0.9}).outcome

    def mutated_form(self) -> str:
        form = dict(self.lots.choice(self.forms))
        name = self.lots.choices(("UID", "FUNCODE", "ALG", "DATA"), (1, 1, 1, 7))[0]
        form[name] = self._mutated(form[name].encode()).decode("latin-1")
        return self.door.exchange(form).outcome

    def mutated_plaintext(self) -> str:
        """Well encrypted, so that it gets as far as the JSON, the structure and the signature."""
        function, body = self.lots.choice(self.sound)
        message = {"request": {"head": {"funcode": function, "userid": USER_ID, "reqid": "1" * 20}, "body": body},
                   "signature": {"sigtim": "20261102080000", "sigdat": "A" * 88}}  # fmt: skip
        text = json.dumps(self._twisted(message), ensure_ascii=False).encode("utf-8", "surrogatepass")
        if self.lots.random() < 0.4:
            text = self._mutated(text)
        sealed = crypto.sm4_cbc_encrypt(self.client.sm4_key, self.client.padded, text)
        form = {"UID": USER_ID, "FUNCODE": function, "ALG": "SM", "DATA": base64.b64encode(sealed).decode()}
        return self.door.exchange(form).outcome

    def signed_nonsense(self) -> str:
        """Signed by the user itself: nothing but the body's fields is wrong."""
        function, body = self.lots.choice(self.sound)
        try:
            form = self.client.form(function, self._twisted(body))
            canonical(body)
        except (UnicodeEncodeError, ValueError):
            return "cannot be signed"
        return self.door.exchange(form).outcome

    def plain_nonsense(self) -> str:
        function, body = self.lots.choice(self.sound)
        body = self._twisted(body)
        if self.lots.random() < 0.1:
            function = self.lots.choice([*SUBMITS, *QUERIES, "", "x"])
        return self.bank.handle(Message("U1", function, body if isinstance(body, dict) else {})).outcome

    def script(self) -> str:
        examples = [example(fault) for fault in FAULTS.values() if fault.name not in ("half_open", "slow")]
        text = "\n".join(self.lots.choices(examples, k=3))
        if self.lots.random() < 0.8:
            text = self._mutated(text.encode()).decode("utf-8", "replace")
        try:
            self.bank.load_script(text)
        except ControlRefused:
            return "refused"
        return "loaded"

    def control(self) -> str:
        asked = self._twisted(self.lots.choice([{"rate": 1}, {"jump_to": "2026-12-01T00:00:00"}, {"freeze": True},
                                                {"account": "1", "currency": "CNY", "opening": "1.00"}]))  # fmt: skip
        try:
            read_move(asked if isinstance(asked, dict) else {})
            read_account(asked)
        except ControlRefused:
            return "refused"
        return "taken"

    def _noise(self) -> str:
        return self.lots.randbytes(self.lots.randrange(60)).decode("latin-1")

    def _mutated(self, data: bytes) -> bytes:
        mutant = bytearray(data)
        for _ in range(self.lots.randrange(1, 4)):
            at = self.lots.randrange(len(mutant) + 1)
            match self.lots.randrange(4):
                case 0 if at < len(mutant):
                    mutant[at] ^= self.lots.randrange(1, 256)
                case 1:
                    del mutant[at : at + self.lots.randrange(1, 40)]
                case 2:
                    mutant[at:at] = self.lots.randbytes(self.lots.randrange(1, 20))
                case _:
                    mutant[at:at] = mutant[at : at + 40]
        return bytes(mutant)

    def _twisted(self, value: Any) -> Any:
        """The same tree with some parts left out or replaced by odd values."""
        if self.lots.random() < 0.06:
            return self.lots.choice(ODD)
        if isinstance(value, dict):
            return {name: self._twisted(one) for name, one in value.items() if self.lots.random() > 0.02}
        if isinstance(value, list):
            return [self._twisted(one) for one in value] * self.lots.choice((1, 1, 1, 2, 0))
        if isinstance(value, str) and value.startswith(("R", "B")) and self.lots.random() < 0.7:
            return f"{value}-{self.lots.randrange(10**6)}"
        return value


class ClientAt(WireClient):
    """Signs at the storm's time."""

    def __init__(self, directory: Path, storm: Storm) -> None:
        super().__init__("http://unused", directory)
        self.storm = storm

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.storm.now_ms / 1000, CHINA)


def blow(messages: int, seed: int, directory: Path) -> tuple[Counter[str], dict[str, Any]]:
    """Strike that often; what was said how often, and the judge's report."""
    storm = Storm(directory, seed)
    said: Counter[str] = Counter()
    for _ in range(messages):
        said[storm.strike()] += 1
    return said, storm.bank.judge(with_payments=False)


def main() -> None:
    """Blow and print; an exception is a crash of the bank."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        said, report = blow(options.messages, options.seed, Path(directory))
    for what, count in sorted(said.items()):
        print(f"{count:8} {what}")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{options.messages} messages, seed {options.seed}: 0 crashes, peak memory {peak_mib} MiB; {report['totals']}"
    )
    print(f"integrity {report['integrity']}, double debits {report['double_debits']}")


if __name__ == "__main__":
    main()
