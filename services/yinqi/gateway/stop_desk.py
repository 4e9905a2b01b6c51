"""Where people pull and lift stops (止付): each word is one transaction, in force with its commit."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import Connection

from yinqi.gateway import use_cases
from yinqi.gateway.profile import Profiles
from yinqi.gateway.repository import SqlStore
from yinqi.gateway.stops import Scope, Stop, StopChange, Word, require_known
from yinqi.kernel.clock import Clock
from yinqi.kernel.ids import IdSource
from yinqi.runtime.database import Database

_log = structlog.get_logger(__name__)
_ID_PREFIX = "ST"


class StopDesk:
    """Takes people's words for and against stops."""

    def __init__(self, profiles: Profiles, database: Database, clock: Clock, ids: IdSource) -> None:
        self._profiles = profiles
        self._database = database
        self._clock = clock
        self._ids = ids

    async def pull(self, scope: Scope, person: str, reason: str) -> StopChange:
        """Stop a scope. Raises `InvalidRequest`, `NotFound`: nothing was stopped."""
        word = Word(person, self._clock.now(), reason)
        require_known(scope, self._profiles.accounts())
        stop_id = self._ids.new_ids(_ID_PREFIX, 1)[0]
        return self._told(await self._database.run(lambda c: use_cases.pull_stop(scope, word, stop_id, SqlStore(c))))

    async def lift(self, stop_id: str, person: str, reason: str) -> StopChange:
        """Record a word for lifting. Raises `InvalidRequest`, `NotFound`: nothing was lifted."""
        word = Word(person, self._clock.now(), reason)
        return self._told(await self._database.run(lambda c: use_cases.lift_stop(stop_id, word, SqlStore(c))))

    async def listed(self, *, include_lifted: bool, limit: int) -> Sequence[Stop]:
        """Return all stops in force, oldest first, then lifted ones, the last pulled first."""

        def read(connection: Connection) -> list[Stop]:
            stops = SqlStore(connection).stops
            active = stops.active()
            lifted = [stop for stop in stops.newest(limit) if not stop.is_active] if include_lifted else []
            return [*active, *lifted]

        return await self._database.read(read)

    def _told(self, change: StopChange) -> StopChange:
        if change.type is not None:
            stop = change.stop
            _log.warning("a stop changed", change=change.type, stop_id=stop.stop_id, scope=stop.scope.kind)
        return change
