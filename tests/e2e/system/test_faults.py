"""A thousand payments through real processes and a bank that misbehaves: nothing twice, nothing lost, nothing unowned."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.evidence.faults import SEED, play, table

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
PAYMENTS = 1_000


async def test_no_payment_is_made_twice_or_lost_at_a_bank_that_takes_every_duplicate() -> None:
    run, verdict = await play(PAYMENTS, SEED)
    print(table(run, verdict, PAYMENTS, SEED))
    assert verdict.failures == {}
    assert verdict.by_status.total() == len(run.accepted) == PAYMENTS
    assert not any(run.restarts.values())
    struck = {rule["name"]: rule["applied"] for rule in run.fired["rules"]}
    assert struck["lost answers"] > 0
    assert struck["one lost request early, for short runs"] == struck["one blind query early, for short runs"] == 1
    assert verdict.resends == verdict.permits > 0
    assert verdict.by_status["REJECTED"] > 0
    assert verdict.by_status["RETURNED"] > 0
