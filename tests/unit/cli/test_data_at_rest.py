"""`yinqi data`: keys made, listed, rotated and rewrapped, and rows of before sealed, beside a service or without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from yinqi.cli import app
from yinqi.demo.sealed_data import SEALING_SERVICES, sealed_tables
from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate


@pytest.fixture
def var_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("YINQI_VAR_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["data", *words])
    assert result.exit_code == code, result.output
    return result.output


def test_keys_are_made_listed_rotated_and_rewrapped(var_dir: Path) -> None:
    url = f"sqlite:///{var_dir}/payment.db"
    migrate(url, "payment")
    assert "sealing/payment/0001.kek" in run("create-key", "payment").replace("\n", "")
    assert "0 of 0 rows" in run("reseal", "payment", "--rows", "2")
    assert "index" in run("keys", "payment")
    run("create-key", "payment", "--algorithm", "aes-256-gcm")
    assert "payment: 1 data keys rewrapped" in run("rewrap", "payment")
    assert "payment: 0 data keys rewrapped" in run("rewrap", "payment")
    assert "payment: 0 new data keys" in run("rotate", "payment")
    Database.open(url).close()  # nothing was left open


def test_without_a_key_it_says_what_to_do(var_dir: Path) -> None:
    migrate(f"sqlite:///{var_dir}/payment.db", "payment")
    assert "create-key" in run("keys", "payment", code=1)


@pytest.mark.parametrize("service", SEALING_SERVICES)
def test_what_is_sealed_is_in_the_tables_and_its_row_is_named_by_what_never_changes(service: str) -> None:
    for sealed in sealed_tables(service):
        names = sealed.table.c.keys()
        assert set(sealed.row) <= set(names)
        assert set(sealed.columns) <= set(names)
        assert not set(sealed.row) & set(sealed.fields)
