"""The use cases on real stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from yinqi.kernel.clock import FixedClock
from yinqi.kernel.errors import FailedPrecondition, NotFound
from yinqi.kernel.ids import TimeOrderedIds
from yinqi.kernel.money import Money
from yinqi.monitoring import use_cases
from yinqi.monitoring.model import (
    ActivityKind,
    Alert,
    AlertCause,
    AlertFilter,
    AlertStatus,
    PaymentChange,
    ScreeningSubject,
    Severity,
    Verdict,
)
from yinqi.monitoring.repository import SqlStore, read_alert_events
from yinqi.monitoring.rules import ScreeningRules
from yinqi.monitoring.tables import metadata
from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate

NOON = datetime(2026, 11, 22, 4, tzinfo=UTC)
CLOCK = FixedClock(NOON)
IDS = TimeOrderedIds(CLOCK)
RULES = ScreeningRules(amount_max={"CNY": 1_000_000})


@pytest.fixture
def store(database_url: str, open_database: Callable[..., Database]) -> Database:
    migrate(database_url, "monitoring")
    return open_database(database_url)


def subject(number: int, amount: int = 100) -> ScreeningSubject:
    return ScreeningSubject(f"YQ{number}", f"E{number}", "755", f"622{number % 997}", "某公司", Money("CNY", amount))


def screen(database: Database, subjects: list[ScreeningSubject]) -> use_cases.ScreeningResult:
    return database.run_sync(lambda c: use_cases.screen_payments(subjects, RULES, SqlStore(c), IDS, NOON, "2026-11-22"))


def take(database: Database, *changes: PaymentChange) -> None:
    database.run_sync(lambda c: use_cases.take_payment_changes(changes, SqlStore(c), IDS, NOON))


ANY = AlertFilter()


def alerts(database: Database, wanted: AlertFilter = ANY) -> list[Alert]:
    return database.read_sync(lambda c: SqlStore(c).alerts.list_newest(wanted, 1_000))


def change(status: str, at: datetime = NOON, number: int = 1) -> PaymentChange:
    return PaymentChange(f"YQ{number}", f"E{number}", status, at, Money("CNY", 5))


def test_the_migration_makes_the_tables_the_code_uses(store: Database) -> None:
    from sqlalchemy import inspect

    with store.write_engine.connect() as connection:
        inspector = inspect(connection)
        for table in metadata.tables.values():
            assert {c["name"] for c in inspector.get_columns(table.name)} == set(table.columns.keys())
            assert {i["name"] for i in inspector.get_indexes(table.name)} >= {i.name for i in table.indexes}


def test_verdicts_are_kept_and_given_again(store: Database) -> None:
    batch = [subject(n, amount=2_000_000 if n % 10 == 0 else 100 + n) for n in range(200)]
    first = screen(store, batch)
    assert sum(s.verdict is Verdict.BLOCK for s in first.screenings) == 20
    again = screen(store, batch)
    assert again.screenings == first.screenings
    assert not again.new_instruction_ids
    assert len(alerts(store)) == 20


def test_repeats_are_found_across_calls_and_within_one(store: Database) -> None:
    same = [replace(subject(n), creditor_account="622") for n in range(4)]
    screen(store, same[:1])
    screen(store, same[1:])
    assert {a.subject for a in alerts(store) if a.rule == "possible_duplicate"} == {"YQ1", "YQ2", "YQ3"}
    assert all(a.severity is Severity.INFO for a in alerts(store))


def test_screening_a_thousand_payments_takes_no_more_statements_than_screening_ten(store: Database) -> None:
    if store.write_engine.dialect.name == "sqlite":
        pytest.skip("on SQLite statements go by the driver, where SQLAlchemy's event does not see them")
    statements = 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(store.write_engine, "before_cursor_execute", count)
    screen(store, [subject(n, 100 + n) for n in range(10)])
    of_ten, statements = statements, 0
    screen(store, [subject(n, 100 + n) for n in range(10, 1_010)])
    assert 0 < statements <= of_ten


def test_a_repeated_cause_raises_one_alert_and_one_event(store: Database) -> None:
    for _ in range(3):
        take(store, change("RETURNED"), change("RETURNED"))
    assert [a.rule for a in alerts(store)] == ["payment_returned"]
    assert [e.type for e in store.read_sync(lambda c: read_alert_events(c, 0, 10))] == ["alert.raised"]


def raise_overdue(database: Database, now: datetime) -> int:
    return database.run_sync(lambda c: use_cases.raise_unknown_too_long(SqlStore(c), IDS, now, timedelta(seconds=60)))


def test_unknown_for_too_long_raises_once_and_closes_when_the_payment_is_final(store: Database) -> None:
    take(store, change("UNKNOWN"))
    assert raise_overdue(store, NOON + timedelta(seconds=59)) == 0
    assert raise_overdue(store, NOON + timedelta(seconds=60)) == 1
    assert raise_overdue(store, NOON + timedelta(seconds=90)) == 0
    assert [(a.rule, a.status) for a in alerts(store)] == [("payment_unknown_too_long", AlertStatus.OPEN)]
    take(store, change("PROCESSING"))
    assert alerts(store)[0].status is AlertStatus.OPEN, "processing is not an answer"
    take(store, change("SETTLED"))
    assert alerts(store)[0].status is AlertStatus.CLOSED
    events = store.read_sync(lambda c: read_alert_events(c, 0, 10))
    assert [e.type for e in events] == ["alert.raised", "alert.closed"]


def test_a_payment_that_left_unknown_in_time_raises_nothing(store: Database) -> None:
    take(store, change("UNKNOWN"), change("SETTLED", NOON + timedelta(seconds=5)))
    assert raise_overdue(store, NOON + timedelta(hours=1)) == 0
    assert alerts(store) == []


def test_an_acknowledged_alert_belongs_to_one_person(store: Database) -> None:
    take(store, change("RETURNED"))
    alert_id = alerts(store)[0].alert_id

    def acknowledge(person: str) -> Alert:
        return store.run_sync(
            lambda c: use_cases.acknowledge_alert(alert_id, "on it", person, SqlStore(c).alerts, NOON)
        )

    assert acknowledge("li").acknowledged_by == "li"
    assert acknowledge("li").note == "on it"
    with pytest.raises(FailedPrecondition, match="ALERT_TAKEN"):
        acknowledge("wang")
    assert len(store.read_sync(lambda c: read_alert_events(c, 0, 10))) == 2


def test_a_closed_or_unknown_alert_cannot_be_acknowledged(store: Database) -> None:
    take(store, change("UNKNOWN"))
    raise_overdue(store, NOON + timedelta(hours=1))
    take(store, change("REJECTED"))
    closed = next(a for a in alerts(store) if a.status is AlertStatus.CLOSED)
    for alert_id, error in ((closed.alert_id, FailedPrecondition), ("AL-none", NotFound)):
        with pytest.raises(error):
            store.run_sync(
                lambda c, wanted=alert_id: use_cases.acknowledge_alert(wanted, "", "li", SqlStore(c).alerts, NOON)
            )


def test_pages_of_alerts_show_each_once_newest_first(store: Database) -> None:
    causes = [AlertCause("payment_returned", Severity.WARNING, f"YQ{n}", "s", "s") for n in range(25)]
    for minute, part in enumerate((causes[:10], causes[10:20], causes[20:])):
        at = NOON + timedelta(minutes=minute)
        store.run_sync(lambda c, p=part, t=at: use_cases.raise_alerts(p, SqlStore(c).alerts, IDS, t))
    seen: list[Alert] = []
    before = None
    while True:
        page, has_more = store.read_sync(
            lambda c, b=before: use_cases.list_alerts(AlertFilter(before=b), 7, SqlStore(c).alerts)
        )
        seen += page
        before = (page[-1].raised_at, page[-1].alert_id)
        if not has_more:
            break
    assert len({a.alert_id for a in seen}) == len(seen) == 25
    assert [a.raised_at for a in seen] == sorted((a.raised_at for a in seen), reverse=True)
    assert [a.subject for a in alerts(store, AlertFilter(subject="YQ7"))] == ["YQ7"]


def test_activity_is_counted_in_buckets_and_pruned(store: Database) -> None:
    take(store, change("RECEIVED"), change("RECEIVED", number=2), change("SETTLED", NOON + timedelta(seconds=7)))
    take(store, change("RECEIVED", NOON + timedelta(seconds=1), number=3))
    start_s = int(NOON.timestamp())
    buckets = store.read_sync(lambda c: SqlStore(c).watch.list_activity(0))
    assert [(b.start_s - start_s, b.kind, b.count) for b in buckets] == [
        (0, ActivityKind.RECEIVED, 3),
        (5, ActivityKind.SETTLED, 1),
    ]
    store.run_sync(lambda c: use_cases.prune_activity(SqlStore(c), NOON + timedelta(days=2)))
    assert store.read_sync(lambda c: SqlStore(c).watch.list_activity(0)) == []
