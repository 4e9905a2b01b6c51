"""One-time codes of approvers (动态口令): six digits that change every 30 s, each good once, few tries.

Source: RFC 6238 (TOTP) over RFC 4226 (HOTP) with HMAC-SHA-1, as every authenticator app and hardware token makes them.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import NamedTuple

STEP_S = 30
DIGITS = 6
STEPS_EITHER_SIDE = 1  # a device's clock may be off by so many steps (RFC 6238, 5.2)
WRONG_MAX = 5
LOCKED_FOR = timedelta(minutes=15)
_SIGN_BIT_OFF = 0x7FFF_FFFF


class CodeState(NamedTuple):
    """What is remembered of a person's codes.

    Attributes:
        last_step: of the last code that was accepted; it and all before are used up.
        wrong: wrong codes in a row.
        locked_until: until then no code is looked at.
    """

    last_step: int = 0
    wrong: int = 0
    locked_until: datetime | None = None


class CodeJudgement(NamedTuple):
    """What came of a code. `reason`: "" if it is accepted."""

    state: CodeState
    reason: str


def code_at(secret: bytes, step: int, digits: int = DIGITS) -> str:
    """Return the code of a step of 30 s, counted from 1970."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    at = mac[-1] & 0xF
    number = int.from_bytes(mac[at : at + 4], "big") & _SIGN_BIT_OFF
    return f"{number % 10**digits:0{digits}}"


def judge_code(code: str, secret: bytes, state: CodeState, now: datetime) -> CodeJudgement:
    """Return whether a code is accepted, and what to remember from then on, whatever the answer.

    Reasons: ONE_TIME_CODE_LOCKED, ONE_TIME_CODE_USED, ONE_TIME_CODE_WRONG.
    """
    if state.locked_until is not None and now < state.locked_until:
        return CodeJudgement(state, "ONE_TIME_CODE_LOCKED")
    current = int(now.timestamp()) // STEP_S
    matching = [
        step
        for step in range(current - STEPS_EITHER_SIDE, current + STEPS_EITHER_SIDE + 1)
        if hmac.compare_digest(code_at(secret, step).encode(), code.encode())
    ]
    fresh = [step for step in matching if step > state.last_step]
    if fresh:
        return CodeJudgement(CodeState(last_step=fresh[0]), "")
    wrong = state.wrong + 1  # A used one counts too: whoever looked over a shoulder gets no more tries than others.
    locked_until = now + LOCKED_FOR if wrong >= WRONG_MAX else None
    after = CodeState(state.last_step, 0 if locked_until else wrong, locked_until)
    return CodeJudgement(after, "ONE_TIME_CODE_USED" if matching else "ONE_TIME_CODE_WRONG")
