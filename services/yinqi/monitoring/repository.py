"""The ports over SQLAlchemy Core, the same code for SQLite and PostgreSQL, set-based."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, insert, or_, select, update

from yinqi.kernel.money import Money
from yinqi.monitoring.model import (
    ActivityBucket,
    ActivityKind,
    Alert,
    AlertEvent,
    AlertEventType,
    AlertFilter,
    AlertKey,
    AlertStatus,
    PendingDelivery,
    Screening,
    Severity,
    StoredScreening,
    UnknownPayment,
    Verdict,
)
from yinqi.monitoring.tables import (
    alert,
    alert_delivery,
    alert_event,
    payment_activity,
    screening,
    screening_repeat,
    unknown_payment,
)
from yinqi.runtime import feed
from yinqi.runtime.statements import among, prepared, upsert


def _count_repeats(inserted: Any) -> Any:
    counts = {"payment_count": screening_repeat.c.payment_count + inserted.excluded.payment_count}
    counted = inserted.on_conflict_do_update(index_elements=["repeat_key"], set_=counts)
    return prepared(counted.returning(screening_repeat.c.repeat_key, screening_repeat.c.payment_count))


_ADD_SCREENINGS = prepared(insert(screening))
_FIND_SCREENINGS = prepared(select(screening).where(among(screening.c.instruction_id, "ids")))
_COUNT_REPEATS = {store: _count_repeats(upsert(screening_repeat, store)) for store in ("postgresql", "sqlite")}


class SqlStore:
    """All stores of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.screenings = SqlScreenings(connection)
        self.alerts = SqlAlerts(connection)
        self.watch = SqlWatch(connection)


class SqlScreenings:
    """See `ports.ScreeningStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, instruction_ids: Collection[str]) -> Mapping[str, StoredScreening]:
        rows = self._connection.execute(_FIND_SCREENINGS, {"ids": instruction_ids})
        return {
            row.instruction_id: StoredScreening(
                Screening(row.instruction_id, Verdict(row.verdict), row.rule, row.description, row.description_zh),
                row.subject_digest,
            )
            for row in rows
        }

    def count_repeats(self, increments: Mapping[str, int]) -> Mapping[str, int]:
        counted = _COUNT_REPEATS[self._connection.dialect.name]
        # Sorted: every writer takes the rows' locks in the same order.
        rows = [{"repeat_key": key, "payment_count": increments[key]} for key in sorted(increments)]
        return {key: count - increments[key] for key, count in self._connection.execute(counted, rows)}

    def add(self, screenings: Sequence[tuple[Screening, str]], screened_at: datetime) -> None:
        if not screenings:
            return
        rows = [
            {
                "instruction_id": one.instruction_id,
                "verdict": one.verdict.value,
                "rule": one.rule,
                "description": one.description,
                "description_zh": one.description_zh,
                "subject_digest": digest,
                "screened_at": screened_at,
            }
            for one, digest in screenings
        ]
        self._connection.execute(_ADD_SCREENINGS, rows)


class SqlAlerts:
    """See `ports.AlertStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def raise_once(self, alerts: Sequence[Alert]) -> int:
        if not alerts:
            return 0
        statement = upsert(alert, self._connection.dialect.name).on_conflict_do_nothing(
            index_elements=["rule", "subject"]
        )
        raised = self._connection.execute(statement.returning(alert.c.alert_id), [_alert_row(one) for one in alerts])
        new_ids = set(raised.scalars())
        events = [(AlertEventType.RAISED, one.alert_id, one.raised_at) for one in alerts if one.alert_id in new_ids]
        self._append(events)
        return len(new_ids)

    def close(self, keys: Collection[AlertKey], at: datetime) -> int:
        if not keys:
            return 0
        # Rule by rule: SQLite looks up no pairs, it would read every alert there ever was.
        of_rule = [
            and_(alert.c.rule == rule, among(alert.c.subject, [subject for _, subject in same]))
            for rule, same in groupby(sorted(keys), key=itemgetter(0))
        ]
        closed = self._connection.execute(
            update(alert)
            .where(or_(*of_rule))
            .where(alert.c.status != AlertStatus.CLOSED.value)
            .values(status=AlertStatus.CLOSED.value)
            .returning(alert.c.alert_id)
        )
        alert_ids = sorted(closed.scalars())
        self._append([(AlertEventType.CLOSED, alert_id, at) for alert_id in alert_ids])
        return len(alert_ids)

    def get(self, alert_id: str) -> Alert | None:
        row = self._connection.execute(
            select(alert).where(alert.c.alert_id == alert_id).with_for_update()
        ).one_or_none()
        return None if row is None else _alert_from(row)

    def acknowledge(self, acknowledged: Alert) -> None:
        at = acknowledged.acknowledged_at
        if at is None:
            raise ValueError("an acknowledged alert has its time")
        self._connection.execute(
            update(alert)
            .where(alert.c.alert_id == acknowledged.alert_id)
            .values(
                status=acknowledged.status.value,
                acknowledged_by=acknowledged.acknowledged_by,
                acknowledged_at=at,
                note=acknowledged.note,
            )
        )
        self._append([(AlertEventType.ACKNOWLEDGED, acknowledged.alert_id, at)])

    def list_newest(self, wanted: AlertFilter, limit: int) -> list[Alert]:
        query = select(alert).order_by(alert.c.raised_at.desc(), alert.c.alert_id.desc()).limit(limit)
        return [_alert_from(row) for row in self._connection.execute(_filtered(query, wanted))]

    def claim_deliveries(self, now: datetime, lease_until: datetime, limit: int) -> list[PendingDelivery]:
        due = (
            select(alert)
            .where(alert.c.next_attempt_at <= now)
            .order_by(alert.c.next_attempt_at, alert.c.alert_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = self._connection.execute(due).all()
        if not rows:
            return []
        alert_ids = [row.alert_id for row in rows]
        self._connection.execute(
            update(alert)
            .where(alert.c.alert_id.in_(alert_ids))
            .values(next_attempt_at=lease_until, delivery_attempts=alert.c.delivery_attempts + 1)
        )
        confirmed = self._confirmed(alert_ids)
        return [
            PendingDelivery(_alert_from(row, attempts=row.delivery_attempts + 1), frozenset(confirmed[row.alert_id]))
            for row in rows
        ]

    def _confirmed(self, alert_ids: Sequence[str]) -> dict[str, set[str]]:
        confirmed: dict[str, set[str]] = {alert_id: set() for alert_id in alert_ids}
        query = select(alert_delivery.c.alert_id, alert_delivery.c.channel)
        for alert_id, channel in self._connection.execute(query.where(alert_delivery.c.alert_id.in_(alert_ids))):
            confirmed[alert_id].add(channel)
        return confirmed

    def record_delivery(
        self, alert_id: str, confirmed: Collection[str], at: datetime, next_attempt_at: datetime
    ) -> None:
        self._add_confirmed(alert_id, confirmed, at)
        self._update_pending(alert_id, next_attempt_at=next_attempt_at)

    def finish_delivery(self, alert_id: str, confirmed: Collection[str], at: datetime) -> None:
        self._add_confirmed(alert_id, confirmed, at)
        # Another replica whose lease ran over may have finished it: one event only.
        if self._update_pending(alert_id, next_attempt_at=None, delivered_at=at):
            self._append([(AlertEventType.DELIVERED, alert_id, at)])

    def _update_pending(self, alert_id: str, **values: datetime | None) -> bool:
        pending = update(alert).where(alert.c.alert_id == alert_id, alert.c.delivered_at.is_(None))
        return self._connection.execute(pending.values(**values)).rowcount == 1

    def drop_delivery(self, alert_ids: Collection[str]) -> None:
        self._connection.execute(
            update(alert)
            .where(alert.c.alert_id.in_(alert_ids))
            .values(next_attempt_at=None, delivery_attempts=alert.c.delivery_attempts - 1)
        )

    def _add_confirmed(self, alert_id: str, channels: Collection[str], at: datetime) -> None:
        if not channels:
            return
        statement = upsert(alert_delivery, self._connection.dialect.name).on_conflict_do_nothing()
        rows = [{"alert_id": alert_id, "channel": channel, "delivered_at": at} for channel in sorted(channels)]
        self._connection.execute(statement, rows)

    def _append(self, events: Sequence[tuple[AlertEventType, str, datetime]]) -> None:
        rows = [{"type": kind.value, "alert_id": alert_id, "occurred_at": at} for kind, alert_id, at in events]
        feed.append(self._connection, alert_event, rows)


def _filtered(query: Select[Any], wanted: AlertFilter) -> Select[Any]:
    if wanted.status is not None:
        query = query.where(alert.c.status == wanted.status.value)
    if wanted.subject:
        query = query.where(alert.c.subject == wanted.subject)
    if wanted.before is not None:
        raised_at, alert_id = wanted.before
        same_time = and_(alert.c.raised_at == raised_at, alert.c.alert_id < alert_id)
        query = query.where(or_(alert.c.raised_at < raised_at, same_time))
    return query


def read_alert_events(connection: Connection, after: int, limit: int) -> list[AlertEvent]:
    """Return events after the cursor, ascending, each with its alert as it stands now."""
    query = (
        select(alert_event.c.sequence, alert_event.c.type, alert_event.c.occurred_at, alert)
        .join(alert, alert.c.alert_id == alert_event.c.alert_id)
        .where(alert_event.c.sequence > after)
        .order_by(alert_event.c.sequence)
        .limit(limit)
    )
    return [
        AlertEvent(row.sequence, AlertEventType(row.type), row.occurred_at, _alert_from(row))
        for row in connection.execute(query)
    ]


def _alert_row(one: Alert) -> dict[str, Any]:
    return {
        "alert_id": one.alert_id,
        "rule": one.rule,
        "subject": one.subject,
        "severity": one.severity.value,
        "status": one.status.value,
        "summary": one.summary,
        "summary_zh": one.summary_zh,
        "raised_at": one.raised_at,
        "acknowledged_by": one.acknowledged_by,
        "acknowledged_at": one.acknowledged_at,
        "note": one.note,
        "traceparent": one.traceparent,
        "delivered_at": one.delivered_at,
        "delivery_attempts": one.delivery_attempts,
        "next_attempt_at": one.raised_at,
    }


def _alert_from(row: Row[Any], attempts: int | None = None) -> Alert:
    return Alert(
        alert_id=row.alert_id,
        rule=row.rule,
        severity=Severity(row.severity),
        status=AlertStatus(row.status),
        subject=row.subject,
        summary=row.summary,
        summary_zh=row.summary_zh,
        raised_at=row.raised_at,
        acknowledged_by=row.acknowledged_by,
        acknowledged_at=row.acknowledged_at,
        delivered_at=row.delivered_at,
        delivery_attempts=row.delivery_attempts if attempts is None else attempts,
        traceparent=row.traceparent,
        note=row.note,
    )


class SqlWatch:
    """See `ports.WatchStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def forget_unknown(self, instruction_ids: Collection[str]) -> None:
        if instruction_ids:
            gone = delete(unknown_payment).where(unknown_payment.c.instruction_id.in_(sorted(instruction_ids)))
            self._connection.execute(gone)

    def add_unknown(self, payments: Sequence[UnknownPayment]) -> None:
        if not payments:
            return
        rows = [
            {
                "instruction_id": payment.instruction_id,
                "end_to_end_id": payment.end_to_end_id,
                "currency": payment.amount.currency,
                "minor_units": payment.amount.minor_units,
                "since": payment.since,
                "traceparent": payment.traceparent,
                "is_alerted": False,
            }
            for payment in payments
        ]
        self._connection.execute(upsert(unknown_payment, self._connection.dialect.name).on_conflict_do_nothing(), rows)

    def take_unknown_since(self, before: datetime, limit: int) -> list[UnknownPayment]:
        overdue = (
            select(unknown_payment)
            .where(unknown_payment.c.is_alerted.is_(False), unknown_payment.c.since <= before)
            .order_by(unknown_payment.c.since)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = self._connection.execute(overdue).all()
        taken = [row.instruction_id for row in rows]
        if taken:
            mark = update(unknown_payment).where(unknown_payment.c.instruction_id.in_(taken)).values(is_alerted=True)
            self._connection.execute(mark)
        return [
            UnknownPayment(
                row.instruction_id, row.end_to_end_id, Money(row.currency, row.minor_units), row.since, row.traceparent
            )
            for row in rows
        ]

    def add_activity(self, buckets: Sequence[ActivityBucket]) -> None:
        if not buckets:
            return
        statement = upsert(payment_activity, self._connection.dialect.name)
        added = statement.on_conflict_do_update(
            index_elements=["start_s", "kind"],
            set_={"payment_count": payment_activity.c.payment_count + statement.excluded.payment_count},
        )
        rows = [{"start_s": one.start_s, "kind": one.kind.value, "payment_count": one.count} for one in buckets]
        self._connection.execute(added, rows)

    def list_activity(self, from_s: int) -> list[ActivityBucket]:
        query = (
            select(payment_activity).where(payment_activity.c.start_s >= from_s).order_by(payment_activity.c.start_s)
        )
        rows = self._connection.execute(query)
        return [ActivityBucket(row.start_s, ActivityKind(row.kind), row.payment_count) for row in rows]

    def prune_activity(self, before_s: int) -> None:
        self._connection.execute(delete(payment_activity).where(payment_activity.c.start_s < before_s))
