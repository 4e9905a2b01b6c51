"""The sequencer of a service's journals: it seals committed rows in their order and hands the seals outside."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import structlog
from sqlalchemy import Connection, MetaData, Table

from yinqi.kernel.clock import Clock
from yinqi.kernel.errors import Unavailable, YinqiError
from yinqi.runtime.columns import microseconds_of
from yinqi.runtime.database import Database
from yinqi.runtime.fail_stop import end_process
from yinqi.runtime.journal.chain import Seal, SigningKey, seal_rows
from yinqi.runtime.journal.keys import open_signing_key
from yinqi.runtime.journal.outside import JournalTampered, SealsOutside
from yinqi.runtime.journal.outside_store import SealsInStore
from yinqi.runtime.journal.seals import (
    BEFORE_ALL,
    add_seal,
    column_names,
    head_of,
    journals_of,
    rows_after,
    seals_from,
)
from yinqi.runtime.settings import Settings
from yinqi.runtime.worker import every

_log = structlog.get_logger(__name__)
_SEALS_AT_ONCE = 100
# After a full batch it rests so many times as long as it worked, at most an interval: acceptance comes first.
_REST = 4


async def open_sealer(
    service: str, database: Database, metadata: MetaData, settings: Settings, clock: Clock
) -> JournalSealer:
    """Return the sealer of a service's journals, having compared their ends with the copies outside.

    Raises:
        JournalTampered: a journal is not the one that was sealed.
        JournalKeyInvalid: the key cannot be used.
    """
    file = settings.journal_key_of(service)
    key = await asyncio.to_thread(
        open_signing_key,
        file,
        settings.journal_key_algorithm,
        settings.journal_key_password.get_secret_value(),
        make=not settings.journal_key_file,
    )
    sealer = JournalSealer(
        database,
        journals_of(service, metadata),
        key,
        settings.journal_checkpoint_folders(),
        clock,
        rows_max=settings.journal_seal_rows_max,
        interval_s=settings.journal_seal_interval_s,
        stores=settings.journal_checkpoint_urls.split(),
        source=settings.journal_source(),
    )
    await asyncio.to_thread(sealer.hand_over)
    return sealer


class JournalSealer:
    """Seals the journals of one service.

    Several replicas may each have one: the key of the table of seals lets one of them win, the others go on from there.

    Args:
        journals: by the names of their chains.
        folders: where copies of the seals go.
        rows_max: most rows in a seal.
        interval_s: how long a committed row waits for its seal while there is no backlog.
        stores: other databases that get copies too, as URLs. source: what this database's journals are called there.
        fail_stop: ends the process when a journal is found tampered with.
    """

    def __init__(
        self,
        database: Database,
        journals: dict[str, Table],
        key: SigningKey,
        folders: Sequence[Path],
        clock: Clock,
        *,
        rows_max: int = 1_000,
        interval_s: float = 1.0,
        stores: Sequence[str] = (),
        source: str = "",
        fail_stop: Callable[[BaseException], NoReturn] = end_process,
    ) -> None:
        self._database = database
        self._journals = journals
        self._key = key
        self._clock = clock
        self._rows_max = rows_max
        self._interval_s = interval_s
        self._fail_stop = fail_stop
        self._is_behind = False  # whether a copy outside lacks seals
        self._handing_over = threading.Lock()
        readers = {stream: functools.partial(self._seals_from, stream) for stream in journals}
        self._outside: list[SealsOutside | SealsInStore] = [
            *(SealsOutside(folder, stream, reader) for folder in folders for stream, reader in readers.items()),
            *(SealsInStore(url, source, stream, reader) for url in stores for stream, reader in readers.items()),
        ]

    @property
    def key(self) -> SigningKey:
        """What signs the seals."""
        return self._key

    async def run(self, stop: asyncio.Event) -> None:
        """Seal what is committed, again and again, until `stop` is set."""
        await every(self._interval_s, self._run_once, stop=stop, name="journal-seals")

    async def finish(self) -> None:
        """Seal what is left; call it when nothing more is written. What fails here is done at the next start."""
        try:
            while await self.seal_once():
                pass
        except YinqiError as error:
            _log.warning("journal not sealed to its end", reason=error.reason, message=error.message)

    async def seal_once(self) -> bool:
        """Seal up to `rows_max` rows of each journal and hand the seals outside; return whether there may be more.

        Raises:
            JournalTampered, Unavailable: as `SealsOutside.catch_up`.
        """
        sealed = [await self._seal(stream, table) for stream, table in self._journals.items()]
        if any(sealed) or self._is_behind:
            await asyncio.to_thread(self.hand_over)
        return max(sealed, default=0) >= self._rows_max

    def hand_over(self) -> None:
        """Bring the copies outside up to date; one that cannot be written does not keep the others from it.

        Raises:
            JournalTampered: a copy and the database do not fit.
        """
        with self._handing_over:
            behind = [copy for copy in self._outside if not self._catch_up(copy)]
            self._is_behind = bool(behind)

    def _catch_up(self, copy: SealsOutside | SealsInStore) -> bool:
        try:
            copy.catch_up()
        except Unavailable as error:
            _log.error("journal seals not handed outside", reason=error.reason, message=error.message)
            return False
        return True

    async def _run_once(self) -> bool:
        started = time.monotonic()
        try:
            more = await self.seal_once()
        except JournalTampered as error:
            self._fail_stop(error)
        if more:
            await asyncio.sleep(min(_REST * (time.monotonic() - started), self._interval_s))
        return more

    async def _seal(self, stream: str, table: Table) -> int:
        """Seal the next rows; return how many were read (a faster sequencer may have sealed them)."""
        seal = await self._database.read(functools.partial(self._next_seal, stream, table))
        if seal is None:
            return 0
        if await self._database.run(lambda connection: add_seal(connection, seal)):
            _log.debug("journal sealed", stream=stream, position=seal.position, hash=seal.hash.hex())
        return seal.position - seal.first_position + 1

    def _next_seal(self, stream: str, table: Table, connection: Connection) -> Seal | None:
        head = head_of(connection, stream)
        names = column_names(table)
        after = BEFORE_ALL if head.sequence is None else head.sequence
        rows = rows_after(connection, table, names, after, self._rows_max)
        if not rows:
            return None
        sealed_at = microseconds_of(self._clock.now())
        return seal_rows(stream, head, rows, names, sealed_at, self._key)

    def _seals_from(self, stream: str, position: int) -> list[Seal]:
        return self._database.read_sync(lambda connection: seals_from(connection, stream, position, _SEALS_AT_ONCE))
