"""Secrets that go through the whole running system are in no log, span, error text, alert or core afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.evidence.canaries import scatter_and_search

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


async def test_no_canary_is_found_where_none_may_be() -> None:
    found = await scatter_and_search(100)
    assert found.canaries >= 100
    assert found.leaks == {}
    assert found.cores == []
    assert found.sealed_hits == {}
