"""What a service has of a payment, as lines for a bundle, signed with the key of its journals (docs/evidence-bundle.md)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, select

from yinqi.api.evidence.v1 import evidence_pb2, evidence_service_pb2, evidence_service_pb2_grpc
from yinqi.crypto import sm3_many
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import FieldViolation, InvalidRequest
from yinqi.runtime.columns import microseconds_of
from yinqi.runtime.database import Database
from yinqi.runtime.journal.chain import SigningKey, canonical, instant_text
from yinqi.runtime.journal.proof import prove_rows
from yinqi.runtime.journal.sealer import JournalSealer
from yinqi.runtime.sealing import Sealed, sealing_of

SUBJECTS_MAX = 20
ROWS_MAX = 1_000  # of one table and payment
_CONTEXT = b"yinqi.evidence.part.v1\n"
Item = dict[str, Any]


class Subject(NamedTuple):
    """Whose evidence is wanted."""

    instruction_id: str
    end_to_end_id: str


class Found(NamedTuple):
    """A payment's items. `subject` has both ids, whichever was asked for."""

    subject: Subject
    items: list[Item]


Collect = Callable[[Connection, Subject], Found]


class EvidenceServicer(evidence_service_pb2_grpc.EvidenceServiceServicer):
    """Serves EvidenceService for one service.

    Args:
        collect: returns the items of one payment; runs in a snapshot.
        key: signs the parts.
    """

    def __init__(self, service: str, database: Database, collect: Collect, key: SigningKey, clock: Clock) -> None:
        self._service = service
        self._database = database
        self._collect = collect
        self._key = key
        self._clock = clock

    async def CollectEvidence(
        self, request: evidence_service_pb2.CollectEvidenceRequest, _context: Any
    ) -> evidence_service_pb2.CollectEvidenceResponse:
        subjects = _subjects(request.subjects)
        made_at = instant_text(microseconds_of(self._clock.now()))
        parts = await self._database.read(
            lambda connection: [self._part(self._collect(connection, subject), made_at) for subject in subjects]
        )
        return evidence_service_pb2.CollectEvidenceResponse(parts=parts)

    def _part(self, found: Found, made_at: str) -> evidence_pb2.EvidencePart:
        items = [canonical(item) for item in found.items]
        return evidence_pb2.EvidencePart(
            instruction_id=found.subject.instruction_id,
            end_to_end_id=found.subject.end_to_end_id,
            head=part_head(self._service, found.subject.instruction_id, items, made_at, self._key),
            items=items,
            unsealed_rows=sum(item["kind"] == "row" and item["position"] is None for item in found.items),
        )


def evidence_rpcs(
    service: str, database: Database, sealer: JournalSealer, collect: Collect, clock: Clock
) -> tuple[Callable[..., None], EvidenceServicer]:
    """Return what a server serves besides the service's own RPCs."""
    servicer = EvidenceServicer(service, database, collect, sealer.key, clock)
    return evidence_service_pb2_grpc.add_EvidenceServiceServicer_to_server, servicer


def part_head(service: str, instruction_id: str, items: Sequence[bytes], made_at: str, key: SigningKey) -> bytes:
    """Return the line before the items: it names the part and each item's digest, and is signed."""
    head = {
        "kind": "part",
        "algorithm": key.algorithm,
        "instruction_id": instruction_id,
        "items": [digest.hex() for digest in sm3_many(list(items))] if items else [],
        "key_id": key.key_id,
        "made_at": made_at,
        "public_key": key.public_key().hex(),
        "service": service,
    }
    return canonical({**head, "signature": key.sign(_CONTEXT + canonical(head)).hex()})


# --- items ----------------------------------------------------------------------------------------------------------


def records(
    connection: Connection, table: Table, where: ColumnElement[bool], *without: str, sealed: Sealed | None = None
) -> Iterator[Item]:
    """Yield rows of a table that is no journal, as they stand now.

    Args:
        without: columns that say nothing about the payment.
        sealed: what of it is sealed; a bundle has it in clear.
    """
    columns = [column for column in table.c if column.name not in without]
    query = select(*columns).where(where).order_by(*table.primary_key.columns).limit(ROWS_MAX)
    names = [column.name for column in columns]
    rows = connection.execute(query).all()
    for row in rows if sealed is None else sealing_of(connection).open(connection, sealed, rows, names):
        yield record(table.name, dict(zip(names, row, strict=True)))


def record(name: str, row: Mapping[str, Any]) -> Item:
    """Return one record: a row of state, or a fact that a service vouches for."""
    return {"kind": "record", "record": name, "row": {key: plain(value) for key, value in row.items()}}


def journal_rows(connection: Connection, service: str, table: Table, where: ColumnElement[bool]) -> Iterator[Item]:
    """Yield the rows of a journal with what proves them."""
    sequence = table.c.sequence
    found = connection.execute(select(sequence).where(where).order_by(sequence).limit(ROWS_MAX)).scalars()
    yield from prove_rows(connection, f"{service}.{table.name}", table, list(found))


def missing(what: str) -> Item:
    """Return what a service says it does not have; the check has the words."""
    return {"kind": "missing", "what": what}


def or_missing(what: str, items: Iterable[Item]) -> list[Item]:
    """Return the items, or, if there are none, that they are missing."""
    return list(items) or [missing(what)]


def content_of(content: bytes) -> Item:
    """Return bytes as a text if they are one, so that people can read them."""
    try:
        return {"utf8": content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": in_base64(content)}


def in_base64(content: bytes) -> str:
    """Return bytes in standard Base64."""
    return base64.b64encode(content).decode("ascii")


def plain(value: Any) -> Any:
    """Return a column's value as canonical JSON can say it: instants as RFC 3339, dates as ISO 8601, bytes as hexadecimal."""
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, datetime):
        return instant_text(microseconds_of(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return {"bytes": bytes(value).hex()}
    return value


def _subjects(messages: Sequence[evidence_pb2.EvidenceSubject]) -> list[Subject]:
    if not 1 <= len(messages) <= SUBJECTS_MAX:
        raise _invalid(
            "subjects", "COUNT_INVALID", f"1 to {SUBJECTS_MAX}, got {len(messages)}", f"须为 1 至 {SUBJECTS_MAX} 笔"
        )
    for index, message in enumerate(messages):
        if not (message.instruction_id or message.end_to_end_id):
            raise _invalid(f"subjects[{index}]", "ID_MISSING", "needs an instruction_id or end_to_end_id", "须给出标识")
    return [Subject(message.instruction_id, message.end_to_end_id) for message in messages]


def _invalid(field: str, reason: str, words: str, words_zh: str) -> InvalidRequest:
    violation = FieldViolation(field, reason, words, words_zh)
    return InvalidRequest("FIELD_INVALID", f"{field}: {words}.", f"{field}：{words_zh}。", [violation])
