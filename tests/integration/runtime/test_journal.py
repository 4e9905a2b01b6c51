"""Sealed journals on both stores: what is sealed verifies, what was touched is named, whoever dies or races."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from sqlalchemy import Boolean, Column, Date, LargeBinary, MetaData, String, Table, text
from tests.evidence.journal import KINDS, is_named, sealed_journal

from yinqi.crypto import Signer, SigningKey
from yinqi.kernel.clock import FixedClock
from yinqi.runtime import feed
from yinqi.runtime.database import Database
from yinqi.runtime.journal.chain import canonical, lines_of
from yinqi.runtime.journal.export import export_journal, header
from yinqi.runtime.journal.findings import FaultKind, Report
from yinqi.runtime.journal.keys import PublicKey, key_id_of
from yinqi.runtime.journal.outside import JournalTampered
from yinqi.runtime.journal.outside_store import lines_in_store
from yinqi.runtime.journal.sealer import JournalSealer
from yinqi.runtime.journal.seals import SEAL_TABLE, column_names, head_of, journals_of, rows_after, seal_columns
from yinqi.runtime.journal.verify import Copies, Receipt, verify
from yinqi.runtime.migrations import migrate, versions_folder

DAY = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)
MADE_AT = "2026-11-23T00:00:00.000000Z"
STREAM = "test.happening"
metadata = MetaData()
happening = feed.event_table(
    "happening",
    metadata,
    Column("word", String(200)),
    Column("is_final", Boolean),
    Column("day", Date),
    Column("content", LargeBinary),
)
KEY = SigningKey.from_bytes(b"\x07" * 32)  # the same in the child that is killed
SIGNER = Signer.from_key(KEY, key_id_of(Signer.from_key(KEY).public_key()))
PUBLIC_KEY = PublicKey(SIGNER.public_key())


def rows(count: int, word: str = "发生") -> list[dict[str, Any]]:
    return [
        {
            "occurred_at": NOW,
            "word": f"{word} {n}",
            "is_final": n % 2 == 0,
            "day": DAY,
            "content": b"\0\xff",
        }
        for n in range(count)
    ]


def sealer_of(database: Database, folder: Path, *, rows_max: int = 50) -> JournalSealer:
    return JournalSealer(
        database, journals_of("test", metadata), SIGNER, [folder], FixedClock(NOW), rows_max=rows_max, interval_s=0.01
    )


def prepare(database: Database) -> None:
    database.run_sync(metadata.create_all)
    database.run_sync(lambda c: Table(SEAL_TABLE, MetaData(), *seal_columns()).create(c, checkfirst=True))


def write(database: Database, happenings: list[dict[str, Any]]) -> None:
    database.run_sync(lambda c: feed.append(c, happening, happenings))


async def seal_all(sealer: JournalSealer) -> None:
    while await sealer.seal_once():
        pass


def export_of(database: Database) -> list[bytes]:
    def lines(connection: Any) -> list[bytes]:
        return list(lines_of([header(["test"], MADE_AT), *export_journal(connection, STREAM, happening)]))

    return database.read_sync(lines)


def checked(database: Database, folder: Path | None = None, **options: Any) -> Report:
    copies = Copies.read([folder], [PUBLIC_KEY]) if folder else None
    return verify(export_of(database), copies=copies, keys=[PUBLIC_KEY], **options)


def touch(database: Database, statement: str) -> None:
    database.run_sync(lambda c: c.execute(text(statement)) and None)


async def test_what_is_sealed_verifies_and_what_is_not_yet_is_counted(database: Database, tmp_path: Path) -> None:
    prepare(database)
    write(database, rows(120))
    await seal_all(sealer_of(database, tmp_path))
    write(database, rows(3))
    report = checked(database, tmp_path)
    result = report.journals[STREAM]
    assert report.is_good, report.faults
    assert (result.rows, result.unsealed, result.seals, result.outside_position) == (120, 3, 3, 120)
    assert result.signatures_checked == 3


@pytest.mark.parametrize(
    ("statement", "kind", "sequence"),
    [
        ("UPDATE happening SET word = 'x' WHERE sequence = 77", FaultKind.CHANGED, 77),
        ("UPDATE happening SET word = NULL WHERE sequence = 120", FaultKind.CHANGED, 120),
        ("UPDATE happening SET is_final = NOT is_final WHERE sequence = 1", FaultKind.CHANGED, 1),
        ("UPDATE happening SET occurred_at = occurred_at + 1 WHERE sequence = 50", FaultKind.CHANGED, 50),
        ("DELETE FROM happening WHERE sequence = 51", FaultKind.DELETED, 51),
        ("INSERT INTO happening (sequence, occurred_at) VALUES (0, 1)", FaultKind.INSERTED, 0),
        ("DELETE FROM journal_seals WHERE first_position = 51", FaultKind.INSERTED, 51),
        ("UPDATE journal_seals SET signature = previous_hash WHERE first_position = 51", FaultKind.SIGNATURE_WRONG, 51),
        ("DELETE FROM journal_seals WHERE first_position > 50", FaultKind.CUT, 51),
    ],
)
async def test_the_row_that_was_touched_is_named(
    database: Database, tmp_path: Path, statement: str, kind: FaultKind, sequence: int
) -> None:
    prepare(database)
    write(database, rows(120))
    await seal_all(sealer_of(database, tmp_path))
    touch(database, statement)
    first = checked(database, tmp_path).faults[0]
    assert (first.kind, first.sequence) == (kind, sequence), first.words


async def test_without_seals_from_outside_a_cut_tail_is_not_shown_and_said_so(
    database: Database, tmp_path: Path
) -> None:
    prepare(database)
    write(database, rows(60))
    await seal_all(sealer_of(database, tmp_path))
    hash_ = database.read_sync(lambda c: head_of(c, STREAM)).hash.hex()
    touch(database, "DELETE FROM journal_seals WHERE first_position = 51")
    touch(database, "DELETE FROM happening WHERE sequence > 50")
    report = checked(database)
    assert report.is_good
    assert any("cut off at the end" in words for words, _ in report.not_proved())
    assert [fault.kind for fault in checked(database, tmp_path).faults] == [FaultKind.CUT]
    by_receipt = checked(database, receipts=[Receipt(STREAM, 60, hash_[:32])])
    assert [(fault.kind, fault.position) for fault in by_receipt.faults] == [(FaultKind.CUT, 51)]


NASTY = ["", 'a"b\\c', "\b\f\n\r\t\x01\x1f\x7f", "张三\u2028\u00a0\ufeff😀", "'; --", "</script>", "{}", "null", "1"]


async def test_the_store_writes_rows_as_the_canonical_form_is(database: Database) -> None:
    prepare(database)
    given = [{**rows(1)[0], "word": word} for word in NASTY]
    given += [{"occurred_at": NOW, "word": None, "is_final": None, "day": None, "content": None}]
    for happenings in (given[:-1], given[-1:]):
        write(database, happenings)
    found = database.read_sync(lambda c: rows_after(c, happening, column_names(happening), 0, 100))
    for (sequence, written), row in zip(found, given, strict=True):
        expected = {
            "sequence": sequence,
            "occurred_at": 1795348800000001,
            "word": row["word"],
            "is_final": row["is_final"],
            "day": row["day"] and "2026-11-22",
            "content": row["content"] and {"bytes": "00ff"},
        }
        assert written == canonical(expected)


async def test_a_column_that_came_later_leaves_older_seals_valid(database: Database, tmp_path: Path) -> None:
    prepare(database)
    write(database, rows(10))
    await seal_all(sealer_of(database, tmp_path))
    touch(database, "ALTER TABLE happening ADD COLUMN later VARCHAR(10) DEFAULT 'new' NOT NULL")
    wider = MetaData()
    happening.to_metadata(wider).append_column(Column("later", String(10)))
    write(database, rows(5))
    sealer = JournalSealer(database, journals_of("test", wider), SIGNER, [tmp_path], FixedClock(NOW))
    await seal_all(sealer)

    def lines(connection: Any) -> list[bytes]:
        journal = export_journal(connection, STREAM, wider.tables["happening"])
        return list(lines_of([header(["test"], MADE_AT), *journal]))

    exported = database.read_sync(lines)
    assert verify(exported, copies=Copies.read([tmp_path], [PUBLIC_KEY]), keys=[PUBLIC_KEY]).rows == 15
    assert verify(exported, keys=[PUBLIC_KEY]).is_good
    assert b'"later":"new"' in exported[-3]


async def test_rows_of_an_older_database_are_sealed_after_its_upgrade(database_url: str, tmp_path: Path) -> None:
    from yinqi.payment.tables import metadata as payment_metadata

    before = [file.name for file in versions_folder("payment").glob("*.py") if "journal_seals" in file.name]
    assert before == ["0007_journal_seals.py"]
    migrate(database_url, "payment", revision="0003")
    database = Database.open(database_url)
    try:
        touch(
            database,
            "INSERT INTO payment_events (occurred_at, instruction_id, type, to_status, reason_code, reason_proprietary_code, "
            "reason_text, actor, submission_attempts, account_servicer_reference, settlement_date, return_date) "
            "VALUES (1, 'PI1', 'RECEIVED', 'RECEIVED', '', '', '', 'old', 0, '', '', '')",
        )
        migrate(database_url, "payment")
        journals = journals_of("payment", payment_metadata)
        await seal_all(JournalSealer(database, journals, SIGNER, [tmp_path], FixedClock(NOW)))
        assert database.read_sync(lambda c: head_of(c, "payment.payment_events")).position == 1
    finally:
        database.close()


async def test_of_two_sequencers_each_row_is_sealed_by_one(
    database_url: str, open_database: Callable[..., Database], tmp_path: Path
) -> None:
    stores = [open_database(database_url), open_database(database_url)]
    prepare(stores[0])
    sealers = [sealer_of(stores[0], tmp_path, rows_max=7), sealer_of(stores[1], tmp_path, rows_max=11)]
    stop = asyncio.Event()
    running = [asyncio.create_task(sealer.run(stop)) for sealer in sealers]
    for _ in range(10):
        await asyncio.gather(*(store.run(lambda c: feed.append(c, happening, rows(13))) for store in stores))
    stop.set()
    await asyncio.gather(*running)
    await sealers[0].finish()
    report = checked(stores[0], tmp_path)
    assert report.is_good, [fault.words for fault in report.faults]
    assert report.rows == 260
    assert report.journals[STREAM].outside_position == 260


# --- copies outside ---------------------------------------------------------------------------------------------------


async def test_a_line_cut_by_a_crash_is_written_again(sqlite_url: str, open_database: Any, tmp_path: Path) -> None:
    database = open_database(sqlite_url)
    prepare(database)
    write(database, rows(120))
    await seal_all(sealer_of(database, tmp_path))
    file = tmp_path / f"{STREAM}.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    sealer_of(database, tmp_path).hand_over()
    assert file.read_bytes().splitlines()[-1] == whole.splitlines()[-1]
    assert checked(database, tmp_path).is_good


async def test_a_journal_that_does_not_fit_its_copy_stops_the_service(
    sqlite_url: str, open_database: Any, tmp_path: Path
) -> None:
    database = open_database(sqlite_url)
    prepare(database)
    write(database, rows(120))
    await seal_all(sealer_of(database, tmp_path))
    touch(database, "DELETE FROM journal_seals WHERE first_position = 101")
    with pytest.raises(JournalTampered, match="row 120"):
        sealer_of(database, tmp_path).hand_over()


async def test_a_folder_that_cannot_be_written_stops_nothing_and_catches_up(
    sqlite_url: str, open_database: Any, tmp_path: Path
) -> None:
    database = open_database(sqlite_url)
    prepare(database)
    away = tmp_path / "away"
    away.write_text("a file where a folder should be")
    sealer = JournalSealer(
        database, journals_of("test", metadata), SIGNER, [away, tmp_path / "here"], FixedClock(NOW), rows_max=50
    )
    write(database, rows(120))
    await seal_all(sealer)
    assert Copies.read([tmp_path / "here"]).end(STREAM) == 120
    away.unlink()
    await sealer.seal_once()
    assert Copies.read([away]).end(STREAM) == 120


async def test_another_database_keeps_the_seals_and_shows_a_tail_that_was_cut(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """On PostgreSQL the other database is on the same server here, which changes nothing about how it is asked."""
    other = database_url if database_url.startswith("postgresql") else f"sqlite:///{tmp_path}/elsewhere.db"
    prepare(database)
    journals = journals_of("test", metadata)
    sealer = JournalSealer(database, journals, SIGNER, [], FixedClock(NOW), rows_max=50, stores=[other], source="house")
    write(database, rows(120))
    await seal_all(sealer)
    copies = Copies([PUBLIC_KEY])
    copies.add("elsewhere", lines_in_store(other, "house"))
    assert verify(export_of(database), copies=copies, keys=[PUBLIC_KEY]).is_good
    assert lines_in_store(other, "another house") == []
    touch(database, f"DELETE FROM {SEAL_TABLE} WHERE position > 50")
    touch(database, "DELETE FROM happening WHERE sequence > 50")
    assert checked(database).is_good  # in itself it is whole, only shorter
    (fault,) = [
        one for one in verify(export_of(database), copies=copies, keys=[PUBLIC_KEY]).faults if one.kind is FaultKind.CUT
    ]
    assert fault.position == 51
    with pytest.raises(JournalTampered, match="is not the one whose seals are in"):
        sealer.hand_over()


async def test_another_database_that_is_away_stops_nothing_and_catches_up(
    sqlite_url: str, open_database: Any, tmp_path: Path
) -> None:
    database, away = open_database(sqlite_url), tmp_path / "away"
    prepare(database)
    other = f"sqlite:///{away}/seals.db"
    sealer = JournalSealer(
        database, journals_of("test", metadata), SIGNER, [], FixedClock(NOW), rows_max=50, stores=[other]
    )
    write(database, rows(60))
    await seal_all(sealer)
    away.mkdir()
    await sealer.seal_once()
    assert len(lines_in_store(other, "")) == 2


# Seals until it is killed; prints each time it has sealed.
SEALING = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_journal import prepare, sealer_of
from yinqi.runtime.database import Database

database = Database.open(sys.argv[1])
sealer = sealer_of(database, Path(sys.argv[2]), rows_max=20)

async def main():
    while await sealer.seal_once():
        print("sealed", flush=True)

asyncio.run(main())
"""


def test_kill_9_of_the_sequencer_leaves_a_chain_that_goes_on(
    sqlite_url: str, open_database: Any, tmp_path: Path
) -> None:
    root = Path(__file__).parents[3]
    database = open_database(sqlite_url)
    prepare(database)
    write(database, rows(2_000))
    for kills in (1, 4):
        process = subprocess.Popen(
            [sys.executable, "-c", SEALING, sqlite_url, str(tmp_path), str(Path(__file__).parent), str(root)],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(root / "services"), "PATH": os.defpath},
        )
        assert process.stdout
        for _ in range(kills):
            assert process.stdout.readline()
        process.kill()
        process.wait()
    asyncio.run(seal_all(sealer_of(database, tmp_path, rows_max=500)))
    report = checked(database, tmp_path)
    assert report.is_good, [fault.words for fault in report.faults]
    assert (report.rows, report.journals[STREAM].outside_position) == (2_000, 2_000)


# --- every kind of tampering ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journals() -> Any:
    with sealed_journal(600) as small:
        yield small


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=strategies.sampled_from(sorted(KINDS)), seed=strategies.integers(0, 2**32))
def test_whatever_is_done_to_whichever_row_that_row_is_named(journals: Any, name: str, seed: int) -> None:
    done = KINDS[name](journals, random.Random(seed))
    report = journals.check(done.lines)
    assert is_named(report, done), [name, done.sequence, done.position, *(f.words for f in report.faults[:2])]


def test_of_ten_thousand_rows_the_one_that_was_changed_is_named() -> None:
    with sealed_journal(10_000) as journal:
        assert journal.check(journal.export).is_good
        for name in ("edit a text", "cut the tail and its seals"):
            done = KINDS[name](journal, random.Random(7))
            assert is_named(journal.check(done.lines), done), name


def test_a_report_for_machines_says_what_people_read(journals: Any) -> None:
    done = KINDS["delete"](journals, random.Random(1))
    found = json.loads(json.dumps(journals.check(done.lines).as_dict()))
    assert found["is_good"] is False
    assert found["faults"][0]["kind"] == "DELETED"
    assert found["faults"][0]["sequence"] == found["journals"][0]["first_bad"]["sequence"] == done.sequence
    assert "被删除" in found["faults"][0]["words_zh"]
