"""Where the vectors are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).parents[2] / "vectors"


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of test vectors."""
    return VECTORS


@pytest.fixture(scope="session")
def read_vectors() -> Callable[[str], Any]:
    """A function that reads one JSON file of vectors."""
    return lambda name: json.loads((VECTORS / name).read_text(encoding="utf-8"))
