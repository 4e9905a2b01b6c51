"""This folder's modules, and the company of the order tests, importable by their plain names."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(TESTS / "unit" / "orders")]
