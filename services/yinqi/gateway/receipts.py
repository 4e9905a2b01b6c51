"""Fetches the banks' electronic receipts of payments (电子回单), and keeps each as it came. Safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from yinqi.gateway import use_cases
from yinqi.gateway.exchange import Bank
from yinqi.gateway.model import ArchivedMessage, Attempt, BankAccount, KeptReceipt, NoticeEvent, Receipt, SendState
from yinqi.gateway.profile import Profiles
from yinqi.gateway.reading import AccountReader
from yinqi.gateway.receipt_store import SqlReceipts
from yinqi.gateway.repository import SqlStore
from yinqi.kernel.errors import FailedPrecondition, Overloaded, Unavailable
from yinqi.runtime.database import Database

_log = structlog.get_logger(__name__)
_MAY_BE_THERE = frozenset({SendState.ACCEPTED, SendState.IN_DOUBT, SendState.SENDING})


@dataclass(frozen=True, slots=True)
class Receipts:
    """What there is. `unanswered`: payments whose bank gave no usable answer this time."""

    kept: Sequence[KeptReceipt]
    unanswered: frozenset[str]

    def of(self, instruction_id: str) -> list[KeptReceipt]:
        """Return those of one payment."""
        return [one for one in self.kept if one.receipt.instruction_id == instruction_id]


class ReceiptFetcher:
    """Asks the banks for receipts, many payments in a call."""

    def __init__(
        self, banks: Mapping[str, Bank], profiles: Profiles, database: Database, reader: AccountReader
    ) -> None:
        self._banks = banks
        self._profiles = profiles
        self._database = database
        self._reader = reader

    async def fetch(self, instruction_ids: Sequence[str]) -> Receipts:
        """Ask the banks for the receipts of payments, keep what is new, and return all that is kept of them.

        A payment that never left for a bank has none, nor has one that is not settled.
        """
        attempts = await self._database.read(lambda connection: SqlStore(connection).registry.find(instruction_ids))
        unanswered: list[str] = []
        for profile, ids in _by_bank(attempts).items():
            bank = self._banks.get(profile)
            account = self._profiles.account(attempts[ids[0]][-1].debtor_account)
            if bank is None or account is None:
                unanswered += ids
                continue
            for start in range(0, len(ids), bank.profile.batch.receipts_max):
                asked = ids[start : start + bank.profile.batch.receipts_max]
                unanswered += [] if await self._fetch(bank, account, asked) else asked
        kept = await self._database.read(lambda connection: SqlReceipts(connection).of(instruction_ids))
        return Receipts(kept, frozenset(unanswered))

    async def _fetch(self, bank: Bank, account: BankAccount, asked: Sequence[str]) -> bool:
        try:
            received, found = await self._reader.receipts(bank, account, asked)
        except (Unavailable, FailedPrecondition, Overloaded) as error:
            _log.warning("a bank gave no receipts", bank=bank.profile.name, reason=error.reason)
            return False
        if found:
            await self._database.run(lambda connection: keep_receipts(found, received, connection))
        return True


def keep_receipts(found: Sequence[Receipt], received: ArchivedMessage, connection: Connection) -> None:
    """Keep what is new. Another content under a number that is kept is an alert; the first stands."""
    store = SqlReceipts(connection)
    known = store.numbered(received.profile, [one.number for one in found])
    at = received.recorded_at
    new = {one.number: one for one in found if one.number not in known}
    store.add([KeptReceipt(one, received.profile, received.archive_id, at) for one in new.values()])
    if any(known.get(one.number, one.digest) != one.digest for one in found):
        notices = SqlStore(connection).notices
        if notices.refusals_since(at - timedelta(minutes=1)) < use_cases.REFUSALS_PER_MINUTE_MAX:
            notices.append([NoticeEvent(received.profile, received.archive_id, at, "", "RECEIPT", "CONTENT_DIFFERS")])


def _by_bank(attempts: Mapping[str, Sequence[Attempt]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for instruction_id, its in attempts.items():
        if any(attempt.state in _MAY_BE_THERE for attempt in its):
            found.setdefault(its[-1].profile, []).append(instruction_id)
    return found
