"""The demo: two days of a company at its bank, from payment files to a reconciled statement, and the proof."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from yinqi.api.payment.v1 import payment_pb2
from yinqi.demo.bank_control import BankControl
from yinqi.demo.company import Company
from yinqi.demo.journals import check_own_journals
from yinqi.demo.report import Findings, as_json, judge
from yinqi.demo.sisters import Sisters
from yinqi.demo.suite import DATA, SANDBOX_BANK, SERVICES, children, demo_accounts, prepare, suite_env
from yinqi.demo.summary import print_summary
from yinqi.demo.thief import steal
from yinqi.demo.webhook import WebhookReceiver
from yinqi.demo.words import adjustment_table, refusal_table
from yinqi.intake.handover import Handover
from yinqi.intake.reader import read_payment_file
from yinqi.runtime.otlp_sink import OtlpSink
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Supervisor
from yinqi.runtime.telemetry import Telemetry, configure_telemetry

_FINAL_WITHIN_S = 60.0
_FINAL_WITHIN_AFTER_KILLS_S = 240.0
_RETURNS_WITHIN_S = 60.0
_ALERTS_WITHIN_S = 60.0  # longer than the lease of a delivery that a kill cut short
_KILL_PAUSE_S = 1.0

# The demo's company cannot wait minutes for an alert or a query; a real installation can.
_HURRY = {
    "YINQI_ALERT_LEASE_S": "20",
    "YINQI_UNKNOWN_ALERT_AFTER_S": "3",
    "YINQI_FIRST_QUERY_DELAY_S": "0.5",
    "YINQI_QUERY_INTERVAL_S": "1",
    "YINQI_RETURNS_INTERVAL_S": "2",
    "YINQI_LOG_FORMAT": "json",
}


async def run_demo(settings: Settings, console: Console, *, kill: bool = False) -> int:
    """Run the demo; write `<var>/demo/report.json`; return the exit code: 0 only if every sentence of the verdict holds.

    Args:
        kill: also kill -9 each process in turn while the first day's payments are on their way.
    Raises:
        PortInUse, ChildNotHealthy: why the suite could not be started, in words.
    """
    settings = settings.model_copy(update={"var_dir": settings.var_dir / "demo"})
    shutil.rmtree(settings.var_dir, ignore_errors=True)
    demo = _Demo(settings, console, kill=kill)
    await demo.play()
    verdict = judge(demo.found)
    report = settings.var_dir / "report.json"
    report.write_text(json.dumps(as_json(demo.found, verdict), ensure_ascii=False, indent=2) + "\n", "utf-8")
    print_summary(console, demo.found, verdict, report)
    return 0 if verdict.is_good else 1


class _Demo:
    def __init__(self, settings: Settings, console: Console, *, kill: bool) -> None:
        self.found = Findings()
        self._company = Company()
        self._settings = settings
        self._console = console
        self._kill = kill

    async def play(self) -> None:
        """Start everything, live two days, stop everything, then read the traces."""
        started = time.monotonic()
        async with AsyncExitStack() as stack:
            sink, webhook = OtlpSink(), WebhookReceiver()
            endpoint = await sink.start()
            stack.push_async_callback(sink.stop)
            alert_url = await webhook.start()
            stack.push_async_callback(webhook.stop)
            telemetry = configure_telemetry("demo", self._settings.model_copy(update={"otlp_endpoint": endpoint}))
            async with self._suite(endpoint, alert_url) as supervisor:
                await self._live(supervisor, webhook, telemetry)
            telemetry.shutdown()
            self.found.traces = sink.analyse()
        with self._step("check the journals against their seals 校验日志封条"):
            self.found.journals = check_own_journals(self._settings)
        self.found.timings_s["whole demo"] = time.monotonic() - started

    @asynccontextmanager
    async def _suite(self, endpoint: str, alert_url: str) -> AsyncIterator[Supervisor]:
        prepare(self._settings)
        policies = {service: self._settings.var_dir / service / "policy" for service in ("payment", "gateway")}
        self._company.publish(*policies.values())
        env = {
            **suite_env(self._settings),
            **{f"YINQI_{service.upper()}_POLICY_DIR": str(folder) for service, folder in policies.items()},
            **_HURRY,
            "YINQI_ALERT_URLS": alert_url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }
        supervisor = Supervisor(
            children(self._settings, env, ["--script", str(DATA / "faults.toml")]),
            log_dir=self._settings.var_dir / "log",
            on_event=lambda _name, text: self._console.print(f"  [yellow]{text}[/]"),
        )
        with self._step("start 6 processes 启动服务"):
            await supervisor.start()
        try:
            yield supervisor
        finally:
            with self._step("drain and stop 停止服务"):
                await supervisor.stop()

    async def _live(self, supervisor: Supervisor, webhook: WebhookReceiver, telemetry: Telemetry) -> None:
        async with AsyncExitStack() as stack:
            sisters = Sisters(self._settings, telemetry, stack)
            await sisters.open()
            bank = BankControl(self._settings.address_of(SANDBOX_BANK))
            stack.push_async_callback(bank.close)
            first_day = await bank.business_date()
            self._headline(f"Day one at the bank 第一天 {first_day}")
            await self._first_day(supervisor, sisters)
            with self._step("a thief finds the last door shut 最后一道门"):
                self.found.thefts = await steal(self._company, sisters)
            second_day = await bank.advance_day()
            self._headline(f"Day two 第二天 {second_day} (the bank's clock was moved)")
            await self._second_day(sisters)
            self._headline("Close both days 日终对账")
            await self._close(sisters, [first_day, second_day])
            await self._collect(sisters, bank, webhook)

    async def _first_day(self, supervisor: Supervisor, sisters: Sisters) -> None:
        files = [*sorted((DATA / "pain001").glob("*.xml")), DATA / "suppliers-2026-11.csv"]
        killing = asyncio.create_task(self._kill_each(supervisor)) if self._kill else None
        await self._pay(sisters, files)
        await self._approve(sisters)
        if killing is not None:
            await killing
        await self._until_final(sisters)

    async def _second_day(self, sisters: Sisters) -> None:
        await self._pay(sisters, [DATA / "suppliers-2026-11.xlsx"])
        await self._approve(sisters)
        await self._until_final(sisters)
        with self._step("returns of yesterday's payments arrive 退汇"):
            await self._until_returns(sisters)

    async def _pay(self, sisters: Sisters, files: list[Path]) -> None:
        initiate = self._company.signed(sisters)
        for file in files:
            handover = Handover(read_payment_file(file))
            self.found.handovers.append(handover)
            with self._timed("acceptance"), self._progress() as progress:
                task = progress.add_task(file.name, total=len(handover.file.lines))
                await sisters.hand_over(handover, initiate, lambda lines, p=progress, t=task: p.advance(t, lines))  # type: ignore[misc]
            if handover.refused:
                self._console.print(refusal_table(handover.refused))

    async def _approve(self, sisters: Sisters) -> None:
        with self._step("people approve what takes people 审批"):
            await self._company.approve(sisters)

    async def _until_final(self, sisters: Sisters) -> None:
        within_s = _FINAL_WITHIN_AFTER_KILLS_S if self._kill else _FINAL_WITHIN_S
        end_at = time.monotonic() + within_s
        with self._timed("acceptance to final"), self._progress() as progress:
            task = progress.add_task("payments final 已完结", total=None)
            while time.monotonic() < end_at:
                final, count = await sisters.open_count()
                progress.update(task, completed=final, total=count)
                if final == count:
                    return
                await asyncio.sleep(0.25)
        self._console.print(f"  [red]some payments are still open after {within_s:g} s 仍有未完结付款[/]")

    async def _until_returns(self, sisters: Sisters) -> None:
        expected = (DATA / "faults.toml").read_text("utf-8").count("\nreturn = ")
        end_at = time.monotonic() + _RETURNS_WITHIN_S
        while time.monotonic() < end_at:
            returned = sum(c.count for c in await sisters.counts() if c.status == payment_pb2.PAYMENT_STATUS_RETURNED)
            if returned >= expected:
                return
            await asyncio.sleep(0.25)

    async def _kill_each(self, supervisor: Supervisor) -> None:
        for name in (*SERVICES, SANDBOX_BANK):
            await asyncio.sleep(_KILL_PAUSE_S)
            supervisor.kill(name)
            self.found.killed.append(name)
            await asyncio.sleep(0.1)  # The supervisor must see the death before health means anything.
            await supervisor.wait_healthy(name)

    async def _close(self, sisters: Sisters, days: list[str]) -> None:
        accounts = [account["identification"] for account in demo_accounts()]
        with self._step("fetch balances and statements, page by page 取余额和对账单"):
            for account in accounts:
                for day in days:
                    await sisters.fetch_statement(account, day)
        with self._step("import a camt.053 file 导入对账单文件"):
            for file in sorted((DATA / "camt053").glob("*.xml")):
                self.found.imported_entries += await sisters.import_statement(file.read_bytes(), file.name)
        with self._step("reconcile 对账"):
            self.found.reconciliations = [await sisters.reconcile(account, day) for account in accounts for day in days]
        for run in self.found.reconciliations:
            if run.account == accounts[0]:
                self._console.print(adjustment_table(run))

    async def _collect(self, sisters: Sisters, bank: BankControl, webhook: WebhookReceiver) -> None:
        found = self.found
        found.orders_signed, found.decisions = len(self._company.orders), self._company.decisions
        found.payments = await sisters.payments()
        found.breaks = await sisters.breaks()
        found.balances = await sisters.balances()
        found.bank_book = await bank.book()
        with self._step("alerts are delivered 告警送达"):
            end_at = time.monotonic() + _ALERTS_WITHIN_S
            while True:
                found.alerts = await sisters.alerts()
                if all(a.HasField("delivered_at") for a in found.alerts) or time.monotonic() > end_at:
                    break
                await asyncio.sleep(0.25)
        found.alert_ids_received = webhook.alert_ids
        found.webhook_messages = len(webhook.received)

    def _headline(self, text: str) -> None:
        self._console.rule(f"[bold]{text}[/]", align="left")

    @contextmanager
    def _step(self, text: str) -> Iterator[None]:
        started = time.monotonic()
        with self._console.status(text):
            yield
        seconds = time.monotonic() - started
        self.found.timings_s[text.split("  ")[0]] = seconds
        self._console.print(f"[green]✓[/] {text} [dim]{seconds:.1f} s[/]")

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            timings = self.found.timings_s
            timings[name] = timings.get(name, 0.0) + time.monotonic() - started

    def _progress(self) -> Progress:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self._console)
