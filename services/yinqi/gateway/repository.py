"""Tables and the SQLAlchemy Core implementation of `ports.Store`, set-based, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    RowMapping,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from yinqi.crypto import crc32c
from yinqi.gateway.archive_form import checked, packed, unpacked
from yinqi.gateway.metadata import METADATA
from yinqi.gateway.model import (
    Absence,
    ArchivedMessage,
    Attempt,
    Direction,
    KnownReference,
    Notice,
    NoticeEvent,
    NoticeSeen,
    PaymentRecord,
    SendState,
    StatusReport,
)
from yinqi.gateway.receipt_store import SEALED_RECEIPTS
from yinqi.gateway.slots import Slot
from yinqi.gateway.status import BankStatus
from yinqi.gateway.stop_store import SqlStops
from yinqi.gateway.stops import STOP_NOTICE
from yinqi.kernel.clock import BANK_ZONE
from yinqi.kernel.money import Money
from yinqi.runtime.bulk_insert import insert_rows
from yinqi.runtime.columns import UtcTimestamp, sealed_text
from yinqi.runtime.feed import append, event_table, flush
from yinqi.runtime.sealing import Sealed, sealing_of
from yinqi.runtime.statements import among, prepared

_MESSAGES_MAX = 1_000
_ANSWERS_OPENED_MAX, _ANSWERS_AT_ONCE = 5_000, 50

ATTEMPTS = Table(
    "gateway_attempts",
    METADATA,
    Column("instruction_id", String(64), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("profile", String(31), nullable=False),
    Column("debtor_account", String(35), nullable=False),
    Column("creditor_account", sealed_text(35), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("amount_minor_units", BigInteger, nullable=False),
    Column("content_digest", String(64), nullable=False),
    Column("exchange_id", String(26), nullable=False),
    Column("claimed_at", UtcTimestamp, nullable=False),
    Column("ended_at", UtcTimestamp),
    Column("known_at", UtcTimestamp),
    Column("release", Integer, nullable=False),
    Index("gateway_attempts_by_exchange", "exchange_id"),
    Index("gateway_attempts_by_known", "debtor_account", "known_at"),
)
MESSAGES = Table(
    "gateway_messages",
    METADATA,
    Column("archive_id", String(26), primary_key=True),
    Column("exchange_id", String(26), nullable=False),
    Column("profile", String(31), nullable=False),
    Column("direction", String(8), nullable=False),
    Column("function", String(32), nullable=False),
    Column("message_id", String(64), nullable=False),
    Column("recorded_at", UtcTimestamp, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("content", LargeBinary, nullable=False),  # as archive_form.py packs it
    Column("is_verified", Boolean, nullable=False),
    Column("failure", String(64), nullable=False),
    Column("key_id", String(16), nullable=False, server_default=""),
    Column("cipher_key_id", String(16), nullable=False, server_default=""),
    Column("checksum", BigInteger),  # CRC-32C of the content as it is stored; none before revision 0010
    Index("gateway_messages_by_exchange", "exchange_id"),
    Index("gateway_messages_by_age", "function", "recorded_at"),
)
EXCHANGE_PAYMENTS = Table(
    "gateway_exchange_payments",
    METADATA,
    Column("instruction_id", String(64), primary_key=True),
    Column("exchange_id", String(26), primary_key=True),
)
ABSENCES = Table(
    "gateway_absences",
    METADATA,
    Column("instruction_id", String(64), primary_key=True),
    Column("archive_id", String(26), primary_key=True),
    Column("queried_at", UtcTimestamp, nullable=False),
    Column("control_reference", String(64), nullable=False),
    Column("control_seen", Boolean, nullable=False),
)
SLOT_POOLS = Table(
    "gateway_slot_pools",
    METADATA,
    Column("profile", String(31), primary_key=True),
    Column("call_class", String(16), primary_key=True),
    Column("last_position", BigInteger, nullable=False),
)
SLOTS = Table(
    "gateway_slots",
    METADATA,
    Column("ticket_id", String(26), primary_key=True),
    Column("profile", String(31), nullable=False),
    Column("call_class", String(16), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("company", String(16), nullable=False),
    Column("holder", String(26), nullable=False),
    Column("is_taken", Boolean, nullable=False),
    Column("leased_until", UtcTimestamp, nullable=False),
    Index("gateway_slots_by_class", "profile", "call_class"),
)
# What the last door let out: each line under one instruction_id for ever.
RELEASES = Table(
    "gateway_releases",
    METADATA,
    Column("end_to_end_id", String(35), primary_key=True),
    Column("instruction_id", String(64), nullable=False),
    Column("order_digest", String(64), nullable=False),
    Column("line_number", Integer, nullable=False),
    Column("debtor_account", String(35), nullable=False),
    Column("creditor_account", String(35), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("amount_minor_units", BigInteger, nullable=False),
    Column("released_at", UtcTimestamp, nullable=False),
    Index("gateway_releases_by_creditor", "creditor_account", "debtor_account", "released_at"),
)
NOTICES = Table(
    "gateway_notices",
    METADATA,
    Column("profile", String(31), primary_key=True),
    Column("number", String(32), primary_key=True),
    Column("content_digest", String(64), nullable=False),
)
NOTICE_SIGNATURES = Table(
    "gateway_notice_signatures",
    METADATA,
    Column("profile", String(31), primary_key=True),
    Column("number", String(32), primary_key=True),
    Column("signature_digest", String(64), primary_key=True),
    Column("recorded_at", UtcTimestamp, nullable=False),
)
NOTICE_RECORDS = Table(
    "gateway_notice_records",
    METADATA,
    Column("instruction_id", String(64), primary_key=True),
    Column("record_number", String(64), nullable=False),
    Column("status", String(16), nullable=False),
)
NOTICE_EVENTS = event_table(
    "gateway_notice_events",
    METADATA,
    Column("profile", String(31), nullable=False),
    Column("archive_id", String(26), nullable=False),
    Column("number", String(32), nullable=False),
    Column("type", String(16), nullable=False),
    Column("refusal", String(64), nullable=False),
    Column("instruction_id", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason_code", String(64), nullable=False),
    Column("proprietary_code", String(64), nullable=False),
    Column("reason_text", String(500), nullable=False),
    Column("account_servicer_reference", String(64), nullable=False),
    Column("booking_date", String(10), nullable=False),
    Index("gateway_notice_events_by_time", "occurred_at"),
)
# One line for each archived message, in the order of their commits: what the archive held is proved by its seals.
MESSAGE_EVENTS = event_table(
    "gateway_message_events",
    METADATA,
    Column("archive_id", String(26), nullable=False),
    Column("exchange_id", String(26), nullable=False),
    Column("profile", String(31), nullable=False),
    Column("direction", String(8), nullable=False),
    Column("function", String(32), nullable=False),
    Column("message_id", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("is_verified", Boolean, nullable=False),
    Column("failure", String(64), nullable=False),
    Column("key_id", String(16), nullable=False, server_default=""),
    Column("cipher_key_id", String(16), nullable=False, server_default=""),
)
# What was removed from the archive after its time (retention.py), so many messages at once.
PURGE_EVENTS = event_table(
    "gateway_purge_events",
    METADATA,
    Column("kind", String(16), nullable=False),
    Column("recorded_before", UtcTimestamp, nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("archive_ids", Text, nullable=False),
)
# What is sealed at rest; releases and attempts are looked up by their accounts' tokens.
SEALED_ATTEMPTS = Sealed(
    ATTEMPTS,
    row=("instruction_id", "attempt", "debtor_account"),
    fields=("creditor_account",),
    numbers=("debtor_account",),
)
SEALED_RELEASES = Sealed(RELEASES, row=("end_to_end_id",), numbers=("debtor_account", "creditor_account"))
SEALED_MESSAGES = Sealed(MESSAGES, row=("archive_id",), fields=("content",), checksum="checksum")
SEALED = (SEALED_ATTEMPTS, SEALED_RELEASES, SEALED_MESSAGES, SEALED_RECEIPTS)
_MESSAGE_FACTS = tuple(MESSAGE_EVENTS.c.keys())[2:]
# What happened to the bank keys; what it leaves is which key is in use (key_set.py).
KEY_EVENTS = event_table(
    "gateway_key_events",
    METADATA,
    Column("profile", String(31), nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("kind", String(24), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("public_key", String(130), nullable=False),
    Column("file", String(200), nullable=False),
    Column("valid_from", UtcTimestamp),
    Column("valid_until", UtcTimestamp),
    Column("overlap_s", BigInteger, nullable=False),
    Column("signer", String(64), nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Index("gateway_key_events_by_profile", "profile", "sequence"),
)


class SqlStore:
    """Implements `ports.Store` on one connection, inside its caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        self.registry = SqlRegistry(connection)
        self.archive = SqlArchive(connection)
        self.notices = SqlNotices(connection)
        self.stops = SqlStops(connection)


class SqlRegistry:
    """Implements `ports.Registry`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sealing = sealing_of(connection)

    def find(self, instruction_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        found: dict[str, list[Attempt]] = {}
        rows = self._connection.execute(_FIND_ATTEMPTS, {"ids": instruction_ids}).all()
        for row in self._sealing.open_mappings(self._connection, SEALED_ATTEMPTS, rows):
            found.setdefault(row["instruction_id"], []).append(_attempt(row))
        return found

    def claim(self, attempts: Sequence[Attempt]) -> None:
        ids = [attempt.instruction_id for attempt in attempts]
        # Attempts that never left make room for this one; their messages stay findable.
        if self._connection.execute(_FIND_UNSENT, {"ids": ids}).first() is not None:
            unsent = and_(among(ATTEMPTS.c.instruction_id, ids), ATTEMPTS.c.state == SendState.NOT_SENT)
            kept = select(ATTEMPTS.c.instruction_id, ATTEMPTS.c.exchange_id).where(unsent, ATTEMPTS.c.exchange_id != "")
            self._connection.execute(insert(EXCHANGE_PAYMENTS).from_select(["instruction_id", "exchange_id"], kept))
            self._connection.execute(delete(ATTEMPTS).where(unsent))
        rows = [_attempt_row(attempt) for attempt in attempts]
        companies = [attempt.profile for attempt in attempts]
        insert_rows(self._connection, ATTEMPTS, self._sealing.seal(self._connection, SEALED_ATTEMPTS, rows, companies))

    def end_exchange(self, exchange_id: str, state: SendState, at: datetime) -> None:
        values: dict[str, Any] = {"state": state, "ended_at": at}
        if state is SendState.ACCEPTED:
            values["known_at"] = at
        self._connection.execute(_END_EXCHANGE, values | {"of_exchange": exchange_id})

    def end_lines(self, exchange_id: str, states: Mapping[str, SendState], at: datetime) -> None:
        for state in sorted(set(states.values())):
            lines = [instruction_id for instruction_id, its in states.items() if its is state]
            known_at = at if state is SendState.ACCEPTED else None
            self._connection.execute(
                update(ATTEMPTS)
                .where(ATTEMPTS.c.exchange_id == exchange_id, ATTEMPTS.c.instruction_id.in_(lines))
                .values(state=state, ended_at=at, known_at=known_at)
            )

    def mark_known(self, instruction_ids: Sequence[str], at: datetime) -> None:
        if instruction_ids:
            self._connection.execute(_MARK_KNOWN, {"ids": instruction_ids, "at": at})

    def known_references(self, debtor_accounts: Sequence[str]) -> dict[str, KnownReference]:
        latest = {account: found for account in debtor_accounts if (found := self._latest_known(account))}
        if not latest:
            return {}
        first = self._connection.execute(_FIRST_CLAIMED, {"ids": list(latest.values())})
        since = {row.instruction_id: row.since.astimezone(BANK_ZONE).date() for row in first}
        return {account: KnownReference(found, since[found]) for account, found in latest.items()}

    def _latest_known(self, debtor_account: str) -> str | None:
        # One question for each form: for both in one the store would sort all attempts of the account.
        forms = self._sealing.either([debtor_account])
        found = [
            row for form in forms if (row := self._connection.execute(_LATEST_KNOWN, {"of_account": form}).first())
        ]
        return max(found, key=lambda row: row.known_at).instruction_id if found else None


_FIND_ATTEMPTS = prepared(select(ATTEMPTS).where(among(ATTEMPTS.c.instruction_id, "ids")).order_by(ATTEMPTS.c.attempt))
_FIND_UNSENT = prepared(
    select(ATTEMPTS.c.attempt)
    .where(among(ATTEMPTS.c.instruction_id, "ids"), ATTEMPTS.c.state == SendState.NOT_SENT)
    .limit(literal_column("1"))
)
_FIRST_CLAIMED = prepared(
    select(ATTEMPTS.c.instruction_id, func.min(ATTEMPTS.c.claimed_at).label("since"))
    .where(among(ATTEMPTS.c.instruction_id, "ids"))
    .group_by(ATTEMPTS.c.instruction_id)
)
_END_EXCHANGE = prepared(update(ATTEMPTS).where(ATTEMPTS.c.exchange_id == bindparam("of_exchange")))
_MARK_KNOWN = prepared(
    update(ATTEMPTS)
    .where(among(ATTEMPTS.c.instruction_id, "ids"), ATTEMPTS.c.known_at.is_(None))
    .values(known_at=bindparam("at"))
)
_LATEST_KNOWN = prepared(
    select(ATTEMPTS.c.instruction_id, ATTEMPTS.c.known_at)
    .where(ATTEMPTS.c.debtor_account == bindparam("of_account"), ATTEMPTS.c.known_at.is_not(None))
    .order_by(ATTEMPTS.c.known_at.desc())
    .limit(literal_column("1"))
)


class SqlArchive:
    """Implements `ports.Archive`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sealing = sealing_of(connection)

    def add(self, message: ArchivedMessage) -> None:
        row: dict[str, Any] = {
            "archive_id": message.archive_id,
            "exchange_id": message.exchange_id,
            "profile": message.profile,
            "direction": message.direction,
            "function": message.function,
            "message_id": message.message_id,
            "recorded_at": message.recorded_at,
            "size_bytes": message.size_bytes,
            "digest": message.digest,
            "content": packed(message.content),
            "is_verified": message.is_verified,
            "failure": message.failure,
            "key_id": message.key_id,
            "cipher_key_id": message.cipher_key_id,
        }
        self._sealing.seal(self._connection, SEALED_MESSAGES, [row], message.profile)
        row["checksum"] = crc32c(row["content"])
        insert_rows(self._connection, MESSAGES, [row])
        event = {"occurred_at": message.recorded_at, **{name: row[name] for name in _MESSAGE_FACTS}}
        append(self._connection, MESSAGE_EVENTS, [event])

    def link(self, exchange_id: str, instruction_ids: Sequence[str]) -> None:
        rows = [{"exchange_id": exchange_id, "instruction_id": one} for one in dict.fromkeys(instruction_ids)]
        insert_rows(self._connection, EXCHANGE_PAYMENTS, rows)

    def add_absences(self, absences: Sequence[Absence]) -> None:
        if absences:
            insert_rows(self._connection, ABSENCES, [_absence_row(absence) for absence in absences])

    def find_absences(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Absence]:
        if not keys:
            return {}
        query = (
            select(ABSENCES)
            .join(MESSAGES, MESSAGES.c.archive_id == ABSENCES.c.archive_id)
            .where(
                among(ABSENCES.c.instruction_id, {instruction_id for instruction_id, _ in keys}),
                MESSAGES.c.is_verified.is_(True),
                MESSAGES.c.direction == Direction.RECEIVED,
                MESSAGES.c.failure == "",
            )
        )
        wanted = set(keys)
        found = ((row["instruction_id"], row["archive_id"], row) for row in self._connection.execute(query).mappings())
        return {(payment, proof): _absence(row) for payment, proof, row in found if (payment, proof) in wanted}

    def messages_of(self, instruction_id: str) -> list[ArchivedMessage]:
        submitted = select(ATTEMPTS.c.exchange_id).where(ATTEMPTS.c.instruction_id == instruction_id)
        asked = select(EXCHANGE_PAYMENTS.c.exchange_id).where(EXCHANGE_PAYMENTS.c.instruction_id == instruction_id)
        query = (
            select(MESSAGES)
            .where(or_(MESSAGES.c.exchange_id.in_(submitted), MESSAGES.c.exchange_id.in_(asked)))
            .order_by(MESSAGES.c.recorded_at, MESSAGES.c.archive_id)
            .limit(_MESSAGES_MAX)
        )
        return self._opened(self._connection.execute(query).all())

    def _opened(self, rows: Sequence[Any]) -> list[ArchivedMessage]:
        checked(rows)
        return [_message(row) for row in self._sealing.open_mappings(self._connection, SEALED_MESSAGES, rows)]

    def exchange_telling_of(self, text: bytes, function: str, after: str) -> list[ArchivedMessage]:
        """Return the first exchange of a function whose verified answer holds a text, oldest message first.

        For auditors: it opens what it passes over, and gives up after a while.

        Args:
            after: an archive_id; ids ascend with time.
        """
        c = MESSAGES.c
        is_answer = and_(c.function == function, c.direction == Direction.RECEIVED, c.is_verified.is_(True))
        query = select(c.archive_id, c.exchange_id, c.content).where(is_answer).order_by(c.archive_id)
        names = ("archive_id", "exchange_id", "content")
        for _ in range(0, _ANSWERS_OPENED_MAX, _ANSWERS_AT_ONCE):
            rows = self._connection.execute(query.where(c.archive_id > after).limit(_ANSWERS_AT_ONCE)).all()
            for _, exchange_id, content in self._sealing.open(self._connection, SEALED_MESSAGES, rows, names):
                if text in unpacked(content):
                    its = select(MESSAGES).where(c.exchange_id == exchange_id).order_by(c.recorded_at, c.archive_id)
                    return self._opened(self._connection.execute(its).all())
            if len(rows) < _ANSWERS_AT_ONCE:
                break
            after = rows[-1].archive_id
        return []


class SqlNotices:
    """Implements `ports.Notices`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, profile: str, number: str) -> NoticeSeen | None:
        its = {"of_profile": profile, "of_number": number}
        content = self._connection.execute(_FIND_NOTICE, its).scalar()
        if content is None:
            return None
        return NoticeSeen(content, frozenset(self._connection.execute(_FIND_SIGNATURES, its).scalars()))

    def add(self, profile: str, notice: Notice, at: datetime) -> None:
        row = {"profile": profile, "number": notice.number, "content_digest": notice.content_digest}
        insert_rows(self._connection, NOTICES, [row])
        self.add_signature(profile, notice, at)

    def add_signature(self, profile: str, notice: Notice, at: datetime) -> None:
        row = {
            "profile": profile,
            "number": notice.number,
            "signature_digest": notice.signature_digest,
            "recorded_at": at,
        }
        insert_rows(self._connection, NOTICE_SIGNATURES, [row])

    def newest(self, instruction_ids: Sequence[str]) -> dict[str, PaymentRecord]:
        rows = self._connection.execute(_NEWEST_RECORDS, {"ids": instruction_ids}).all()
        return {
            row.instruction_id: PaymentRecord(
                row.instruction_id, row.record_number, "", "", None, BankStatus(row.status)
            )
            for row in rows
        }

    def set_newest(self, records: Sequence[PaymentRecord]) -> None:
        if not records:
            return
        self._connection.execute(_FORGET_RECORDS, {"ids": [record.instruction_id for record in records]})
        rows = [
            {"instruction_id": one.instruction_id, "record_number": one.record_number, "status": one.status}
            for one in records
        ]
        insert_rows(self._connection, NOTICE_RECORDS, rows)

    def append(self, events: Sequence[NoticeEvent]) -> None:
        append(self._connection, NOTICE_EVENTS, [_notice_event_row(event) for event in events])

    def refusals_since(self, instant: datetime) -> int:
        flush(self._connection)  # Those of the same commit count too.
        refused = and_(NOTICE_EVENTS.c.occurred_at > instant, NOTICE_EVENTS.c.refusal != "")
        return int(self._connection.execute(select(func.count()).where(refused)).scalar_one())


def _of_notice(table: Table) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.profile == bindparam("of_profile"), table.c.number == bindparam("of_number")


_FIND_NOTICE = prepared(select(NOTICES.c.content_digest).where(*_of_notice(NOTICES)))
_FIND_SIGNATURES = prepared(select(NOTICE_SIGNATURES.c.signature_digest).where(*_of_notice(NOTICE_SIGNATURES)))
_NEWEST_RECORDS = prepared(select(NOTICE_RECORDS).where(among(NOTICE_RECORDS.c.instruction_id, "ids")))
_FORGET_RECORDS = prepared(delete(NOTICE_RECORDS).where(among(NOTICE_RECORDS.c.instruction_id, "ids")))
_EVENTS_AFTER = prepared(
    select(NOTICE_EVENTS)
    .where(NOTICE_EVENTS.c.sequence > bindparam("after"))
    .order_by(NOTICE_EVENTS.c.sequence)
    .limit(bindparam("limit", type_=Integer))
)


def read_notice_events(connection: Connection, after: int, limit: int) -> list[NoticeEvent]:
    """Return up to `limit` events after a sequence, ascending."""
    rows = connection.execute(_EVENTS_AFTER, {"after": after, "limit": limit}).mappings()
    events = [_notice_event(row) for row in rows]
    stops = SqlStops(connection).find([event.number for event in events if event.type == STOP_NOTICE])
    return [replace(event, stop=stops.get(event.number)) for event in events] if stops else events


class SqlSlots:
    """The rows behind `limits.Limits`. Whoever changes those of a class holds its lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self, profile: str, call_class: str, places: int = 0) -> int:
        """Keep other replicas out of the class until the commit, and reserve so many positions; return the last one."""
        pool = {"profile": profile, "call_class": call_class, "last_position": places}
        return int(self._connection.execute(_COUNT_PLACES[self._connection.dialect.name], pool).scalar_one())

    def find(self, profile: str, call_class: str) -> list[Slot]:
        """Return all rows of a class, in no order."""
        rows = self._connection.execute(_FIND_SLOTS, {"of_profile": profile, "of_class": call_class})
        return [Slot(*row) for row in rows]

    def add(self, profile: str, call_class: str, slots: Sequence[Slot]) -> None:
        """Add calls at the positions that `lock` reserved for them."""
        rows = [{"profile": profile, "call_class": call_class, **asdict(slot)} for slot in slots]
        insert_rows(self._connection, SLOTS, rows)

    def take(self, ticket_ids: Sequence[str]) -> None:
        """Mark calls as begun."""
        if ticket_ids:
            self._connection.execute(_TAKE_SLOTS, {"ticket_ids": ticket_ids})

    def renew(self, ticket_ids: Sequence[str], leased_until: datetime) -> None:
        """Say that the calls' process lives."""
        if ticket_ids:
            self._connection.execute(_RENEW_SLOTS, {"ticket_ids": ticket_ids, "until": leased_until})

    def remove(self, ticket_ids: Sequence[str]) -> None:
        """Forget calls."""
        if ticket_ids:
            self._connection.execute(_REMOVE_SLOTS, {"ticket_ids": ticket_ids})


# Every call of a bank runs these: they are made once.
_FIND_SLOTS = prepared(
    select(
        SLOTS.c.ticket_id,
        SLOTS.c.position,
        SLOTS.c.company,
        SLOTS.c.holder,
        SLOTS.c.is_taken,
        SLOTS.c.leased_until,
    ).where(SLOTS.c.profile == bindparam("of_profile"), SLOTS.c.call_class == bindparam("of_class"))
)
_NAMED = among(SLOTS.c.ticket_id, "ticket_ids")
_TAKE_SLOTS = prepared(update(SLOTS).where(_NAMED).values(is_taken=True))
_RENEW_SLOTS = prepared(update(SLOTS).where(_NAMED).values(leased_until=bindparam("until")))
_REMOVE_SLOTS = prepared(delete(SLOTS).where(_NAMED))


def _count_places(insert_or_update: Callable[..., Any]) -> Any:
    counted = insert_or_update(SLOT_POOLS)
    return prepared(
        counted.on_conflict_do_update(
            index_elements=["profile", "call_class"],
            set_={"last_position": SLOT_POOLS.c.last_position + counted.excluded.last_position},
        ).returning(SLOT_POOLS.c.last_position)
    )


_COUNT_PLACES = {"postgresql": _count_places(postgresql.insert), "sqlite": _count_places(sqlite.insert)}


def _notice_event_row(event: NoticeEvent) -> dict[str, Any]:
    report = event.report
    return {
        "occurred_at": event.occurred_at,
        "profile": event.profile,
        "archive_id": event.archive_id,
        "number": event.number,
        "type": event.type,
        "refusal": event.refusal,
        "instruction_id": "" if report is None else report.instruction_id,
        "status": "" if report is None else report.status,
        "reason_code": "" if report is None else report.reason_code[:64],
        "proprietary_code": "" if report is None else report.proprietary_code[:64],
        "reason_text": "" if report is None else report.reason_text[:500],
        "account_servicer_reference": "" if report is None else report.account_servicer_reference[:64],
        "booking_date": "" if report is None or report.booking_date is None else report.booking_date.isoformat(),
    }


def _notice_event(row: RowMapping) -> NoticeEvent:
    report = None
    if row["instruction_id"]:
        report = StatusReport(
            instruction_id=row["instruction_id"],
            status=BankStatus(row["status"]),
            reported_at=row["occurred_at"],
            reason_code=row["reason_code"],
            proprietary_code=row["proprietary_code"],
            reason_text=row["reason_text"],
            account_servicer_reference=row["account_servicer_reference"],
            booking_date=date.fromisoformat(row["booking_date"]) if row["booking_date"] else None,
            archive_id=row["archive_id"],
        )
    return NoticeEvent(
        row["profile"],
        row["archive_id"],
        row["occurred_at"],
        row["number"],
        row["type"],
        row["refusal"],
        report,
        row["sequence"],
    )


def _attempt_row(attempt: Attempt) -> dict[str, Any]:
    return {
        "instruction_id": attempt.instruction_id,
        "attempt": attempt.attempt,
        "state": attempt.state,
        "profile": attempt.profile,
        "debtor_account": attempt.debtor_account,
        "creditor_account": attempt.creditor_account,
        "currency": attempt.amount.currency,
        "amount_minor_units": attempt.amount.minor_units,
        "content_digest": attempt.content_digest,
        "exchange_id": attempt.exchange_id,
        "claimed_at": attempt.claimed_at,
        "ended_at": attempt.ended_at,
        "known_at": attempt.known_at,
        "release": attempt.release,
    }


def _attempt(row: Mapping[str, Any]) -> Attempt:
    return Attempt(
        instruction_id=row["instruction_id"],
        attempt=row["attempt"],
        state=SendState(row["state"]),
        profile=row["profile"],
        debtor_account=row["debtor_account"],
        creditor_account=row["creditor_account"],
        amount=Money(row["currency"], row["amount_minor_units"]),
        content_digest=row["content_digest"],
        exchange_id=row["exchange_id"],
        claimed_at=row["claimed_at"],
        ended_at=row["ended_at"],
        known_at=row["known_at"],
        release=row["release"],
    )


def _absence_row(absence: Absence) -> dict[str, Any]:
    return {
        "instruction_id": absence.instruction_id,
        "archive_id": absence.archive_id,
        "queried_at": absence.queried_at,
        "control_reference": absence.control_reference,
        "control_seen": absence.control_seen,
    }


def _absence(row: RowMapping) -> Absence:
    return Absence(
        row["instruction_id"], row["archive_id"], row["queried_at"], row["control_reference"], row["control_seen"]
    )


def _message(row: Mapping[str, Any]) -> ArchivedMessage:
    return ArchivedMessage(
        archive_id=row["archive_id"],
        exchange_id=row["exchange_id"],
        profile=row["profile"],
        direction=Direction(row["direction"]),
        function=row["function"],
        message_id=row["message_id"],
        recorded_at=row["recorded_at"],
        size_bytes=row["size_bytes"],
        digest=row["digest"],
        content=unpacked(row["content"]),
        is_verified=row["is_verified"],
        failure=row["failure"],
        key_id=row["key_id"],
        cipher_key_id=row["cipher_key_id"],
    )
