"""The sealed data of each service, for the commands that look after its keys."""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from yinqi.kernel.clock import Clock, SystemClock
from yinqi.kernel.errors import FailedPrecondition
from yinqi.runtime.database import Database
from yinqi.runtime.migrations import check_revision
from yinqi.runtime.sealing import Sealed, Sealing, start_sealing
from yinqi.runtime.settings import Settings
from yinqi.runtime.wrapping_keys import WrappingKeys

# Where each service that seals says what of its tables is sealed.
_TABLES = {
    "payment": "yinqi.payment.tables",
    "gateway": "yinqi.gateway.repository",
    "account": "yinqi.account.tables",
    "reconciliation": "yinqi.reconciliation.tables",
}
SEALING_SERVICES = tuple(_TABLES)
SUITE_KEYS_DIR = "{var_dir}/sealing/{service}"


def sealed_tables(service: str) -> Sequence[Sealed]:
    """Return what of a service's tables is sealed."""
    found: Sequence[Sealed] = importlib.import_module(_TABLES[service]).SEALED
    return found


def make_suite_keys(settings: Settings) -> None:
    """Make the first key-encryption key of every service that has none, for a suite on one machine.

    Raises:
        WrappingKeyInvalid: it cannot be written.
    """
    for service in SEALING_SERVICES:
        folder = Path(settings.sealing_keys_of(service))
        if not any(folder.glob("*.kek")):
            WrappingKeys(folder).create(secrets.token_bytes)


@contextmanager
def opened(settings: Settings, service: str, clock: Clock | None = None) -> Iterator[tuple[Database, Sealing]]:
    """Open a service's database beside the running service, with its keys.

    Raises:
        FailedPrecondition: no keys are named, or the database is not of this program's version.
        Unavailable: it cannot be reached. WrappingKeyInvalid, DataKeyLost: the keys cannot be used.
    """
    folder = settings.sealing_keys_of(service)
    if not folder:
        raise FailedPrecondition(
            "SEALING_OFF",
            "no folder of key-encryption keys is named; set YINQI_SEALING_KEYS_DIR as the services have it",
            "未指定密钥加密密钥目录，请设置 YINQI_SEALING_KEYS_DIR（与各服务一致）",
        )
    url = settings.database_url_of(service)
    check_revision(url, service)
    database = Database.open(url, writers=1, readers=1)
    try:
        sealing = start_sealing(
            database, folder, settings=settings, clock=clock or SystemClock(), random_bytes=secrets.token_bytes
        )
        if sealing is not None:
            yield database, sealing
    finally:
        database.close()
