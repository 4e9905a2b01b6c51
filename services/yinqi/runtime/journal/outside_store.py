"""The copy of the seals in another database: a table that is only ever added to. Give its user no right but to insert and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, Text, create_engine, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from yinqi.kernel.errors import Unavailable
from yinqi.runtime.database_engine import parse_url, with_password_hidden
from yinqi.runtime.journal.chain import Seal, seal_of
from yinqi.runtime.journal.outside import following

_SEALS = Table(
    "journal_seals_outside",
    MetaData(),
    Column("source", String(40), primary_key=True),  # which house's database they are of
    Column("stream", String(100), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("line", Text, nullable=False),  # as in the files
)


class SealsInStore:
    """One journal's seals in another database.

    Args:
        source: keeps the journals of several databases apart.
        read_from: returns the database's seals that end at a position or later, in order, some at a time.
    """

    def __init__(self, url: str, source: str, stream: str, read_from: Callable[[int], Sequence[Seal]]) -> None:
        self.place = with_password_hidden(url)
        self._engine = create_engine(parse_url(url), poolclass=NullPool)
        self._source = source
        self._stream = stream
        self._read_from = read_from

    def catch_up(self) -> int:
        """Add what the database has and the copy lacks; return the position reached.

        Raises:
            JournalTampered: what the copy ends with is not in the database, or what comes next does not follow from it.
            Unavailable: the copy cannot be written; nothing is lost, the next call goes on from there.
        """
        try:
            with self._engine.connect() as connection, connection.begin():
                if not inspect(connection).has_table(_SEALS.name):
                    _SEALS.create(connection)
                last = self._last(connection)
                while found := following(last, self._read_from, self._stream, self.place):
                    rows = [self._row(seal) for seal in found]
                    connection.execute(_SEALS.insert(), rows)
                    last = found[-1]
        except SQLAlchemyError as error:
            raise Unavailable(
                "JOURNAL_CHECKPOINT_UNAVAILABLE",
                f"The seals of journal {self._stream} cannot be written to {self.place} ({type(error).__name__}). They stay in "
                "the other places until this is put right; see YINQI_JOURNAL_CHECKPOINT_URLS.",
                f"日志封条无法写入 {self.place}。",
            ) from error
        return last.position if last else 0

    def _last(self, connection: Connection) -> Seal | None:
        c = _SEALS.c
        query = select(c.line).where(c.source == self._source, c.stream == self._stream)
        line = connection.execute(query.order_by(c.position.desc()).limit(1)).scalar()
        return None if line is None else seal_of(json.loads(line))

    def _row(self, seal: Seal) -> dict[str, object]:
        line = seal.as_line().decode("utf-8")
        return {"source": self._source, "stream": self._stream, "position": seal.position, "line": line}


def lines_in_store(url: str, source: str) -> list[bytes]:
    """Return the seals of a store as the lines of a file outside, for a check.

    Raises:
        Unavailable: it cannot be read.
    """
    engine = create_engine(parse_url(url), poolclass=NullPool)
    query = select(_SEALS.c.line).where(_SEALS.c.source == source).order_by(_SEALS.c.stream, _SEALS.c.position)
    try:
        with engine.connect() as connection:
            return [line.encode("utf-8") for line in connection.execute(query).scalars()]
    except SQLAlchemyError as error:
        raise Unavailable(
            "JOURNAL_CHECKPOINT_UNAVAILABLE",
            f"{with_password_hidden(url)} cannot be read ({type(error).__name__}).",
            "封条副本无法读取。",
        ) from error
