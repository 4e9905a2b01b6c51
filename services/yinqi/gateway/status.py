"""What a bank's state codes mean. The rule is a table that comes with the bank's profile; absent codes stay open."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class BankStatus(enum.StrEnum):
    """What the bank says of a payment (银行状态); the words of the proto."""

    NOT_SENT = "NOT_SENT"
    PROCESSING = "PROCESSING"
    UNKNOWN = "UNKNOWN"
    SETTLED = "SETTLED"
    REJECTED = "REJECTED"
    RETURNED = "RETURNED"
    NOT_FOUND = "NOT_FOUND"


# What a bank's state code may be mapped to; NOT_SENT and NOT_FOUND are findings of ours, not words of a bank.
MAPPABLE = frozenset(
    {BankStatus.PROCESSING, BankStatus.UNKNOWN, BankStatus.SETTLED, BankStatus.REJECTED, BankStatus.RETURNED}
)
# Statuses after which the bank will not go on by itself.
FINAL = frozenset({BankStatus.SETTLED, BankStatus.REJECTED, BankStatus.RETURNED})


@dataclass(frozen=True, slots=True)
class StatusMap:
    """The table of one bank.

    Attributes:
        by_code: "STATE" or "STATE/RESULT" → status. A state whose result matters is listed only with its results.
    """

    by_code: Mapping[str, BankStatus]

    def read(self, state: str, result: str = "") -> tuple[BankStatus, str]:
        """Return the status and, if it is UNKNOWN or a guess, our reason code.

        The result counts only for a state that has results in the table (the bank fills it with rubbish otherwise).
        No word at all is UNKNOWN. A state that is not in the table is PROCESSING: the bank has the payment, and it
        will be asked for again. A known final state with an unlisted result is UNKNOWN: something has ended,
        nobody here can say how. None of these is ever SETTLED or REJECTED.
        """
        if not state:
            return BankStatus.UNKNOWN, "STATE_MISSING"
        if (status := self.by_code.get(f"{state}/{result}")) is None and (status := self.by_code.get(state)) is None:
            if any(code.startswith(f"{state}/") for code in self.by_code):
                return BankStatus.UNKNOWN, "RESULT_UNLISTED"
            return BankStatus.PROCESSING, "STATE_UNLISTED"
        return status, "SUSPICIOUS" if status is BankStatus.UNKNOWN else ""
