"""The store's promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, func, insert, select, text

from yinqi.kernel.errors import FailedPrecondition, InvalidRequest, Overloaded, StorageFull, Unavailable
from yinqi.runtime.database import Database

metadata = MetaData()
note = Table("note", metadata, Column("id", Integer, primary_key=True), Column("key", String(50), unique=True))


def add(*keys: str) -> Callable[[Connection], int]:
    """Return a use case that stores keys and returns how many there are now."""

    def use_case(connection: Connection) -> int:
        connection.execute(insert(note), [{"key": key} for key in keys])
        return int(connection.execute(select(func.count()).select_from(note)).scalar_one())

    return use_case


def keys(connection: Connection) -> list[str]:
    return list(connection.execute(select(note.c.key).order_by(note.c.key)).scalars())


@pytest.fixture
def store(database: Database) -> Database:
    database.run_sync(metadata.create_all)
    return database


async def test_a_use_case_is_committed_when_its_answer_comes(store: Database) -> None:
    assert await store.run(add("a", "b")) == 2
    assert await store.read(keys) == ["a", "b"]


async def test_one_failing_use_case_does_not_harm_the_others_of_its_commit(store: Database) -> None:
    def fails(connection: Connection) -> None:
        add("lost")(connection)
        raise InvalidRequest("WRONG", "no")

    running = threading.Event()

    def slow(connection: Connection) -> None:
        running.wait(5)  # lets the others queue up behind it, for one group

    first = asyncio.ensure_future(store.run(slow))
    jobs = [store.run(add("a")), store.run(fails), store.run(add("b")), store.run(fails), store.run(add("c"))]
    others = asyncio.gather(*jobs, return_exceptions=True)
    await asyncio.sleep(0.05)
    running.set()
    results = await others
    await first
    assert [isinstance(result, InvalidRequest) for result in results] == [False, True, False, True, False]
    assert await store.read(keys) == ["a", "b", "c"]


async def test_many_callers_share_few_commits(sqlite_url: str, open_database: Callable[..., Database]) -> None:
    store = open_database(sqlite_url)
    store.run_sync(metadata.create_all)
    commits = 0

    def count() -> None:
        nonlocal commits
        commits += 1

    store.on_commit(count)
    await asyncio.gather(*(store.run(add(f"key-{n}")) for n in range(200)))
    assert len(await store.read(keys)) == 200
    assert commits < 50


async def test_an_answer_comes_only_after_the_commit(store: Database) -> None:
    seen: list[list[str]] = []
    store.on_commit(lambda: seen.append(store.read_sync(keys)))
    await store.run(add("a"))
    assert seen == [["a"]]  # another connection saw it before the caller had its answer


async def test_a_failed_commit_is_never_acknowledged(sqlite_url: str, open_database: Callable[..., Database]) -> None:
    store = open_database(sqlite_url)

    def make(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE child (id INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)"))
        metadata.create_all(connection)

    store.run_sync(make)

    def orphan(connection: Connection) -> None:  # passes here and fails in the commit
        connection.execute(text("INSERT INTO child VALUES (99)"))

    results = await asyncio.gather(store.run(add("a")), store.run(orphan), store.run(add("b")), return_exceptions=True)
    assert isinstance(results[1], Exception)
    assert not isinstance(results[0], Exception)
    assert not isinstance(results[2], Exception)
    assert await store.read(keys) == ["a", "b"]


async def test_the_loser_of_a_race_for_a_key_runs_again_and_sees_the_winner(
    postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    store = open_database(postgresql_url)
    store.run_sync(metadata.create_all)
    meeting = threading.Barrier(2, timeout=60)
    runs = 0

    def claim(connection: Connection) -> str:
        nonlocal runs
        runs += 1
        if connection.execute(select(note.c.id).where(note.c.key == "k")).first():
            return "second"
        if runs <= 2:
            meeting.wait()  # both have looked before either has stored
        connection.execute(insert(note).values(key="k"))
        return "first"

    assert sorted(await asyncio.gather(store.run(claim), store.run(claim))) == ["first", "second"]
    assert runs == 3


async def test_a_deadlock_is_resolved_by_running_again(
    postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    store = open_database(postgresql_url)
    store.run_sync(metadata.create_all)
    await store.run(add("a", "b"))
    meeting = threading.Barrier(2, timeout=60)
    turns = iter(range(2))

    def locking(*order: str) -> Callable[[Connection], None]:
        def use_case(connection: Connection) -> None:
            for number, key in enumerate(order):
                connection.execute(select(note).where(note.c.key == key).with_for_update())
                if number == 0 and next(turns, None) is not None:
                    meeting.wait()

        return use_case

    await asyncio.gather(store.run(locking("a", "b")), store.run(locking("b", "a")))


async def test_a_serialization_failure_is_resolved_by_running_again(
    postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    store = open_database(postgresql_url)
    store.run_sync(metadata.create_all)
    meeting = threading.Barrier(2, timeout=60)
    turns = iter(range(2))

    def count_then_add(key: str) -> Callable[[Connection], int]:
        def use_case(connection: Connection) -> int:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
            found = len(keys(connection))
            if next(turns, None) is not None:
                meeting.wait()  # both have counted before either has added: one of the commits must fail
            connection.execute(insert(note).values(key=key))
            return found

        return use_case

    assert sorted(await asyncio.gather(store.run(count_then_add("a")), store.run(count_then_add("b")))) == [0, 1]
    assert await store.read(keys) == ["a", "b"]


async def test_a_lost_connection_is_replaced_and_the_use_case_runs_again(
    postgresql_url: str, open_database: Callable[..., Database]
) -> None:
    store = open_database(postgresql_url, writers=1)
    store.run_sync(metadata.create_all)

    def kill_others(connection: Connection) -> None:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

    other = open_database(postgresql_url, writers=1)
    other.run_sync(kill_others)
    assert await store.run(add("a")) == 1
    assert await store.read(keys) == ["a"]


async def test_a_full_disk_is_told_to_every_caller_and_nothing_is_acknowledged(
    sqlite_url: str, open_database: Callable[..., Database]
) -> None:
    store = open_database(sqlite_url)
    store.run_sync(metadata.create_all)
    await store.run(add("before"))

    def no_more_pages(connection: Connection) -> None:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    await store.run(no_more_pages)
    big = [store.run(add(*(f"{group}-{n}-{'x' * 40}" for n in range(500)))) for group in range(3)]
    results = await asyncio.gather(*big, return_exceptions=True)
    assert all(isinstance(result, StorageFull) for result in results), results
    assert "free space" in str(results[0])
    assert await store.read(keys) == ["before"]
    await store.run(lambda connection: connection.execute(text("PRAGMA max_page_count = 1000000")) and None)
    assert await store.run(add("after")) == 2


async def test_a_full_queue_refuses_at_once(sqlite_url: str, open_database: Callable[..., Database]) -> None:
    store = open_database(sqlite_url, queue_max=2)
    begun, go = threading.Event(), threading.Event()
    busy = asyncio.ensure_future(store.run(lambda _connection: begun.set() or go.wait(60)))
    assert await asyncio.to_thread(begun.wait, 60)  # it has left the queue
    waiting = [asyncio.ensure_future(store.run(lambda _connection: True)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await store.run(lambda _connection: True)
    assert refused.value.reason == "WRITE_QUEUE_FULL"
    go.set()
    await asyncio.gather(busy, *waiting)


async def test_a_cancelled_caller_does_not_disturb_the_writer(store: Database) -> None:
    go = threading.Event()
    slow = asyncio.ensure_future(store.run(lambda _connection: go.wait(5)))
    await asyncio.sleep(0.02)
    gone = asyncio.ensure_future(store.run(add("never")))
    await asyncio.sleep(0)
    gone.cancel()
    go.set()
    await slow
    await store.run(add("a"))
    assert await store.read(keys) == ["a"]


async def test_a_reader_cannot_write(store: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)read-?only"):
        await store.read(add("a"))
    assert await store.read(keys) == []


async def test_after_close_calls_are_refused_and_queued_work_is_done(sqlite_url: str) -> None:
    store = Database.open(sqlite_url)
    store.run_sync(metadata.create_all)
    work = [asyncio.ensure_future(store.run(add(f"k{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    await asyncio.gather(*work)
    with pytest.raises(Unavailable):
        await store.run(add("late"))
    again = Database.open(sqlite_url)
    assert len(again.read_sync(keys)) == 20
    again.close()


async def test_a_use_case_that_ends_the_shared_transaction_harms_nobody_else(store: Database) -> None:
    def rolls_back(connection: Connection) -> None:
        add("lost")(connection)
        connection.rollback()

    go = threading.Event()
    first = asyncio.ensure_future(store.run(lambda _connection: go.wait(5)))
    await asyncio.sleep(0.02)
    jobs = asyncio.gather(store.run(add("a")), store.run(rolls_back), store.run(add("b")), return_exceptions=True)
    await asyncio.sleep(0)
    go.set()
    results = await jobs
    await first
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    assert await store.read(keys) == ["a", "b"]


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sqlite://", "file"),
        ("mysql://x/y", "not supported"),
        ("nonsense", "must look like"),
    ],
)
def test_a_wrong_url_is_explained(url: str, word: str) -> None:
    with pytest.raises(FailedPrecondition, match=word):
        Database.open(url)


def test_an_unreachable_server_is_explained_without_the_password(free_port: Callable[[], int]) -> None:
    with pytest.raises(Unavailable) as refused:
        Database.open(f"postgresql://yinqi:hunter2@127.0.0.1:{free_port()}/x")
    assert "YINQI_DATABASE_URL" in refused.value.message
    assert "hunter2" not in str(refused.value)
