"""Kill, full disk, broken disk: what was acknowledged is there, and nothing is acknowledged that is not."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from yinqi.runtime.database import Database

SERVICES = str(Path(__file__).parents[3] / "services")

LOGGING = "from yinqi.runtime.logging import configure_logging; configure_logging('test')\n"

# Writes numbers from several callers and prints each one only after its answer came.
WRITER = """
import asyncio, sys
from sqlalchemy import text
from yinqi.runtime.database import Database

store = Database.open(sys.argv[1])
store.run_sync(lambda c: c.execute(text("CREATE TABLE IF NOT EXISTS n (v INTEGER PRIMARY KEY)")) and None)

async def caller(first):
    for value in range(first, first + 1_000_000):
        await store.run(lambda c: c.execute(text("INSERT INTO n VALUES (:v)"), {"v": value}) and None)
        sys.stdout.write(f"{value}\\n")
        sys.stdout.flush()

async def main():
    await asyncio.gather(*(caller(10_000_000 * k) for k in range(1, 9)))

asyncio.run(main())
"""


def start(program: str, *arguments: str, under: Sequence[str] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*under, sys.executable, "-c", LOGGING + program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": SERVICES, "PATH": "/usr/bin:/bin"},
    )


def test_kill_9_of_a_busy_writer_loses_nothing_acknowledged(sqlite_url: str) -> None:
    acknowledged: set[int] = set()
    for _ in range(3):
        process = start(WRITER.replace("10_000_000 * k", f"10_000_000 * k + {len(acknowledged) * 100}"), sqlite_url)
        assert process.stdout
        for _ in range(200):
            acknowledged.add(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        acknowledged |= {int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")}
    store = Database.open(sqlite_url)
    stored = set(store.read_sync(lambda c: list(c.execute(text("SELECT v FROM n")).scalars())))
    assert store.read_sync(lambda c: c.execute(text("PRAGMA integrity_check")).scalar_one()) == "ok"
    store.close()
    assert len(acknowledged) >= 600
    assert acknowledged <= stored


BROKEN = """
import sqlite3, sys
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from yinqi.runtime.database import Database

store = Database.open(sys.argv[1])

def fails(connection):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC if hasattr(sqlite3, "SQLITE_IOERR_FSYNC") else 1034
    raise OperationalError("COMMIT", None, error)

store.run_sync(fails)
print("acknowledged")
"""


def test_a_failed_fsync_ends_the_process_before_anything_is_acknowledged(sqlite_url: str) -> None:
    process = start(BROKEN, sqlite_url)
    out, log = process.communicate(timeout=60)
    assert process.returncode == 70
    assert "acknowledged" not in out
    assert "fail stop" in out + log


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes the disk fail")
@pytest.mark.parametrize("nth", [7, 12])
def test_a_disk_that_really_fails_a_sync_ends_the_process(sqlite_url: str, nth: int) -> None:
    program = WRITER.replace("range(1, 9)", "range(1, 2)")
    injection = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]
    injection += ["-e", f"inject=fdatasync,fsync:error=EIO:when={nth}"]
    process = start(program, sqlite_url, under=injection)
    out, log = process.communicate(timeout=60)
    assert process.returncode == 70, log[-500:]
    assert "fail stop" in log
    acknowledged = {int(line) for line in out.splitlines()}
    store = Database.open(sqlite_url)
    stored = set(store.read_sync(lambda c: list(c.execute(text("SELECT v FROM n")).scalars())))
    store.close()
    assert acknowledged <= stored
    assert len(acknowledged) < nth  # nothing was acknowledged after the failed sync


MANY = """
import sys
from sqlalchemy import text
from yinqi.runtime.database import Database

store = Database.open(sys.argv[1])
store.run_sync(lambda c: c.execute(text("INSERT INTO n VALUES (:v)"), [{"v": v} for v in range(3_000)]) and None)
store.close()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes the disk fail")
def test_a_checkpoint_whose_sync_fails_ends_the_process_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Database.open(f"sqlite:///{path}")
    store.run_sync(lambda c: c.execute(text("CREATE TABLE n (v INTEGER PRIMARY KEY)")) and None)
    store.close()
    injection = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", "trace=fdatasync,fsync"]
    injection += ["-e", "inject=fdatasync,fsync:error=EIO"]  # of the store, not of its log
    process = start(MANY, f"sqlite:///{path}", under=injection)
    _, log = process.communicate(timeout=120)
    assert process.returncode == 70, log[-500:]
    store = Database.open(f"sqlite:///{path}")
    assert store.read_sync(lambda c: c.execute(text("SELECT count(*) FROM n")).scalar_one()) == 3_000
    store.close()


CORRUPT = """
import sys
from sqlalchemy import text
from yinqi.runtime.database import Database

store = Database.open(sys.argv[1])
store.run_sync(lambda c: c.execute(text("SELECT count(*) FROM n WHERE v > 0")).scalar())
print("went on")
"""


def test_a_corrupt_file_ends_the_process(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Database.open(f"sqlite:///{path}")
    store.run_sync(lambda c: c.execute(text("CREATE TABLE n (v INTEGER)")) and None)
    store.run_sync(lambda c: c.execute(text("INSERT INTO n VALUES (:v)"), [{"v": v} for v in range(20_000)]) and None)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:40960] = b"\xa5" * 36864  # behind the first page
    path.write_bytes(content)
    process = start(CORRUPT, f"sqlite:///{path}")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 70
    assert "went on" not in out


FILL = """
import sys
from sqlalchemy import text
from yinqi.kernel.errors import StorageFull
from yinqi.runtime.database import Database

store = Database.open(sys.argv[1])
store.run_sync(lambda c: c.execute(text("CREATE TABLE n (v INTEGER PRIMARY KEY, x TEXT)")) and None)
for value in range(100_000):
    try:
        store.run_sync(lambda c: c.execute(text("INSERT INTO n VALUES (:v, :x)"), {"v": value, "x": "y" * 2000}) and None)
    except StorageFull as error:
        print("full", error.reason, flush=True)
        break
    print(value, flush=True)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder  # type: ignore[misc]
    subprocess.run(["umount", folder], check=True)


def test_a_really_full_disk_is_told_and_keeps_what_was_acknowledged(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/store.db"
    process = start(FILL, url)
    out, log = process.communicate(timeout=60)
    lines = out.split("\n")
    values = [int(line) for line in lines if line.isdigit()]
    assert "full STORAGE_FULL" in lines, (process.returncode, log[-500:])
    (small_disk / "room").unlink(missing_ok=True)
    store = Database.open(url)
    stored = store.read_sync(lambda c: list(c.execute(text("SELECT v FROM n ORDER BY v")).scalars()))
    store.close()
    assert stored == values
    assert len(values) > 20


def test_a_postgresql_that_crashes_and_recovers_keeps_what_was_acknowledged(
    postgresql_url: str, postgres_cluster: object
) -> None:
    store = Database.open(postgresql_url)
    store.run_sync(lambda c: c.execute(text("CREATE TABLE n (v INTEGER PRIMARY KEY)")) and None)
    for value in range(50):
        store.run_sync(lambda c, v=value: c.execute(text("INSERT INTO n VALUES (:v)"), {"v": v}) and None)
    postgres_cluster.stop_server(crash=True)  # type: ignore[attr-defined]
    postgres_cluster.start_server()  # type: ignore[attr-defined]
    end_at = time.monotonic() + 10
    while time.monotonic() < end_at:
        try:
            store.run_sync(lambda c: c.execute(text("INSERT INTO n VALUES (50)")) and None)
            break
        except Exception:  # noqa: BLE001
            time.sleep(0.1)
    assert store.read_sync(lambda c: c.execute(text("SELECT count(*) FROM n")).scalar_one()) == 51
    store.close()
