"""Seeded rubbish made of real files: every reader answers with lines, refusals or a typed error, never with another."""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.evidence.malformed_files import originals, rubbish, run

from yinqi.intake.line import FileRefused
from yinqi.intake.reader import read_payment_file


def test_spoilt_files_are_refused_in_words() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl's, about parts that it passes over
        outcome = run(600, 20261122)
    assert outcome.crashes == []
    assert {
        "csv read",
        "csv ENCODING",
        "pain.001 XML_MALFORMED",
        "camt.053 XML_MALFORMED",
        "xlsx WORKBOOK_DAMAGED",
    } <= set(outcome.counts)


def test_a_workbook_whose_directory_points_outside_it_is_refused() -> None:
    (good,) = originals()["xlsx"]
    with pytest.raises(FileRefused, match="workbook"):
        read_payment_file(good[:100] + good[130:])


def test_the_same_seed_makes_the_same_files() -> None:
    assert [rubbish("csv", random.Random(7)) for _ in range(2)] == [rubbish("csv", random.Random(7)) for _ in range(2)]
