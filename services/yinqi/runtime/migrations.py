"""Schema migrations: alembic without an ini file, one chain of versions per service.

Each service keeps `services/yinqi/<service>/migrations/versions/NNNN_name.py` with the usual `revision`,
`down_revision`, `upgrade()` and `downgrade()`. Tables are written out there (`op.create_table`), never taken from the
live `MetaData`: a migration must mean the same in a year.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from yinqi.runtime.database import DatabaseTooNew, DatabaseTooOld
from yinqi.runtime.database_engine import open_engines

_ENVIRONMENT = Path(__file__).parent / "alembic_environment"
_SERVICES = Path(__file__).parent.parent


def versions_folder(service: str) -> Path:
    """Return where a service keeps its migrations."""
    return _SERVICES / service / "migrations" / "versions"


def version_table(service: str) -> str:
    """Return the table that names the schema's revision; one per service, so that services may share a database."""
    return f"{service}_schema_revision"


def migrate(
    database_url: str, service: str, *, revision: str = "head", versions: Path | None = None
) -> tuple[str | None, str | None]:
    """Bring the schema to `revision` ("head": the newest); return (revision before, revision after).

    Runs in one transaction on both stores, under a lock, so replicas may all call it at start.

    Raises:
        DatabaseTooNew: a newer program wrote this database; nothing was changed.
        Unavailable: the store cannot be reached.
    """
    return _move(database_url, service, versions, lambda config: command.upgrade(config, revision))


def downgrade(
    database_url: str, service: str, revision: str, *, versions: Path | None = None
) -> tuple[str | None, str | None]:
    """Bring the schema back to an older `revision`; what newer columns held is lost. Raises what `migrate` does."""
    return _move(database_url, service, versions, lambda config: command.downgrade(config, revision))


def _move(
    database_url: str, service: str, versions: Path | None, step: Callable[[Config], None]
) -> tuple[str | None, str | None]:
    config = _config(service, versions)
    write_engine, read_engine = open_engines(database_url, writers=1, readers=1)
    try:
        with write_engine.connect() as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                key = zlib.crc32(version_table(service).encode())
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            before = _current(connection, service)
            _refuse_newer(config, service, before)
            config.attributes["connection"] = connection
            step(config)
            return before, _current(connection, service)
    finally:
        write_engine.dispose()
        read_engine.dispose()


def check_revision(database_url: str, service: str, *, versions: Path | None = None) -> None:
    """Return if the schema is the one this program knows.

    Raises:
        DatabaseTooNew: a newer program wrote it. DatabaseTooOld: `yinqi migrate` must run first.
        Unavailable: the store cannot be reached.
    """
    config = _config(service, versions)
    write_engine, read_engine = open_engines(database_url, writers=1, readers=1)
    try:
        current = _current_of(read_engine, service)
    finally:
        write_engine.dispose()
        read_engine.dispose()
    _refuse_newer(config, service, current)
    head = ScriptDirectory.from_config(config).get_current_head()
    if current != head:
        raise DatabaseTooOld(
            "DATABASE_TOO_OLD",
            f"The {service} database is at revision {current or 'none'}, this program needs {head}. "
            f"Run `yinqi migrate {service}`, or set YINQI_MIGRATE_AT_START=true.",
            metadata={"service": service, "found": current or "", "needed": head or ""},
        )


def _config(service: str, versions: Path | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_ENVIRONMENT).replace("%", "%%"))
    config.set_main_option("version_locations", str(versions or versions_folder(service)).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")  # one folder; a path may hold spaces and colons
    config.attributes["version_table"] = version_table(service)
    return config


def _current_of(engine: Engine, service: str) -> str | None:
    with engine.connect() as connection:
        return _current(connection, service)


def _current(connection: Connection, service: str) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": version_table(service)}).get_current_revision()


def _refuse_newer(config: Config, service: str, current: str | None) -> None:
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        head = script.get_current_head()
        raise DatabaseTooNew(
            "DATABASE_TOO_NEW",
            f"The {service} database is at revision {current}, which this program does not know (its newest is {head}): "
            "a newer version wrote it. Install that version again, or restore a backup made before the upgrade. "
            "Nothing was changed.",
            f"{service} 数据库由更新的版本写入（{current}），请使用新版本程序或恢复升级前的备份。未作任何更改。",
            metadata={"service": service, "found": current, "newest_known": head or ""},
        )
