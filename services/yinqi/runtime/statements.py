"""SQLAlchemy Core statements on SQLite at the driver's speed.

For a statement of 30 µs SQLAlchemy needs 200 to 400 µs: it builds the expression, its cache key, an execution context and a
cursor result. Here the compiled text, the bind processors and the result processors are kept, values go to the driver's
cursor, and rows come back as SQLAlchemy's own. What the repositories write stays SQLAlchemy Core; what does not fit (expanding IN,
column defaults, many rows with RETURNING) and all of PostgreSQL, where the round trip outweighs it, goes the usual way.

`prepared` marks a statement that is made once: it needs no cache key either.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

S = TypeVar("S", bound=Executable)
Processor = Callable[[Any], Any]
_PLANS_MAX = 2_000


class _Prepared:
    """A statement that is made once, as a module's constant; SQLAlchemy takes it where it takes a statement."""

    def __init__(self, statement: Any) -> None:
        self.statement = statement

    def _execute_on_connection(self, connection: Connection, parameters: Any, options: Any) -> Any:
        return self.statement._execute_on_connection(connection, parameters, options)


def prepared(statement: S) -> S:
    """Return the statement for `connection.execute`, and for nothing else; its values are `bindparam`s by name."""
    return cast("S", _Prepared(statement))


class _Plan:
    """A compiled statement, taken apart.

    Attributes:
        binds: per parameter in the driver's order, its name and its processor.
        defaults: values of those that the caller need not give.
    """

    __slots__ = ("binds", "compiled", "defaults", "metadata", "text")

    def __init__(self, compiled: SQLCompiler) -> None:
        self.compiled = compiled
        self.text = compiled.string
        required = {name for bind, name in compiled.bind_names.items() if bind.required}
        values = compiled.construct_params(_check=False)
        self.defaults = {name: value for name, value in values.items() if name not in required}
        processors = cast("Mapping[str, Processor]", compiled._bind_processors)
        self.binds = [(name, processors.get(name)) for name in compiled.positiontup or ()]
        columns = compiled._result_columns
        self.metadata = SimpleResultMetaData(
            [column.keyname for column in columns],
            _processors=[column.type._cached_result_processor(compiled.dialect, None) for column in columns],
        )

    def values(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what the driver takes, in its order; KeyError if one is missing."""
        all_given = {**self.defaults, **given} if self.defaults else given
        return tuple(
            [all_given[name] if processor is None else processor(all_given[name]) for name, processor in self.binds]
        )


class _Rows(IteratorResult[Any]):
    """A result whose rows are already here."""

    def __init__(self, metadata: SimpleResultMetaData, rows: list[Any], rowcount: int) -> None:
        super().__init__(metadata, iter(rows))
        self.rowcount = rowcount


class _FastConnection(Connection):
    """A connection to SQLite that keeps plans; `plans` is its engine's."""

    plans: dict[Any, _Plan | None]

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Do what `Connection.execute` does."""
        many = isinstance(parameters, Sequence)
        first = (parameters[0] if parameters else None) if many else parameters or {}
        if execution_options or first is None or not self.in_transaction():
            return super().execute(statement, parameters, execution_options=execution_options)
        if type(statement) is _Prepared:
            plan, extracted = self._prepared(statement, first), None
        else:
            plan, extracted = self._known(statement, first)
        if plan is None or (many and plan.compiled._result_columns):
            return super().execute(statement, parameters)
        cursor = cast("sqlite3.Connection", self.connection.driver_connection).cursor()
        try:
            if many:
                cursor.executemany(plan.text, [plan.values(row) for row in self._bound(plan, parameters, extracted)])
            else:
                (given,) = self._bound(plan, (first,), extracted)
                cursor.execute(plan.text, plan.values(given))
            rows = cursor.fetchall() if plan.compiled._result_columns else []
        except sqlite3.Error as error:
            raise DBAPIError.instance(plan.text, None, error, sqlite3.Error, dialect=self.dialect) from error
        return _Rows(plan.metadata, rows, cursor.rowcount)

    def _bound(self, plan: _Plan, given: Sequence[Mapping[str, Any]], extracted: Any) -> Sequence[Mapping[str, Any]]:
        if not extracted:
            return given
        return [plan.compiled.construct_params(dict(one), extracted) for one in given]

    def _prepared(self, prepared: _Prepared, given: Mapping[str, Any]) -> _Plan | None:
        # Which columns an insert or update names may depend on its first row's keys.
        names = tuple(given) if prepared.statement.is_dml else ()
        key = (id(prepared), names)
        if key not in self.plans:
            self._keep(key, prepared.statement.compile(dialect=self.dialect, column_keys=list(names) or None))
        return self.plans[key]

    def _known(self, statement: Any, given: Mapping[str, Any]) -> tuple[_Plan | None, Any]:
        cache_key = statement._generate_cache_key() if hasattr(statement, "_generate_cache_key") else None
        if cache_key is None:
            return None, None
        key = (cache_key.key, tuple(given))
        if key not in self.plans:
            compiled = statement._compiler(self.dialect, cache_key=cache_key, column_keys=list(given))
            self._keep(key, compiled)
        return self.plans[key], cache_key.bindparams

    def _keep(self, key: Any, compiled: Any) -> None:
        if len(self.plans) >= _PLANS_MAX:
            self.plans.clear()
        self.plans[key] = _Plan(compiled) if _is_plain(compiled) else None


def _is_plain(compiled: Any) -> bool:
    """Whether text and values are all that the statement needs."""
    if not isinstance(compiled, SQLCompiler):
        return False
    needs_more = (
        compiled.post_compile_params,
        compiled.literal_execute_params,
        compiled.insert_prefetch,
        compiled.update_prefetch,
    )
    return compiled.positional and not any(needs_more)


def keep_plans(engine: Engine) -> None:
    """Let the connections of a SQLite engine take the short way."""
    engine._connection_cls = type("_KeptPlans", (_FastConnection,), {"plans": {}})
