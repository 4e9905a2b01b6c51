"""Statements on SQLite take a short way, and mean there and on PostgreSQL what SQLAlchemy says they mean."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Date,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, StatementError

from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.database import Database
from yinqi.runtime.statements import among, prepared

metadata = MetaData()
thing = Table(
    "thing",
    metadata,
    Column("key", String(20), primary_key=True),
    Column("amount", Numeric(20, 4)),
    Column("at", UtcTimestamp),
    Column("day", Date),
    Column("facts", JSON),
    Column("content", LargeBinary),
    Column("is_good", Boolean),
    Column("count", Integer),
)
ONE = {
    "key": "one",
    "amount": Decimal("12345678901234.5000"),
    "at": datetime(2026, 11, 22, 6, 0, 0, 123456, UTC),
    "day": date(2024, 2, 29),
    "facts": {"银行": [1, None, "二"]},
    "content": b"\x00\xff",
    "is_good": True,
    "count": 7,
}
EMPTY = dict.fromkeys(ONE) | {"key": "empty"}
_FIND = prepared(select(thing).where(among(thing.c.key, "keys")).order_by(thing.c.key))
_RENAME = prepared(update(thing).where(thing.c.key == bindparam("old")).values(key=bindparam("new")))
_ADD = prepared(insert(thing))


@pytest.fixture
def store(database: Database) -> Database:
    database.run_sync(metadata.create_all)
    database.run_sync(lambda c: c.execute(insert(thing), [ONE, EMPTY]))
    return database


def on(store: Database, query: Callable[[Connection], Any]) -> Any:
    """Run it twice: the second time its plan is known."""
    first = store.read_sync(query)
    assert store.read_sync(query) == first
    return first


def test_values_of_every_type_come_back_as_they_went(store: Database) -> None:
    assert on(store, lambda c: [dict(row) for row in c.execute(_FIND, {"keys": ["one", "x"]}).mappings()]) == [ONE]
    query = select(thing).where(thing.c.key == "empty")
    assert on(store, lambda c: c.execute(query).one()._asdict()) == EMPTY


def test_a_statement_of_the_same_shape_takes_its_own_values(store: Database) -> None:
    def keys(count: int, at_least: Decimal) -> list[str]:
        query = select(thing.c.key).where(thing.c.count == count, thing.c.amount >= at_least)
        return store.read_sync(lambda c: list(c.execute(query).scalars()))

    assert [keys(7, Decimal(1)), keys(8, Decimal(1)), keys(7, Decimal(10) ** 15), keys(7, Decimal(2))] == [
        ["one"],
        [],
        [],
        ["one"],
    ]


def test_what_takes_the_usual_way_means_the_same(store: Database) -> None:
    assert on(store, lambda c: c.execute(text("SELECT count(*) FROM thing")).scalar_one()) == 2
    assert on(store, lambda c: c.execute(select(thing.c.key).where(thing.c.key.in_(["one", "b"]))).scalar()) == "one"
    assert on(store, lambda c: c.execute(select(func.sum(thing.c.count).label("sum"))).one().sum) == 7


def test_changes_tell_how_many_rows_they_met_and_what_they_return(store: Database) -> None:
    assert store.run_sync(lambda c: c.execute(_RENAME, {"old": "one", "new": "uno"}).rowcount) == 1
    assert store.run_sync(lambda c: c.execute(_RENAME, {"old": "one", "new": "uno"}).rowcount) == 0
    gone = delete(thing).where(among(thing.c.key, ["uno", "empty"])).returning(thing.c.key)
    assert sorted(store.run_sync(lambda c: list(c.execute(gone).scalars()))) == ["empty", "uno"]


def test_many_rows_with_and_without_some_columns(store: Database) -> None:
    store.run_sync(lambda c: c.execute(_ADD, [{"key": "a", "count": 1}, {"key": "b", "count": 2}]))
    store.run_sync(lambda c: c.execute(_ADD, {"key": "c", "is_good": False}))
    rows = on(store, lambda c: [tuple(row) for row in c.execute(select(thing.c.key, thing.c.count, thing.c.is_good))])
    assert set(rows) == {("a", 1, None), ("b", 2, None), ("c", None, False), ("one", 7, True), ("empty", None, None)}


def test_errors_are_those_of_sqlalchemy(store: Database) -> None:
    def add_again(connection: Connection) -> None:
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(_ADD, {"key": "one"})

    store.run_sync(add_again)
    with pytest.raises((KeyError, StatementError)):
        store.run_sync(lambda c: c.execute(_RENAME, {"old": "one"}))
    assert on(store, lambda c: c.execute(select(func.count()).select_from(thing)).scalar_one()) == 2


def test_postgresql_plans_by_index_while_a_table_is_still_small(
    postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    """The plan of a prepared statement outlives the moment at which reading two rows was cheapest."""
    store = open_database(postgresql_url)
    store.run_sync(metadata.create_all)
    store.run_sync(lambda c: c.execute(insert(thing), [ONE, EMPTY]))

    def plan(connection: Connection) -> str:
        connection.execute(text("PREPARE find AS SELECT * FROM thing WHERE key = ANY($1::varchar[])"))
        connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        return "\n".join(connection.execute(text("EXPLAIN EXECUTE find(ARRAY['one'])")).scalars())

    assert "Index" in store.run_sync(plan)


def test_options_of_a_postgresql_url_win(postgresql_url: str, open_database: Callable[..., Database]) -> None:
    store = open_database(f"{postgresql_url}?options=-c%20jit%3Don%20-c%20work_mem%3D5MB")

    def shown(connection: Connection) -> list[str]:
        return [connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("enable_seqscan", "jit", "work_mem")]

    assert store.run_sync(shown) == store.read_sync(shown) == ["off", "on", "5MB"]
