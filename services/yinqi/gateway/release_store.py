"""What the last door let out: each line once, and how much went to whom. Set-based, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, or_, select

from yinqi.gateway.repository import RELEASES, SEALED_RELEASES
from yinqi.runtime.bulk_insert import insert_rows
from yinqi.runtime.sealing import pairs_as_stored, sealing_of

_LOCK_KEY = 7_105_001  # any number that no feed uses
_PAIRS_MAX = 200


class Release(NamedTuple):
    """A line that was let out. The order of the fields is that of the table's columns."""

    end_to_end_id: str
    instruction_id: str
    order_digest: str
    line_number: int
    debtor_account: str
    creditor_account: str
    currency: str
    amount_minor_units: int
    released_at: datetime


class SqlReleases:
    """The record of what was let out, on a connection whose transaction the caller holds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock_and_find(self, end_to_end_ids: Collection[str]) -> dict[str, str]:
        """Return under which instruction_id these lines went out, those that did.

        On PostgreSQL no other replica releases until the commit, so that two cannot both see an old sum.
        """
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK_KEY)))
        query = select(RELEASES.c.end_to_end_id, RELEASES.c.instruction_id)
        rows = self._connection.execute(query.where(RELEASES.c.end_to_end_id.in_(end_to_end_ids)))
        return {row[0]: row[1] for row in rows}

    def sums(
        self, pairs: Collection[tuple[str, str, str]], since: datetime, without: Collection[str]
    ) -> dict[tuple[str, str, str], int]:
        """Return minor units by (debtor account, creditor account, currency) since an instant, some lines left out."""
        c = RELEASES.c
        sums: dict[tuple[str, str, str], int] = {}
        meant = pairs_as_stored(self._connection, pairs)
        wanted = sorted(meant)
        for start in range(0, len(wanted), _PAIRS_MAX):
            among = or_(
                *(
                    and_(c.debtor_account == debtor, c.creditor_account == creditor, c.currency == currency)
                    for debtor, creditor, currency in wanted[start : start + _PAIRS_MAX]
                )
            )
            query = (
                select(c.debtor_account, c.creditor_account, c.currency, func.sum(c.amount_minor_units))
                .where(c.released_at > since, among, c.end_to_end_id.not_in(without))
                .group_by(c.debtor_account, c.creditor_account, c.currency)
            )
            for row in self._connection.execute(query):
                pair = meant[row[0], row[1], row[2]]
                sums[pair] = sums.get(pair, 0) + int(row[3])
        return sums

    def add(self, releases: Sequence[Release]) -> None:
        """Record lines; those recorded before stay as they are."""
        known = self.lock_and_find([one.end_to_end_id for one in releases])
        rows = [one._asdict() for one in releases if one.end_to_end_id not in known]
        sealed = sealing_of(self._connection).seal(self._connection, SEALED_RELEASES, rows)
        insert_rows(self._connection, RELEASES, sealed)
