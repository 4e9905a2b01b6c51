"""All services' journals: read from their databases, written as one export, checked."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Table

from yinqi.demo.suite import SERVICES
from yinqi.kernel.clock import Clock, SystemClock
from yinqi.kernel.errors import FailedPrecondition, NotFound
from yinqi.runtime.columns import microseconds_of
from yinqi.runtime.database_engine import open_engines, parse_url
from yinqi.runtime.journal.chain import instant_text, lines_of
from yinqi.runtime.journal.export import count_rows, export_journal, header
from yinqi.runtime.journal.findings import Report
from yinqi.runtime.journal.keys import PublicKey
from yinqi.runtime.journal.seals import has_seals, journals_of
from yinqi.runtime.journal.verify import Copies, verify
from yinqi.runtime.settings import Settings

_TABLES_OF_GATEWAY = "yinqi.gateway.repository"
# A seal that is being committed while an export begins must be in it, or a later check would miss it.
_SETTLE_S = 1.0


def journal_tables(service: str) -> dict[str, Table]:
    """Return a service's journals by the names of their chains."""
    if service == "gateway":
        return journals_of(service, importlib.import_module(_TABLES_OF_GATEWAY).METADATA)
    return journals_of(service, importlib.import_module(f"yinqi.{service}.tables").metadata)


@contextmanager
def reading(settings: Settings, service: str) -> Iterator[Connection]:
    """Open one transaction that reads a service's database, whether or not the service runs.

    Raises:
        NotFound: there is no database. FailedPrecondition: its schema is older than seals.
        Unavailable: it cannot be reached.
    """
    url = settings.database_url_of(service)
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).is_file():
        raise NotFound(
            "DATABASE_MISSING",
            f"there is no database {parsed.database}; set YINQI_VAR_DIR or YINQI_DATABASE_URL",
            f"没有数据库 {parsed.database}",
        )
    write_engine, read_engine = open_engines(url, writers=1, readers=1)
    try:
        with read_engine.connect() as connection, connection.begin():
            if not has_seals(connection):
                raise FailedPrecondition(
                    "JOURNAL_NOT_SEALED",
                    f"the {service} database is older than sealed journals; run `yinqi migrate {service}` and start the service",
                    f"{service} 数据库版本过旧，尚无日志封条；请先升级并启动服务",
                )
            yield connection
    finally:
        write_engine.dispose()
        read_engine.dispose()


@dataclass(slots=True)
class Progress:
    """Who wants to know how far an export is: the number of rows once, then each row."""

    count: Callable[[int], None] = lambda _rows: None
    advance: Callable[[], None] = lambda: None


def export_services(
    settings: Settings,
    services: Sequence[str],
    file: Path,
    *,
    progress: Progress | None = None,
    clock: Clock | None = None,
    settle_s: float = _SETTLE_S,
) -> int:
    """Write the journals of services into one file, readable by its owner only; return the number of rows.

    Raises:
        NotFound, FailedPrecondition, Unavailable: as `reading`.
        OSError: the file cannot be written.
    """
    progress = progress or Progress()
    made_at = microseconds_of((clock or SystemClock()).now())
    time.sleep(settle_s)
    draft = file.with_name(f"{file.name}.new")
    rows = 0
    with ExitStack() as stack:
        opened: list[tuple[Connection, Mapping[str, Table]]] = [
            (stack.enter_context(reading(settings, service)), journal_tables(service)) for service in services
        ]
        rows = sum(count_rows(connection, journals) for connection, journals in opened)
        progress.count(rows)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            target.writelines(lines_of([header(services, instant_text(made_at))]))
            for connection, journals in opened:
                for stream, table in sorted(journals.items()):
                    target.writelines(lines_of(export_journal(connection, stream, table, progress.advance)))
            target.flush()
            os.fsync(target.fileno())
    draft.replace(file)
    return rows


def check_own_journals(settings: Settings) -> Report:
    """Export the journals of all services to `<var>/journals.jsonl` and check them against the seals outside.

    Raises:
        NotFound, FailedPrecondition, Unavailable, OSError: as `export_services`.
    """
    file = settings.var_dir / "journals.jsonl"
    export_services(settings, SERVICES, file, settle_s=0)
    keys = [PublicKey(one.read_bytes()) for one in sorted((settings.var_dir / "journal").glob("*.public.pem"))]
    folders = [folder for folder in settings.journal_checkpoint_folders()[:1] if folder.is_dir()]
    copies = Copies.read(folders, keys)
    with file.open("rb") as lines:
        return verify(lines, copies=copies, keys=keys)
