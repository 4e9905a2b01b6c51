"""The `cdc` adapter: everything the gateway asks of a bank, as messages of this dialect."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from yinqi.gateway.adapters.cdc import accounts as account_messages
from yinqi.gateway.adapters.cdc import notices, queries, receipts, submissions
from yinqi.gateway.adapters.cdc.envelope import open_answer, seal
from yinqi.gateway.keystore import BankKeys
from yinqi.gateway.model import (
    BankAccount,
    BankBalance,
    BatchPart,
    EntryPage,
    LineAnswer,
    Notice,
    PaymentRecord,
    Receipt,
    Refusal,
    Submission,
)
from yinqi.gateway.ports import Answer, Outgoing, WireAnswer
from yinqi.gateway.profile import Profile
from yinqi.kernel.clock import BANK_ZONE, Clock
from yinqi.kernel.ids import IdSource


class CdcDialect:
    """Implements `ports.BankDialect`.

    Args:
        clock: real time; the bank compares signatures with it.
        ids: request ids take their randomness from here, batch numbers are its ids.
    """

    def __init__(self, profile: Profile, keys: BankKeys, clock: Clock, ids: IdSource) -> None:
        self._profile = profile
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self._currencies = submissions.codes_by_number(profile)

    def refusal(self, submission: Submission, account: BankAccount) -> Refusal | None:
        return submissions.refusal(submission, account, self._profile)

    def batch_number(self) -> str:
        return self._ids.new_ids("BT", 1)[0]

    def line_bytes(self, line: Submission) -> int:
        return submissions.line_bytes(line, self._profile)

    def make_submission(
        self, lines: Sequence[Submission], account: BankAccount, part: BatchPart | None = None
    ) -> Outgoing:
        if len(lines) == 1 and part is None and lines[0].instruction.kind not in self._profile.batch.kinds:
            body = submissions.single_body(lines[0], account, self._profile)
            return self._seal(submissions.SINGLE, body, payments=1)
        number = self.batch_number() if part is None else part.number
        body = submissions.batch_body(lines, account, self._profile, number, part)
        submissions.prove_totals(body)
        return self._seal(submissions.BATCH, body, payments=len(lines), batch_number=number)

    def read_submission(self, answer: Answer, lines: Sequence[Submission], outgoing: Outgoing) -> list[LineAnswer]:
        if outgoing.function == submissions.SINGLE:
            return submissions.read_single(answer, lines, self._profile)
        return submissions.read_batch(answer, lines, self._profile, outgoing.facts["batch_number"])

    def make_query(self, instruction_ids: Sequence[str], first: date, last: date) -> Outgoing:
        body = queries.query_body(instruction_ids, first, last)
        return self._seal(queries.STATUS, body, payments=len(instruction_ids))

    def read_query(self, answer: Answer) -> list[PaymentRecord]:
        return queries.read_query(answer, self._profile, self._currencies)

    def make_permission_query(self) -> Outgoing:
        return self._seal(queries.RIGHTS, {"dclisaccx1": []})

    def read_permissions(self, answer: Answer) -> frozenset[str]:
        return queries.read_permissions(answer)

    def make_return_query(self, account: BankAccount | None, first: date, last: date, page_key: str) -> Outgoing:
        return self._seal(queries.RETURNS, queries.return_body(account, first, last, page_key))

    def read_returns(self, answer: Answer) -> tuple[list[PaymentRecord], str]:
        return queries.read_returns(answer, self._profile, self._currencies)

    def make_balance_query(self, accounts: Sequence[BankAccount]) -> Outgoing:
        return self._seal(account_messages.BALANCES, account_messages.balance_body(accounts))

    def read_balances(self, answer: Answer, accounts: Sequence[BankAccount], as_of: datetime) -> list[BankBalance]:
        return account_messages.read_balances(answer, accounts, self._currencies, as_of)

    def make_entry_query(self, account: BankAccount, day: date, cursor: str) -> Outgoing:
        return self._seal(account_messages.ENTRIES, account_messages.entry_body(account, day, cursor))

    def read_entries(self, answer: Answer, account: BankAccount, day: date) -> EntryPage:
        return account_messages.read_entries(answer, account, day)

    def make_receipt_query(self, instruction_ids: Sequence[str]) -> Outgoing:
        body = receipts.receipt_body(instruction_ids)
        return self._seal(receipts.RECEIPTS, body, payments=len(instruction_ids))

    def read_receipts(self, answer: Answer, asked: Collection[str]) -> list[Receipt]:
        return receipts.read_receipts(answer, asked, self._profile.user_id, self._keys.now())

    def cursor_day(self, cursor: str) -> date:
        """Return the day an entry cursor belongs to."""
        return account_messages.cursor_day(cursor)

    def open(self, outgoing: Outgoing, wire: WireAnswer) -> Answer:
        window = timedelta(seconds=self._profile.crypto.signature_window_s)
        return open_answer(wire, outgoing, self._profile.user_id, self._keys.now(), self._clock.now(), window)

    def open_notice(self, content: bytes) -> Notice:
        return notices.open_notice(content, self._profile, self._keys.now(), self._currencies, self._clock.now())

    def _seal(self, function: str, body: Mapping[str, Any], *, payments: int = 0, **facts: str) -> Outgoing:
        keys = self._keys.sending()  # Without the bank's no answer could be believed, so do not even ask.
        now = self._clock.now()
        message_id = self._message_id(now)
        plain, wire = seal(function, message_id, body, self._profile.user_id, keys, now)
        return Outgoing(function, message_id, plain, wire, payments, facts, keys.signing.key_id, keys.ciphers[0])

    def _message_id(self, now: datetime) -> str:
        """17 digits of time to the millisecond, then randomness: unique per user id whatever the clock does."""
        local = now.astimezone(BANK_ZONE)
        return f"{local:%Y%m%d%H%M%S}{local.microsecond // 1000:03d}{self._ids.new_ids('RQ', 1)[0][-12:].lower()}"
