"""Never twice without proof: N payments through real processes and a bank that misbehaves at given rates.

`python -m tests.evidence faults [--payments N] [--seed N]`. 10 % of the messages with payments and of the queries lose
their answer, 2 % of the messages are lost, 1 % arrive late, 2 % of the payments are refused an hour later, 1 % come
back the next day, 1 % of the queries may not look, 5 % of the lines are handed in again, 5 % of the notices come twice
and a third of them never. The bank takes every duplicate as new, so that nothing but our own care stops a double debit.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.bench.orders import instruction
from tests.evidence import commit
from tests.evidence.fault_suite import ACCOUNTS, LATE_REJECT_AFTER_S, running_suite
from tests.evidence.fault_verdict import FINAL, Verdict, feed_lag, judge

from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.demo.sisters import Sisters, patiently
from yinqi.demo.suite import SANDBOX_BANK
from yinqi.runtime.settings import Settings
from yinqi.runtime.telemetry import configure_telemetry

PAYMENTS, PAYMENTS_SHORT, SEED = 100_000, 2_000, 20_261_122
LINES = 500
REPEATED, ALTERED = 0.05, 0.005
_POLL_S = 2.0
_STATUS = {value: name.removeprefix("PAYMENT_STATUS_") for name, value in payment_pb2.PaymentStatus.items()}


@dataclass
class Run:
    """What happened, as the callers, the clock and the bank saw it."""

    accepted: dict[str, str] = field(default_factory=dict)
    repeats: int = 0
    altered: int = 0
    book: dict[str, Any] = field(default_factory=dict)
    fired: dict[str, Any] = field(default_factory=dict)
    notices: dict[str, Any] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    phases_s: dict[str, float] = field(default_factory=dict)


def faults(short: bool, *, payments: int | None = None, seed: int = SEED) -> None:
    """Run, print the table, raise AssertionError where a promise is broken."""
    count = payments or (PAYMENTS_SHORT if short else PAYMENTS)
    run, verdict = asyncio.run(play(count, seed))
    print(table(run, verdict, count, seed), flush=True)
    assert not verdict.failures, "; ".join(f"{name}: {its[:3]}" for name, its in verdict.failures.items())
    assert not any(run.restarts.values()), f"processes ended by themselves: {run.restarts}"


async def play(count: int, seed: int) -> tuple[Run, Verdict]:
    """Live through the run; judge it while the suite's folder is still there."""
    run = Run()
    async with running_suite(seed, count) as (settings, supervisor):
        async with AsyncExitStack() as stack:
            telemetry = configure_telemetry("erp", settings)
            stack.callback(telemetry.shutdown)
            sisters = Sisters(settings, telemetry, stack)
            await sisters.open()
            bank = await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"http://{settings.address_of(SANDBOX_BANK)}", trust_env=False, timeout=600.0
                )
            )
            await _phases(run, settings, sisters, bank, count, random.Random(seed))
            run.restarts = {state.name: state.restarts for state in supervisor.states()}
        return run, judge(settings.var_dir, run.accepted, run.book)


async def _phases(
    run: Run, settings: Settings, sisters: Sisters, bank: httpx.AsyncClient, count: int, dice: random.Random
) -> None:
    mark = time.monotonic()

    def phase(name: str) -> None:
        nonlocal mark
        run.phases_s[name] = time.monotonic() - mark
        print(f"  {name}: {run.phases_s[name]:.1f} s", flush=True)
        mark = time.monotonic()

    await _hand_in(run, sisters, count, dice)
    phase("handed in")
    await _until(sisters, {"RECEIVED", "SCREENED", "SCHEDULED", "SUBMITTING", "UNKNOWN"}, limit_s=60 + count * 0.05)
    phase("nothing in doubt")
    await _clock(bank, advance_seconds=LATE_REJECT_AFTER_S + 60)
    await _until(sisters, set(_STATUS.values()) - FINAL, limit_s=120 + count * 0.05)
    phase("late rejects heard, all final")
    await _clock(bank, advance_days=1)
    await _until_returns(sisters, bank, limit_s=60 + count * 0.01)
    phase("next day's returns heard")
    await _until_followed(settings)
    run.book = await _get(bank, "/control/book")
    run.fired = await _get(bank, "/control/faults?limit=1")
    run.notices = await _get(bank, "/control/notices")
    phase("books closed")


async def _hand_in(run: Run, sisters: Sisters, count: int, dice: random.Random) -> None:
    """Hand in all lines, some of them again, some again with another amount under the same end_to_end_id."""
    known: list[payment_pb2.PaymentInstruction] = []
    for start in range(0, count, LINES):
        new = [_line(number) for number in range(start, min(start + LINES, count))]
        again = [line for line in (*known, *new) if dice.random() < REPEATED]
        altered = [_altered(line) for line in new if dice.random() < ALTERED]
        await _call(run, sisters, new, payment_service_pb2.INITIATION_RESULT_RECORDED)
        await _call(run, sisters, again, payment_service_pb2.INITIATION_RESULT_ALREADY_RECORDED)
        await _call(run, sisters, altered, payment_service_pb2.INITIATION_RESULT_REFUSED)
        run.repeats += len(again)
        run.altered += len(altered)
        known = new


async def _call(run: Run, sisters: Sisters, lines: list[payment_pb2.PaymentInstruction], expected: int) -> None:
    if not lines:
        return
    request = payment_service_pb2.InitiatePaymentsRequest(instructions=lines)
    response = await patiently(lambda: sisters.payment.InitiatePayments(request, timeout=60))
    for outcome in response.outcomes:
        assert outcome.result == expected, f"{outcome.end_to_end_id}: {outcome}"
        if outcome.instruction_id:
            first = run.accepted.setdefault(outcome.end_to_end_id, outcome.instruction_id)
            assert first == outcome.instruction_id, f"{outcome.end_to_end_id} was given two references"


def _line(number: int) -> payment_pb2.PaymentInstruction:
    line = instruction(number, "flood")
    line.debtor_account.identification = ACCOUNTS[number % len(ACCOUNTS)]
    return line


def _altered(line: payment_pb2.PaymentInstruction) -> payment_pb2.PaymentInstruction:
    other = payment_pb2.PaymentInstruction()
    other.CopyFrom(line)
    other.instructed_amount.minor_units += 1
    return other


async def _until(sisters: Sisters, statuses: set[str], *, limit_s: float) -> None:
    """Wait until no payment is in one of the statuses, or the people's queue is all that holds them."""
    end_at = told_at = time.monotonic()
    end_at += limit_s
    while time.monotonic() < end_at:
        counts = await _counts(sisters)
        if not any(counts[status] for status in statuses):
            return
        if time.monotonic() - told_at > 30:
            told_at = time.monotonic()
            print(f"    {dict(counts)}", flush=True)
        await asyncio.sleep(_POLL_S)
    print(f"    after {limit_s:.0f} s still: {dict(counts)}", flush=True)


async def _until_returns(sisters: Sisters, bank: httpx.AsyncClient, *, limit_s: float) -> None:
    returned = (await _get(bank, "/control/book?payments=false"))["totals"]["returned"]
    end_at = time.monotonic() + limit_s
    while time.monotonic() < end_at:
        if (await _counts(sisters))["RETURNED"] >= returned:
            return
        await asyncio.sleep(_POLL_S)


async def _counts(sisters: Sisters) -> Counter[str]:
    request = payment_service_pb2.CountPaymentsRequest()
    response = await patiently(lambda: sisters.payment.CountPayments(request, timeout=120))
    counts = Counter[str]()
    for one in response.counts:
        counts[_STATUS[one.status]] += one.count
    return counts


async def _until_followed(settings: Settings) -> None:
    for _ in range(300):
        if not feed_lag(settings.var_dir):
            return
        await asyncio.sleep(_POLL_S)


async def _clock(bank: httpx.AsyncClient, **move: int) -> None:
    (await bank.post("/control/clock", json=move)).raise_for_status()


async def _get(bank: httpx.AsyncClient, path: str) -> dict[str, Any]:
    response = await bank.get(path)
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found


def table(run: Run, verdict: Verdict, count: int, seed: int) -> str:
    """Return the evidence as text."""
    seconds = sum(run.phases_s.values())
    sent_s = run.phases_s["handed in"] + run.phases_s["nothing in doubt"]
    submits = sum(verdict.calls[name] for name in ("BB1PAYOP", "BB1PAYBH"))
    queries = verdict.calls["BB1PAYQR"]
    looked_at = {
        "lost answers": submits,
        "lost requests": submits,
        "requests that arrive late": submits,
        "late rejects": count,
        "late rejects after the debit": count,
        "returns": count,
        "permission-blind queries": queries,
        "lost answers to queries": queries + verdict.calls["BB1QRYOB"],
        "duplicated notices": run.notices["made"],
        "lost notices": run.notices["made"],
    }
    lines = [
        f"N {count:,} payments, seed {seed}, commit {commit()}, SQLite, 6 processes",
        "injected, as the bank counted (of what was looked at):",
        *(
            f"  {rule['name']:<42} {rule['applied']:>8,}{_share(rule['applied'], looked_at.get(rule['name']))}"
            for rule in run.fired["rules"]
        ),
        f"  {'lines handed in again / altered':<42} {run.repeats:>8,} / {run.altered:,} (all answered as before / all refused)",
        f"notices made {run.notices['made']:,}, sent {run.notices['attempts']:,} times",
        f"payments that were in doubt                  {verdict.in_doubt:>8,}",
        f"double debits                                {len(verdict.double_debits):>8,}",
        f"lost                                         {len(verdict.lost):>8,}",
        f"resends / permits / resends without permit   {verdict.resends:>8,} / {verdict.permits:,} / {len(verdict.without_permit)}",
        f"final status differs from the bank's book    {len(verdict.contradicted):>8,}",
        f"neither final nor in a person's queue        {len(verdict.ownerless):>8,}",
        f"books that do not add up                     {len(verdict.broken_books):>8,}",
        f"by status                                    {dict(verdict.by_status)}",
        f"people's queue by reason                     {dict(verdict.queue) or 'empty'}",
        f"time {seconds:,.0f} s; {count / sent_s:,.0f} payments/s until nothing was in doubt, {count / seconds:,.0f} over all",
    ]
    return "\n".join(lines)


def _share(struck: int, of: int | None) -> str:
    return f" of {of:,} ({struck / of:.1%})" if of else ""
