"""Stops of payments, and their journal.

Revision ID: gateway_0007
Revises: gateway_0006_journal_seals
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.feed import event_columns

revision = "gateway_0007"
down_revision = "gateway_0006_journal_seals"
branch_labels = None
depends_on = None


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def upgrade() -> None:
    op.create_table(
        "gateway_stops",
        sa.Column("stop_id", sa.String(32), primary_key=True),
        _text("scope_kind", 8),
        _text("scope_name", 140),
        _text("pulled_by", 100),
        sa.Column("pulled_at", UtcTimestamp, nullable=False),
        _text("reason", 280),
        _text("lift_asked_by", 100),
        sa.Column("lift_asked_at", UtcTimestamp),
        _text("lift_asked_reason", 280),
        _text("lifted_by", 100),
        sa.Column("lifted_at", UtcTimestamp),
        _text("lifted_reason", 280),
    )
    in_force = sa.text("lifted_at IS NULL")
    op.create_index(
        "gateway_stops_in_force",
        "gateway_stops",
        ["scope_kind", "scope_name"],
        unique=True,
        sqlite_where=in_force,
        postgresql_where=in_force,
    )
    op.create_table(
        "gateway_stop_events",
        *event_columns(),
        _text("type", 32),
        _text("stop_id", 32),
        _text("scope_kind", 8),
        _text("scope_name", 140),
        _text("person", 100),
        _text("reason", 280),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("gateway_stop_events")
    op.drop_table("gateway_stops")
