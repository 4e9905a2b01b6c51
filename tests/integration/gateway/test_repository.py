"""The registry and the archive, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect

from yinqi.gateway.metadata import METADATA
from yinqi.gateway.model import Absence, ArchivedMessage, Attempt, Direction, SendState
from yinqi.gateway.repository import SqlStore
from yinqi.gateway.use_cases import ClaimLost, claim_submissions
from yinqi.kernel.money import Money
from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


@pytest.fixture
def store(
    database_url: str, open_database: Callable[..., Database], tmp_path: Path, seal_database: Callable[..., object]
) -> Database:
    """The gateway's own store, sealed."""
    migrate(database_url, "gateway")
    database = open_database(database_url)
    seal_database(database, tmp_path / "kek")
    return database


def attempt(instruction_id: str, number: int = 1, exchange_id: str = "EX1", **changes: object) -> Attempt:
    row = Attempt(
        instruction_id=instruction_id,
        attempt=number,
        state=SendState.SENDING,
        profile="demo_bank",
        debtor_account="755",
        creditor_account="622",
        amount=Money("CNY", 10**15 - 1),
        content_digest="d" * 64,
        exchange_id=exchange_id,
        claimed_at=NOW,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def message(archive_id: str, exchange_id: str = "EX1", **changes: object) -> ArchivedMessage:
    row = ArchivedMessage(
        archive_id=archive_id,
        exchange_id=exchange_id,
        profile="demo_bank",
        direction=Direction.SENT,
        function="BB1PAYBH",
        message_id="20261122",
        recorded_at=NOW,
        size_bytes=3,
        digest="0" * 64,
        content="付款".encode() * 100,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def test_the_migration_makes_the_tables_the_code_uses(store: Database) -> None:
    def columns(connection: object) -> dict[str, set[str]]:
        found = inspect(connection)
        return {name: {c["name"] for c in found.get_columns(name)} for name in METADATA.tables}  # type: ignore[union-attr]

    expected = {name: set(table.columns.keys()) for name, table in METADATA.tables.items()}
    assert store.read_sync(columns) == expected


def test_a_claim_and_its_message_are_there_together_or_not_at_all(store: Database) -> None:
    store.run_sync(lambda c: claim_submissions([attempt("A"), attempt("B")], {}, message("AR1"), SqlStore(c)))
    with pytest.raises(ClaimLost) as lost:
        store.run_sync(
            lambda c: claim_submissions(
                [attempt("B", exchange_id="EX2"), attempt("C", exchange_id="EX2")],
                {},
                message("AR2", "EX2"),
                SqlStore(c),
            )
        )
    assert lost.value.instruction_ids == {"B"}
    found = store.read_sync(lambda c: SqlStore(c).registry.find(["A", "B", "C"]))
    assert found == {"A": [attempt("A")], "B": [attempt("B")]}
    assert [m.archive_id for m in store.read_sync(lambda c: SqlStore(c).archive.messages_of("B"))] == ["AR1"]
    assert store.read_sync(lambda c: SqlStore(c).archive.messages_of("A"))[0] == message("AR1")


def test_an_earlier_or_equal_attempt_is_lost_and_so_is_one_that_was_not_seen(store: Database) -> None:
    claim = claim_submissions
    store.run_sync(lambda c: claim([attempt("A", 2)], {}, message("AR1"), SqlStore(c)))
    for number, counts in ((1, {"A": 1}), (2, {"A": 1}), (3, {"A": 0})):
        with pytest.raises(ClaimLost):
            store.run_sync(
                lambda c, n=number, k=counts: claim([attempt("A", n, "EX2")], k, message("AR2", "EX2"), SqlStore(c))  # type: ignore[misc]
            )
    store.run_sync(lambda c: claim([attempt("A", 3, "EX3")], {"A": 1}, message("AR3", "EX3"), SqlStore(c)))


def test_an_attempt_that_never_left_makes_room_and_its_messages_stay(store: Database) -> None:
    store.run_sync(lambda c: claim_submissions([attempt("A")], {}, message("AR1"), SqlStore(c)))
    store.run_sync(lambda c: SqlStore(c).registry.end_exchange("EX1", SendState.NOT_SENT, NOW))
    again = attempt("A", exchange_id="EX2")
    store.run_sync(lambda c: claim_submissions([again], {"A": 1}, message("AR2", "EX2"), SqlStore(c)))
    assert store.read_sync(lambda c: SqlStore(c).registry.find(["A"])) == {"A": [again]}
    messages = store.read_sync(lambda c: SqlStore(c).archive.messages_of("A"))
    assert [m.archive_id for m in messages] == ["AR1", "AR2"]


def test_single_lines_of_an_exchange_may_end_otherwise(store: Database) -> None:
    def end(store_: SqlStore) -> None:
        store_.registry.claim([attempt("A"), attempt("B"), attempt("C")])
        store_.registry.end_exchange("EX1", SendState.ACCEPTED, NOW)
        store_.registry.end_lines("EX1", {"B": SendState.REFUSED, "C": SendState.IN_DOUBT}, NOW)

    store.run_sync(lambda c: end(SqlStore(c)))
    found = store.read_sync(lambda c: SqlStore(c).registry.find(["A", "B", "C"]))
    assert {one: (its[0].state, its[0].known_at) for one, its in found.items()} == {
        "A": (SendState.ACCEPTED, NOW),
        "B": (SendState.REFUSED, None),
        "C": (SendState.IN_DOUBT, None),
    }


def test_the_control_is_the_payment_most_lately_known(store: Database) -> None:
    def fill(store_: SqlStore) -> None:
        day = timedelta(days=1)
        store_.registry.claim([attempt("OLD"), attempt("NEW", claimed_at=NOW - 3 * day), attempt("NEW", 2)])
        store_.registry.claim([attempt("OTHER", debtor_account="756"), attempt("DOUBT")])
        store_.registry.mark_known(["OLD", "OTHER"], NOW)
        store_.registry.mark_known(["NEW"], NOW + day)
        store_.registry.mark_known([], NOW)

    store.run_sync(lambda c: fill(SqlStore(c)))
    known = store.read_sync(lambda c: SqlStore(c).registry.known_references(["755", "756", "757"]))
    assert {account: one.instruction_id for account, one in known.items()} == {"755": "NEW", "756": "OTHER"}
    assert known["755"].since.isoformat() == "2026-11-19"


def test_only_a_verified_answer_carries_an_absence(store: Database) -> None:
    def fill(store_: SqlStore) -> None:
        received = message("AR1", direction=Direction.RECEIVED, is_verified=True)
        store_.archive.add(received)
        store_.archive.add(replace(received, archive_id="AR2", is_verified=False, failure="BAD_SIGNATURE"))
        store_.archive.add_absences([Absence("A", "AR1", NOW, "K", True), Absence("A", "AR2", NOW, "K", True)])

    store.run_sync(lambda c: fill(SqlStore(c)))
    keys = [("A", "AR1"), ("A", "AR2"), ("B", "AR1")]
    found = store.read_sync(lambda c: SqlStore(c).archive.find_absences(keys))
    assert found == {("A", "AR1"): Absence("A", "AR1", NOW, "K", True)}
