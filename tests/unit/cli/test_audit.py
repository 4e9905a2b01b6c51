"""`yinqi audit`: export, check without services, receipts; what people read and the exit codes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from yinqi.cli import app
from yinqi.demo.journals import check_own_journals, journal_tables
from yinqi.demo.suite import SERVICES
from yinqi.kernel.clock import SystemClock
from yinqi.reconciliation.tables import metadata
from yinqi.runtime.database import Database
from yinqi.runtime.journal.sealer import JournalSealer, open_sealer
from yinqi.runtime.journal.seals import journals_of
from yinqi.runtime.migrations import migrate
from yinqi.runtime.settings import Settings

ROW = "INSERT INTO reconciliation_events (occurred_at, type, break_id, run_id, actor) VALUES (1, 'BREAK_OPENED', 'B', 'R', ?)"


@pytest.fixture
def var_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the journal of one service: three rows, sealed, outside too."""
    settings = Settings(var_dir=tmp_path)
    monkeypatch.setenv("YINQI_VAR_DIR", str(tmp_path))
    migrate(settings.database_url_of("reconciliation"), "reconciliation")
    edit(tmp_path, ROW, "someone")
    edit(tmp_path, ROW, "another")
    edit(tmp_path, ROW, "a third")
    seal(settings)
    return tmp_path


def seal(settings: Settings) -> None:
    database = Database.open(settings.database_url_of("reconciliation"))

    async def run() -> JournalSealer:
        sealer = await open_sealer("reconciliation", database, metadata, settings, SystemClock())
        await sealer.finish()
        return sealer

    try:
        asyncio.run(run())
    finally:
        database.close()


def edit(var_dir: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(var_dir / "reconciliation.db") as connection:
        connection.execute(statement, values)
    connection.close()


def yinqi(*words: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, words)])


def exported(var_dir: Path) -> Path:
    file = var_dir / "audit.jsonl"
    result = yinqi("export", "reconciliation", "--output", file)
    assert result.exit_code == 0, result.output
    assert file.stat().st_mode & 0o777 == 0o600
    return file


def test_an_untouched_journal_is_good_and_says_what_is_not_shown(var_dir: Path) -> None:
    file, outside = exported(var_dir), var_dir / "journal"
    result = yinqi("verify", file, "--checkpoints", outside, "--public-key", outside)
    assert result.exit_code == 0, result.output
    assert "3 rows are as they were sealed" in result.output
    alone = yinqi("verify", file)
    assert alone.exit_code == 0
    assert "no public key was given" in alone.output
    assert "未提供库外封条" in alone.output


def test_the_first_bad_row_is_named_in_both_languages(var_dir: Path) -> None:
    edit(var_dir, "UPDATE reconciliation_events SET actor = 'nobody' WHERE sequence = 2")
    file = exported(var_dir)
    result = yinqi("verify", file)
    assert result.exit_code == 1
    assert "row 2 (position 2) was changed after it was sealed" in " ".join(result.output.split())
    assert "封存后被改动" in result.output
    report = json.loads(yinqi("verify", file, "--json").stdout)
    assert [(fault["kind"], fault["sequence"]) for fault in report["faults"]] == [("CHANGED", 2)]


def test_a_cut_tail_is_found_by_seals_outside_and_by_a_receipt(var_dir: Path) -> None:
    receipt = yinqi("receipt", "reconciliation").stdout
    slip = var_dir / "receipt.txt"
    slip.write_text(receipt, "utf-8")
    assert yinqi("verify", exported(var_dir), "--receipt", receipt.splitlines()[0]).exit_code == 0
    edit(var_dir, "DELETE FROM reconciliation_events")
    edit(var_dir, "DELETE FROM journal_seals")
    file = exported(var_dir)
    assert yinqi("verify", file).exit_code == 0
    assert yinqi("verify", file, "--receipt", slip).exit_code == 1
    result = yinqi("verify", file, "--checkpoints", var_dir / "journal")
    assert result.exit_code == 1
    assert "row 1 (position 1) and all after it were sealed" in " ".join(result.output.split())


def test_a_cut_tail_is_found_by_the_seals_in_another_database(var_dir: Path) -> None:
    other = f"sqlite:///{var_dir}/elsewhere.db"
    seal(Settings(var_dir=var_dir, journal_checkpoint_urls=other))
    good = yinqi("verify", exported(var_dir), "--checkpoints", other)
    assert good.exit_code == 0, good.output
    edit(var_dir, "DELETE FROM reconciliation_events")
    edit(var_dir, "DELETE FROM journal_seals")
    cut = yinqi("verify", exported(var_dir), "--checkpoints", other)
    assert cut.exit_code == 1
    away = yinqi("verify", exported(var_dir), "--checkpoints", f"sqlite:///{var_dir}/nowhere/x.db")
    assert away.exit_code not in (0, 1)
    assert "cannot be read" in away.output


def test_what_cannot_be_read_is_told_in_words(var_dir: Path) -> None:
    assert yinqi("verify", var_dir / "nothing.jsonl").exit_code == 4
    assert yinqi("export", "payment", "--output", var_dir / "x").exit_code == 1
    assert yinqi("export", "--output", var_dir / "x").exit_code == 4
    file = exported(var_dir)
    wrong = yinqi("verify", file, "--receipt", "reconciliation:x")
    assert wrong.exit_code == 4
    assert "a receipt reads" in wrong.output
    assert yinqi("verify", file, "--public-key", file).exit_code == 4
    file.write_text("not an export\n", "utf-8")
    assert yinqi("verify", file).exit_code == 1


def test_every_service_has_journals_that_its_migrations_make(tmp_path: Path, sqlite_url: str) -> None:
    settings = Settings(var_dir=tmp_path)
    for service in SERVICES:
        migrate(settings.database_url_of(service), service)
        assert journal_tables(service), service
    report = check_own_journals(settings)
    assert report.is_good, [fault.words for fault in report.faults]
    assert sorted(report.journals) == sorted(name for service in SERVICES for name in journal_tables(service))
    assert journals_of("reconciliation", metadata) == journal_tables("reconciliation")
