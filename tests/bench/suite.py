"""The suite under measurement: real processes, real stores, spans exported to a receiver of its own process."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import psutil

from yinqi.demo.suite import children, prepare, suite_env
from yinqi.runtime.listening import free_port
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Child, Supervisor

SINK = "otlp_sink"


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used since a mark, and memory now."""

    cpu_s: float
    rss_mib: float


class Meter:
    """CPU and memory of each process of the suite and of this client."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._processes = {s.name: psutil.Process(s.pid) for s in supervisor.states() if s.pid}
        self._processes["client"] = psutil.Process()
        self._marks: dict[str, float] = {}
        self.mark()

    def mark(self) -> None:
        """Count CPU from here."""
        self._marks = {name: self._cpu(process) for name, process in self._processes.items()}

    def usage(self) -> dict[str, Usage]:
        """Return what each used since the mark."""
        return {
            name: Usage(self._cpu(process) - self._marks[name], process.memory_info().rss / 2**20)
            for name, process in self._processes.items()
        }

    @staticmethod
    def _cpu(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def running_suite(
    database_url: str | None,
    *,
    only: Sequence[str] = (),
    bank_opening: str = "100000000.00",
    more: Mapping[str, str] = MappingProxyType({}),
    tls_mode: Literal["mutual", "off"] = "off",
) -> AsyncIterator[tuple[Settings, Supervisor]]:
    """Start the suite in a temporary folder on free ports.

    Args:
        database_url: template with {service}; None means SQLite files.
        only: names of the processes to start; none means all.
        bank_opening: opening balance of every account at the bank.
        more: further variables of their environment; {var_dir} is filled in.
        tls_mode: plain text, as in earlier figures; what TLS costs is measured by tests.bench.security and tests.bench.tls.
    """
    with tempfile.TemporaryDirectory(prefix="yinqi-bench-") as folder:
        names = ("payment", "account", "reconciliation", "monitoring", "gateway", "sandbox_bank", "console")
        ports = {f"{name}_port": free_port() for name in names}
        settings = Settings(
            var_dir=Path(folder), tls_mode=tls_mode, **({"database_url": database_url} if database_url else {}), **ports
        )
        prepare(settings)
        config = settings.var_dir / "sandbox_bank.toml"
        lines = config.read_text("utf-8").splitlines()
        config.write_text("\n".join(f'opening = "{bank_opening}"' if x.startswith("opening") else x for x in lines))
        sink_port = free_port()
        env = {
            **suite_env(settings),
            **{f"YINQI_{name.upper()}": str(port) for name, port in ports.items()},
            **({"YINQI_DATABASE_URL": database_url} if database_url else {}),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink_port}",
            "YINQI_LOG_LEVEL": "WARNING",
            "YINQI_QUERY_INTERVAL_S": "0.5",
            **{name: value.replace("{var_dir}", folder) for name, value in more.items()},
        }
        wanted = [child for child in children(settings, env) if not only or child.name in only]
        sink = Child(SINK, [sys.executable, "-m", "tests.bench.sink", str(sink_port)], health="none")
        supervisor = Supervisor([sink, *wanted], log_dir=settings.var_dir / "log")
        await supervisor.start(healthy_within_s=300)
        try:
            await asyncio.sleep(1.0)  # Let start-up work end before anything is measured.
            yield settings, supervisor
        finally:
            await supervisor.stop()
