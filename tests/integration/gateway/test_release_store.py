"""What the last door let out, on both stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from yinqi.gateway.release_store import Release, SqlReleases
from yinqi.runtime.database import Database
from yinqi.runtime.migrations import migrate

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
PAIR, OTHER = ("A", "X", "CNY"), ("A", "Y", "CNY")


def release(end_to_end_id: str, minor_units: int, pair: tuple[str, str, str] = PAIR, **changes: object) -> Release:
    made = Release(end_to_end_id, f"YQ{end_to_end_id}", "00", 1, *pair, minor_units, NOW)
    return made._replace(**changes)  # type: ignore[arg-type]


async def test_a_line_keeps_its_first_instruction_id_and_sums_keep_to_their_window(
    database_url: str, database: Database
) -> None:
    migrate(database_url, "gateway")
    old = release("OLD", 1_000, released_at=NOW - timedelta(days=8))
    lines = [release("E1", 1), release("E2", 20), release("E3", 300, OTHER), release("E4", 4, ("B", "X", "CNY")), old]
    await database.run(lambda connection: SqlReleases(connection).add(lines))
    await database.run(
        lambda connection: SqlReleases(connection).add([release("E1", 7_000, instruction_id="YQ-THIEF")])
    )

    def read(connection: Connection) -> tuple[dict[str, str], dict[tuple[str, str, str], int]]:
        releases = SqlReleases(connection)
        since = NOW - timedelta(days=7)
        return releases.lock_and_find(["E1", "E3", "NONE"]), releases.sums([PAIR, OTHER], since, ["E2"])

    found, sums = await database.run(read)
    assert found == {"E1": "YQE1", "E3": "YQE3"}
    assert sums == {PAIR: 1, OTHER: 300}
