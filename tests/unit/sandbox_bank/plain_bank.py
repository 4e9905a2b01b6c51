"""The bank's synchronous core in virtual time, spoken to in plain messages."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from yinqi.sandbox_bank.bank import Bank
from yinqi.sandbox_bank.config import BankConfig
from yinqi.sandbox_bank.effects import Effects, Message, Notice

from .wire_client import CHINA, line

CNY, OTHER = "755915678910001", "755915678910002"
BEGIN = dt.datetime(2026, 11, 2, 8, 0, tzinfo=CHINA)  # a Monday


class PlainBank:
    """Seconds pass when told to; each call is at its own instant."""

    def __init__(self, script: str = "", *, seed: int | None = None, **settings: Any) -> None:
        self.now_ms = int(BEGIN.timestamp() * 1000)
        tokens = itertools.count()
        config = BankConfig(database=None, loose_answers=False, **settings)
        self.bank = Bank(config, lambda: self.now_ms, lambda: f"{next(tokens):06d}", seed=seed)
        if script:
            self.bank.load_script(script)

    def send(self, function: str, body: dict[str, Any] | None = None, **head: str) -> Effects:
        return self.bank.handle(Message("U1", function, body or {}, **head))

    def pay(self, *references: str, account: str = CNY, **changes: str) -> Effects:
        lines = [{**line(reference), "dbtAcc": account, **changes} for reference in references]
        return self.send("BB1PAYOP", {"bb1payopx1": lines})

    def ask(self, *references: str) -> Effects:
        asked = [{"yurRef": reference} for reference in references]
        return self.send(
            "BB1PAYQR", {"bb1payqrx1": [{"begDat": "20261101", "endDat": "20270201"}], "bb1payqrx2": asked}
        )

    def found(self, *references: str) -> dict[str, tuple[str, str, str]]:
        effects = self.ask(*references)
        assert effects.response, effects
        records = effects.response["body"].get("bb1payqrz1", [])
        return {one["yurRef"]: (one["reqSts"], one["rtnFlg"], one["errCod"]) for one in reversed(records)}

    def page(self, day: dt.date, account: str = CNY, cursor: Any = None) -> dict[str, Any]:
        asked = {"trsqryx1": [{"accNbr": account, "trxDat": day.strftime("%Y%m%d")}], "trsqryy1": cursor or []}
        effects = self.send("trsQryByBreakPoint", asked)
        assert effects.outcome == "SUC0000", effects
        assert effects.response
        return dict(effects.response["body"])

    def day(self, day: dt.date, account: str = CNY) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        entries, page = [], self.page(day, account)
        while True:
            entries += page["trsqryz1"]
            if page["trsqryy1"][0]["ctnFlag"] == "N":
                return entries, page["trsqryz3"][0]
            page = self.page(day, account, page["trsqryy1"])

    def passes(self, seconds: float = 0.0, days: int = 0) -> None:
        self.now_ms += int(seconds * 1000) + days * 86_400_000
        while self.bank.tick():
            pass

    @property
    def today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self.bank.clock.now_ms() / 1000, CHINA).date()

    def counts(self) -> dict[str, int]:
        return dict(self.bank.fired()["counts"])

    def payment(self, reference: str) -> dict[str, Any]:
        return next(one for one in self.judged()["payments"] if one["reference"] == reference)

    def judged(self) -> dict[str, Any]:
        return self.bank.judge()

    def notices(self, *, acknowledged: bool = True) -> list[Notice]:
        """Everything that is sent from now on without time passing."""
        sent: list[Notice] = []
        while taken := self.bank.take_notices():
            for notice in taken:
                self.bank.notice_answered(notice, acknowledged=acknowledged)
            sent += taken
        return sent
