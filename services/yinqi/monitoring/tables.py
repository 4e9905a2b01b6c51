"""Tables of the monitoring service; the migrations write the same out in full."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table
from sqlalchemy import UniqueConstraint as Unique

from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.feed import cursor_table, event_table

metadata = MetaData()

screening = Table(
    "screening",
    metadata,
    Column("instruction_id", String(64), primary_key=True),
    Column("verdict", Integer, nullable=False),
    Column("rule", String(64), nullable=False),
    Column("description", String(1000), nullable=False),
    Column("description_zh", String(1000), nullable=False),
    Column("subject_digest", String(64), nullable=False),
    Column("screened_at", UtcTimestamp(), nullable=False),
)

# How many payments of one creditor account, amount and day were screened; the key is a digest of the three.
screening_repeat = Table(
    "screening_repeat",
    metadata,
    Column("repeat_key", String(64), primary_key=True),
    Column("payment_count", Integer, nullable=False),
)

alert = Table(
    "alert",
    metadata,
    Column("alert_id", String(26), primary_key=True),
    Column("rule", String(64), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("severity", Integer, nullable=False),
    Column("status", Integer, nullable=False),
    Column("summary", String(2000), nullable=False),
    Column("summary_zh", String(2000), nullable=False),
    Column("raised_at", UtcTimestamp(), nullable=False),
    Column("acknowledged_by", String(128), nullable=False),
    Column("acknowledged_at", UtcTimestamp()),
    Column("note", String(500), nullable=False),
    Column("traceparent", String(64), nullable=False),
    Column("delivered_at", UtcTimestamp()),
    Column("delivery_attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcTimestamp()),  # NULL: nothing left to deliver
    Unique("rule", "subject", name="alert_rule_subject"),
    Index("alert_newest", "raised_at", "alert_id"),
    Index("alert_subject", "subject"),
    Index("alert_next_attempt", "next_attempt_at"),
)

alert_event = event_table(
    "alert_event",
    metadata,
    Column("type", String(32), nullable=False),
    Column("alert_id", String(26), nullable=False),
)

# Which channel has which alert; the key is a digest of the channel's URL, which may hold a secret.
alert_delivery = Table(
    "alert_delivery",
    metadata,
    Column("alert_id", String(26), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("delivered_at", UtcTimestamp(), nullable=False),
    PrimaryKeyConstraint("alert_id", "channel"),
)

unknown_payment = Table(
    "unknown_payment",
    metadata,
    Column("instruction_id", String(64), primary_key=True),
    Column("end_to_end_id", String(64), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("minor_units", BigInteger, nullable=False),
    Column("since", UtcTimestamp(), nullable=False),
    Column("traceparent", String(64), nullable=False),
    Column("is_alerted", Boolean, nullable=False),
    Index("unknown_payment_since", "is_alerted", "since"),
)

payment_activity = Table(
    "payment_activity",
    metadata,
    Column("start_s", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("payment_count", BigInteger, nullable=False),
    PrimaryKeyConstraint("start_s", "kind"),
)

feed_cursor = cursor_table(metadata)
