"""Data keys: what seals the fields of a service's database, one per company, kept wrapped in that database.

A key that was made in a transaction is kept in memory only once another connection has seen it committed: a transaction that is
undone takes its key along, and nothing sealed later may depend on that key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Column, Connection, LargeBinary, MetaData, String, Table, insert, inspect, select, update

from yinqi.crypto import CryptoError, EnvelopeKey
from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import FailedPrecondition
from yinqi.kernel.ids import RandomBytes
from yinqi.runtime.columns import UtcTimestamp
from yinqi.runtime.statements import upsert
from yinqi.runtime.wrapping_keys import WrappingKeyInvalid

KEY_BYTES = {"sm4-gcm": 16, "aes-256-gcm": 32}
_ID_BYTES = 8
_INDEX, _INDEX_ID = "index", "index"
_ACTIVE, _OLD = "active", "old"


def data_key_columns() -> list[Column[Any]]:
    """Return the columns of the table (also for `op.create_table("data_keys", *data_key_columns())`).

    `company` "" is the house. `wrapped`: an envelope under a key-encryption key, `wrapped_by` its id. `state`: "active" seals,
    "old" only opens; of the one key "index" everything that is looked up is derived.
    """
    return [
        Column("key_id", String(16), primary_key=True),
        Column("company", String(140), nullable=False),
        Column("algorithm", String(16), nullable=False),
        Column("wrapped", LargeBinary, nullable=False),
        Column("wrapped_by", String(16), nullable=False),
        Column("state", String(8), nullable=False),
        Column("created_at", UtcTimestamp(), nullable=False),
    ]


data_keys = Table("data_keys", MetaData(), *data_key_columns())
_c = data_keys.c


class DataKeyLost(FailedPrecondition):
    """Something is sealed with a data key that is not there, or cannot be unwrapped."""


class Committed(Protocol):
    """Whose connections see what is committed and nothing else: an engine."""

    def connect(self) -> AbstractContextManager[Connection]:
        """Return a connection of its own."""
        ...


class Wrapping(Protocol):
    """Where the key-encryption keys are."""

    def read(self) -> list[EnvelopeKey]:
        """Return them, at least one; the last is the one that wraps.

        Raises:
            WrappingKeyInvalid: they cannot be used.
        """
        ...


class DataKeyState(NamedTuple):
    """A data key as people may see it. `wrapped_by`: id of the key-encryption key; `seals`: new values use it."""

    key_id: str
    company: str
    algorithm: str
    wrapped_by: str
    state: str
    created_at: datetime


class DataKeys:
    """The data keys of one database.

    Args:
        refresh: how often to look whether the keys were rotated.
    """

    def __init__(
        self,
        wrapping: Wrapping,
        committed: Committed,
        *,
        clock: Clock,
        random_bytes: RandomBytes,
        algorithm: str,
        refresh: timedelta,
    ) -> None:
        self._wrapping = wrapping
        self.committed = committed
        self._clock = clock
        self._random_bytes = random_bytes
        self._algorithm = algorithm
        self._refresh = refresh
        self._by_id: dict[bytes, EnvelopeKey] = {}
        self._active: dict[str, EnvelopeKey] = {}
        self._read_at: datetime | None = None
        self.index_key = b""

    def make_index_key(self, connection: Connection) -> None:
        """Make the key of the look-ups if there is none; two who do it at once make one."""
        row = self._row(_INDEX_ID, "", self._random_bytes(32), self._wrapping.read()[-1]) | {"state": _INDEX}
        connection.execute(upsert(data_keys, connection.dialect.name).values(row).on_conflict_do_nothing())

    def read(self) -> None:
        """Learn the keys that are committed.

        Raises:
            WrappingKeyInvalid, DataKeyLost: they cannot be unwrapped.
        """
        now = self._clock.now()
        with self.committed.connect() as connection:
            rows = connection.execute(select(data_keys).order_by(_c.created_at, _c.key_id)).all()
        known, active = dict(self._by_id), dict[str, EnvelopeKey]()
        unknown = [row for row in rows if row.state != _INDEX and bytes.fromhex(row.key_id) not in known]
        if any(row.state == _INDEX for row in rows) and not self.index_key:
            unknown += [row for row in rows if row.state == _INDEX]
        for row, secret in zip(unknown, self._unwrapped(unknown), strict=True):
            if row.state == _INDEX:
                self.index_key = secret
            else:
                known[bytes.fromhex(row.key_id)] = _key(row, secret)
        for row in rows:
            if row.state == _ACTIVE:
                active[row.company] = known[bytes.fromhex(row.key_id)]
        self._by_id, self._active, self._read_at = known, active, now

    def sealing(self, connection: Connection, company: str) -> EnvelopeKey:
        """Return the key that seals a company's values; a company without one gets it in this transaction."""
        is_old = self._read_at is None or self._clock.now() - self._read_at >= self._refresh
        if is_old or company not in self._active:
            self.read()
        return self._active.get(company) or self._uncommitted(connection, company) or self._make(connection, company)

    def opening(self, connection: Connection, key_id: bytes) -> EnvelopeKey:
        """Return the key with this id.

        Raises:
            DataKeyLost: there is none.
        """
        if key_id not in self._by_id:
            self.read()
        if (key := self._by_id.get(key_id)) is not None:
            return key
        row = connection.execute(select(data_keys).where(_c.key_id == key_id.hex())).first()
        if row is None:
            raise _lost(key_id.hex(), "it is not in data_keys")
        return _key(row, self._unwrapped([row])[0])

    def rotate(self, connection: Connection) -> int:
        """Give every company that has a key a new one for what is sealed from now on; return how many."""
        companies = connection.execute(select(_c.company).distinct().where(_c.state == _ACTIVE)).scalars().all()
        connection.execute(update(data_keys).where(_c.state == _ACTIVE).values(state=_OLD))
        for company in companies:
            self._make(connection, company)
        self._read_at = None
        return len(companies)

    def rewrap(self, connection: Connection) -> int:
        """Wrap every data key with the key-encryption key that wraps now; return how many were under another."""
        newest = self._wrapping.read()[-1]
        rows = connection.execute(
            select(data_keys).where(_c.wrapped_by != newest.key_id.hex()).order_by(_c.key_id).with_for_update()
        ).all()
        for row, secret in zip(rows, self._unwrapped(rows), strict=True):
            wrapped = newest.seal(secret, _aad(row.key_id, row.company))
            connection.execute(
                update(data_keys).where(_c.key_id == row.key_id).values(wrapped=wrapped, wrapped_by=newest.key_id.hex())
            )
        return len(rows)

    def _uncommitted(self, connection: Connection, company: str) -> EnvelopeKey | None:
        """Return a company's key that this transaction, or another use case of the same commit, has just made."""
        query = select(data_keys).where(_c.company == company, _c.state == _ACTIVE).order_by(_c.created_at.desc())
        row = connection.execute(query.limit(1)).first()
        return None if row is None else _key(row, self._unwrapped([row])[0])

    def _make(self, connection: Connection, company: str) -> EnvelopeKey:
        key_id, secret = self._random_bytes(_ID_BYTES), self._random_bytes(KEY_BYTES[self._algorithm])
        connection.execute(insert(data_keys), [self._row(key_id.hex(), company, secret, self._wrapping.read()[-1])])
        return EnvelopeKey(self._algorithm, key_id, secret)

    def _row(self, key_id: str, company: str, secret: bytes, wrapping: EnvelopeKey) -> dict[str, Any]:
        return {
            "key_id": key_id,
            "company": company,
            "algorithm": self._algorithm,
            "wrapped": wrapping.seal(secret, _aad(key_id, company)),
            "wrapped_by": wrapping.key_id.hex(),
            "state": _ACTIVE,
            "created_at": self._clock.now(),
        }

    def _unwrapped(self, rows: Sequence[Any]) -> list[bytes]:
        if not rows:
            return []
        by_id = {key.key_id.hex(): key for key in self._wrapping.read()}
        return [_unwrap(row, by_id.get(row.wrapped_by)) for row in rows]


def list_data_keys(connection: Connection) -> list[DataKeyState]:
    """Return the data keys, by company, oldest first; [] where nothing was ever sealed."""
    if not has_data_keys(connection):
        return []
    columns = [_c[name] for name in DataKeyState._fields]
    return [DataKeyState(*row) for row in connection.execute(select(*columns).order_by(_c.company, _c.created_at))]


def has_data_keys(connection: Connection) -> bool:
    """Return whether something in this database may be sealed."""
    return (
        inspect(connection).has_table(data_keys.name)
        and connection.execute(select(1).select_from(data_keys)).first() is not None
    )


def wrapped_by(states: Iterable[DataKeyState]) -> set[str]:
    """Return the ids of the key-encryption keys that are still needed."""
    return {state.wrapped_by for state in states}


def _key(row: Any, secret: bytes) -> EnvelopeKey:
    return EnvelopeKey(row.algorithm, bytes.fromhex(row.key_id), secret)


def _unwrap(row: Any, wrapping: EnvelopeKey | None) -> bytes:
    if wrapping is None:
        raise WrappingKeyInvalid(
            "WRAPPING_KEY_MISSING",
            f"Data key {row.key_id} is wrapped by key-encryption key {row.wrapped_by}, which is not in the folder that "
            "YINQI_SEALING_KEYS_DIR names. Put it back; take a key away only after `yinqi data rewrap`.",
            f"数据密钥 {row.key_id} 由密钥加密密钥 {row.wrapped_by} 包裹，但该密钥不在 YINQI_SEALING_KEYS_DIR 目录中，请恢复。",
        )
    try:
        return wrapping.open(bytes(row.wrapped), _aad(row.key_id, row.company))
    except CryptoError:
        raise _lost(row.key_id, "its row was changed") from None


def _aad(key_id: str, company: str) -> bytes:
    return b"\x00".join([b"data_keys", b"wrapped", key_id.encode(), company.encode()])


def _lost(key_id: str, why: str) -> DataKeyLost:
    return DataKeyLost(
        "DATA_KEY_LOST",
        f"Data key {key_id} cannot be used: {why}. Restore the table data_keys from a backup.",
        f"数据密钥 {key_id} 不可用，请从备份恢复 data_keys 表。",
    )
