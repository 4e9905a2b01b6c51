"""Fields sealed at rest: account numbers, names and orders, each bound to its table, column and row (docs/data-at-rest.md).

A sealed value is an envelope (yinqi.crypto) under a data key of the row's company. In a text column it is written as base64 behind
a control character that no name or account number may have; bytes of ours never begin as an envelope does. So a row that was
written in clear is told from a sealed one and read as it is.

What must be found, counted or compared is a token: HMAC-SM3 under the database's own index key. Equal values have equal
tokens, and that is what a thief of the file learns.
"""

from __future__ import annotations

import base64
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Column, Connection, LargeBinary, MetaData, String, Table, select

from yinqi.crypto import CryptoError, EnvelopeKey, envelope_key_id, hmac_sm3, hmac_sm3_many
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import FailedPrecondition
from yinqi.kernel.ids import RandomBytes
from yinqi.runtime.data_keys import DataKeys, has_data_keys
from yinqi.runtime.settings import Settings
from yinqi.runtime.statements import among, prepared, upsert
from yinqi.runtime.wrapping_keys import WrappingKeys

if TYPE_CHECKING:
    from yinqi.runtime.database import Database

_log = structlog.get_logger(__name__)
_TEXT_MARK = "\x01"
_ENVELOPE_MARK = b"\x01"  # its version; neither protobuf, nor JSON, nor zlib begins so
_TOKEN_MARK, _TOKEN_BYTES = "~", 15
_TOKEN_LENGTH = len(_TOKEN_MARK) + 4 * _TOKEN_BYTES // 3
_NUMBERS_MAX = 100_000  # own accounts kept in memory, both ways
_TOKENS_CONTEXT = b"yinqi/tokens/v1"
OPTION = "yinqi_sealing"


def sealed_number_columns() -> list[Column[Any]]:
    """Return the columns of the table that leads from a token back to its number."""
    return [Column("token", String(24), primary_key=True), Column("sealed", LargeBinary, nullable=False)]


sealed_numbers = Table("sealed_numbers", MetaData(), *sealed_number_columns())


class SealBroken(FailedPrecondition):
    """A sealed value does not open where it stands: it was changed, or moved from another row or column."""


class SealingKeyNeeded(FailedPrecondition):
    """The database holds sealed rows, but the service was given no key. It does not start."""


@dataclass(frozen=True)
class Sealed:
    """What of a table is sealed.

    Attributes:
        row: the columns that name a row, as they are stored; they must never change. Bound to every sealed value.
        fields: columns whose values are sealed, text or bytes.
        numbers: columns that hold a token in place of a number, which `sealed_numbers` leads back to: few, and often grouped by.
        blind: columns that hold a token and are only ever compared.
        checksum: a column with the CRC-32C of the first field as it is stored; "" without one.
        is_journal: its rows are in a hash chain, so those written in clear stay as they are.
    """

    table: Table
    row: tuple[str, ...]
    fields: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    checksum: str = ""
    is_journal: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All that are written in another form."""
        return (*self.fields, *self.numbers, *self.blind)


class Clear:
    """Writes and reads everything as it is."""

    is_on = False

    def seal(
        self,
        connection: Connection,
        sealed: Sealed,
        rows: Sequence[dict[str, Any]],
        companies: str | Sequence[str] = "",
    ) -> Sequence[dict[str, Any]]:
        """Return rows as they are stored; changes the given ones in place.

        Args:
            companies: whose keys seal; one for all rows, or one each.
        """
        return rows

    def open(
        self, connection: Connection, sealed: Sealed, rows: Sequence[Any], names: Sequence[str] | None = None
    ) -> Sequence[Any]:
        """Return rows as they were given; sealed, clear and mixed ones alike.

        Args:
            rows: tuples, with the columns that name a row wherever a sealed field is among them.
            names: of the tuples' columns; None: the table's own.
        Raises:
            SealBroken: names table, column and row. DataKeyLost, WrappingKeyInvalid: they cannot be opened.
        """
        return rows

    def open_mappings(self, connection: Connection, sealed: Sealed, rows: Sequence[Any]) -> list[Mapping[str, Any]]:
        """Do what `open` does to whole rows, and return them by the names of their columns."""
        names = sealed.table.c.keys()
        return [dict(zip(names, row, strict=True)) for row in self.open(connection, sealed, rows)]

    def forms(self, numbers: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Return in what forms each number may stand in a column of tokens, as many for each: for a query."""
        return {number: (number,) for number in numbers}

    def either(self, numbers: Collection[str]) -> list[str]:
        """Return all forms of some numbers."""
        return [form for forms in self.forms(numbers).values() for form in forms]

    def clear_numbers(self, connection: Connection, values: Sequence[str]) -> list[str]:
        """Return the numbers that tokens stand for; what is none stays."""
        return list(values)


class Sealing(Clear):
    """Seals what is written, opens what is read; in batches, one call of the extension per column and key.

    Args:
        refuses_clear: a row in clear is read as little as a broken one; for databases that were brought over whole.
    """

    is_on = True

    def __init__(self, keys: DataKeys, *, refuses_clear: bool = False) -> None:
        self.keys = keys
        self._refuses_clear = refuses_clear
        self._token_key = b""
        self._committed = keys.committed
        self._number_of: dict[str, str] = {}

    def start(self, run: Callable[[Callable[[Connection], None]], None]) -> None:
        """Make sure of the keys; must be called before anything is sealed.

        Args:
            run: does something in a transaction of its own.
        """
        run(self.keys.make_index_key)
        self.keys.read()
        self._token_key = hmac_sm3(self.keys.index_key, _TOKENS_CONTEXT)

    def seal(
        self,
        connection: Connection,
        sealed: Sealed,
        rows: Sequence[dict[str, Any]],
        companies: str | Sequence[str] = "",
    ) -> Sequence[dict[str, Any]]:
        if not rows:
            return rows
        for column in (*sealed.numbers, *sealed.blind):
            self._seal_numbers(connection, column, rows, keeps=column in sealed.numbers)
        if not sealed.fields:
            return rows
        rows_named = _row_names(*([row[name] for row in rows] for name in sealed.row))
        for company, indexes in _by_company(companies, len(rows)):
            key = self.keys.sealing(connection, company)
            for column in sealed.fields:
                _seal_field(key, _prefix(sealed, column), column, rows, rows_named, indexes)
        return rows

    def open(
        self, connection: Connection, sealed: Sealed, rows: Sequence[Any], names: Sequence[str] | None = None
    ) -> Sequence[Any]:
        if not rows:
            return rows
        place = {name: index for index, name in enumerate(names or sealed.table.c.keys())}
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        if self._refuses_clear and not sealed.is_journal:
            _require_sealed(sealed, columns, place)
        rows_named: list[bytes] | None = None
        for column in sealed.fields:
            values = columns[place[column]] if column in place else ()
            if not any(map(_is_sealed, values)):
                continue
            if rows_named is None:
                rows_named = _row_names(*(columns[place[name]] for name in sealed.row))
            columns[place[column]] = self._opened(connection, sealed, column, values, rows_named)
        for column in sealed.numbers:
            if column in place:
                columns[place[column]] = self.clear_numbers(connection, columns[place[column]])
        return list(zip(*columns, strict=True))

    def forms(self, numbers: Collection[str]) -> dict[str, tuple[str, ...]]:
        given = list(numbers)
        return {number: (token, number) for number, token in zip(given, self.tokens(given), strict=True)}

    def tokens(self, values: Sequence[str]) -> list[str]:
        """Return the tokens of numbers, in order; "" has none."""
        codes = hmac_sm3_many(self._token_key, [value.encode() for value in values])
        return [
            _TOKEN_MARK + base64.urlsafe_b64encode(code[:_TOKEN_BYTES]).decode() if value else ""
            for value, code in zip(values, codes, strict=True)
        ]

    def clear_numbers(self, connection: Connection, values: Sequence[str]) -> list[str]:
        wanted = {value for value in values if value and value[0] == _TOKEN_MARK} - self._number_of.keys()
        numbers = self._number_of
        if wanted:
            self._learn(wanted)
            numbers = self._number_of
            if unseen := wanted - numbers.keys():  # written in this very transaction
                numbers = numbers | self._numbers(connection, unseen)
            for token in wanted - numbers.keys():
                raise _broken("sealed_numbers", "sealed", token)
        return [numbers.get(value, value) for value in values]

    def _seal_numbers(
        self, connection: Connection, column: str, rows: Sequence[dict[str, Any]], *, keeps: bool
    ) -> None:
        given = list(dict.fromkeys(row[column] for row in rows))
        token_of = dict(zip(given, self.tokens(given), strict=True))
        if keeps:
            self._keep(connection, {token: number for number, token in token_of.items() if token})
        for row in rows:
            row[column] = token_of[row[column]]

    def _keep(self, connection: Connection, number_of: Mapping[str, str]) -> None:
        """Write the way back from tokens, for those that are not known to be committed."""
        if new := number_of.keys() - self._number_of.keys():
            self._learn(new)
        if not (new := number_of.keys() - self._number_of.keys()):
            return
        key, tokens = self.keys.sealing(connection, ""), sorted(new)
        sealed = key.seal_many([number_of[token].encode() for token in tokens], [_number_aad(one) for one in tokens])
        rows = [{"token": token, "sealed": one} for token, one in zip(tokens, sealed, strict=True)]
        connection.execute(upsert(sealed_numbers, connection.dialect.name).on_conflict_do_nothing(), rows)

    def _learn(self, tokens: Collection[str]) -> None:
        with self._committed.connect() as connection:
            found = self._numbers(connection, tokens)
        kept = self._number_of if len(self._number_of) < _NUMBERS_MAX else {}
        self._number_of = kept | found

    def _numbers(self, connection: Connection, tokens: Collection[str]) -> dict[str, str]:
        rows = connection.execute(_NUMBERS, {"tokens": list(tokens)}).all()
        aads = [_number_aad(row.token) for row in rows]
        opened = self._opened_envelopes(connection, [bytes(row.sealed) for row in rows], aads)
        for row, number in zip(rows, opened, strict=True):
            if number is None:
                raise _broken("sealed_numbers", "sealed", row.token)
        return {row.token: number.decode() for row, number in zip(rows, opened, strict=True) if number is not None}

    def _opened(
        self, connection: Connection, sealed: Sealed, column: str, values: Sequence[Any], rows_named: list[bytes]
    ) -> list[Any]:
        prefix = _prefix(sealed, column)
        indexes = [index for index, value in enumerate(values) if _is_sealed(value)]
        is_text = isinstance(values[indexes[0]], str)
        envelopes = [_envelope_of(values[index]) for index in indexes]
        opened = self._opened_envelopes(connection, envelopes, [prefix + rows_named[index] for index in indexes])
        result = list(values)
        for index, value in zip(indexes, opened, strict=True):
            if value is None:
                raise _broken(sealed.table.name, column, _row_for_people(sealed, rows_named[index]))
            result[index] = value.decode() if is_text else value
        return result

    def _opened_envelopes(
        self, connection: Connection, envelopes: list[bytes], aads: list[bytes]
    ) -> list[bytes | None]:
        """Return the texts, None for one that does not open."""
        by_key: dict[bytes, list[int]] = {}
        opened: list[bytes | None] = [None] * len(envelopes)
        for index, envelope in enumerate(envelopes):
            try:
                by_key.setdefault(envelope_key_id(envelope), []).append(index)
            except CryptoError:
                continue
        for key_id, indexes in by_key.items():
            key = self.keys.opening(connection, key_id)
            if len(indexes) == len(envelopes):
                return key.open_many(envelopes, aads)
            for index, text in zip(
                indexes, key.open_many([envelopes[i] for i in indexes], [aads[i] for i in indexes]), strict=True
            ):
                opened[index] = text
        return opened


_CLEAR = Clear()
_NUMBERS = prepared(select(sealed_numbers).where(among(sealed_numbers.c.token, "tokens")))


def sealing_of(connection: Connection) -> Clear:
    """Return how the fields of this connection's database are written and read."""
    found: Clear | None = connection.engine.get_execution_options().get(OPTION)
    return found or _CLEAR


def pairs_as_stored(
    connection: Connection, pairs: Collection[tuple[str, str, str]]
) -> dict[tuple[str, str, str], tuple[str, str, str]]:
    """Return (debtor account, creditor account, currency) in every form in which a row may hold them, and what each means."""
    forms = sealing_of(connection).forms({account for pair in pairs for account in pair[:2]})
    return {
        (debtor, creditor, pair[2]): pair
        for pair in pairs
        for debtor, creditor in zip(forms[pair[0]], forms[pair[1]], strict=True)
    }


def start_sealing(
    database: Database, folder: str, *, settings: Settings, clock: Clock, random_bytes: RandomBytes
) -> Sealing | None:
    """Let a database be sealed with the keys of a folder; before anything else is done with it.

    Args:
        folder: of the key-encryption keys; "": nothing is sealed.
    Raises:
        SealingKeyNeeded: it holds sealed rows, and there is no folder.
        WrappingKeyInvalid, DataKeyLost: the keys cannot be used; the message says why.
    """
    if not folder:
        if database.read_sync(has_data_keys):
            raise SealingKeyNeeded(
                "SEALING_KEY_NEEDED",
                "The database holds sealed rows, but no key-encryption key was given. Name its folder in "
                "YINQI_SEALING_KEYS_DIR.",
                "数据库中有加密的数据，但未提供密钥加密密钥，请用 YINQI_SEALING_KEYS_DIR 指定其目录。",
            )
        return None
    keys = DataKeys(
        WrappingKeys(Path(folder)),
        database.read_engine,
        clock=clock,
        random_bytes=random_bytes,
        algorithm=settings.sealing_algorithm,
        refresh=timedelta(seconds=settings.sealing_refresh_s),
    )
    sealing = Sealing(keys, refuses_clear=settings.sealing_clear_rows == "refuse")
    for engine in (database.write_engine, database.read_engine):
        engine.update_execution_options(**{OPTION: sealing})
    sealing.start(database.run_sync)
    return sealing


def is_sealed(sealed: Sealed, column: str, value: Any) -> bool:
    """Return whether a stored value of one of the table's columns is in its sealed form (an empty number is)."""
    if column in sealed.fields:
        return _is_sealed(value)
    return not value or is_token(value)


def is_token(value: str) -> bool:
    """Return whether a text is a token: no account number begins so."""
    return len(value) == _TOKEN_LENGTH and value[0] == _TOKEN_MARK


def _seal_field(
    key: EnvelopeKey,
    prefix: bytes,
    column: str,
    rows: Sequence[dict[str, Any]],
    names: list[bytes],
    indexes: Sequence[int],
) -> None:
    values = [rows[index][column] for index in indexes]
    is_text = isinstance(values[0], str)
    texts = [value.encode() for value in values] if is_text else values
    envelopes = key.seal_many(texts, [prefix + names[index] for index in indexes])
    stored = [_TEXT_MARK + b2a_base64(one, newline=False).decode() for one in envelopes] if is_text else envelopes
    for index, value in zip(indexes, stored, strict=True):
        rows[index][column] = value


def _by_company(companies: str | Sequence[str], rows: int) -> list[tuple[str, Sequence[int]]]:
    if isinstance(companies, str):
        return [(companies, range(rows))]
    indexes: dict[str, list[int]] = {}
    for index, company in enumerate(companies):
        indexes.setdefault(company, []).append(index)
    return list(indexes.items())


def _row_names(*columns: Sequence[Any]) -> list[bytes]:
    if len(columns) == 1:
        return [str(value).encode() for value in columns[0]]
    return ["\x00".join(map(str, values)).encode() for values in zip(*columns, strict=True)]


def _row_for_people(sealed: Sealed, row_named: bytes) -> str:
    """Return the name of a row without account numbers: one may stand there in clear."""
    parts = zip(sealed.row, row_named.decode().split("\x00"), strict=True)
    return " ".join(part for name, part in parts if not name.endswith("account"))


def _prefix(sealed: Sealed, column: str) -> bytes:
    return f"{sealed.table.name}\x00{column}\x00".encode()


def _number_aad(token: str) -> bytes:
    return b"sealed_numbers\x00sealed\x00" + token.encode()


def _is_sealed(value: Any) -> bool:
    return bool(value) and (value[0] == _TEXT_MARK if isinstance(value, str) else value[:1] == _ENVELOPE_MARK)


def _envelope_of(value: Any) -> bytes:
    if not isinstance(value, str):
        return bytes(value)
    try:
        return a2b_base64(value[1:])
    except ValueError:
        return b""


def _require_sealed(sealed: Sealed, columns: Sequence[Sequence[Any]], place: Mapping[str, int]) -> None:
    for column in (*sealed.fields, *sealed.numbers):
        for index, value in enumerate(columns[place[column]] if column in place else ()):
            if not is_sealed(sealed, column, value):
                (row,) = _row_names(*([columns[place[name]][index]] for name in sealed.row))
                raise _broken(sealed.table.name, column, _row_for_people(sealed, row))


def _broken(table: str, column: str, row: str) -> SealBroken:
    _log.error("a sealed value does not open where it stands", table=table, column=column, row=row)
    return SealBroken(
        "SEAL_BROKEN",
        f"{table}.{column} of row {row} does not open: it was changed, or moved there from another row or column, or written in clear. "
        "Nothing is done with it; compare with a backup (docs/data-at-rest.md).",
        f"{table}.{column}（行 {row}）无法解密：已被改动或从他处移入，已停止使用，请与备份核对。",
        metadata={"table": table, "column": column, "row": row},
    )
