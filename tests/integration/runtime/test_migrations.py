"""Migrations on both stores: up once, refused when newer, explained when older."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from yinqi.runtime.database import Database, DatabaseTooNew, DatabaseTooOld
from yinqi.runtime.migrations import check_revision, migrate

FIRST = """
import sqlalchemy as sa
from alembic import op
from yinqi.runtime.feed import CURSOR_TABLE, cursor_columns, event_columns

revision = "0001"
down_revision = None

def upgrade() -> None:
    op.create_table("payment", sa.Column("id", sa.String(26), primary_key=True))
    op.create_table("payment_event", *event_columns(), sa.Column("word", sa.String(50)), sqlite_autoincrement=True)
    op.create_table(CURSOR_TABLE, *cursor_columns())

def downgrade() -> None:
    op.drop_table("payment")
"""
SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

def upgrade() -> None:
    op.add_column("payment", sa.Column("channel", sa.String(10)))
    {more}

def downgrade() -> None:
    op.drop_column("payment", "channel")
"""


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    folder = tmp_path / "versions"
    folder.mkdir()
    (folder / "0001_first.py").write_text(FIRST)
    return folder


def add_second(versions: Path, more: str = "pass") -> None:
    (versions / "0002_channel.py").write_text(SECOND.format(more=more))


def columns(database: Database, table: str) -> set[str]:
    return database.read_sync(lambda connection: {column["name"] for column in inspect(connection).get_columns(table)})


def test_a_new_store_is_brought_to_the_newest_revision_and_again_changes_nothing(
    database_url: str, versions: Path, open_database: Callable[..., Database]
) -> None:
    add_second(versions)
    assert migrate(database_url, "payment", versions=versions) == (None, "0002")
    assert migrate(database_url, "payment", versions=versions) == ("0002", "0002")
    check_revision(database_url, "payment", versions=versions)
    store = open_database(database_url)
    assert columns(store, "payment") == {"id", "channel"}
    assert columns(store, "payment_event") == {"sequence", "occurred_at", "word"}


def test_an_older_store_is_named_with_the_command_that_helps(database_url: str, versions: Path) -> None:
    with pytest.raises(DatabaseTooOld, match="yinqi migrate payment"):
        check_revision(database_url, "payment", versions=versions)
    migrate(database_url, "payment", versions=versions)
    add_second(versions)
    with pytest.raises(DatabaseTooOld, match=r"at revision 0001, this program needs 0002"):
        check_revision(database_url, "payment", versions=versions)


def test_a_newer_store_is_refused_untouched_and_says_what_to_do(
    database_url: str, versions: Path, open_database: Callable[..., Database]
) -> None:
    add_second(versions)
    migrate(database_url, "payment", versions=versions)
    (versions / "0002_channel.py").unlink()
    for call in (migrate, check_revision):
        with pytest.raises(DatabaseTooNew) as refused:
            call(database_url, "payment", versions=versions)
        assert "0002" in refused.value.message
        assert "newer version" in refused.value.message
        assert "更新的版本" in refused.value.message_zh
    assert columns(open_database(database_url), "payment") == {"id", "channel"}


def test_a_migration_that_fails_half_way_leaves_the_schema_as_it_was(
    database_url: str, versions: Path, open_database: Callable[..., Database]
) -> None:
    migrate(database_url, "payment", versions=versions)
    add_second(versions, more='op.execute("nonsense")')
    with pytest.raises(Exception, match="nonsense"):
        migrate(database_url, "payment", versions=versions)
    assert columns(open_database(database_url), "payment") == {"id"}


def test_replicas_that_start_together_migrate_once(database_url: str, versions: Path) -> None:
    add_second(versions)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: migrate(database_url, "payment", versions=versions), range(3)))
    assert sorted(before or "" for before, _ in done) == ["", "0002", "0002"]


def test_services_may_share_a_database(database_url: str, versions: Path, tmp_path: Path) -> None:
    other = tmp_path / "account"
    other.mkdir()
    (other / "0001.py").write_text('revision = "a1"\ndown_revision = None\ndef upgrade() -> None: pass\n')
    migrate(database_url, "payment", versions=versions)
    assert migrate(database_url, "account", versions=other) == (None, "a1")
    check_revision(database_url, "payment", versions=versions)


def test_a_step_back_is_possible(database_url: str, versions: Path, open_database: Callable[..., Database]) -> None:
    add_second(versions)
    migrate(database_url, "payment", versions=versions)
    open_database(database_url).run_sync(lambda c: c.execute(text("INSERT INTO payment VALUES ('a', 'b')")) and None)
    from yinqi.runtime.migrations import downgrade

    assert downgrade(database_url, "payment", "0001", versions=versions) == ("0002", "0001")
    assert columns(open_database(database_url), "payment") == {"id"}
