"""How long the archive keeps what, and the purge: in small steps, each in the journal, never what an open payment needs.

Source: 会计档案管理办法 (statements 10 years, vouchers 30 years); logs at least six months (docs/data-at-rest.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Select, Table, and_, delete, or_, select

from yinqi.gateway.adapters.cdc import accounts, notices, queries, submissions
from yinqi.gateway.model import SendState
from yinqi.gateway.repository import ABSENCES, ATTEMPTS, EXCHANGE_PAYMENTS, MESSAGES, PURGE_EVENTS
from yinqi.kernel.clock import Clock
from yinqi.runtime.database import Database
from yinqi.runtime.feed import append

_AT_ONCE = 200
_STEPS_MAX = 500  # of one look; the next goes on


class ArchiveKind(StrEnum):
    """What a message is kept as."""

    VOUCHER = "VOUCHER"  # what moved money, and every word of the bank about it
    STATEMENT = "STATEMENT"
    LOG = "LOG"  # what was only looked at: balances, rights


# By the bank's name of the function, of all dialects; one that is not here is kept for ever.
_KINDS: Mapping[str, ArchiveKind] = {
    submissions.SINGLE: ArchiveKind.VOUCHER,
    submissions.BATCH: ArchiveKind.VOUCHER,
    queries.STATUS: ArchiveKind.VOUCHER,
    queries.RETURNS: ArchiveKind.VOUCHER,
    notices.FUNCTION: ArchiveKind.VOUCHER,
    accounts.ENTRIES: ArchiveKind.STATEMENT,
    accounts.BALANCES: ArchiveKind.LOG,
    queries.RIGHTS: ArchiveKind.LOG,
}
_OPEN = (SendState.SENDING, SendState.IN_DOUBT)


class Place(NamedTuple):
    """How far a purge has looked."""

    recorded_at: datetime
    archive_id: str


@dataclass(frozen=True)
class Retention:
    """Days by kind; a kind without is kept for ever."""

    days: Mapping[ArchiveKind, int]

    def before(self, kind: ArchiveKind, now: datetime) -> datetime | None:
        """Return the instant before which messages of a kind may go."""
        days = self.days.get(kind, 0)
        return now - timedelta(days=days) if days else None


class Purger:
    """Takes out of the archive what has been kept long enough."""

    def __init__(self, database: Database, clock: Clock, retention: Retention) -> None:
        self._database = database
        self._clock = clock
        self._retention = retention

    async def purge(self) -> int:
        """Take out what may go; return how many messages."""
        purged = 0
        for kind in ArchiveKind:
            before = self._retention.before(kind, self._clock.now())
            purged += 0 if before is None else await self._purge_kind(kind, before)
        return purged

    async def _purge_kind(self, kind: ArchiveKind, before: datetime) -> int:
        purged, after = 0, None
        for _ in range(_STEPS_MAX):
            step = partial(purge_step, kind=kind, before=before, after=after, now=self._clock.now())
            count, after = await self._database.run(step)
            purged += count
            if after is None:
                break
        return purged


def purge_step(
    connection: Connection, *, kind: ArchiveKind, before: datetime, after: Place | None, now: datetime
) -> tuple[int, Place | None]:
    """Look at the next messages of a kind, oldest first; take out those no open payment needs, and say so in the journal.

    Returns:
        How many went, and where to go on; None at the end.
    """
    c = MESSAGES.c
    functions = [function for function, its in _KINDS.items() if its is kind]
    due = [c.function.in_(functions), c.recorded_at < before]
    if after is not None:
        same = and_(c.recorded_at == after.recorded_at, c.archive_id > after.archive_id)
        due.append(or_(c.recorded_at > after.recorded_at, same))
    query = select(c.archive_id, c.exchange_id, c.recorded_at).where(*due).order_by(c.recorded_at, c.archive_id)
    rows = connection.execute(query.limit(_AT_ONCE)).all()
    needed = _needed(connection, {row.exchange_id for row in rows}, before)
    gone = [row.archive_id for row in rows if row.exchange_id not in needed]
    if gone:
        connection.execute(delete(MESSAGES).where(c.archive_id.in_(gone)))
        event = {
            "occurred_at": now,
            "kind": kind.value,
            "recorded_before": before,
            "message_count": len(gone),
            "archive_ids": " ".join(gone),
        }
        append(connection, PURGE_EVENTS, [event])
    end = Place(rows[-1].recorded_at, rows[-1].archive_id) if len(rows) == _AT_ONCE else None
    return len(gone), end


def _needed(connection: Connection, exchange_ids: Collection[str], before: datetime) -> set[str]:
    """Return the exchanges of payments that are open: without a final word here, or asked about or told of since."""
    links = [
        *connection.execute(_links(ATTEMPTS, exchange_ids)),
        *connection.execute(_links(EXCHANGE_PAYMENTS, exchange_ids)),
    ]
    payments = {row.instruction_id for row in links}
    if not payments:
        return set()
    undecided = select(ATTEMPTS.c.instruction_id).where(
        ATTEMPTS.c.instruction_id.in_(payments), ATTEMPTS.c.state.in_(_OPEN)
    )
    spoken_of = (
        select(link.c.instruction_id)
        .join(MESSAGES, MESSAGES.c.exchange_id == link.c.exchange_id)
        .where(link.c.instruction_id.in_(payments), MESSAGES.c.recorded_at >= before)
        for link in (ATTEMPTS, EXCHANGE_PAYMENTS)
    )
    proofs = select(ABSENCES.c.instruction_id).where(
        ABSENCES.c.instruction_id.in_(payments), ABSENCES.c.queried_at >= before
    )
    open_ones = {key for query in (undecided, *spoken_of, proofs) for key in connection.execute(query).scalars()}
    return {row.exchange_id for row in links if row.instruction_id in open_ones}


def _links(table: Table, exchange_ids: Collection[str]) -> Select[tuple[str, str]]:
    return select(table.c.exchange_id, table.c.instruction_id).where(table.c.exchange_id.in_(exchange_ids))
