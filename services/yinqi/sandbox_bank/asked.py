"""A query with everything its answer depends on besides the book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yinqi.sandbox_bank.fields import parse_amount


@dataclass(frozen=True, slots=True)
class Asked:
    """One query; `faults` are the scripted ones that strike it."""

    user_id: str
    body: Mapping[str, Any]
    now_ms: int
    may_pay: bool = True
    may_query: bool = True
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def hidden_from_ms(self) -> int | None:
        """What was received or booked at this business time or later is not shown; None shows all, 0 nothing."""
        if self.faults.get("out_of_window", {}).get("answer") == "empty":
            return 0
        if "empty_query" not in self.faults:
            return None
        young = self.faults["empty_query"]["younger_than_seconds"]
        return self.now_ms - young * 1000 if young else 0

    def off_by(self, where: str) -> int:
        """By how many hundredths a balance of this kind is wrong."""
        fault = self.faults.get("unbalanced")
        return (parse_amount(fault["amount"]) or 0) if fault and fault["where"] == where else 0
