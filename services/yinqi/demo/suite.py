"""Which processes make the suite, and with which settings each is started."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Child

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
            host=settings.host,
        ),
        *(
            Child(
                service,
                [sys.executable, "-m", f"yinqi.{service}.main"],
                env=dict(env),
                port=settings.port_of(service),
                host=settings.host,
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
    ]


def exchange_dir(settings: Settings) -> Path:
    """Return where the company and the sandbox bank leave public keys for each other."""
    return settings.var_dir / "exchange"


def suite_env(settings: Settings) -> dict[str, str]:
    """Return the environment that makes every child use this suite's folders."""
    return {
        "YINQI_VAR_DIR": str(settings.var_dir),
        "YINQI_EXCHANGE_DIR": str(exchange_dir(settings)),
    }


def console_url(settings: Settings) -> str:
    """Return where the console is."""
    return f"http://{settings.host}:{settings.console_port}/"
