"""Bundles of real payments, and this folder's modules importable by their plain names."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "orders"))
sys.path.insert(0, str(Path(__file__).parents[3]))
from evidence_house import Bundles, scenario


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """What the house made, once."""
    return asyncio.run(scenario(tmp_path_factory.mktemp("evidence")))
