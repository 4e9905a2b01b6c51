"""What monitoring has of a payment, for an evidence bundle: its screening and the alerts about it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from yinqi.monitoring.model import AlertStatus, Severity, Verdict
from yinqi.monitoring.tables import alert, alert_event, screening
from yinqi.runtime.evidence import Found, Item, Subject, journal_rows, missing, record, records

_DELIVERY = ("traceparent", "delivered_at", "delivery_attempts", "next_attempt_at")


def collect(connection: Connection, subject: Subject) -> Found:
    """Return the items of one payment."""
    key = subject.instruction_id
    alerts = list(records(connection, alert, alert.c.subject == key, *_DELIVERY))
    for one in alerts:
        one["row"] |= {
            "severity": Severity(one["row"]["severity"]).name,
            "status": AlertStatus(one["row"]["status"]).name,
        }
    of_alerts = alert_event.c.alert_id.in_([one["row"]["alert_id"] for one in alerts])
    events = journal_rows(connection, "monitoring", alert_event, of_alerts) if alerts else ()
    return Found(subject, [_screening(connection, key), *alerts, *events])


def _screening(connection: Connection, key: str) -> Item:
    row = connection.execute(select(screening).where(screening.c.instruction_id == key)).mappings().first()
    if row is None:
        return missing("SCREENING")
    return record("screening", {**row, "verdict": Verdict(row["verdict"]).name})
