"""Stops and their journal, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, select

from yinqi.gateway.model import BankAccount
from yinqi.gateway.repository import SqlStore, read_notice_events
from yinqi.gateway.stop_store import STOP_EVENTS
from yinqi.gateway.stops import Scope, ScopeKind, StopChange, StopEventType, Word
from yinqi.gateway.use_cases import Stopped, lift_stop, pull_stop, require_running
from yinqi.kernel.errors import NotFound
from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
ACCOUNT = BankAccount("755915678910001", "CNY", "制造", "demo_bank", "制造")
BANK, HOUSE = Scope(ScopeKind.BANK, "demo_bank"), Scope(ScopeKind.HOUSE)


@pytest.fixture
def store(database_url: str, open_database: Callable[..., Database]) -> Database:
    migrate(database_url, "gateway")
    return open_database(database_url)


def word(person: str, after_s: int = 0) -> Word:
    return Word(person, NOW + timedelta(seconds=after_s), f"{person} 说明")


async def pulled(store: Database, scope: Scope, person: str, stop_id: str, after_s: int = 0) -> StopChange:
    return await store.run(lambda c: pull_stop(scope, word(person, after_s), stop_id, SqlStore(c)))


async def lifted(store: Database, stop_id: str, person: str) -> StopChange:
    return await store.run(lambda c: lift_stop(stop_id, word(person), SqlStore(c)))


def journal(store: Database) -> list[tuple[str, str, str]]:
    columns = STOP_EVENTS.c.type, STOP_EVENTS.c.stop_id, STOP_EVENTS.c.person
    query = select(*columns).order_by(STOP_EVENTS.c.sequence)
    return [tuple(row) for row in store.read_sync(lambda c: c.execute(query).all())]


async def test_a_stop_is_pulled_by_one_lifted_by_two_and_all_of_it_is_in_the_journal(store: Database) -> None:
    await pulled(store, BANK, "li.si", "ST1")
    await pulled(store, HOUSE, "li.si", "ST2", 1)
    assert (await pulled(store, BANK, "li.si", "ST3")).stop.stop_id == "ST1"

    def held(connection: Connection) -> None:
        require_running(ACCOUNT, SqlStore(connection))

    with pytest.raises(Stopped, match=r"li\.si 说明"):
        store.run_sync(held)
    for stop_id in ("ST1", "ST2"):
        assert (await lifted(store, stop_id, "li.si")).stop.is_active
        assert not (await lifted(store, stop_id, "wang.wu")).stop.is_active
        assert (await lifted(store, stop_id, "zhao.liu")).type is None
    store.run_sync(held)
    again = await pulled(store, BANK, "li.si", "ST4", 60)
    assert again.type is StopEventType.PULLED
    assert journal(store) == [
        ("stop.pulled", "ST1", "li.si"),
        ("stop.pulled", "ST2", "li.si"),
        *(
            (type_, stop_id, person)
            for stop_id in ("ST1", "ST2")
            for type_, person in (("stop.lift_asked", "li.si"), ("stop.lifted", "wang.wu"))
        ),
        ("stop.pulled", "ST4", "li.si"),
    ]
    stops = store.read_sync(lambda c: SqlStore(c).stops.newest(10))
    assert [stop.stop_id for stop in stops] == ["ST4", "ST2", "ST1"]
    assert [stop.stop_id for stop in store.read_sync(lambda c: SqlStore(c).stops.active())] == ["ST4"]


async def test_followers_hear_of_pulls_and_lifts_with_the_stop_itself(store: Database) -> None:
    await pulled(store, BANK, "li.si", "ST1")
    await lifted(store, "ST1", "li.si")
    await lifted(store, "ST1", "wang.wu")
    events = store.read_sync(lambda c: read_notice_events(c, 0, 10))
    assert [(e.profile, e.type, e.refusal) for e in events] == [
        ("demo_bank", "STOP", "STOP_PULLED"),
        ("demo_bank", "STOP", "STOP_LIFTED"),
    ]
    assert all(e.stop is not None and e.stop.scope == BANK for e in events)


async def test_many_pulls_at_once_make_one_stop_and_many_lifts_one_lifting(store: Database) -> None:
    people = [f"person.{n}" for n in range(8)]
    made = await asyncio.gather(*(pulled(store, BANK, one, f"ST{n}") for n, one in enumerate(people)))
    assert len({change.stop.stop_id for change in made}) == 1
    assert sum(change.type is StopEventType.PULLED for change in made) == 1
    stop_id = made[0].stop.stop_id
    ends = await asyncio.gather(*(lifted(store, stop_id, one) for one in people))
    assert sum(change.type is StopEventType.LIFTED for change in ends) == 1
    assert len(journal(store)) == 3


async def test_a_stop_that_is_not_there_cannot_be_lifted(store: Database) -> None:
    for stop_id in ("ST404", "", "ST\x00", "S" * 10_000):
        with pytest.raises(NotFound, match="nothing was lifted"):
            await lifted(store, stop_id, "li.si")
