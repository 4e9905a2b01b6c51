"""What an operator may set: accounts, delays, limits; from a TOML file and flags."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yinqi.sandbox_bank.errors import ControlRefused
from yinqi.sandbox_bank.fields import CURRENCY_CODES, parse_amount


@dataclass(frozen=True, slots=True)
class Account:
    """A company account to open; opening balance in hundredths."""

    account: str
    currency: str
    name: str
    opening: int


DEFAULT_ACCOUNTS = (
    Account("755915678910001", "CNY", "银企示例制造有限公司", 10_000_000_00),
    Account("755915678910002", "CNY", "银企示例制造有限公司", 500_000_00),
    Account("755915678932001", "EUR", "Yinqi Example Manufacturing", 5_000_000_00),
    Account("755915678932002", "CHF", "Yinqi Example Manufacturing", 5_000_000_00),
    Account("755915678932003", "USD", "Yinqi Example Manufacturing", 5_000_000_00),
    Account("755915678932004", "GBP", "Yinqi Example Manufacturing", 5_000_000_00),
)


@dataclass(frozen=True, slots=True)
class BankConfig:
    """Settings of one sandbox bank. Times in milliseconds of business time; sizes in bytes."""

    listen: str = "127.0.0.1:7106"
    database: Path | None = Path("var/sandbox_bank.db")  # None: in memory, gone with the process
    keys_dir: Path = Path("var/bank_keys")
    script: Path | None = None
    execution_delay_ms: int = 300
    loose_answers: bool = True
    submits_max: int = 50
    queries_max: int = 20
    body_bytes_max: int = 4 * 1024 * 1024
    otlp_endpoint: str = ""
    notice_url: str = ""
    accounts: tuple[Account, ...] = field(default=DEFAULT_ACCOUNTS)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise ControlRefused(f"--listen must be HOST:PORT, not {self.listen!r}")
        return host.strip("[]"), int(port)


def read_config(path: Path | None, flags: Mapping[str, Any]) -> BankConfig:
    """Settings of the file, overruled by the flags that were given (not None).

    Raises:
        ControlRefused: the file names an unknown setting or a malformed account.
    """
    tree = tomllib.loads(path.read_text("utf-8")) if path else {}
    accounts = tree.pop("account", None)
    known = {"listen", "database", "keys_dir", "script", "execution_delay_ms", "loose_answers", "submits_max",
             "queries_max", "body_bytes_max", "notice_url"}  # fmt: skip
    if unknown := sorted(set(tree) - known):
        raise ControlRefused(
            f"{path}: {', '.join(unknown)} is not known; allowed: {', '.join(sorted(known))}, [[account]]"
        )
    values = {**tree, **{name: value for name, value in flags.items() if value is not None}}
    for name in ("database", "keys_dir", "script"):
        if name in values:
            values[name] = Path(values[name])
    if str(values.get("database")) == ":memory:":
        values["database"] = None
    if accounts is not None:
        values["accounts"] = tuple(read_account(raw) for raw in accounts)
    return BankConfig(**values)


def read_account(raw: Mapping[str, Any]) -> Account:
    """An account from a configuration table or a control call."""
    account, currency, opening = (
        raw.get("account"),
        raw.get("currency", "CNY"),
        parse_opening(raw.get("opening", "0.00")),
    )
    if (
        not isinstance(account, str)
        or not re.fullmatch(r"[0-9A-Za-z\-]{1,35}", account)
        or account.startswith("CLEARING")
    ):
        raise ControlRefused("account must be 1-35 digits or letters")
    if currency not in CURRENCY_CODES:
        raise ControlRefused(f"currency must be one of {', '.join(CURRENCY_CODES)}")
    return Account(account, currency, str(raw.get("name", "银企示例制造有限公司")), opening)


def parse_opening(text: Any) -> int:
    """An opening balance like "500000.00", zero allowed, in hundredths."""
    amount = 0 if text == "0.00" else parse_amount(text)
    if amount is None:
        raise ControlRefused('opening must be a text with two decimals like "500000.00"')
    return amount
