"""House rules that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    p for p in (ROOT / "services/yinqi").rglob("*.py") if "api" not in p.relative_to(ROOT / "services/yinqi").parts[:1]
]
FORBIDDEN_FILE_NAMES = {"utils.py", "helpers.py", "common.py", "manager.py", "data.py", "info.py", "misc.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_services_use_no_assert_and_no_empty_except(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno} uses assert"
        if isinstance(node, ast.ExceptHandler):
            swallows = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            catches_all = node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            assert not (swallows and catches_all), f"{path}:{node.lineno} hides every error"


def test_files_have_names_that_say_something() -> None:
    assert not [p for p in SOURCES if p.name in FORBIDDEN_FILE_NAMES]


# The sandbox bank sends some amounts as JSON numbers on purpose: a trap that real banks set.
OUR_SIDE = [p for p in SOURCES if "sandbox_bank" not in p.parts]


@pytest.mark.parametrize("path", OUR_SIDE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_float_touches_an_amount(path: Path) -> None:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        assert not re.search(r"float\([^)]*(amount|minor_units|balance)", line), f"{path}:{number}"


# ISO 20022 words only (docs/architecture.md, names): these everyday words would name the same things twice.
FORBIDDEN_TERMS = re.compile(r"\b(payer|payee|beneficiary|sort_code|iban_number|txn_id|acct_no)\b")


def test_protos_and_tables_use_iso_20022_words() -> None:
    protos = list((ROOT / "protos").rglob("*.proto"))
    repositories = list((ROOT / "services/yinqi").rglob("repository.py"))
    for path in protos + repositories:
        found = FORBIDDEN_TERMS.search(path.read_text("utf-8"))
        assert found is None, f"{path} says {found.group() if found else ''}"
