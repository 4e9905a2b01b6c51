"""Malformed requests at every RPC of the five real services: refused in words, never INTERNAL or UNKNOWN, nobody ends."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.evidence.malformed import GROWTH_MIB, SEED, knock_at_services
from tests.evidence.malformed_calls import methods

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
CALLS = 700


async def test_no_request_ends_a_service_or_is_answered_internal() -> None:
    assert sum(len(its) for its in methods().values()) >= 35
    for door in await knock_at_services(CALLS, SEED):
        assert door.wrong == []
        assert door.counts.total() == CALLS
        assert door.counts["INVALID_ARGUMENT"] > CALLS // 5
        assert door.counts["OK"] > CALLS // 20
        assert door.grown_mib < GROWTH_MIB
