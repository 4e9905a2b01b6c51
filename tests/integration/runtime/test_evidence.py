"""Proofs of single journal rows on both stores, and the RPC that gives a service's part of a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

sys.path.insert(0, str(Path(__file__).parent))
from test_journal import NOW, PUBLIC_KEY, SIGNER, STREAM, happening, prepare, rows, seal_all, sealer_of, touch, write

from yinqi.api.evidence.v1 import evidence_pb2, evidence_service_pb2
from yinqi.kernel.clock import FixedClock
from yinqi.kernel.errors import InvalidRequest
from yinqi.runtime.database import Database
from yinqi.runtime.evidence import EvidenceServicer, Found, Subject, journal_rows, record
from yinqi.runtime.journal.chain import canonical
from yinqi.runtime.journal.proof import prove_rows
from yinqi.verify import NO_TRUST, Broken, Bundle, Claim, Standing
from yinqi.verify.bundle import Item, Part
from yinqi.verify.forms import read_canonical
from yinqi.verify.journals import check_journals
from yinqi.verify.keys import from_der


def items_of(database: Database, sequences: list[int]) -> list[Any]:
    return database.read_sync(lambda c: list(prove_rows(c, STREAM, happening, sequences)))


def checked(items: list[Any]) -> list[Claim]:
    """What the check says of these items, each as its line is read again."""
    lines = tuple(Item(number, read_canonical(canonical(item))) for number, item in enumerate(items, 1))
    part = Part("test", 0, "", from_der(SIGNER.public_key()), lines)
    return list(check_journals(Bundle("", "", {"test": part}), NO_TRUST))


async def prepared(database: Database, folder: Path) -> None:
    prepare(database)
    write(database, rows(120))
    await seal_all(sealer_of(database, folder))
    write(database, rows(2))


async def test_single_rows_are_proved_with_no_more_of_the_seal_than_is_behind_them(
    database: Database, tmp_path: Path
) -> None:
    await prepared(database, tmp_path)
    items = items_of(database, [121, 49, 3, 61, 101])
    assert [(item["kind"], item.get("position")) for item in items] == [
        ("seal", 50),
        ("row", 3),
        ("row", 49),
        ("seal", 100),
        ("row", 61),
        ("seal", 120),
        ("row", 101),
        ("row", None),
    ]
    assert [len(item["entries"]) * 3 // 4 // 40 for item in items if item["kind"] == "seal"] == [48, 40, 20]
    found = checked(items)
    assert [one.words for one in found if one.standing is Standing.MISSING] == [f"a row of {STREAM} waits for its seal"]
    assert "4 rows of test.happening as sealed" in found[-1].words
    assert all(f"with key {PUBLIC_KEY.key_id}" in one.words for one in found[:3])


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("UPDATE happening SET word = 'x' WHERE sequence = 61", 5),
        ("UPDATE happening SET occurred_at = occurred_at + 1 WHERE sequence = 3", 2),
        ("INSERT INTO happening (sequence, occurred_at) VALUES (0, 1)", 2),
        ("UPDATE journal_seals SET signature = previous_hash WHERE first_position = 51", 4),
        ("UPDATE journal_seals SET hash = previous_hash WHERE first_position = 51", 4),
    ],
)
async def test_what_was_touched_in_the_database_fails_at_its_line(
    database: Database, tmp_path: Path, statement: str, line: int
) -> None:
    await prepared(database, tmp_path)
    touch(database, statement)
    wanted = [0, 3, 61] if "INSERT" in statement else [3, 49, 61]
    with pytest.raises(Broken) as error:
        checked(items_of(database, wanted))
    assert error.value.line == line


async def test_a_service_gives_a_signed_part_and_says_how_many_rows_wait(database: Database, tmp_path: Path) -> None:
    await prepared(database, tmp_path)

    def collect(connection: Connection, subject: Subject) -> Found:
        of_it = happening.c.sequence.in_([7, 122])
        return Found(subject, [record("facts", {"at": NOW}), *journal_rows(connection, "test", happening, of_it)])

    servicer = EvidenceServicer("test", database, collect, SIGNER, FixedClock(NOW))
    subject = evidence_pb2.EvidenceSubject(instruction_id="PI1", end_to_end_id="E1")
    request = evidence_service_pb2.CollectEvidenceRequest(subjects=[subject, subject])
    first, second = (await servicer.CollectEvidence(request, None)).parts
    assert (first.instruction_id, first.end_to_end_id, first.unsealed_rows) == ("PI1", "E1", 1)
    assert first.items == second.items
    assert first.items[0] == b'{"kind":"record","record":"facts","row":{"at":"2026-11-22T12:00:00.000001Z"}}'
    assert b'"made_at":"2026-11-22T12:00:00.000001Z"' in first.head
    for wrong in ([], [evidence_pb2.EvidenceSubject()], [subject] * 21):
        with pytest.raises(InvalidRequest, match="subjects"):
            await servicer.CollectEvidence(evidence_service_pb2.CollectEvidenceRequest(subjects=wrong), None)
