"""The archive at rest: sealed, compressed, checksummed, brought over from before, and purged when its time is over."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, update

from yinqi.gateway.archive_form import ArchiveDamaged
from yinqi.gateway.model import ArchivedMessage, Attempt, Direction, SendState
from yinqi.gateway.release_store import Release, SqlReleases
from yinqi.gateway.repository import ATTEMPTS, MESSAGES, PURGE_EVENTS, RELEASES, SEALED, SqlStore
from yinqi.gateway.retention import ArchiveKind, Purger, Retention
from yinqi.gateway.settings import GatewaySettings
from yinqi.kernel.clock import FixedClock
from yinqi.kernel.money import Money
from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate
from yinqi.runtime.resealing import reseal
from yinqi.runtime.sealing import SealBroken
from yinqi.runtime.settings import SettingsInvalid, load_settings

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
CANARY = "金丝雀收款人 6217000012345678901".encode()
DEBTOR, CREDITOR = "755915678910001", "6217000012345678901"


@pytest.fixture
def store(database_url: str, open_database: Callable[..., Database]) -> Database:
    migrate(database_url, "gateway")
    return open_database(database_url)


def message(archive_id: str, exchange_id: str = "EX1", **changes: object) -> ArchivedMessage:
    row = ArchivedMessage(
        archive_id, exchange_id, "demo_bank", Direction.SENT, "BB1PAYBH", "1", NOW, 3, "0" * 64, CANARY * 20
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def attempt(instruction_id: str, exchange_id: str, state: SendState = SendState.ACCEPTED) -> Attempt:
    return Attempt(
        instruction_id,
        1,
        state,
        "demo_bank",
        DEBTOR,
        CREDITOR,
        Money("CNY", 5),
        "d" * 64,
        exchange_id,
        NOW,
        known_at=NOW,
    )


def add(database: Database, *messages: ArchivedMessage) -> None:
    def work(connection: Connection) -> None:
        for one in messages:
            SqlStore(connection).archive.add(one)

    database.run_sync(work)


def claim(database: Database, *attempts: Attempt) -> None:
    database.run_sync(lambda c: SqlStore(c).registry.claim(attempts))


def contents(database: Database, key: str) -> list[bytes]:
    return [one.content for one in database.read_sync(lambda c: SqlStore(c).archive.messages_of(key))]


def stored(database: Database) -> bytes:
    def dump(connection: Connection) -> bytes:
        return repr(
            [tuple(row) for table in (MESSAGES, ATTEMPTS, RELEASES) for row in connection.execute(select(table))]
        ).encode()

    return database.read_sync(dump)


def test_nothing_of_a_message_or_an_attempt_is_in_clear(store: Database, seal_database, tmp_path: Path):
    seal_database(store, tmp_path / "kek")
    claim(store, attempt("PI1", "EX1"))
    add(store, message("AR1"), message("AR2", direction=Direction.RECEIVED))
    release = Release("E1", "PI1", "d" * 64, 1, DEBTOR, CREDITOR, "CNY", 5, NOW)
    store.run_sync(lambda c: SqlReleases(c).add([release]))
    assert contents(store, "PI1") == [CANARY * 20] * 2
    for content in (stored(store), *(file.read_bytes() for file in tmp_path.glob("store.db*"))):
        assert CREDITOR.encode() not in content
        assert DEBTOR.encode() not in content
        assert "金丝雀".encode() not in content
    sums = store.read_sync(lambda c: SqlReleases(c).sums([(DEBTOR, CREDITOR, "CNY")], NOW - timedelta(days=1), []))
    assert sums == {(DEBTOR, CREDITOR, "CNY"): 5}
    known = store.read_sync(lambda c: SqlStore(c).registry.known_references([DEBTOR]))
    assert known[DEBTOR].instruction_id == "PI1"


def test_a_message_in_another_place_is_noticed_and_a_damaged_one_without_a_key(
    store: Database, seal_database, tmp_path: Path
):
    claim(store, attempt("PI1", "EX1"))
    seal_database(store, tmp_path / "kek")
    add(store, message("AR1"), message("AR2", content=b"other"))

    def move(connection: Connection) -> None:
        row = connection.execute(
            select(MESSAGES.c.content, MESSAGES.c.checksum).where(MESSAGES.c.archive_id == "AR2")
        ).one()
        given = {"content": bytes(row.content), "checksum": row.checksum}
        connection.execute(update(MESSAGES).where(MESSAGES.c.archive_id == "AR1").values(given))

    store.run_sync(move)
    with pytest.raises(SealBroken, match=r"gateway_messages\.content of row AR1"):
        contents(store, "PI1")
    store.run_sync(lambda c: c.execute(update(MESSAGES).values(content=b"\x01damaged")) and None)
    with pytest.raises(ArchiveDamaged, match="row AR1"):
        contents(store, "PI1")


def test_an_archive_of_before_is_read_and_brought_over(store: Database, seal_database, tmp_path: Path):
    claim(store, attempt("PI1", "EX1"))
    add(store, message("AR1"), message("AR2", content=b"later"))
    old = {"content": zlib.compress(CANARY, 1), "checksum": None}
    store.run_sync(lambda c: c.execute(update(MESSAGES).where(MESSAGES.c.archive_id == "AR1").values(old)) and None)
    assert contents(store, "PI1") == [CANARY, b"later"]
    seal_database(store, tmp_path / "kek")
    assert contents(store, "PI1") == [CANARY, b"later"]
    assert {step.table: step.sealed for step in reseal(store, SEALED)}["gateway_messages"] == 2
    assert contents(store, "PI1") == [CANARY, b"later"]
    assert DEBTOR.encode() not in stored(store)
    found = store.read_sync(lambda c: SqlStore(c).archive.exchange_telling_of(b"later", "BB1PAYBH", ""))
    assert found == []  # only verified answers of the bank tell


async def test_the_purge_keeps_what_is_young_and_what_open_payments_need(store: Database):
    old = NOW - timedelta(days=400)
    claim(
        store,
        attempt("PI-DONE", "EX-DONE"),
        attempt("PI-DOUBT", "EX-DOUBT", SendState.IN_DOUBT),
        attempt("PI-ASKED", "EX-ASKED"),
    )
    add(
        store,
        *(message(f"AR-{name}", f"EX-{name}", recorded_at=old) for name in ("DONE", "DOUBT", "ASKED")),
        message("AR-LOG", "EX-LOG", function="NTQADINF", recorded_at=old),
        message("AR-YOUNG", "EX-YOUNG", function="NTQADINF"),
        message("AR-STATEMENT", "EX-STATEMENT", function="trsQryByBreakPoint", recorded_at=old),
        message("AR-AGAIN", "EX-AGAIN"),
    )
    store.run_sync(lambda c: SqlStore(c).archive.link("EX-AGAIN", ["PI-ASKED"]))
    retention = Retention({ArchiveKind.VOUCHER: 366, ArchiveKind.STATEMENT: 3_653, ArchiveKind.LOG: 366})
    purger = Purger(store, FixedClock(NOW), retention)
    assert await purger.purge() == 2
    left = store.read_sync(lambda c: set(c.execute(select(MESSAGES.c.archive_id)).scalars()))
    assert left == {"AR-DOUBT", "AR-ASKED", "AR-YOUNG", "AR-STATEMENT", "AR-AGAIN"}
    events = store.read_sync(lambda c: c.execute(select(PURGE_EVENTS)).all())
    assert sorted((row.kind, row.message_count, row.archive_ids) for row in events) == [
        ("LOG", 1, "AR-LOG"),
        ("VOUCHER", 1, "AR-DONE"),
    ]
    assert await purger.purge() == 0


def test_a_retention_below_half_a_year_is_refused():
    with pytest.raises(SettingsInvalid, match=r"YINQI_GATEWAY_RETENTION_LOGS_DAYS.*183"):
        load_settings(GatewaySettings, gateway_retention_logs_days=30)
    assert load_settings(GatewaySettings, gateway_retention_logs_days=0).gateway_retention_logs_days == 0
