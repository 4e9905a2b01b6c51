"""What goes into the bank and what comes out, as plain values: no bytes, no sockets, no waiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from yinqi.sandbox_bank.errors import GatewayError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One call whose sender is known.

    reqid: names the message; an empty one is not checked (for callers below the envelope).
    sigtim: signing time as on the wire; an empty one is not checked.
    """

    user_id: str
    function: str
    body: Mapping[str, Any] = field(default_factory=dict)
    reqid: str = ""
    sigtim: str = ""


class Ending(StrEnum):
    """How the call ends for the caller."""

    ANSWERED = "answered"
    CUT = "cut"  # no byte comes, the connection is closed
    CUT_MIDWAY = "cut_midway"  # cut_after_bytes of the answer come, then the connection is closed
    HALF_OPEN = "half_open"  # no byte comes, the connection stays open for wait_ms


@dataclass(frozen=True, slots=True)
class Effects:
    """What the transport must do with one message; what the bank recorded is durable already.

    outcome: result code, gateway error code or the name of the fault; for logs and spans.
    response: head and body to sign and seal; None when the answer is plain text, or nothing.
    wait_ms: real time to wait before the ending.
    signed_at_ms: the bank's clock for `sigtim`.
    """

    outcome: str
    response: Json | None = None
    text: str = ""
    status: int = 200
    lines: int = 0
    wait_ms: int = 0
    ending: Ending = Ending.ANSWERED
    cut_after_bytes: int = 0
    spoil_signature: bool = False
    signed_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice to send now.

    notice: head and body to sign and seal. forged: "" for the bank's own word, else how it is false ("wrong_key" or
    "altered": the signature must not verify). repeated: sent before, byte for byte, and acknowledged.
    """

    number: int
    user_id: str
    notice: Json
    signed_at_ms: int
    attempt: int = 1
    forged: str = ""
    repeated: bool = False


def plain_error(error: GatewayError) -> Effects:
    """A gateway error as plain text; nothing was processed."""
    return Effects(error.code, text=str(error))


def too_many_calls() -> Effects:
    """The answer to the call above the bank's limit."""
    return plain_error(GatewayError("LIM0001", "too many concurrent calls 并发超限"))
