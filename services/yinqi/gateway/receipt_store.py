"""The banks' receipts as they came, and their journal. A receipt is never changed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, Connection, Index, LargeBinary, String, Table, select

from yinqi.gateway.archive_form import packed, unpacked
from yinqi.gateway.metadata import METADATA
from yinqi.gateway.model import KeptReceipt, Receipt
from yinqi.runtime.bulk_insert import insert_rows
from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.feed import append, event_table
from yinqi.runtime.sealing import Sealed, sealing_of
from yinqi.runtime.statements import among

RECEIPTS = Table(
    "gateway_receipts",
    METADATA,
    Column("profile", String(31), primary_key=True),
    Column("number", String(64), primary_key=True),
    Column("instruction_id", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("content", LargeBinary, nullable=False),  # as archive_form.py packs it
    Column("digest", String(64), nullable=False),
    Column("archive_id", String(26), nullable=False),
    Column("recorded_at", UtcTimestamp, nullable=False),
    Index("gateway_receipts_by_payment", "instruction_id"),
)
RECEIPT_EVENTS = event_table(
    "gateway_receipt_events",
    METADATA,
    Column("profile", String(31), nullable=False),
    Column("number", String(64), nullable=False),
    Column("instruction_id", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("archive_id", String(26), nullable=False),
)
SEALED_RECEIPTS = Sealed(RECEIPTS, row=("profile", "number"), fields=("content",))


class SqlReceipts:
    """The receipts, on a connection whose transaction the caller holds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, instruction_ids: Sequence[str]) -> list[KeptReceipt]:
        """Return the receipts of some payments, oldest first, a payment's debit before its return."""
        query = select(RECEIPTS).where(among(RECEIPTS.c.instruction_id, instruction_ids))
        rows = self._connection.execute(
            query.order_by(RECEIPTS.c.recorded_at, RECEIPTS.c.kind, RECEIPTS.c.number)
        ).all()
        return [
            KeptReceipt(
                Receipt(row["instruction_id"], row["number"], row["kind"], unpacked(row["content"]), row["digest"]),
                row["profile"],
                row["archive_id"],
                row["recorded_at"],
            )
            for row in sealing_of(self._connection).open_mappings(self._connection, SEALED_RECEIPTS, rows)
        ]

    def numbered(self, profile: str, numbers: Sequence[str]) -> dict[str, str]:
        """Return the digests of the receipts that are kept, by number."""
        wanted = (RECEIPTS.c.profile == profile, among(RECEIPTS.c.number, numbers))
        rows = self._connection.execute(select(RECEIPTS.c.number, RECEIPTS.c.digest).where(*wanted))
        return {row.number: row.digest for row in rows}

    def add(self, receipts: Sequence[KeptReceipt]) -> None:
        """Keep receipts that are not kept yet, and write each in the journal."""
        if not receipts:
            return
        rows = [
            {
                "profile": one.profile,
                "number": one.receipt.number,
                "instruction_id": one.receipt.instruction_id,
                "kind": one.receipt.kind,
                "content": packed(one.receipt.content),
                "digest": one.receipt.digest,
                "archive_id": one.archive_id,
                "recorded_at": one.recorded_at,
            }
            for one in receipts
        ]
        profiles = [one.profile for one in receipts]
        sealed = sealing_of(self._connection).seal(self._connection, SEALED_RECEIPTS, rows, profiles)
        insert_rows(self._connection, RECEIPTS, sealed)
        append(
            self._connection,
            RECEIPT_EVENTS,
            [
                {
                    "occurred_at": one.recorded_at,
                    "profile": one.profile,
                    "number": one.receipt.number,
                    "instruction_id": one.receipt.instruction_id,
                    "kind": one.receipt.kind,
                    "digest": one.receipt.digest,
                    "key_id": one.receipt.key_id,
                    "archive_id": one.archive_id,
                }
                for one in receipts
            ],
        )
