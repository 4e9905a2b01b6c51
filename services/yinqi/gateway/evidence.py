"""What the gateway has of a payment, for an evidence bundle: the messages with the signatures in them, and its own registry."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection

from yinqi.gateway.adapters.cdc.accounts import ENTRIES
from yinqi.gateway.model import ArchivedMessage, KeptReceipt
from yinqi.gateway.profile import Profile, Profiles
from yinqi.gateway.receipt_store import RECEIPT_EVENTS, SqlReceipts
from yinqi.gateway.repository import (
    ABSENCES,
    ATTEMPTS,
    MESSAGE_EVENTS,
    NOTICE_EVENTS,
    RELEASES,
    SEALED_ATTEMPTS,
    SEALED_RELEASES,
    SqlStore,
)
from yinqi.orders.policy_file import policy_item
from yinqi.orders.policy_watch import PolicyInForce
from yinqi.runtime.evidence import (
    Collect,
    Found,
    Item,
    Subject,
    content_of,
    journal_rows,
    missing,
    or_missing,
    plain,
    records,
)

_SERVICE = "gateway"
CONTENT_BYTES_MAX = 8 * 1024 * 1024  # half of what a call's answer may hold; a large batch may be asked for very often
_STATEMENTS = {"cdc": ENTRIES}  # the function that reads statements, by dialect


def collector(profiles: Profiles, policy: PolicyInForce | None) -> Collect:
    """Return what collects the items of one payment.

    Args:
        policy: the one by which the last door judges; None without one.
    """

    def collect(connection: Connection, subject: Subject) -> Found:
        return Found(subject, _items(connection, subject.instruction_id, profiles, policy))

    return collect


def _items(connection: Connection, key: str, profiles: Profiles, policy: PolicyInForce | None) -> list[Item]:
    found = _messages(connection, key, profiles)
    messages = bounded(found, CONTENT_BYTES_MAX)
    archive_ids = [message.archive_id for message in messages]
    receipts = SqlReceipts(connection).of([key])
    used = {message.profile for message in messages} | {receipt.profile for receipt in receipts}
    events, notices, receipt_events = MESSAGE_EVENTS, NOTICE_EVENTS, RECEIPT_EVENTS
    return [
        missing("POLICY") if policy is None else policy_item(policy.files),
        *(
            records(connection, RELEASES, RELEASES.c.instruction_id == key, sealed=SEALED_RELEASES)
            if policy is not None
            else ()
        ),
        *records(connection, ATTEMPTS, ATTEMPTS.c.instruction_id == key, sealed=SEALED_ATTEMPTS),
        *records(connection, ABSENCES, ABSENCES.c.instruction_id == key),
        *(_bank(profile) for profile in profiles if profile.name in used),
        *(map(_message, messages) if messages else [missing("MESSAGES")]),
        *([] if len(messages) == len(found) else [missing("SOME_MESSAGES")]),
        *or_missing("RECEIPT", map(_receipt, receipts)),
        *([] if any(message.function in _STATEMENTS.values() for message in messages) else [missing("STATEMENT_PAGE")]),
        *journal_rows(connection, _SERVICE, events, events.c.archive_id.in_(archive_ids)),
        *journal_rows(connection, _SERVICE, notices, notices.c.instruction_id == key),
        *journal_rows(connection, _SERVICE, receipt_events, receipt_events.c.instruction_id == key),
    ]


def _messages(connection: Connection, key: str, profiles: Profiles) -> list[ArchivedMessage]:
    """Return what was sent and received for the payment, and the first page of a statement that has it."""
    archive = SqlStore(connection).archive
    messages = archive.messages_of(key)
    pages: list[ArchivedMessage] = []
    if messages:
        function = _STATEMENTS[profiles.profile(messages[0].profile).dialect]
        pages = archive.exchange_telling_of(key.encode("ascii"), function, messages[0].archive_id)
    return [*messages, *pages]


def bounded(messages: Sequence[ArchivedMessage], bytes_max: int) -> list[ArchivedMessage]:
    """Return messages from both ends, in order, as many as fit: the submission and the last word matter most."""
    left, kept = deque(enumerate(messages)), dict[int, ArchivedMessage]()
    take = itertools.cycle((left.popleft, left.pop))
    while left:
        place, message = next(take)()
        bytes_max -= len(message.content)
        if bytes_max < 0:
            break
        kept[place] = message
    return [kept[place] for place in sorted(kept)]


def _message(message: ArchivedMessage) -> Item:
    return {
        "kind": "message",
        "archive_id": message.archive_id,
        "content": content_of(message.content),
        "digest": message.digest,
        "direction": plain(message.direction),
        "exchange_id": message.exchange_id,
        "failure": message.failure,
        "function": message.function,
        "is_verified": message.is_verified,
        "message_id": message.message_id,
        "profile": message.profile,
        "recorded_at": plain(message.recorded_at),
        "size_bytes": message.size_bytes,
    }


def _receipt(kept: KeptReceipt) -> Item:
    return {
        "kind": "receipt",
        "archive_id": kept.archive_id,
        "content": content_of(kept.receipt.content),
        "digest": kept.receipt.digest,
        "number": kept.receipt.number,
        "profile": kept.profile,
        "recorded_at": plain(kept.recorded_at),
        "type": kept.receipt.kind,
    }


def _bank(profile: Profile) -> Item:
    """Return whose keys the messages are checked with, read where the two sides leave them for each other."""
    keys, folder = profile.keys, Path(profile.keys.exchange_directory)
    return {
        "kind": "bank",
        "bank_public_keys": _hex_lines(folder / keys.bank_public_key_file.format(user_id=profile.user_id)),
        "company_public_keys": _hex_lines(folder / keys.public_key_export.format(user_id=profile.user_id)),
        "dialect": profile.dialect,
        "notice_identity": profile.notices.identity,
        "profile": profile.name,
        "user_id": profile.user_id,
    }


def _hex_lines(file: Path) -> list[str]:
    try:
        return [line.strip().lower() for line in file.read_text("ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return []  # The check says that there is none.
