"""Malformed messages at every door: none crashes a process, none is answered INTERNAL or UNKNOWN, memory stays flat.

`python -m tests.evidence malformed [--messages N] [--seed N]`, N messages at each door, 100,000 by default. The RPCs are
called over the wire at real servers; the readers of the bank's answers, of notices and of files and the sandbox bank
are driven in this process.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.bench.orders import instruction
from tests.bench.suite import running_suite
from tests.evidence import commit, malformed_files
from tests.evidence.malformed_calls import Answers, Requests, methods, strike
from tests.property.gateway import malformed as gateway_doors
from tests.unit.sandbox_bank import door_storm

from yinqi.api.payment.v1 import payment_service_pb2
from yinqi.demo.sisters import Sisters
from yinqi.runtime.settings import Settings
from yinqi.runtime.supervisor import Supervisor
from yinqi.runtime.telemetry import configure_telemetry

MESSAGES, MESSAGES_SHORT, SEED = 100_000, 1_500, 20_261_122
# What a process may grow by after a tenth of the messages: allocators keep what the largest message took.
GROWTH_MIB = 64
SERVICES = ("payment", "account", "reconciliation", "monitoring", "gateway")


@dataclass
class Door:
    """What one door did. `grown_mib`: memory after all messages over memory after the first tenth."""

    name: str
    messages: int
    counts: Counter[str]
    wrong: list[str]
    grown_mib: float
    seconds: float


def malformed(short: bool, *, messages: int | None = None, seed: int = SEED) -> None:
    """Knock at all doors, print a table, raise AssertionError where one did not hold."""
    count = messages or (MESSAGES_SHORT if short else MESSAGES)
    print(f"{count:,} messages at each door, seed {seed}, commit {commit()}", flush=True)
    doors: list[Door] = []
    with tempfile.TemporaryDirectory(prefix="yinqi-doors-") as folder:
        for name, knock in _in_process(Path(folder), seed).items():
            doors.append(_measured(name, count, knock))
            _print(doors[-1])
    for door in asyncio.run(knock_at_services(count, seed)):
        doors.append(door)
        _print(door)
    assert not (wrong := [one for door in doors for one in door.wrong]), wrong[:5]
    assert not (grown := [door.name for door in doors if door.grown_mib > GROWTH_MIB]), f"memory grew: {grown}"


Knock = Callable[[int, int], tuple[Counter[str], list[str]]]


def _in_process(folder: Path, seed: int) -> dict[str, Knock]:
    def answers(count: int, part: int) -> tuple[Counter[str], list[str]]:
        found = gateway_doors.run(count, seed + part, folder)
        return found.counts, found.crashes + found.wrongly_believed

    def notices(count: int, part: int) -> tuple[Counter[str], list[str]]:
        found = gateway_doors.run(count, seed + part, folder, only="BBNOTICE")
        return found.counts, found.crashes + found.wrongly_believed

    def files(count: int, part: int) -> tuple[Counter[str], list[str]]:
        found = malformed_files.run(count, seed + part)
        return found.counts, found.crashes

    storm: list[door_storm.Storm] = []

    def bank(count: int, part: int) -> tuple[Counter[str], list[str]]:
        if not storm:
            storm.append(door_storm.Storm(folder, seed))
        said: Counter[str] = Counter()
        wrong: list[str] = []
        for number in range(count):
            try:
                said[storm[0].strike()] += 1
            except Exception as error:  # noqa: BLE001 (that is what is looked for)
                wrong.append(f"sandbox bank #{number}: {type(error).__name__}: {error}"[:300])
        unsound = {name for name, n in storm[0].bank.judge(with_payments=False)["integrity"].items() if n}
        # That one is a fault of a loaded script.
        return said, wrong + [f"the bank's book: {name}" for name in unsound - {"debited_without_payment"}]

    return {"bank answers and notices": answers, "notices": notices, "files": files, "sandbox bank": bank}


def _measured(name: str, count: int, knock: Knock) -> Door:
    start = time.monotonic()
    counts, wrong = knock(max(1, count // 10), 0)
    before = psutil.Process().memory_info().rss
    more, more_wrong = knock(count - max(1, count // 10), 1)
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    return Door(name, count, counts + more, wrong + more_wrong, grown, time.monotonic() - start)


async def knock_at_services(count: int, seed: int) -> list[Door]:
    """Call every RPC of the five services with malformed requests; one door per service's process."""
    async with running_suite(None) as (settings, supervisor):
        ids = await _payments(settings)
        content = malformed_files.originals()["camt.053"][0]
        addresses = {service: settings.address_of(service) for service in SERVICES}
        requests, answers = Requests(seed, ids, content), Answers()
        processes = {s.name: psutil.Process(s.pid) for s in supervisor.states() if s.pid and s.name in SERVICES}
        start = time.monotonic()
        await strike(addresses, max(1, count // 10), requests, answers)
        before = {name: process.memory_info().rss for name, process in processes.items()}
        await strike(addresses, count - max(1, count // 10), requests, answers)
        seconds = time.monotonic() - start
        return [_door(count, answers, supervisor, processes, before, seconds)]


def _door(
    count: int,
    answers: Answers,
    supervisor: Supervisor,
    processes: dict[str, psutil.Process],
    before: dict[str, int],
    seconds: float,
) -> Door:
    wrong = [f"{case} {times} times, e.g. {answers.samples[case]}" for case, times in answers.forbidden.items()]
    wrong += [f"{s.name} ended {s.restarts} times" for s in supervisor.states() if s.restarts]
    grown = {name: (process.memory_info().rss - before[name]) / 2**20 for name, process in processes.items()}
    print(f"  slowest answer {answers.slowest_s:.2f} s of calls made side by side: {answers.slowest}")
    print("  memory by process: " + ", ".join(f"{name} {mib:+.1f} MiB" for name, mib in grown.items()))
    rpcs = sum(len(its) for its in methods().values())
    return Door(f"{rpcs} RPCs of 5 services", count, answers.codes, wrong, max(grown.values()), seconds)


async def _payments(settings: Settings) -> list[str]:
    """Record a few good payments; return their ids, so that some requests are about something that is there."""
    async with AsyncExitStack() as stack:
        telemetry = configure_telemetry("storm", settings)
        stack.callback(telemetry.shutdown)
        sisters = Sisters(settings, telemetry, stack)
        await sisters.open()
        lines = [instruction(number, "storm") for number in range(20)]
        request = payment_service_pb2.InitiatePaymentsRequest(instructions=lines)
        response = await sisters.payment.InitiatePayments(request, timeout=60)
        return [text for one in response.outcomes for text in (one.instruction_id, one.end_to_end_id)]


def _print(door: Door) -> None:
    print(
        f"{door.name:<26} {door.messages:>8,} messages, {len(door.counts)} kinds of answer, wrong {len(door.wrong)}, "
        f"memory {door.grown_mib:+.1f} MiB, {door.seconds:,.0f} s ({door.messages / door.seconds:,.0f}/s)",
        flush=True,
    )
    print("  " + ", ".join(f"{name} {count:,}" for name, count in door.counts.most_common(12)), flush=True)
    for case in door.wrong[:20]:
        print(f"  WRONG {case}", flush=True)
