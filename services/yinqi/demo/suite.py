"""Which processes make the suite, with which settings each is started, and the accounts they share with the bank."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yinqi.demo.certificates import make_suite_certificates
from yinqi.demo.sealed_data import SUITE_KEYS_DIR, make_suite_keys
from yinqi.runtime.custody import BANK_KEY_VARIABLES
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Child
from yinqi.runtime.tls import CLIENT, OFF, channel_credentials

DATA = Path(__file__).parent / "data"
# Starting order; stopped in reverse, so that nobody loses a sister it still needs.
SERVICES = ("gateway", "monitoring", "account", "payment", "reconciliation")
SANDBOX_BANK = "sandbox_bank"


def children(settings: Settings, env: Mapping[str, str], bank_options: list[str] | None = None) -> list[Child]:
    """Return the sandbox bank and the five services as processes of this Python.

    Args:
        env: changes to the environment, the same for all.
        bank_options: further options of the sandbox bank's command line.
    """
    return [
        Child(
            SANDBOX_BANK,
            [sys.executable, "-m", "yinqi.sandbox_bank.main", *_bank_options(settings), *(bank_options or [])],
            env=dict(env),
            port=settings.sandbox_bank_port,
            health="http",
            without=BANK_KEY_VARIABLES,
            host=settings.host,
        ),
        *(
            Child(
                service,
                [sys.executable, "-m", f"yinqi.{service}.main"],
                env=dict(env),
                port=settings.port_of(service),
                host=settings.host,
                without=() if service == "gateway" else BANK_KEY_VARIABLES,
                credentials=lambda: channel_credentials(settings, CLIENT),
            )
            for service in SERVICES
        ),
    ]


def _bank_options(settings: Settings) -> list[str]:
    return [
        "--listen",
        settings.listen_address(SANDBOX_BANK),
        "--database",
        str(settings.var_dir / "sandbox_bank.db"),
        "--keys-dir",
        str(exchange_dir(settings)),
        "--config",
        str(_bank_config(settings)),
    ]


def _bank_config(settings: Settings) -> Path:
    return settings.var_dir / "sandbox_bank.toml"


def demo_accounts() -> list[dict[str, Any]]:
    """Return the debtor accounts of the demo's payment files: identification, currency, name, opening_balance …."""
    accounts: list[dict[str, Any]] = tomllib.loads((DATA / "accounts.toml").read_text("utf-8"))["account"]
    return accounts


def _profile_accounts() -> list[dict[str, str]]:
    """Return the accounts that the shipped bank profile names by itself; the bank must know them too."""
    profile = Path(__file__).parents[1] / "gateway" / "profiles" / "demo_bank.toml"
    accounts: list[dict[str, str]] = tomllib.loads(profile.read_text("utf-8"))["accounts"]
    return accounts


def prepare(settings: Settings) -> None:
    """Write what both sides of the wire must agree on: the company's accounts at the sandbox bank; and certificates.

    Raises:
        TlsInvalid: certificates cannot be made. WrappingKeyInvalid: nor the keys that seal data at rest.
    """
    if settings.tls_mode != OFF and settings.tls_ca_file == Settings.model_fields["tls_ca_file"].default:
        make_suite_certificates(settings)
    make_suite_keys(_sealed(settings))
    (settings.var_dir / "gateway").mkdir(parents=True, exist_ok=True)
    exchange_dir(settings).mkdir(parents=True, exist_ok=True)
    accounts = demo_accounts()
    known = {a["identification"] for a in accounts}
    at_bank = [
        {
            "account": a["identification"],
            "currency": a["currency"],
            "name": a["name"],
            "opening": a.get("opening_balance", "500000.00"),
        }
        for a in [*accounts, *(a for a in _profile_accounts() if a["identification"] not in known)]
    ]
    ours = [{key: a[key] for key in ("identification", "currency", "name")} for a in accounts]
    _bank_config(settings).write_text(_tables("account", at_bank), "utf-8")
    (settings.var_dir / "gateway" / "accounts.toml").write_text(_tables("accounts", ours), "utf-8")


def _tables(name: str, rows: list[dict[str, str]]) -> str:
    # json.dumps writes a TOML basic string: the two quote alike.
    return "\n".join(
        f"[[{name}]]\n" + "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in row.items())
        for row in rows
    )


def exchange_dir(settings: Settings) -> Path:
    """Return where the company and the sandbox bank leave public keys for each other."""
    return settings.var_dir / "exchange"


def suite_env(settings: Settings) -> dict[str, str]:
    """Return the environment that makes every child use this suite's folders and, as a development installation, believe
    the names that our own commands give (within the roles of their certificate)."""
    return {
        "YINQI_TLS_MODE": settings.tls_mode,
        "YINQI_DEV_IDENTITY_ENABLED": "true",
        "YINQI_VAR_DIR": str(settings.var_dir),
        "YINQI_EXCHANGE_DIR": str(exchange_dir(settings)),
        "YINQI_SEALING_KEYS_DIR": _sealed(settings).sealing_keys_dir,
    }


def _sealed(settings: Settings) -> Settings:
    """Return the settings with a folder of keys: a suite seals unless it is told which keys to use."""
    return settings if settings.sealing_keys_dir else settings.model_copy(update={"sealing_keys_dir": SUITE_KEYS_DIR})


def console_url(settings: Settings) -> str:
    """Return where the console is."""
    return f"http://{settings.host}:{settings.console_port}/"
