"""What security costs on the way in, one table from one run: `python -m tests.bench security [--short]`.

Each row has what the row above has and one thing more. All rows' payment services stand side by side, and every round goes
through all rows, each round beginning with another one: so the machine's swings hit all alike.
"""

from __future__ import annotations

import secrets
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from tests.bench.load import LoadResult, drive
from tests.bench.orders import batch_requests, signed_requests, unary_requests
from tests.bench.suite import running_suite

from yinqi.client import PrivateKey
from yinqi.orders.policy_file import KEYS_FILE, POLICY_FILE, sign_policy
from yinqi.runtime.settings import Settings

_COMPANY = "银企示例有限公司"
_LINES = 1_000  # of a call
_UNARY_CALLERS, _BATCH_CALLERS = 16, 2
_WHOLE_MIN = 0.60  # of plain, for calls of 1,000 lines
_SEALING = "sealing_keys_dir"  # the setting that seals columns
# The caller's signature alone is enough, so that nothing but signatures is added.
_POLICY = """version = 1
company = "{company}"
[[person]]
name = "erp"
roles = ["maker"]
{key}
[[rule]]
accounts = ["*"]
categories = ["*"]
currency = "CNY"
tier = [{{ up_to = "100000000.00" }}]
"""


class Effort(NamedTuple):
    """How much is measured. A round of a row is this many calls of 1,000 lines and unary calls."""

    rounds: int = 9
    batch_calls: int = 20
    unary_calls: int = 2_000


SHORT = Effort(rounds=2, batch_calls=3, unary_calls=120)  # shows that it runs; its figures mean nothing


@dataclass
class _Row:
    """One kind of house, and what was measured of it."""

    name: str
    skipped: str = ""
    tls_mode: Literal["mutual", "off"] = "off"
    key: PrivateKey | None = None
    more: Mapping[str, str] = field(default_factory=dict)
    settings: Settings | None = None
    batches: list[LoadResult] = field(default_factory=list)
    unary: list[LoadResult] = field(default_factory=list)

    async def start(self, stack: AsyncExitStack) -> None:
        """Start its payment service."""
        running = running_suite(None, only=("payment",), more=self.more, tls_mode=self.tls_mode)
        self.settings, _ = await stack.enter_async_context(running)

    async def measure(self, effort: Effort) -> None:
        """Measure it once."""
        self.batches.append(await self._drive(effort.batch_calls, _LINES, _BATCH_CALLERS))
        self.unary.append(await self._drive(effort.unary_calls, 1, _UNARY_CALLERS))

    async def _drive(self, calls: int, lines: int, callers: int) -> LoadResult:
        if self.settings is None:
            raise RuntimeError(f"{self.name} was not started")
        requests, method = self._requests(calls, lines)
        settings = None if self.tls_mode == "off" else self.settings
        result = await drive(self.settings.address_of("payment"), method, requests, callers, settings)
        if result.failures:
            raise RuntimeError(f"{self.name}: {result.failures} of {result.calls} calls failed")
        return result

    def _requests(self, calls: int, lines: int) -> tuple[list[bytes], str]:
        if self.key is not None:
            return signed_requests(calls, lines, _COMPANY, self.key), "InitiateSignedPayments"
        if lines == 1:
            return unary_requests(calls), "InitiatePayment"
        return batch_requests(calls, lines), "InitiatePayments"


async def measure_security(effort: Effort, console: Console) -> dict[str, Any]:
    """Measure all rows in rounds, print the table, and return the figures."""
    async with AsyncExitStack() as stack:
        rows = _rows(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yinqi-bench-"))))
        live = [row for row in rows if not row.skipped]
        for row in live:
            await row.start(stack)
            await row.measure(Effort(1, 1, 50))  # the first calls are for warming up
            row.batches.clear()
            row.unary.clear()
        for number in range(effort.rounds):
            first = number % len(live)
            for row in live[first:] + live[:first]:
                await row.measure(effort)
    return _report(rows, effort, console)


def _rows(folder: Path) -> list[_Row]:
    """Return the rows in order; each adds to the one above."""
    key = PrivateKey.generate("erp-2026")
    quiet = {"OTEL_TRACES_EXPORTER": "none"}
    signed = {**quiet, "YINQI_PAYMENT_POLICY_DIR": str(_publish(folder, key))}
    can_seal = _SEALING in Settings.model_fields
    sealed = signed | ({f"YINQI_{_SEALING.upper()}": str(_key_encryption_key(folder))} if can_seal else {})
    traced = {name: value for name, value in sealed.items() if name not in quiet}
    why = "" if can_seal else f"this version has no YINQI_{_SEALING.upper()}"
    return [
        _Row("plain", more=quiet),
        _Row("+ mTLS", tls_mode="mutual", more=quiet),
        _Row("+ signatures", tls_mode="mutual", key=key, more=signed),
        _Row("+ sealing", why, "mutual", key, sealed),
        _Row("+ tracing", tls_mode="mutual", key=key, more=traced),
    ]


def _publish(folder: Path, key: PrivateKey) -> Path:
    """Write a policy under which the caller's signature is enough."""
    policy = folder / "policy"
    policy.mkdir()
    signers = {name: PrivateKey.generate(f"{name}-policy") for name in ("chen", "zhou")}
    (policy / KEYS_FILE).write_text("".join(_key(name, one) for name, one in signers.items()), "utf-8")
    (policy / POLICY_FILE).write_text(_POLICY.format(company=_COMPANY, key=_key("erp", key)), "utf-8")
    for one in signers.values():
        sign_policy(policy, one)
    return policy


def _key(person: str, key: PrivateKey) -> str:
    return (
        f'[[key]]\nid = "{key.key_id}"\nperson = "{person}"\nalgorithm = "{key.algorithm}"\n'
        f'public_key = "{key.public_key().raw.hex()}"\n'
    )


def _key_encryption_key(folder: Path) -> Path:
    """Make a key-encryption key (docs/data-at-rest.md)."""
    keys = folder / "sealing"
    keys.mkdir(mode=0o700)
    file = keys / "0001.kek"
    file.touch(0o600)
    file.write_text(secrets.token_hex(16), "ascii")
    return keys


def _report(rows: list[_Row], effort: Effort, console: Console) -> dict[str, Any]:
    table = Table(
        title=f"the cost of security: one run, {effort.rounds} rounds through all rows; medians of rounds (min–max)",
        caption="plain: no TLS, unsigned, no traces. signatures: SM2 over each order, verified on intake; one order a call. "
        "tracing: OTLP to another process",
        title_justify="left",
        caption_justify="left",
    )
    calls = ("of plain", "p50 ms", "p99 ms")
    for header in ("", f"lines/s, calls of {_LINES:,}", *calls, f"unary/s, {_UNARY_CALLERS} callers", *calls):
        table.add_column(header, justify="right" if header else "left", no_wrap=True)
    found: dict[str, Any] = {}
    for row in rows:
        if row.skipped:
            table.add_row(row.name, "not measured")
            found[row.name] = {"skipped": row.skipped}
            continue
        found[row.name] = one = _figures(row, rows[0])
        table.add_row(
            row.name,
            _spread(one["lines_per_s"]),
            f"{one['lines_of_plain']:.0%}",
            f"{one['batch_p50_ms']:.0f}",
            f"{one['batch_p99_ms']:.0f}",
            _spread(one["unary_per_s"]),
            f"{one['unary_of_plain']:.0%}",
            f"{one['unary_p50_ms']:.1f}",
            f"{one['unary_p99_ms']:.1f}",
        )
    console.print(table)
    for row in rows:
        if row.skipped:
            console.print(f"{row.name}: not measured, {row.skipped}")
    share = found[rows[-1].name]["lines_of_plain"]
    lacks = ", ".join(row.name.removeprefix("+ ") for row in rows if row.skipped)
    verdict = "[bold]met[/]" if share >= _WHOLE_MIN else "[bold red]not met[/]"
    if effort.rounds <= SHORT.rounds:
        verdict = "too few rounds to say"
    console.print(
        f"the whole stack{f' (without: {lacks})' if lacks else ''} takes {share:.0%} of plain for calls of {_LINES:,} lines; "
        f"at least {_WHOLE_MIN:.0%} is wanted: {verdict}"
    )
    return {"rounds": effort.rounds, "rows": found, "whole_of_plain": share, "is_met": share >= _WHOLE_MIN}


def _figures(row: _Row, plain: _Row) -> dict[str, Any]:
    """Return a row's figures. Shares are the median of the rounds' own shares: both sides met the same moment."""
    lines = [run.per_second * _LINES for run in row.batches]
    calls = [run.per_second for run in row.unary]
    return {
        "lines_per_s": [statistics.median(lines), min(lines), max(lines)],
        "lines_of_plain": _share(row.batches, plain.batches),
        "batch_p50_ms": _pooled(row.batches).percentile(0.50),
        "batch_p99_ms": _pooled(row.batches).percentile(0.99),
        "unary_per_s": [statistics.median(calls), min(calls), max(calls)],
        "unary_of_plain": _share(row.unary, plain.unary),
        "unary_p50_ms": _pooled(row.unary).percentile(0.50),
        "unary_p99_ms": _pooled(row.unary).percentile(0.99),
    }


def _share(runs: list[LoadResult], of: list[LoadResult]) -> float:
    return statistics.median(one.per_second / other.per_second for one, other in zip(runs, of, strict=True))


def _pooled(runs: list[LoadResult]) -> LoadResult:
    latencies = sorted(latency for run in runs for latency in run.latencies_ms)
    return LoadResult(sum(run.calls for run in runs), sum(run.seconds for run in runs), latencies, 0)


def _spread(figures: list[float]) -> str:
    median, low, high = (f"{round(one):,}" for one in figures)
    return f"{median} ({low}–{high})"
