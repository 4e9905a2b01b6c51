"""Whether a message was signed within the hour around the bank's clock (contract §2)."""

from __future__ import annotations

import re

from yinqi.sandbox_bank.clock import china_time
from yinqi.sandbox_bank.errors import GatewayError

SIGNATURE_WINDOW_MS = 3_600_000


def check_signing_time(sigtim: str, wall_ms: int) -> None:
    """Refuse a `sigtim` that is malformed or more than an hour off."""
    earliest, latest = (
        china_time(wall_ms + shift).strftime("%Y%m%d%H%M%S") for shift in (-SIGNATURE_WINDOW_MS, SIGNATURE_WINDOW_MS)
    )
    # Fixed-width digits compare like the times they name.
    if not re.fullmatch(r"[0-9]{14}", sigtim) or not earliest <= sigtim <= latest:
        raise GatewayError("SIG0002", "sigtim is more than one hour off 签名时间超出范围")
