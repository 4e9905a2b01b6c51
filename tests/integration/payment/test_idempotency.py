"""Many callers repeat themselves, some of them with another body: one payment per key, one answer."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

from payment_builders import NOW, instruction_message
from running import House
from sqlalchemy import func, select

from yinqi.api.payment.v1 import payment_pb2, payment_service_pb2
from yinqi.payment import mapping
from yinqi.payment.model import AlreadyRecorded, Recorded
from yinqi.payment.tables import payment_events, payments
from yinqi.runtime.database import Database

API = payment_service_pb2
ACCEPTED = {API.INITIATION_RESULT_RECORDED, API.INITIATION_RESULT_ALREADY_RECORDED}


def _line(key: int, caller: int, is_altered: bool) -> payment_pb2.PaymentInstruction:
    """The line of a key; an altered one differs from every other. Screening stops them all: nothing else has to run."""
    amount = 100_000 + key + (1_000_000 * (caller + 1) if is_altered else 0)
    return instruction_message(f"K-{key}", creditor__name="制裁名单", instructed_amount__minor_units=amount)


def _facts(outcome: payment_service_pb2.InitiationOutcome) -> bytes:
    """The answer without the word that says whether this call or an earlier one recorded it (decision D-054)."""
    plain = payment_service_pb2.InitiationOutcome()
    plain.CopyFrom(outcome)
    plain.result = API.INITIATION_RESULT_UNSPECIFIED
    return plain.SerializeToString(deterministic=True)


async def _race(house: House, keys: int, callers: int, seed: int) -> None:
    """Every caller sends every key in its own order and all at once; a tenth of the bodies is altered."""
    dice = random.Random(seed)
    # Of the first half the true body is recorded before; of the others whoever comes first is right.
    await house.initiate(*(_line(key, -1, False) for key in range(keys // 2)))
    calls = []
    for caller in range(callers):
        lines = [_line(key, caller, dice.random() < 0.1) for key in range(keys)]
        dice.shuffle(lines)
        calls.append(lines)
    answers = await asyncio.gather(*(house.initiate(*lines) for lines in calls))
    accepted: dict[str, set[int]] = defaultdict(set)
    facts: dict[str, set[bytes]] = defaultdict(set)
    refused: dict[str, set[int]] = defaultdict(set)
    recorded: dict[str, int] = defaultdict(int)
    for lines, answer in zip(calls, answers, strict=True):
        for line, outcome in zip(lines, answer.outcomes, strict=True):
            key, amount = line.end_to_end_id, line.instructed_amount.minor_units
            if outcome.result in ACCEPTED:
                accepted[key].add(amount)
                facts[key].add(_facts(outcome))
                recorded[key] += outcome.result == API.INITIATION_RESULT_RECORDED
            else:
                assert outcome.error.reason == "END_TO_END_ID_REUSED"
                refused[key].add(amount)
    for key in range(keys):
        name = f"K-{key}"
        assert len(accepted[name]) == 1, "one body per key"
        assert len(facts[name]) == 1, "one answer per key, byte for byte"
        assert not accepted[name] & refused[name], "every other body is refused"
        assert recorded[name] == (0 if key < keys // 2 else 1)
        if key < keys // 2:
            assert accepted[name] == {100_000 + key}


def _stored(database: Database) -> tuple[int, int, int]:
    """Payments, keys and first journal lines, which are also the feed's."""
    return database.read_sync(
        lambda connection: (
            connection.execute(select(func.count()).select_from(payments)).scalar_one(),
            connection.execute(select(func.count(payments.c.end_to_end_id.distinct()))).scalar_one(),
            connection.execute(
                select(func.count(payment_events.c.instruction_id.distinct())).where(
                    payment_events.c.type == "payment.received"
                )
            ).scalar_one(),
        )
    )


async def test_a_thousand_keys_fifty_times_each_are_a_thousand_payments_with_one_answer_each(
    sqlite_house: House, sqlite_url: str, open_database: Any
):
    await _race(sqlite_house, keys=1_000, callers=50, seed=4)
    assert _stored(open_database(sqlite_url)) == (1_000, 1_000, 1_000)


async def test_the_same_on_postgresql(house: House, database_url: str, open_database: Any):
    await _race(house, keys=100, callers=20, seed=5)
    assert _stored(open_database(database_url)) == (100, 100, 100)


async def test_unary_callers_race_as_well(sqlite_house: House):
    lines = [_line(key, 0, False) for key in range(20)]
    calls = [
        sqlite_house.stub.InitiatePayment(API.InitiatePaymentRequest(instruction=line), timeout=60)
        for _ in range(25)
        for line in lines
    ]
    answers = await asyncio.gather(*calls)
    assert len({_facts(answer.outcome) for answer in answers}) == 20
    assert sum(answer.outcome.result == API.INITIATION_RESULT_RECORDED for answer in answers) == 20


def test_an_answer_is_made_of_what_is_stored_with_the_key_and_of_nothing_else():
    """Pinned: whoever changes these bytes breaks the promise to repeat the first answer."""
    first = mapping.outcome_to("INV-1", Recorded("PI0001", NOW))
    again = mapping.outcome_to("INV-1", AlreadyRecorded("PI0001", NOW))
    assert first.SerializeToString(deterministic=True).hex() == ("0a05494e562d3110011a06504930303031220608c0d189d806")
    assert _facts(first) == _facts(again)
