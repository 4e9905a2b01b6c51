"""The six processes of `yinqi up` with a bank that misbehaves at given rates, for the evidence of `faults.py`."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from yinqi.demo.suite import SANDBOX_BANK, children, prepare, suite_env
from yinqi.runtime.listening import free_port
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Supervisor

NAMES = ("payment", "account", "reconciliation", "monitoring", "gateway", SANDBOX_BANK, "console")
SHIPPED_PROFILE = Path(__file__).parents[2] / "services" / "yinqi" / "gateway" / "profiles" / "demo_bank.toml"
ACCOUNTS = tuple(f"75591567894{number:04}" for number in range(1, 9))
LATE_REJECT_AFTER_S = 3_600
# Shorter than a real bank's, longer than any fault of the script delays a message.
SAFE_WINDOW_MS = 4_000
BLIND_FOR_S = 2
# Small queries, so that blind and lost ones are many.
REFERENCES_MAX = 100
# Claims are for all accounts at once: a message has about an eighth of this. At 10 % of the messages, what is lost is
# spread over the payments only if the messages are many.
CLAIMED_MAX, MESSAGES_WANTED = 1_000, 150

SCRIPT = """seed = {seed}

[[rule]]
name = "lost answers"
when = {{ function = ["BB1PAYOP", "BB1PAYBH"], chance = 0.10 }}
times = 1000000
lose_answer = true

[[rule]]
name = "lost requests"
when = {{ function = ["BB1PAYOP", "BB1PAYBH"], chance = 0.02 }}
times = 1000000
lose_request = true

[[rule]]
name = "one lost request early, for short runs"
when = {{ function = ["BB1PAYOP", "BB1PAYBH"] }}
nth = 4
lose_request = true

[[rule]]
name = "requests that arrive late"
when = {{ function = ["BB1PAYOP", "BB1PAYBH"], chance = 0.01 }}
times = 1000000
late_request = {{ milliseconds = 1000 }}

[[rule]]
name = "no guard against duplicates"
accept_duplicate = true

[[rule]]
name = "late rejects"
when = {{ chance = 0.01 }}
late_reject = {{ after_seconds = {late_s}, debited = "never" }}

[[rule]]
name = "late rejects after the debit"
when = {{ chance = 0.01 }}
late_reject = {{ after_seconds = {late_s}, debited = "before" }}

[[rule]]
name = "returns"
when = {{ chance = 0.01 }}
return = {{ after_days = 1 }}

[[rule]]
name = "permission-blind queries"
when = {{ function = "BB1PAYQR", chance = 0.01 }}
blind_query = {{ for_seconds = {blind_s} }}

[[rule]]
name = "one blind query early, for short runs"
when = {{ function = "BB1PAYQR" }}
nth = 3
blind_query = {{ for_seconds = {blind_s} }}

[[rule]]
name = "lost answers to queries"
when = {{ function = ["BB1PAYQR", "BB1PAYQB", "BB1QRYOB"], chance = 0.10 }}
times = 1000000
lose_answer = true

[[rule]]
name = "duplicated notices"
when = {{ function = "YQN02030", chance = 0.05 }}
times = 1000000
duplicate_notice = {{ copies = 1 }}

[[rule]]
name = "lost notices"
when = {{ function = "YQN02030", chance = 0.30 }}
lose_notice = true
"""


@asynccontextmanager
async def running_suite(seed: int, payments: int) -> AsyncIterator[tuple[Settings, Supervisor]]:
    """Start everything in a temporary folder on free ports; the bank's script is in force from its first message."""
    with tempfile.TemporaryDirectory(prefix="yinqi-faults-") as folder:
        ports = {f"{name}_port": free_port() for name in NAMES}
        notice_port = free_port()
        settings = Settings(var_dir=Path(folder), **ports)
        prepare(settings)
        _add_accounts(settings)
        script = settings.var_dir / "faults.toml"
        script.write_text(SCRIPT.format(seed=seed, late_s=LATE_REJECT_AFTER_S, blind_s=BLIND_FOR_S), "utf-8")
        env = {
            **suite_env(settings),
            **{f"YINQI_{name.upper()}": str(port) for name, port in ports.items()},
            "YINQI_GATEWAY_PROFILES_DIR": str(_profile(settings)),
            "YINQI_GATEWAY_NOTICE_PORT": str(notice_port),
            "YINQI_PAYMENT_BATCH_MAX": str(
                min(CLAIMED_MAX, max(len(ACCOUNTS), payments * len(ACCOUNTS) // MESSAGES_WANTED))
            ),
            "YINQI_RETURNS_INTERVAL_S": "5",
            # The bank's own spacing is 2 s; half a minute would only make the run's end long.
            "YINQI_QUERY_INTERVAL_S": "2",
            "YINQI_QUERY_INTERVAL_MAX_S": "8",
            "YINQI_LOG_LEVEL": "WARNING",
        }
        options = ["--script", str(script), "--notice-url", f"http://127.0.0.1:{notice_port}/notices/cdc"]
        supervisor = Supervisor(children(settings, env, options), log_dir=settings.var_dir / "log")
        await supervisor.start(healthy_within_s=600)
        try:
            yield settings, supervisor
        finally:
            await supervisor.stop()


def _profile(settings: Settings) -> Path:
    """Write the shipped profile with notices, a short safe window and small messages; return its folder."""
    text = SHIPPED_PROFILE.read_text("utf-8")
    for old, new in (
        ("references_max = 500", f"references_max = {REFERENCES_MAX}"),
        ("safe_window_ms = 30000", f"safe_window_ms = {SAFE_WINDOW_MS}"),
        ("enabled = false", "enabled = true"),
    ):
        assert old in text, f"the shipped profile has no {old!r} any more"
        text = text.replace(old, new)
    folder = settings.var_dir / "profiles"
    folder.mkdir()
    (folder / SHIPPED_PROFILE.name).write_text(text, "utf-8")
    return folder


def _add_accounts(settings: Settings) -> None:
    """Let both sides know the debtor accounts of the run: several, because a bank's calls are shared by account."""
    for file, table, name, more in (
        ("sandbox_bank.toml", "account", "account", 'opening = "9000000000.00"\n'),
        ("gateway/accounts.toml", "accounts", "identification", ""),
    ):
        with (settings.var_dir / file).open("a", encoding="utf-8") as config:
            for account in ACCOUNTS:
                config.write(
                    f'\n[[{table}]]\n{name} = "{account}"\ncurrency = "CNY"\nname = "洪峰测试有限公司"\n{more}'
                )
