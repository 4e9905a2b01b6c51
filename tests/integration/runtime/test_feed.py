"""Feeds: nothing left out, nothing twice, on both stores."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Column, Connection, MetaData, String, Table, create_engine, func, insert, select

from yinqi.runtime.database import Database
from yinqi.runtime.feed import Feed, Follower, append, cursor_table, event_table, flush, load_cursor, save_cursor

metadata = MetaData()
event = event_table("payment_event", metadata, Column("word", String(50), nullable=False))
cursor_table(metadata)
effect = Table("effect", metadata, Column("word", String(50), nullable=False))
NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
Event = tuple[int, str]


def adding(*words: str) -> Callable[[Connection], None]:
    def use_case(connection: Connection) -> None:
        append(connection, event, [{"occurred_at": NOW, "word": word} for word in words])

    return use_case


def read_batch(connection: Connection, after: int, limit: int) -> Sequence[Event]:
    query = select(event.c.sequence, event.c.word).where(event.c.sequence > after).order_by(event.c.sequence)
    return [(row.sequence, row.word) for row in connection.execute(query.limit(limit))]


def sequence_of(one: Event) -> int:
    return one[0]


def apply(connection: Connection, events: Sequence[Event]) -> None:
    connection.execute(insert(effect), [{"word": word} for _, word in events])


def effects(connection: Connection) -> list[str]:
    return list(connection.execute(select(effect.c.word)).scalars())


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
def store(database: Database) -> Database:
    database.run_sync(metadata.create_all)
    return database


@pytest.fixture
def follower_store(tmp_path: Any, open_database: Callable[..., Database]) -> Database:
    database = open_database(f"sqlite:///{tmp_path}/follower.db")
    database.run_sync(metadata.create_all)
    return database


async def take(stream: AsyncIterator[Sequence[Event]], count: int) -> list[Event]:
    taken: list[Event] = []
    async with asyncio.timeout(10):
        async for batch in stream:
            taken += batch
            if len(taken) >= count:
                return taken
    return taken


async def test_events_come_in_order_from_the_cursor_and_new_ones_follow(store: Database) -> None:
    await store.run(adding("a", "b", "c"))
    feed = Feed(store, read_batch, sequence_of, poll_interval_s=30)
    first = await take(feed.follow(0), 3)
    assert [word for _, word in first] == ["a", "b", "c"]
    stream = feed.follow(first[1][0])
    assert [word for _, word in await anext(stream)] == ["c"]
    following = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    await store.run(adding("d"))
    assert [word for _, word in await asyncio.wait_for(following, 5)] == ["d"]  # woken by the commit, not by polling


async def test_followers_that_share_their_reads_each_get_everything_in_order_and_in_time(store: Database) -> None:
    reads = 0

    def counted(connection: Connection, after: int, limit: int) -> Sequence[Event]:
        nonlocal reads
        reads += 1
        return read_batch(connection, after, limit)

    # Polling is too slow to help: a wake-up that is lost shows as a time-out.
    feed = Feed(store, counted, sequence_of, poll_interval_s=60.0, gather_ms=0.5, shared_batches=2)
    count, followers = 300, 6

    async def follow(start_after: int) -> list[Event]:
        seen: list[Event] = []
        await asyncio.sleep(start_after / 100)
        async for batch in feed.follow(0, batch_max=7):
            seen += batch
            if len(seen) == count:
                return seen
        return seen

    async def write() -> None:
        for number in range(count):
            await store.run(adding(str(number)))
            if number % 10 == 0:
                await asyncio.sleep(0)

    async with asyncio.timeout(60):
        *seen, _ = await asyncio.gather(*(follow(n) for n in range(followers)), write())
    assert all(one == [(n + 1, str(n)) for n in range(count)] for one in seen)
    assert reads < followers * count


async def test_a_follower_that_leaves_does_not_end_the_read_it_shares(store: Database) -> None:
    feed = Feed(store, read_batch, sequence_of, shared_batches=2)
    store.run_sync(adding("one"))
    leaving = asyncio.ensure_future(anext(feed.follow(0)))
    staying = asyncio.ensure_future(anext(feed.follow(0)))
    await asyncio.sleep(0)
    leaving.cancel()
    assert [word for _, word in await asyncio.wait_for(staying, 10)] == ["one"]


async def test_a_shared_read_that_fails_is_tried_again(store: Database) -> None:
    failures = 1

    def failing_once(connection: Connection, after: int, limit: int) -> Sequence[Event]:
        nonlocal failures
        if failures:
            failures -= 1
            raise ValueError("once")
        return read_batch(connection, after, limit)

    feed = Feed(store, failing_once, sequence_of, shared_batches=2)
    store.run_sync(adding("one"))
    with pytest.raises(ValueError, match="once"):
        await anext(feed.follow(0))
    assert [word for _, word in await anext(feed.follow(0))] == ["one"]


async def test_a_failed_use_case_leaves_no_event_and_its_neighbours_do(store: Database) -> None:
    def fails(connection: Connection) -> None:
        adding("lost")(connection)
        raise ValueError("no")

    go = threading.Event()
    first = asyncio.ensure_future(store.run(lambda _connection: go.wait(5)))
    await asyncio.sleep(0.02)
    jobs = asyncio.gather(store.run(adding("a")), store.run(fails), store.run(adding("b")), return_exceptions=True)
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, jobs)
    assert sorted(word for _, word in await store.read(lambda c: read_batch(c, 0, 10))) == ["a", "b"]


async def test_a_use_case_may_read_its_own_events_after_flush(store: Database) -> None:
    def use_case(connection: Connection) -> int:
        adding("a")(connection)
        flush(connection)
        return len(read_batch(connection, 0, 10))

    assert await store.run(use_case) == 1


async def test_occurred_at_keeps_its_zone_and_its_microseconds(store: Database) -> None:
    await store.run(adding("a"))
    assert await store.read(lambda c: c.execute(select(event.c.occurred_at)).scalar_one()) == NOW


async def test_sequences_are_never_used_again(sqlite_url: str, open_database: Callable[..., Database]) -> None:
    store = open_database(sqlite_url)
    store.run_sync(metadata.create_all)
    await store.run(adding("a", "b"))
    await store.run(lambda connection: connection.execute(event.delete()) and None)
    await store.run(adding("c"))
    assert await store.read(lambda c: read_batch(c, 0, 10)) == [(3, "c")]


def test_a_late_lower_sequence_on_postgresql_is_not_skipped(postgresql_url: str) -> None:
    """Two real connections: without the feed's lock, B (higher) would be visible before A (lower)."""
    engine = create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:"))
    metadata.create_all(engine)
    seen: list[Event] = []

    def look() -> None:
        with engine.connect() as reader:
            seen.extend(read_batch(reader, seen[-1][0] if seen else 0, 10))

    b_done = threading.Event()

    def writer_b() -> None:
        with engine.begin() as b:
            adding("b")(b)
        b_done.set()

    with engine.connect() as a:
        adding("a")(a)  # has its sequence, and has not committed
        thread = threading.Thread(target=writer_b)
        thread.start()
        assert not b_done.wait(0.3)  # B waits for A
        look()
        assert seen == []
        a.commit()
    assert b_done.wait(10)
    thread.join()
    look()
    assert [word for _, word in seen] == ["a", "b"]
    engine.dispose()


async def test_many_writers_on_postgresql_never_show_a_gap_that_fills_later(
    postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    store = open_database(postgresql_url, writers=4, group_max=3)
    store.run_sync(metadata.create_all)
    other = open_database(postgresql_url, writers=4, group_max=3)  # another replica
    feed = Feed(store, read_batch, sequence_of, poll_interval_s=0.05)
    taking = asyncio.ensure_future(take(feed.follow(0, batch_max=7), 400))
    await asyncio.gather(
        *((store if n % 2 else other).run(adding(f"{n}-a", f"{n}-b")) for n in range(200)),
    )
    taken = await taking
    assert len(taken) == 400
    assert [s for s, _ in taken] == sorted({s for s, _ in taken})
    assert len({word for _, word in taken}) == 400


async def test_a_follower_takes_each_event_once_although_its_stream_repeats_and_breaks(
    store: Database, follower_store: Database
) -> None:
    await store.run(adding(*(f"e{n}" for n in range(30))))
    opened: list[int] = []

    async def unreliable(after: int) -> AsyncIterator[Sequence[Event]]:
        opened.append(after)
        events = await store.read(lambda c: read_batch(c, 0, 100))  # from the start, whatever was asked
        yield events[:10]
        yield events[5:20]
        if len(opened) < 3:
            raise ConnectionError("gone")
        yield events

    follower = Follower("payment", follower_store, unreliable, sequence_of, apply, backoff_max_s=0.01)
    stop = asyncio.Event()
    running = asyncio.ensure_future(follower.run(stop))
    await until(lambda: follower.cursor >= 30)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert sorted(await follower_store.read(effects)) == sorted(f"e{n}" for n in range(30))
    assert opened[:3] == [0, 20, 20]
    assert await follower_store.read(lambda c: load_cursor(c, "payment")) == 30


async def test_an_effect_that_fails_leaves_the_cursor_and_is_tried_again(
    store: Database, follower_store: Database
) -> None:
    await store.run(adding("a", "b"))
    feed = Feed(store, read_batch, sequence_of)
    attempts = 0

    def fails_twice(connection: Connection, events: Sequence[Event]) -> None:
        nonlocal attempts
        attempts += 1
        apply(connection, events)
        if attempts <= 2:
            raise ValueError("not yet")

    follower = Follower("payment", follower_store, feed.follow, sequence_of, fails_twice, backoff_max_s=0.01)
    stop = asyncio.Event()
    running = asyncio.ensure_future(follower.run(stop))
    await until(lambda: follower.cursor == 2)
    stop.set()
    await running
    assert await follower_store.read(effects) == ["a", "b"]
    assert attempts == 3
    assert follower.failures == 0


async def test_two_replicas_that_follow_under_one_name_apply_each_event_once(
    store: Database, postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    target = open_database(postgresql_url)
    target.run_sync(lambda connection: metadata.create_all(connection))
    await store.run(adding(*(f"e{n}" for n in range(50))))
    feed = Feed(store, read_batch, sequence_of)

    def one_at_a_time(after: int) -> AsyncIterator[Sequence[Event]]:
        return feed.follow(after, batch_max=3)

    await target.run(lambda connection: save_cursor(connection, "payment", 0))
    followers = [Follower("payment", target, one_at_a_time, sequence_of, apply, backoff_max_s=0.01) for _ in range(2)]
    stop = asyncio.Event()
    running = [asyncio.ensure_future(one.run(stop)) for one in followers]
    await until(lambda: all(one.cursor >= 50 for one in followers))
    stop.set()
    await asyncio.gather(*running)
    assert await target.read(lambda c: c.execute(select(func.count()).select_from(effect)).scalar_one()) == 50


async def test_a_follower_stops_at_once_while_its_stream_is_silent(store: Database, follower_store: Database) -> None:
    feed = Feed(store, read_batch, sequence_of, poll_interval_s=30)
    follower = Follower("payment", follower_store, feed.follow, sequence_of, apply)
    stop = asyncio.Event()
    running = asyncio.ensure_future(follower.run(stop))
    await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(running, 2)


async def test_a_silent_stream_is_opened_again_and_is_no_failure(store: Database, follower_store: Database) -> None:
    """A peer may vanish without a word; then only a new stream brings its next event."""
    opened: list[int] = []

    async def silent_at_first(after: int) -> AsyncIterator[Sequence[Event]]:
        opened.append(after)
        if len(opened) > 1:
            yield [(1, "a")]
        await asyncio.Event().wait()

    follower = Follower("payment", follower_store, silent_at_first, sequence_of, apply, idle_timeout_s=0.05)
    stop = asyncio.Event()
    running = asyncio.ensure_future(follower.run(stop))
    await until(lambda: follower.cursor == 1)
    assert follower.failures == 0
    stop.set()
    await running
    assert await follower_store.read(effects) == ["a"]
