"""`make bench`: acceptance and the whole path, per store, with CPU and memory per service; `security`: what security costs."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import uvloop
from rich.console import Console
from rich.table import Table
from tests.bench.bounds import bare_grpc_calls_per_second, loop_seconds, raw_sqlite_lines_per_second
from tests.bench.load import LoadResult, drive
from tests.bench.orders import DEBTOR_ACCOUNT, batch_requests, unary_requests
from tests.bench.security import SHORT, Effort, measure_security
from tests.bench.suite import Meter, Usage, running_suite

from yinqi.api.account.v1 import account_service_pb2, account_service_pb2_grpc
from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from yinqi.runtime.logging import configure_logging
from yinqi.runtime.postgres_cluster import PostgresCluster
from yinqi.runtime.settings import Settings

console = Console()
_CALLERS = (1, 16, 64)
_WIDTH = 140  # of a table in a file
_WHOLE_PATH_WITHIN_S = 180.0


def main() -> None:
    """Parse options, measure, print, and write var/bench/report.json."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=["all", "security"], default="all", help="what to measure")
    parser.add_argument("--short", action="store_true", help="security: few and small rounds, under a minute")
    parser.add_argument("--rounds", type=int, default=9, help="security: rounds, each through all rows")
    parser.add_argument("--store", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each unary run, roughly")
    parser.add_argument("--runs", type=int, default=3, help="runs of each measurement; the median is the figure")
    parser.add_argument("--payments", type=int, default=3_000, help="payments of the whole-path measurement")
    options = parser.parse_args()
    configure_logging("bench", level="WARNING", format_="console")
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; "
        "client, span receiver and stores share them"
    )
    if options.part == "security":
        wide = console if console.is_terminal else Console(width=_WIDTH)
        report = uvloop.run(measure_security(SHORT if options.short else Effort(rounds=options.rounds), wide))
    else:
        report = uvloop.run(_measure_all(options))
    target = Path(f"var/bench/{'report' if options.part == 'all' else options.part}.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    console.print(f"written to {target}")


async def _measure_all(options: argparse.Namespace) -> dict[str, Any]:
    report: dict[str, Any] = {"bounds": await _bounds()}
    if options.store in ("sqlite", "both"):
        report["sqlite"] = await _measure_store(None, "SQLite (WAL, synchronous=FULL)", options)
    if options.store in ("postgresql", "both"):
        cluster = PostgresCluster.start(durable=True)
        try:
            report["postgresql"] = await _measure_store(cluster, "PostgreSQL (fsync on)", options)
        finally:
            cluster.remove()
    return report


async def _bounds() -> dict[str, float]:
    """Measure what the machine can do today at best; our figures are printed beside it."""
    bounds = {
        "python_loop_10m_s": round(loop_seconds(), 2),
        "bare_grpc_calls_per_s": round(await bare_grpc_calls_per_second()),
        "raw_sqlite_lines_per_s": round(raw_sqlite_lines_per_second()),
    }
    console.print(
        f"this machine now: 10 M-step Python loop {bounds['python_loop_10m_s']} s (0.9 to 1.2 s where the first marks were set), "
        f"empty grpc.aio server {bounds['bare_grpc_calls_per_s']:,} calls/s at 16 callers, "
        f"bare sqlite3 {bounds['raw_sqlite_lines_per_s']:,} lines/s"
    )
    return bounds


def _fresh_databases(cluster: PostgresCluster | None) -> str | None:
    """Return the URL template of a database for each service, or None for SQLite."""
    if cluster is None:
        return None
    names = ("payment", "account", "reconciliation", "monitoring", "gateway")
    suffix = os.urandom(3).hex()
    for name in names:
        url = cluster.create_database(name=f"{name}_{suffix}")
    return f"{url.rpartition('/')[0]}/{{service}}_{suffix}"


async def _measure_store(cluster: PostgresCluster | None, title: str, options: argparse.Namespace) -> dict[str, Any]:
    console.rule(title, align="left")
    acceptance, usage = await _acceptance(_fresh_databases(cluster), options)
    whole = await _whole_path(_fresh_databases(cluster), options.payments)
    return {"acceptance": acceptance, "acceptance_usage": usage, "whole_path": whole}


async def _acceptance(database_url: str | None, options: argparse.Namespace) -> tuple[list[dict[str, Any]], Any]:
    """Measure the payment service alone: the sisters are down, so its worker has nothing to do but wait."""
    rows: list[dict[str, Any]] = []
    async with running_suite(database_url, only=("payment",)) as (settings, supervisor):
        address = settings.address_of("payment")
        await drive(address, "InitiatePayment", unary_requests(500), 16)  # warm-up
        meter = Meter(supervisor)
        for callers in _CALLERS:
            rows.append(await _unary(address, callers, options))
        usage_unary = meter.usage()
        meter.mark()
        rows.append(await _batches(address, options))
        usage_batch = meter.usage()
    _print_acceptance(rows)
    _print_usage("CPU and memory, unary runs", usage_unary)
    _print_usage("CPU and memory, 1,000-line calls", usage_batch)
    return rows, {"unary": _plain(usage_unary), "batch": _plain(usage_batch)}


async def _unary(address: str, callers: int, options: argparse.Namespace) -> dict[str, Any]:
    probe = await drive(address, "InitiatePayment", unary_requests(max(200, callers * 20)), callers)
    count = max(200, int(probe.per_second * options.seconds))
    runs = [await drive(address, "InitiatePayment", unary_requests(count), callers) for _ in range(options.runs)]
    return _row(f"unary, {callers} callers", runs, lines=1)


async def _batches(address: str, options: argparse.Namespace) -> dict[str, Any]:
    runs = [await drive(address, "InitiatePayments", batch_requests(40, 1_000), 2) for _ in range(options.runs)]
    return _row("calls of 1,000 lines, 2 callers", runs, lines=1_000)


def _row(name: str, runs: list[LoadResult], lines: int) -> dict[str, Any]:
    ranked = sorted(runs, key=lambda run: run.per_second)
    median = ranked[len(ranked) // 2]
    return {
        "what": name,
        "payments_per_s": round(median.per_second * lines),
        "payments_per_s_min": round(ranked[0].per_second * lines),
        "payments_per_s_max": round(ranked[-1].per_second * lines),
        "p50_ms": round(median.percentile(0.50), 2),
        "p99_ms": round(median.percentile(0.99), 2),
        "calls": median.calls,
        "failures": sum(run.failures for run in runs),
    }


async def _whole_path(database_url: str | None, payments: int) -> dict[str, Any]:
    """Measure from the first call until every payment is settled at the bank and booked in the ledger."""
    async with running_suite(database_url) as (settings, supervisor):
        address = settings.address_of("payment")
        await drive(address, "InitiatePayments", batch_requests(1, 50), 1)  # warm-up: first statements, first keys
        await _until_booked(settings, 50)
        meter = Meter(supervisor)
        started = time.perf_counter()
        await drive(address, "InitiatePayments", batch_requests(payments // 500, 500), 2)
        accepted_s = time.perf_counter() - started
        await _until_booked(settings, 50 + payments)
        seconds = time.perf_counter() - started
        usage = meter.usage()
    result = {
        "payments": payments,
        "seconds": round(seconds, 2),
        "accepted_s": round(accepted_s, 2),
        "settled_and_booked_per_s": round(payments / seconds),
    }
    console.print(
        f"whole path: {payments} payments accepted, screened, sent, settled and booked in {seconds:.1f} s: "
        f"[bold]{payments / seconds:,.0f}/s[/]"
    )
    _print_usage("CPU and memory, whole path", usage)
    return {**result, "usage": _plain(usage)}


async def _until_booked(settings: Settings, count: int) -> None:
    """Return when `count` payments are settled and their debits are in the ledger."""
    end_at = time.perf_counter() + _WHOLE_PATH_WITHIN_S
    async with (
        grpc.aio.insecure_channel(settings.address_of("payment")) as payment,
        grpc.aio.insecure_channel(settings.address_of("account")) as account,
    ):
        payments = payment_service_pb2_grpc.PaymentServiceStub(payment)
        accounts = account_service_pb2_grpc.AccountServiceStub(account)
        while time.perf_counter() < end_at:
            counts = (await payments.CountPayments(payment_service_pb2.CountPaymentsRequest())).counts
            settled = [c for c in counts if c.status == payment_pb2.PAYMENT_STATUS_SETTLED]
            if sum(c.count for c in settled) >= count:
                booked = await accounts.GetBalances(account_service_pb2.GetBalancesRequest(accounts=[DEBTOR_ACCOUNT]))
                if booked.balances and booked.balances[0].held_balance.minor_units == 0:
                    return
            await asyncio.sleep(0.05)
    raise TimeoutError(f"{count} payments were not settled and booked within {_WHOLE_PATH_WITHIN_S:g} s")


def _print_acceptance(rows: list[dict[str, Any]]) -> None:
    table = Table(title="accepted durably and traced", title_justify="left", expand=False)
    for header in ("what", "payments/s", "min–max", "p50 ms", "p99 ms", "failures"):
        table.add_column(header, justify="left" if header == "what" else "right")
    for r in rows:
        spread = f"{r['payments_per_s_min']:,}–{r['payments_per_s_max']:,}"
        table.add_row(
            r["what"], f"{r['payments_per_s']:,}", spread, f"{r['p50_ms']}", f"{r['p99_ms']}", str(r["failures"])
        )
    console.print(table)


def _print_usage(title: str, usage: Mapping[str, Usage]) -> None:
    table = Table(title=title, title_justify="left", expand=False)
    for header in ("process", "CPU s", "RSS MiB"):
        table.add_column(header, justify="left" if header == "process" else "right")
    for name, one in usage.items():
        table.add_row(name, f"{one.cpu_s:.2f}", f"{one.rss_mib:.0f}")
    console.print(table)


def _plain(usage: Mapping[str, Usage]) -> dict[str, Any]:
    return {name: {"cpu_s": round(u.cpu_s, 2), "rss_mib": round(u.rss_mib)} for name, u in usage.items()}


if __name__ == "__main__":
    main()
