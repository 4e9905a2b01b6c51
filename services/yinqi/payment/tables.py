"""The tables of the payment service; `migrations/` makes the same."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Dialect, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.types import TypeDecorator

from yinqi.payment.status import PaymentStatus
from yinqi.runtime import feed
from yinqi.runtime.columns import UtcTimestamp, big_integer, sealed_text
from yinqi.runtime.sealing import Sealed

_STATUS_OF = {str(status): status for status in PaymentStatus}


class StatusColumn(TypeDecorator[PaymentStatus]):
    """A status, stored as its name."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: PaymentStatus | None, dialect: Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> PaymentStatus | None:
        return _STATUS_OF[value] if value else None


metadata = MetaData()


# The columns are the fields of `Payment`, in order.
payments = Table(
    "payments",
    metadata,
    Column("instruction_id", String(30), primary_key=True),
    Column("end_to_end_id", String(35), nullable=False, unique=True),
    Column("order_bytes", LargeBinary, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("debtor_account", String(34), nullable=False),
    Column("creditor_name", sealed_text(140), nullable=False),
    Column("creditor_account", sealed_text(34), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("amount_minor_units", BigInteger, nullable=False),
    Column("requested_execution_date", String(10), nullable=False),
    Column("category_purpose", String(4), nullable=False),
    Column("payment_information_id", String(35), nullable=False),
    Column("traceparent", String(55), nullable=False),
    Column("initiation_traceparent", String(55), nullable=False),
    Column("received_at", UtcTimestamp, nullable=False),
    Column("status", StatusColumn, nullable=False),
    Column("reason_code", String(35), nullable=False),
    Column("reason_proprietary_code", String(35), nullable=False),
    Column("reason_text", String(500), nullable=False),
    Column("updated_at", UtcTimestamp, nullable=False),
    Column("submission_attempts", Integer, nullable=False),
    Column("account_servicer_reference", String(64), nullable=False),
    Column("settlement_date", String(10), nullable=False),
    Column("return_date", String(10), nullable=False),
    Column("first_submitted_at", UtcTimestamp, nullable=True),
    Column("last_submitted_at", UtcTimestamp, nullable=True),
    Column("step_tries", Integer, nullable=False),
    Column("next_action_at", UtcTimestamp, nullable=True),
    Column("contradiction", String(20), nullable=False),
    Column("releases", Integer, nullable=False),
)
_is_open = payments.c.next_action_at.is_not(None)
# Only what a worker still has to do is in this index, however many payments are done.
Index(
    "payments_by_next_action",
    payments.c.status,
    payments.c.next_action_at,
    sqlite_where=_is_open,
    postgresql_where=_is_open,
)
Index("payments_by_received_at", payments.c.received_at, payments.c.instruction_id)
# Counting reads this instead of every payment: at 100,000 of them the overview would wait for seconds.
Index(
    "payments_by_status",
    payments.c.status,
    payments.c.debtor_account,
    payments.c.currency,
    payments.c.amount_minor_units,
)
_has_settled = payments.c.settlement_date != ""
Index(
    "payments_by_settlement",
    payments.c.settlement_date,
    payments.c.debtor_account,
    sqlite_where=_has_settled,
    postgresql_where=_has_settled,
)

# The people's queue: the last place of a payment in it. Only payments that ever got there have a row.
payment_doubts = Table(
    "payment_doubts",
    metadata,
    Column("instruction_id", String(30), primary_key=True),
    Column("reason", String(35), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("opened_at", UtcTimestamp, nullable=False),
    Column("closed_at", UtcTimestamp, nullable=True),
    Column("closing", String(20), nullable=False),
    # The bank's last empty answer; no queried_at, no answer.
    Column("queried_at", UtcTimestamp, nullable=True),
    Column("archive_id", String(64), nullable=False),
    Column("control_reference", String(64), nullable=False),
    Column("control_seen", Boolean, nullable=False),
    Column("safe_window_ms", BigInteger, nullable=False),
    # The first person's decision; no proposed_at, no decision.
    Column("decision", String(20), nullable=False),
    Column("document_reference", String(64), nullable=False),
    Column("account_servicer_reference", String(64), nullable=False),
    Column("booking_date", String(10), nullable=False),
    Column("note", String(280), nullable=False),
    Column("person", String(100), nullable=False),
    Column("proposed_at", UtcTimestamp, nullable=True),
    Column("resend_attempt", Integer, nullable=False),
)
_waits = payment_doubts.c.closed_at.is_(None)
Index(
    "payment_doubts_waiting",
    payment_doubts.c.opened_at,
    payment_doubts.c.instruction_id,
    sqlite_where=_waits,
    postgresql_where=_waits,
)

# Each resend's evidence, as data beside its journal line. Never changed.
resend_permits = Table(
    "resend_permits",
    metadata,
    Column("permit_number", big_integer(), primary_key=True, autoincrement=True),
    Column("instruction_id", String(30), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("used_at", UtcTimestamp, nullable=False),
    Column("expires_at", UtcTimestamp, nullable=False),
    Column("queried_at", UtcTimestamp, nullable=False),
    Column("archive_id", String(64), nullable=False),
    Column("control_reference", String(64), nullable=False),
    Column("safe_window_ms", BigInteger, nullable=False),
    Column("actor", String(100), nullable=False),
    Index("resend_permits_by_payment", "instruction_id", "permit_number"),
    sqlite_autoincrement=True,
)

# Journal and feed in one: the state after each move, beside the fixed facts in `payments`.
payment_events = feed.event_table(
    "payment_events",
    metadata,
    Column("instruction_id", String(30), nullable=False),
    Column("type", String(40), nullable=False),
    Column("from_status", StatusColumn, nullable=True),
    Column("to_status", StatusColumn, nullable=False),
    Column("reason_code", String(35), nullable=False),
    Column("reason_proprietary_code", String(35), nullable=False),
    Column("reason_text", String(500), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("submission_attempts", Integer, nullable=False),
    Column("account_servicer_reference", String(64), nullable=False),
    Column("settlement_date", String(10), nullable=False),
    Column("return_date", String(10), nullable=False),
    Index("payment_events_by_payment", "instruction_id", "sequence"),
)

# How far the gateway's notices have been followed.
cursors = feed.cursor_table(metadata)

# Signed orders, the very bytes that came. Never changed.
payment_orders = Table(
    "payment_orders",
    metadata,
    Column("order_digest", String(64), primary_key=True),
    Column("order_id", String(35), nullable=False),
    Column("company", String(140), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("nonce", String(64), nullable=False),
    Column("order_bytes", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    Column("received_at", UtcTimestamp, nullable=False),
    Index("payment_orders_by_id", "company", "order_id", unique=True),
    Index("payment_orders_by_nonce", "key_id", "nonce", unique=True),
)

# Which line of which order a payment is; accounts and amount beside it, for sums to one creditor.
order_lines = Table(
    "payment_order_lines",
    metadata,
    Column("instruction_id", String(30), primary_key=True),
    Column("order_digest", String(64), nullable=False),
    Column("line_number", Integer, nullable=False),
    Column("debtor_account", String(34), nullable=False),
    Column("creditor_account", String(34), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("amount_minor_units", BigInteger, nullable=False),
    Column("received_at", UtcTimestamp, nullable=False),
    Index("payment_order_lines_by_order", "order_digest", "line_number", unique=True),
    Index("payment_order_lines_by_creditor", "creditor_account", "debtor_account", "received_at"),
)

# One decision per key and order, as it was signed.
order_decisions = Table(
    "payment_order_decisions",
    metadata,
    Column("order_digest", String(64), primary_key=True),
    Column("key_id", String(64), primary_key=True),
    Column("decision_bytes", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("recorded_at", UtcTimestamp, nullable=False),
)

# What is remembered of a person's one-time codes; the secrets are not here.
one_time_codes = Table(
    "payment_one_time_codes",
    metadata,
    Column("person", String(100), primary_key=True),
    Column("last_step", BigInteger, nullable=False),
    Column("wrong", Integer, nullable=False),
    Column("locked_until", UtcTimestamp, nullable=True),
)

# What is sealed at rest. The signed orders themselves hold a root over their lines, no account and no name; what a decision shows may.
SEALED_PAYMENTS = Sealed(
    payments,
    row=("instruction_id", "debtor_account"),
    fields=("order_bytes", "creditor_name", "creditor_account"),
    numbers=("debtor_account",),
)
SEALED_ORDER_LINES = Sealed(order_lines, row=("instruction_id",), blind=("debtor_account", "creditor_account"))
SEALED_DECISIONS = Sealed(order_decisions, row=("order_digest", "key_id"), fields=("decision_bytes",))
SEALED = (SEALED_PAYMENTS, SEALED_ORDER_LINES, SEALED_DECISIONS)
